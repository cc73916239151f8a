//! Who asks and where, as the vendor's command line looks it up where it is not told.
//!
//! A team is an organization. A project is a word by which sandboxes are grouped, so that every word is one.

use alcove_api_types::vercel::{
    ScopeProject, ScopeUser, ScopeUserAnswer, Team, TeamBilling, TeamMembership, TeamPage,
    TeamPagination,
};
use alcove_domain::{MemberRole, Organization};
use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::refused;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Authenticated, PathOf, QueryOf};

/// Teams on a page where the client does not say, and at most.
const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 100;

/// The plan of theirs that costs nothing. Their clients pass over all others as they look for a team.
const PLAN: &str = "hobby";

fn shown((organization, role): &(Organization, MemberRole)) -> Team {
    let made = organization.created_at.as_millisecond();
    Team {
        id: organization.id.to_string(),
        slug: organization.id.to_string(),
        name: organization.name.clone(),
        created_at: made,
        updated_at: made,
        membership: TeamMembership {
            role: role.as_str().to_uppercase(),
        },
        billing: TeamBilling {
            plan: PLAN.to_owned(),
        },
    }
}

/// The caller.
pub(crate) async fn user(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> Result<Json<ScopeUserAnswer>, ApiError> {
    let user = app.control().current_user(&caller).await;
    let user = user.map_err(refused)?;
    let words = [&user.name, &user.email];
    let username = words.into_iter().find(|word| !word.is_empty());
    Ok(Json(ScopeUserAnswer {
        user: ScopeUser {
            username: username.map_or_else(|| user.id.to_string(), Clone::clone),
            id: user.id.to_string(),
            email: Some(user.email).filter(|email| !email.is_empty()),
            default_team_id: caller.organization.to_string(),
        },
    }))
}

/// The organizations that the caller can act in, the newest first.
pub(crate) async fn teams(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    QueryOf(mut query): QueryOf,
) -> Result<Json<TeamPage>, ApiError> {
    let until = query.milliseconds("until");
    let limit = query.integer("limit").unwrap_or(LIMIT_DEFAULT);
    query.finish()?;
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid(&[format!(
            "limit must be from 1 to {LIMIT_MAX}"
        )]));
    }
    let found = app.control().list_memberships(&caller).await;
    let mut found = found.map_err(refused)?;
    found.retain(|(it, _)| until.is_none_or(|until| it.created_at < until));
    found.sort_by_key(|(it, _)| std::cmp::Reverse(it.created_at));
    let made = |at: usize| found.get(at).map(|(it, _)| it.created_at);
    let mut end = usize::try_from(limit).unwrap_or_default().min(found.len());
    // The next page begins with what was made before the last of this one, so those of one moment stay together.
    while end > 0 && end < found.len() && made(end) == made(end - 1) {
        end += 1;
    }
    let next = if end < found.len() {
        made(end - 1)
    } else {
        None
    };
    let teams: Vec<Team> = found[..end].iter().map(shown).collect();
    Ok(Json(TeamPage {
        pagination: TeamPagination {
            count: teams.len(),
            next: next.map(Timestamp::as_millisecond),
        },
        teams,
    }))
}

/// An organization that the caller's credential opens.
pub(crate) async fn team(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    PathOf(id): PathOf<String>,
) -> Result<Json<Team>, ApiError> {
    let found = app.control().get_organization(&caller, &id).await;
    Ok(Json(shown(&(found.map_err(refused)?, caller.role))))
}

/// A project, by the word that it is.
pub(crate) async fn project(
    Authenticated(caller): Authenticated,
    PathOf(word): PathOf<String>,
) -> Json<ScopeProject> {
    Json(ScopeProject {
        id: word.clone(),
        name: word,
        account_id: caller.organization.to_string(),
    })
}
