//! The list. In each line: the request, the action's name, the kind of thing that it is about, and the part of the path that
//! names it. Names of actions and kinds are the contract's where it has one.

/// A request that is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Act {
    /// In lower case.
    pub method: &'static str,
    pub path: &'static str,
    pub action: &'static str,
    pub target: &'static str,
    pub of: Option<&'static str>,
}

macro_rules! acts {
    ($($method:ident $path:literal => $action:ident $target:ident $($of:ident)?;)*) => {
        &[$(Act {
            method: stringify!($method),
            path: $path,
            action: stringify!($action),
            target: stringify!($target),
            of: acts!(@of $($of)?),
        }),*]
    };
    (@of) => { None };
    (@of $of:ident) => { Some(stringify!($of)) };
}

pub(crate) const ACTS: &[Act] = acts! {
    post "/api/sandbox" => create sandbox;
    delete "/api/sandbox/{sandboxIdOrName}" => delete sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/start" => start sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/stop" => stop sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/recover" => recover sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/pause" => pause sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/archive" => archive sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/backup" => create_backup sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/resize" => resize sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/snapshot" => snapshot sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/fork" => fork sandbox sandboxIdOrName;
    get "/api/sandbox/{sandboxIdOrName}/ports/{port}/preview-url" => get_port_preview_url sandbox sandboxIdOrName;
    get "/api/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url" => get_port_preview_url sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url/{token}/expire" => expire_port_preview_url sandbox sandboxIdOrName;
    get "/api/sandbox/{sandboxIdOrName}/signing-key" => read_signing_key sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/signing-key/rotate" => rotate_signing_key sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/ssh-access" => create_ssh_access sandbox sandboxIdOrName;
    delete "/api/sandbox/{sandboxIdOrName}/ssh-access" => revoke_ssh_access sandbox sandboxIdOrName;
    put "/api/sandbox/{sandboxIdOrName}/labels" => replace_labels sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/autostop/{interval}" => set_auto_stop_interval sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/autopause/{interval}" => set_auto_pause_interval sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/autoarchive/{interval}" => set_auto_archive_interval sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/autodelete/{interval}" => set_auto_delete_interval sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/ttl/{ttlMinutes}" => set_ttl sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/public/{isPublic}" => update_public_status sandbox sandboxIdOrName;
    post "/api/sandbox/{sandboxIdOrName}/network-settings" => update_network_settings sandbox sandboxIdOrName;

    post "/api/workspace" => create sandbox;
    delete "/api/workspace/{workspaceId}" => delete sandbox workspaceId;
    post "/api/workspace/{workspaceId}/start" => start sandbox workspaceId;
    post "/api/workspace/{workspaceId}/stop" => stop sandbox workspaceId;
    put "/api/workspace/{workspaceId}/labels" => replace_labels sandbox workspaceId;
    post "/api/workspace/{workspaceId}/public/{isPublic}" => update_public_status sandbox workspaceId;
    post "/api/workspace/{workspaceId}/autostop/{interval}" => set_auto_stop_interval sandbox workspaceId;
    post "/api/workspace/{workspaceId}/autoarchive/{interval}" => set_auto_archive_interval sandbox workspaceId;
    post "/api/workspace/{workspaceId}/archive" => archive sandbox workspaceId;
    post "/api/workspace/{workspaceId}/backup" => create_backup sandbox workspaceId;
    get "/api/workspace/{workspaceId}/ports/{port}/preview-url" => get_port_preview_url sandbox workspaceId;

    post "/api/api-keys" => create api_key;
    delete "/api/api-keys/{name}" => delete api_key name;
    delete "/api/api-keys/{userId}/{name}" => delete api_key name;
    post "/api/users" => create user;
    post "/api/users/{id}/regenerate-key-pair" => regenerate_key_pair user id;
    post "/api/users/linked-accounts" => link_account user;
    delete "/api/users/linked-accounts/{provider}/{providerUserId}" => unlink_account user providerUserId;
    post "/api/users/me/pending-sso-links/{id}/confirm" => link_account user;
    delete "/api/users/me/pending-sso-links/{id}" => dismiss_pending_sso_link user;
    post "/api/users/privacy-policies/accept" => accept_privacy_policies user;
    post "/api/users/me/logins" => login user;
    post "/api/admin/users" => create user;
    post "/api/admin/users/{id}/regenerate-key-pair" => regenerate_key_pair user id;
    post "/api/admin/users/{id}/password-link" => create_password_link user id;

    post "/api/admin/service-credentials" => create service_credential;
    delete "/api/admin/service-credentials/{credentialId}" => delete service_credential credentialId;

    post "/api/auth/sign-in" => login user;
    post "/api/auth/sso/arrive" => login user;
    post "/api/auth/sign-out" => logout user;
    post "/api/auth/sign-out-everywhere" => logout user;
    post "/api/auth/password" => change_password user;
    post "/api/auth/set-password" => change_password user;
    post "/api/auth/device/confirm" => confirm_device user;
    post "/api/auth/invitation/accept" => accept organization_invitation;
    post "/api/auth/totp" => begin_totp user;
    post "/api/auth/totp/confirm" => confirm_totp user;
    post "/api/auth/totp/remove" => remove_totp user;

    post "/api/organizations" => create organization;
    delete "/api/organizations/{organizationId}" => delete organization organizationId;
    patch "/api/organizations/{organizationId}/default-region" => update organization organizationId;
    put "/api/organizations/{organizationId}/otel-config" => update_otel_config organization organizationId;
    delete "/api/organizations/{organizationId}/otel-config" => delete_otel_config organization organizationId;
    put "/api/organizations/{organizationId}/experimental-config" => update_experimental_config organization organizationId;
    post "/api/organizations/{organizationId}/identity-providers" => create identity_provider;
    patch "/api/organizations/{organizationId}/identity-providers/{id}" => update identity_provider id;
    delete "/api/organizations/{organizationId}/identity-providers/{id}" => delete identity_provider id;
    post "/api/organizations/{organizationId}/identity-providers/test-connection" => test_connection organization organizationId;
    patch "/api/organizations/{organizationId}/default-queue-timeout" => update organization organizationId;
    post "/api/organizations/{organizationId}/leave" => leave_organization organization organizationId;
    post "/api/organizations/{organizationId}/suspend" => suspend organization organizationId;
    post "/api/organizations/{organizationId}/unsuspend" => unsuspend organization organizationId;
    post "/api/organizations/{organizationId}/sandbox-default-limited-network-egress" => update_sandbox_default_limited_network_egress organization organizationId;
    patch "/api/organizations/{organizationId}/quota/{regionId}" => update_region_quota organization organizationId;
    patch "/api/organizations/{organizationId}/quota" => update_quota organization organizationId;
    patch "/api/admin/organizations/{organizationId}/quota/{regionId}" => update_region_quota organization organizationId;
    post "/api/admin/organizations/{organizationId}/quota/{regionId}" => create_region_quota organization organizationId;
    delete "/api/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}" => delete_region_quota organization organizationId;
    post "/api/organizations/{organizationId}/users/{userId}/access" => update_access organization_user userId;
    delete "/api/organizations/{organizationId}/users/{userId}" => delete organization_user userId;
    post "/api/organizations/{organizationId}/roles" => create organization_role;
    put "/api/organizations/{organizationId}/roles/{roleId}" => update organization_role roleId;
    delete "/api/organizations/{organizationId}/roles/{roleId}" => delete organization_role roleId;
    post "/api/organizations/{organizationId}/invitations" => create organization_invitation;
    put "/api/organizations/{organizationId}/invitations/{invitationId}" => update organization_invitation invitationId;
    post "/api/organizations/{organizationId}/invitations/{invitationId}/cancel" => delete organization_invitation invitationId;
    post "/api/organizations/invitations/{invitationId}/accept" => accept organization_invitation invitationId;
    post "/api/organizations/invitations/{invitationId}/decline" => decline organization_invitation invitationId;

    post "/api/regions" => create region;
    patch "/api/regions/{id}" => update region id;
    delete "/api/regions/{id}" => delete region id;
    post "/api/regions/{id}/regenerate-proxy-api-key" => regenerate_proxy_api_key region id;
    post "/api/regions/{id}/regenerate-ssh-gateway-api-key" => regenerate_ssh_gateway_api_key region id;
    post "/api/regions/{id}/regenerate-snapshot-manager-credentials" => regenerate_snapshot_manager_credentials region id;
    post "/api/runners" => create runner;
    delete "/api/runners/{id}" => delete runner id;
    patch "/api/runners/{id}/scheduling" => update_scheduling runner id;
    patch "/api/runners/{id}/draining" => update_draining runner id;
    post "/api/admin/runners" => create runner;
    delete "/api/admin/runners/{id}" => delete runner id;
    patch "/api/admin/runners/{id}/scheduling" => update_scheduling runner id;
    get "/api/preview/{sandboxIdOrName}/signing-key" => read_signing_key sandbox sandboxIdOrName;

    post "/api/docker-registry" => create docker_registry;
    patch "/api/docker-registry/{id}" => update docker_registry id;
    delete "/api/docker-registry/{id}" => delete docker_registry id;
    post "/api/docker-registry/{id}/set-default" => set_default docker_registry id;
    post "/api/admin/docker-registry/{id}/set-default" => set_default docker_registry id;
    get "/api/docker-registry/registry-push-access" => get_push_access docker_registry;
    get "/api/object-storage/push-access" => get_push_access object_storage;

    post "/api/volumes" => create volume;
    delete "/api/volumes/{volumeId}" => delete volume volumeId;
    post "/api/warm-pools" => create warm_pool;
    patch "/api/warm-pools/{id}" => update warm_pool id;
    delete "/api/warm-pools/{id}" => delete warm_pool id;
    post "/api/ssh-keys" => create ssh_key;
    delete "/api/ssh-keys/{id}" => delete ssh_key id;
    post "/api/snapshots" => create snapshot;
    delete "/api/snapshots/{id}" => delete snapshot id;
    patch "/api/snapshots/{id}/general" => set_general_status snapshot id;
    patch "/api/admin/snapshots/{id}/general" => set_general_status snapshot id;
    post "/api/admin/sandbox/{sandboxId}/recover" => recover sandbox sandboxId;
    post "/api/admin/sandbox/{sandboxId}/force-destroy" => delete sandbox sandboxId;
    post "/api/admin/work/{workId}/cancel" => cancel work workId;
    post "/api/snapshots/{id}/activate" => activate snapshot id;
    post "/api/snapshots/{id}/deactivate" => deactivate snapshot id;
    post "/api/images" => create snapshot;
    post "/api/images/build" => create snapshot;
    delete "/api/images/{id}" => delete snapshot id;
    patch "/api/images/{id}/toggle" => toggle_state snapshot id;

    post "/api/secret" => create secret;
    patch "/api/secret/{secretId}" => update secret secretId;
    delete "/api/secret/{secretId}" => delete secret secretId;
    put "/api/sandbox/{sandboxIdOrName}/secrets" => update_secrets sandbox sandboxIdOrName;

    post "/api/webhooks/organizations/{organizationId}/app-portal-access" => get_webhook_app_portal_access organization organizationId;
    post "/api/webhooks/organizations/{organizationId}/initialize" => initialize_webhooks organization organizationId;
    post "/api/webhooks/organizations/{organizationId}/refresh-endpoints" => refresh_webhooks organization organizationId;
    post "/api/webhooks/organizations/{organizationId}/send" => send_webhook_message organization organizationId;
    post "/api/webhooks/organizations/{organizationId}/endpoints" => create webhook_endpoint;
    patch "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}" => update webhook_endpoint endpointId;
    delete "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}" => delete webhook_endpoint endpointId;
    get "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}/secret" => read_secret webhook_endpoint endpointId;
    post "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}/secret/rotate" => rotate_secret webhook_endpoint endpointId;
    post "/api/webhooks/organizations/{organizationId}/endpoints/{endpointId}/replay" => replay_webhooks webhook_endpoint endpointId;
    post "/api/admin/webhooks/organizations/{organizationId}/send" => send_webhook_message organization organizationId;
    post "/api/admin/webhooks/organizations/{organizationId}/initialize" => initialize_webhooks organization organizationId;

    post "/v2/sandboxes" => create sandbox;
    post "/v3/sandboxes" => create sandbox;
    post "/v4/sandboxes" => create sandbox;
    patch "/v2/sandboxes/{name}" => update sandbox name;
    delete "/v2/sandboxes/{name}" => delete sandbox name;
    post "/v2/sandboxes/{name}/fork" => fork sandbox name;
    post "/v3/sandboxes/{name}/fork" => fork sandbox name;
    delete "/v2/sandboxes/snapshots/{snapshotId}" => delete snapshot snapshotId;
    post "/v2/sandboxes/drives/{drive}" => create volume drive;
    delete "/v2/sandboxes/drives/{drive}" => delete volume drive;
    post "/v2/sandboxes/drives/{drive}/fork" => fork volume drive;
    post "/v2/sandboxes/sessions/{sessionId}/stop" => stop sandbox sessionId;
    post "/v2/sandboxes/sessions/{sessionId}/extend-timeout" => extend_timeout sandbox sessionId;
    post "/v2/sandboxes/sessions/{sessionId}/network-policy" => update_network_settings sandbox sessionId;
    post "/v2/sandboxes/sessions/{sessionId}/snapshot" => snapshot sandbox sessionId;
    post "/v3/sandboxes/sessions/{sessionId}/snapshot" => snapshot sandbox sessionId;
    post "/v2/sandboxes/sessions/{sessionId}/interactive" => open_terminal sandbox sessionId;
    post "/v1/sandboxes" => create sandbox;
    delete "/v1/sandboxes/snapshots/{snapshotId}" => delete snapshot snapshotId;
    post "/v1/sandboxes/{sessionId}/stop" => stop sandbox sessionId;
    post "/v1/sandboxes/{sessionId}/extend-timeout" => extend_timeout sandbox sessionId;
    post "/v1/sandboxes/{sessionId}/network-policy" => update_network_settings sandbox sessionId;
    post "/v1/sandboxes/{sessionId}/snapshot" => snapshot sandbox sessionId;
};

