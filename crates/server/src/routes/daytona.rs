//! The Daytona API.

pub(crate) mod account;
pub(crate) mod sandbox;
pub(crate) mod sandbox_list;
pub(crate) mod settings;
pub(crate) mod snapshot;
pub(crate) mod system;

crate::routes::routes! {
    get "/api/config", Public => system::config;
    get "/api/health", Public => system::health;
    get "/api/health/ready", Public => system::ready;
    get "/api/openapi.json", Public => system::openapi;

    post "/api/sandbox", Key => sandbox::create;
    get "/api/sandbox", Key => sandbox_list::list;
    get "/api/sandbox/paginated", Key => sandbox_list::page;
    get "/api/sandbox/{sandboxIdOrName}", Key => sandbox::get;
    delete "/api/sandbox/{sandboxIdOrName}", Key => sandbox::delete;
    post "/api/sandbox/{sandboxIdOrName}/start", Key => sandbox::start;
    post "/api/sandbox/{sandboxIdOrName}/stop", Key => sandbox::stop;
    get "/api/sandbox/{sandboxIdOrName}/toolbox-proxy-url", Key => sandbox::toolbox_url;
    post "/api/sandbox/{sandboxIdOrName}/last-activity", Key => sandbox::last_activity;
    put "/api/sandbox/{sandboxIdOrName}/labels", Key => settings::labels;
    post "/api/sandbox/{sandboxIdOrName}/autostop/{interval}", Key => settings::auto_stop;
    post "/api/sandbox/{sandboxIdOrName}/autopause/{interval}", Key => settings::auto_pause;
    post "/api/sandbox/{sandboxIdOrName}/autoarchive/{interval}", Key => settings::auto_archive;
    post "/api/sandbox/{sandboxIdOrName}/autodelete/{interval}", Key => settings::auto_delete;
    post "/api/sandbox/{sandboxIdOrName}/ttl/{ttlMinutes}", Key => settings::ttl;
    post "/api/sandbox/{sandboxIdOrName}/public/{isPublic}", Key => settings::public;

    get "/api/api-keys/current", Key => account::api_key;
    get "/api/users/me", Key => account::user;
    get "/api/organizations", Key => account::organizations;

    get "/api/snapshots", Key => snapshot::list;
    get "/api/snapshots/{id}", Key => snapshot::get;
}
