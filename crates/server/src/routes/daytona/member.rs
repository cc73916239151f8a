//! Members of an organization, and invitations to become one.

use alcove_api_types::ErrorBody;
use alcove_api_types::daytona::era::Era;
use alcove_api_types::daytona::{
    CreateOrganizationInvitation, OrganizationInvitation, OrganizationUser,
    UpdateOrganizationInvitation, UpdateOrganizationMemberAccess,
};
use alcove_control::{InvitationView, MemberView};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, BodyOf, ClientEra, PathOf};
use crate::routes::daytona::organization::role_of;
use crate::routes::page;

/// The members of the caller's organization.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/users", tag = "organizations",
    operation_id = "listOrganizationMembers", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<OrganizationUser>), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<OrganizationUser>>, ApiError> {
    let members = app.control().list_members(&caller, &id).await?;
    Ok(Json(
        members
            .into_iter()
            .map(|member| shown(era, member))
            .collect(),
    ))
}

/// Says what a member may do, as the owner of the organization. The member's keys follow at once.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/users/{userId}/access",
    tag = "organizations", operation_id = "updateAccessForOrganizationMember",
    params(("organizationId" = String, Path), ("userId" = String, Path)),
    request_body = UpdateOrganizationMemberAccess,
    responses((status = 200, body = OrganizationUser), (status = 400, body = ErrorBody),
        (status = 403, description = "The caller does not own the organization, is that member, or it is the last owner",
            body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn set_access(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf((id, user)): PathOf<(String, String)>,
    BodyOf(body): BodyOf<UpdateOrganizationMemberAccess>,
) -> Result<Json<OrganizationUser>, ApiError> {
    let member = app
        .control()
        .set_access(&caller, &id, &user, &body.role, &body.assigned_role_ids)
        .await?;
    Ok(Json(shown(era, member)))
}

/// Ends a membership, as the owner of the organization, with the member's keys there.
#[utoipa::path(delete, path = "/api/organizations/{organizationId}/users/{userId}", tag = "organizations",
    operation_id = "deleteOrganizationMember",
    params(("organizationId" = String, Path), ("userId" = String, Path)),
    responses((status = 204), (status = 403, description = "It is the last owner", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, user)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.control().remove_member(&caller, &id, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pending invitations of the caller's organization.
#[utoipa::path(get, path = "/api/organizations/{organizationId}/invitations", tag = "organizations",
    operation_id = "listOrganizationInvitations", params(("organizationId" = String, Path)),
    responses((status = 200, body = Vec<OrganizationInvitation>), (status = 404, body = ErrorBody)))]
pub(crate) async fn invitations(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
) -> Result<Json<Vec<OrganizationInvitation>>, ApiError> {
    let found = app.control().list_invitations(&caller, &id).await?;
    Ok(Json(
        found.into_iter().map(|it| invited(&app, era, it)).collect(),
    ))
}

/// Invites the holder of a mail address, as the owner of the organization.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/invitations", tag = "organizations",
    operation_id = "createOrganizationInvitation", params(("organizationId" = String, Path)),
    request_body = CreateOrganizationInvitation,
    responses((status = 201, body = OrganizationInvitation), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, description = "Who is invited is a member, or invited already", body = ErrorBody)))]
pub(crate) async fn invite(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(id): PathOf<String>,
    BodyOf(body): BodyOf<CreateOrganizationInvitation>,
) -> Result<(StatusCode, Json<OrganizationInvitation>), ApiError> {
    let offer = (&*body.role, &*body.assigned_role_ids);
    let expires_at = body.expires_at.map(|at| at.0);
    let made = app
        .control()
        .create_invitation(&caller, &id, &body.email, offer, expires_at)
        .await?;
    Ok((StatusCode::CREATED, Json(invited(&app, era, made))))
}