/// Requests that change something and are not in the list, each with the reason.
#[cfg(test)]
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "post",
        "/api/sandbox/{sandboxIdOrName}/last-activity",
        "says only that somebody is there, often",
    ),
    (
        "post",
        "/api/actions/{name}",
        "asks others, which are written down",
    ),
    ("post", "/mcp", "asks others, which are written down"),
    (
        "post",
        "/api/auth/device/code",
        "begins what a person decides on, which is written down",
    ),
    (
        "post",
        "/api/auth/device/token",
        "asks again and again for what a person has decided, which is written down",
    ),
    (
        "post",
        "/api/auth/invitation",
        "reads what is offered, by a link that is too long for a path",
    ),
    ("post", "/api/users/mfa/sms/enroll", "is always refused"),
    (
        "post",
        "/v2/sandboxes/sessions/{sessionId}/cmd",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sessionId}/cmd/{cmdId}/kill",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sessionId}/cmd/{cmdId}/stdin",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sessionId}/fs/write",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sessionId}/fs/read",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v2/sandboxes/sessions/{sessionId}/fs/mkdir",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v1/sandboxes/{sessionId}/cmd",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v1/sandboxes/{sessionId}/cmd/{cmdId}/kill",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v1/sandboxes/{sessionId}/{cmdId}/kill",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v1/sandboxes/{sessionId}/fs/write",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v1/sandboxes/{sessionId}/fs/read",
        "traffic into the sandbox",
    ),
    (
        "post",
        "/v1/sandboxes/{sessionId}/fs/mkdir",
        "traffic into the sandbox",
    ),
    ("post", "/api/audit", "writes a row by itself"),
    (
        "post",
        "/api/auth/sso/depart",
        "says where to go, and keeps nothing; who arrives is written down",
    ),
    (
        "post",
        "/api/organizations/{organizationId}/identity-providers/workos-admin-portal-link",
        "is refused, whoever asks",
    ),
    (
        "post",
        "/api/runners/healthcheck",
        "a machine says that it is there, often",
    ),
    (
        "post",
        "/api/jobs/{jobId}/status",
        "a machine says what became of an order",
    ),
    (
        "put",
        "/api/sandbox/{sandboxIdOrName}/state",
        "a machine says what a sandbox on it is",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{VERCEL_ROUTES, all_routes};

    #[test]
    fn every_request_that_changes_something_is_written_down_or_has_a_reason_not_to_be() {
        let all = || all_routes().chain(VERCEL_ROUTES);
        let listed = |method: &str, path: &str| {
            ACTS.iter()
                .filter(|act| act.method == method && act.path == path)
                .count()
                + OTHERS
                    .iter()
                    .filter(|other| other.0 == method && other.1 == path)
                    .count()
        };
        let missing: Vec<_> = all()
            .filter(|route| route.method != "get" && listed(route.method, route.path) != 1)
            .map(|route| (route.method, route.path))
            .collect();
        assert_eq!(missing, [], "not in the list, or twice");
        let is_route = |method: &str, path: &str| {
            all().any(|route| route.method == method && route.path == path)
        };
        for act in ACTS {
            assert!(is_route(act.method, act.path), "no route: {act:?}");
            let part = act.of.map(|of| format!("{{{of}}}"));
            assert!(part.is_none_or(|part| act.path.contains(&part)), "{act:?}");
        }
        for (method, path, _) in OTHERS {
            assert!(is_route(method, path), "no route: {method} {path}");
        }
    }
}
