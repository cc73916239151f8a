//! The Daytona API.

pub(crate) mod account;
pub(crate) mod api_key;
pub(crate) mod event;
pub(crate) mod life;
pub(crate) mod object_storage;
pub(crate) mod preview;
pub(crate) mod quota;
pub(crate) mod region;
pub(crate) mod registry;
pub(crate) mod sandbox;
pub(crate) mod sandbox_list;
pub(crate) mod settings;
pub(crate) mod snapshot;
pub(crate) mod ssh;
pub(crate) mod ssh_key;
pub(crate) mod system;
pub(crate) mod volume;
pub(crate) mod warm_pool;
pub(crate) mod workspace;

crate::routes::routes! {
    get "/api/config", Public => system::config;
    get "/api/health", Public => system::health;
    get "/api/health/ready", Public => system::ready;
    get "/api/openapi.json", Public => system::openapi;
    get "/api/events", Key => event::stream;

    post "/api/sandbox", Key => sandbox::create;
    get "/api/sandbox", Key => sandbox_list::list;
    get "/api/sandbox/paginated", Key => sandbox_list::page;
    get "/api/sandbox/regions", Key => region::of_sandboxes;
    get "/api/sandbox/ssh-access/validate", Key => ssh::validate;
    get "/api/sandbox/{sandboxIdOrName}", Key => sandbox::get;
    delete "/api/sandbox/{sandboxIdOrName}", Key => sandbox::delete;
    post "/api/sandbox/{sandboxIdOrName}/start", Key => sandbox::start;
    post "/api/sandbox/{sandboxIdOrName}/stop", Key => sandbox::stop;
    post "/api/sandbox/{sandboxIdOrName}/recover", Key => life::recover;
    post "/api/sandbox/{sandboxIdOrName}/pause", Key => life::pause;
    post "/api/sandbox/{sandboxIdOrName}/archive", Key => life::archive;
    post "/api/sandbox/{sandboxIdOrName}/backup", Key => life::backup;
    post "/api/sandbox/{sandboxIdOrName}/resize", Key => life::resize;
    post "/api/sandbox/{sandboxIdOrName}/snapshot", Key => life::snapshot;
    post "/api/sandbox/{sandboxIdOrName}/fork", Key => life::fork;
    get "/api/sandbox/{sandboxIdOrName}/forks", Key => life::forks;
    get "/api/sandbox/{sandboxIdOrName}/parent", Key => life::parent;
    get "/api/sandbox/{sandboxIdOrName}/ancestors", Key => life::ancestors;
    get "/api/sandbox/{sandboxIdOrName}/build-logs", Key => sandbox::build_logs;
    get "/api/sandbox/{sandboxIdOrName}/build-logs-url", Key => sandbox::build_logs_url;
    get "/api/sandbox/{sandboxIdOrName}/toolbox-proxy-url", Key => sandbox::toolbox_url;
    get "/api/sandbox/{sandboxIdOrName}/ports/{port}/preview-url", Key => preview::url;
    get "/api/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url", Key => preview::signed_url;
    post "/api/sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url/{token}/expire", Key => preview::expire;
    get "/api/sandbox/{sandboxIdOrName}/signing-key", Key => preview::signing_key;
    post "/api/sandbox/{sandboxIdOrName}/signing-key/rotate", Key => preview::rotate_signing_key;
    post "/api/sandbox/{sandboxIdOrName}/ssh-access", Key => ssh::create;
    delete "/api/sandbox/{sandboxIdOrName}/ssh-access", Key => ssh::revoke;
    post "/api/sandbox/{sandboxIdOrName}/last-activity", Key => sandbox::last_activity;
    put "/api/sandbox/{sandboxIdOrName}/labels", Key => settings::labels;
    post "/api/sandbox/{sandboxIdOrName}/autostop/{interval}", Key => settings::auto_stop;
    post "/api/sandbox/{sandboxIdOrName}/autopause/{interval}", Key => settings::auto_pause;
    post "/api/sandbox/{sandboxIdOrName}/autoarchive/{interval}", Key => settings::auto_archive;
    post "/api/sandbox/{sandboxIdOrName}/autodelete/{interval}", Key => settings::auto_delete;
    post "/api/sandbox/{sandboxIdOrName}/ttl/{ttlMinutes}", Key => settings::ttl;
    post "/api/sandbox/{sandboxIdOrName}/public/{isPublic}", Key => settings::public;
    post "/api/sandbox/{sandboxIdOrName}/network-settings", Key => settings::network;

    get "/api/workspace", Key => workspace::list;
    post "/api/workspace", Key => workspace::create;
    get "/api/workspace/{workspaceId}", Key => workspace::get;
    delete "/api/workspace/{workspaceId}", Key => workspace::delete;
    post "/api/workspace/{workspaceId}/start", Key => workspace::start;
    post "/api/workspace/{workspaceId}/stop", Key => workspace::stop;
    put "/api/workspace/{workspaceId}/labels", Key => workspace::labels;
    post "/api/workspace/{workspaceId}/public/{isPublic}", Key => workspace::public;
    post "/api/workspace/{workspaceId}/autostop/{interval}", Key => workspace::auto_stop;
    post "/api/workspace/{workspaceId}/autoarchive/{interval}", Key => workspace::auto_archive;
    post "/api/workspace/{workspaceId}/archive", Key => workspace::archive;
    post "/api/workspace/{workspaceId}/backup", Key => workspace::backup;
    get "/api/workspace/{workspaceId}/ports/{port}/preview-url", Key => preview::workspace_url;
    get "/api/workspace/{workspaceId}/build-logs", Key => workspace::build_logs;

    get "/api/api-keys", Key => api_key::list;
    post "/api/api-keys", Key => api_key::create;
    get "/api/api-keys/current", Key => api_key::current;
    get "/api/api-keys/{name}", Key => api_key::get;
    delete "/api/api-keys/{name}", Key => api_key::delete;
    delete "/api/api-keys/{userId}/{name}", Key => api_key::delete_of_user;
    get "/api/shared-regions", Public => region::shared;
    get "/api/regions", Key => region::available;
    get "/api/regions/{id}", Key => region::get;
    get "/api/users/me", Key => account::user;
    get "/api/organizations", Key => account::organizations;
    get "/api/organizations/{organizationId}", Key => account::organization;
    get "/api/organizations/{organizationId}/users", Key => account::members;
    get "/api/organizations/{organizationId}/usage", Key => quota::usage;
    patch "/api/organizations/{organizationId}/quota", Key => quota::update_organization;
    post "/api/organizations/{organizationId}/sandbox-default-limited-network-egress", Key => account::limit_egress;
    patch "/api/admin/organizations/{organizationId}/quota/{regionId}", Key => quota::update;
    post "/api/admin/organizations/{organizationId}/quota/{regionId}", Key => quota::create;
    get "/api/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}", Key => quota::get;
    delete "/api/admin/organizations/{organizationId}/quota/{regionId}/{sandboxClass}", Key => quota::delete;

    get "/api/docker-registry", Key => registry::list;
    post "/api/docker-registry", Key => registry::create;
    get "/api/docker-registry/registry-push-access", Key => registry::push_access;
    get "/api/docker-registry/{id}", Key => registry::get;
    patch "/api/docker-registry/{id}", Key => registry::update;
    delete "/api/docker-registry/{id}", Key => registry::delete;
    post "/api/docker-registry/{id}/set-default", Key => registry::set_default_older;
    post "/api/admin/docker-registry/{id}/set-default", Key => registry::set_default;
    get "/api/volumes", Key => volume::list;
    post "/api/volumes", Key => volume::create;
    get "/api/volumes/by-name/{name}", Key => volume::by_name;
    get "/api/volumes/{volumeId}", Key => volume::get;
    delete "/api/volumes/{volumeId}", Key => volume::delete;

    get "/api/warm-pools", Key => warm_pool::list;
    post "/api/warm-pools", Key => warm_pool::create;
    patch "/api/warm-pools/{id}", Key => warm_pool::update;
    delete "/api/warm-pools/{id}", Key => warm_pool::delete;

    get "/api/ssh-keys", Key => ssh_key::list;
    post "/api/ssh-keys", Key => ssh_key::create;
    delete "/api/ssh-keys/{id}", Key => ssh_key::delete;

    get "/api/object-storage/push-access", Key => object_storage::push_access;

    get "/api/snapshots", Key => snapshot::list;
    post "/api/snapshots", Key => snapshot::create;
    get "/api/snapshots/{id}", Key => snapshot::get;
    delete "/api/snapshots/{id}", Key => snapshot::delete;
    post "/api/snapshots/{id}/activate", Key => snapshot::activate;
    post "/api/snapshots/{id}/deactivate", Key => snapshot::deactivate;
    get "/api/snapshots/{id}/build-logs", Key => snapshot::build_logs;
    get "/api/snapshots/{id}/build-logs-url", Key => snapshot::build_logs_url;
}