/// Offers something else to who is invited, as the owner of the organization.
#[utoipa::path(put, path = "/api/organizations/{organizationId}/invitations/{invitationId}",
    tag = "organizations", operation_id = "updateOrganizationInvitation",
    params(("organizationId" = String, Path), ("invitationId" = String, Path)),
    request_body = UpdateOrganizationInvitation,
    responses((status = 200, body = OrganizationInvitation), (status = 400, body = ErrorBody),
        (status = 403, description = "It is not pending any more", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn update_invitation(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf((id, invitation)): PathOf<(String, String)>,
    BodyOf(body): BodyOf<UpdateOrganizationInvitation>,
) -> Result<Json<OrganizationInvitation>, ApiError> {
    let offer = (&*body.role, &*body.assigned_role_ids);
    let expires_at = body.expires_at.map(|at| at.0);
    let written = app
        .control()
        .update_invitation(&caller, &id, &invitation, offer, expires_at)
        .await?;
    Ok(Json(invited(&app, era, written)))
}

/// Takes an invitation back, as the owner of the organization.
#[utoipa::path(post, path = "/api/organizations/{organizationId}/invitations/{invitationId}/cancel",
    tag = "organizations", operation_id = "cancelOrganizationInvitation",
    params(("organizationId" = String, Path), ("invitationId" = String, Path)),
    responses((status = 204), (status = 403, description = "It is not pending any more", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn cancel_invitation(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf((id, invitation)): PathOf<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .cancel_invitation(&caller, &id, &invitation)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Invitations to the caller.
#[utoipa::path(get, path = "/api/organizations/invitations", tag = "organizations",
    operation_id = "listOrganizationInvitationsForAuthenticatedUser",
    responses((status = 200, body = Vec<OrganizationInvitation>), (status = 403, body = ErrorBody)))]
pub(crate) async fn own_invitations(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
) -> Result<Json<Vec<OrganizationInvitation>>, ApiError> {
    let found = app.control().own_invitations(&caller).await?;
    Ok(Json(
        found.into_iter().map(|it| invited(&app, era, it)).collect(),
    ))
}

/// How many invitations there are to the caller.
#[utoipa::path(get, path = "/api/organizations/invitations/count", tag = "organizations",
    operation_id = "getOrganizationInvitationsCountForAuthenticatedUser",
    responses((status = 200, body = usize, content_type = "application/json"), (status = 403, body = ErrorBody)))]
pub(crate) async fn count_invitations(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<usize>, ApiError> {
    Ok(Json(app.control().own_invitations(&caller).await?.len()))
}

/// Makes the caller a member with what was offered.
#[utoipa::path(post, path = "/api/organizations/invitations/{invitationId}/accept", tag = "organizations",
    operation_id = "acceptOrganizationInvitation", params(("invitationId" = String, Path)),
    responses((status = 200, body = OrganizationInvitation),
        (status = 403, description = "It is not pending any more", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn accept_invitation(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    ClientEra(era): ClientEra,
    PathOf(invitation): PathOf<String>,
) -> Result<Json<OrganizationInvitation>, ApiError> {
    let accepted = app.control().accept_invitation(&caller, &invitation);
    Ok(Json(invited(&app, era, accepted.await?)))
}

/// Refuses an invitation.
#[utoipa::path(post, path = "/api/organizations/invitations/{invitationId}/decline", tag = "organizations",
    operation_id = "declineOrganizationInvitation", params(("invitationId" = String, Path)),
    responses((status = 200), (status = 403, description = "It is not pending any more", body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn decline_invitation(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(invitation): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    app.control()
        .decline_invitation(&caller, &invitation)
        .await?;
    Ok(StatusCode::OK)
}

fn shown(era: Era, view: MemberView) -> OrganizationUser {
    let MemberView {
        member,
        user,
        roles,
    } = view;
    OrganizationUser {
        user_id: user.id.to_string(),
        organization_id: member.organization_id.to_string(),
        name: user.name,
        email: user.email,
        role: member.access.role.as_str().to_owned(),
        assigned_roles: roles.into_iter().map(|role| role_of(era, role)).collect(),
        created_at: member.created_at.into(),
        updated_at: member.updated_at.into(),
    }
}

fn invited(app: &App, era: Era, view: InvitationView) -> OrganizationInvitation {
    let InvitationView {
        invitation,
        organization_name,
        roles,
        link,
    } = view;
    OrganizationInvitation {
        id: invitation.id.to_string(),
        email: invitation.email,
        invited_by: invitation.invited_by,
        organization_id: invitation.organization_id.to_string(),
        organization_name,
        expires_at: invitation.expires_at.into(),
        status: invitation.status.as_str().to_owned(),
        role: invitation.access.role.as_str().to_owned(),
        assigned_roles: roles.into_iter().map(|role| role_of(era, role)).collect(),
        link: link.map(|link| page::invitation_url(app.public_url(), &link)),
        created_at: invitation.created_at.into(),
        updated_at: invitation.updated_at.into(),
    }
}
