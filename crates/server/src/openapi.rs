//! The OpenAPI document, made from the handlers.

use std::sync::LazyLock;

use alcove_api_types::daytona::OLDER_NUMBERS;
use http::StatusCode;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Deprecated, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

use crate::routes::daytona::{
    account, activity, administration, api_key, audit, event, gate, identity_provider, image, job,
    life, linked_account, member, object_storage, organization, otel, preview, quota, region,
    registry, runner, runner_link, sandbox, sandbox_list, secret, service, settings, snapshot, ssh,
    ssh_key, system, telemetry, volume, warm_pool, webhook, workspace,
};
use crate::routes::{actions, auth, device, mcp, sso};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alcove",
        description = "Runs untrusted code in sandboxes; speaks the Daytona API."
    ),
    paths(
        system::config, system::health, system::ready, system::metrics, system::openapi, event::stream,
        system::reference, system::reference_script, system::reference_style,
        sandbox::create, sandbox::get, sandbox::delete, sandbox::start, sandbox::stop,
        sandbox::build_logs, sandbox::build_logs_url, sandbox::toolbox_url, sandbox::last_activity, preview::url,
        preview::signed_url, preview::expire, preview::signing_key, preview::rotate_signing_key, ssh::create, ssh::revoke, ssh::validate,
        ssh_key::list, ssh_key::create, ssh_key::delete,
        secret::list, secret::page, secret::create, secret::get, secret::update, secret::delete, secret::of_sandbox,
        secret::set_of_sandbox,
        sandbox_list::list, sandbox_list::page,
        life::recover, life::pause, life::archive, life::backup, life::resize, life::snapshot, life::fork,
        life::forks, life::parent, life::ancestors,
        settings::labels, settings::auto_stop, settings::auto_pause, settings::auto_archive,
        settings::auto_delete, settings::ttl, settings::public, settings::network,
        workspace::list, workspace::create, workspace::get, workspace::delete, workspace::start,
        workspace::stop, workspace::labels, workspace::public, workspace::auto_stop,
        workspace::auto_archive, workspace::archive, workspace::backup, workspace::build_logs,
        preview::workspace_url,
        telemetry::metrics, telemetry::logs, telemetry::traces, telemetry::spans,
        quota::usage, quota::periods, quota::of_sandbox, quota::update, quota::update_older, quota::update_organization, quota::create,
        quota::get, quota::delete,
        api_key::list, api_key::create, api_key::current, api_key::get, api_key::delete, api_key::delete_of_user,
        account::user, account::list, account::create, account::get, account::regenerate_key_pair,
        account::list_older, account::create_older, account::get_older, account::regenerate_key_pair_older,
        organization::list, organization::create, organization::get, organization::delete, organization::of_sandbox,
        organization::of_sandbox_older, organization::set_default_region, organization::classes, organization::leave,
        organization::suspend, organization::unsuspend, organization::limit_egress, organization::roles,
        organization::create_role, organization::update_role, organization::delete_role,
        member::list, member::set_access, member::remove, member::invitations, member::invite,
        member::update_invitation, member::cancel_invitation, member::own_invitations, member::count_invitations,
        member::accept_invitation, member::decline_invitation,
        linked_account::providers, linked_account::link, linked_account::unlink, linked_account::enroll_in_sms,
        linked_account::accept_privacy_policies, linked_account::record_login, linked_account::pending,
        linked_account::confirm_pending, linked_account::dismiss_pending,
        identity_provider::list, identity_provider::create, identity_provider::test, identity_provider::connections,
        identity_provider::portal, identity_provider::get, identity_provider::update, identity_provider::delete,
        sso::depart, sso::arrive,
        administration::organizations, administration::sandboxes, administration::recover,
        administration::destroy, administration::set_general, administration::set_general_older,
        administration::work, administration::cancel_work,
        region::shared, region::available, region::of_sandboxes, region::get, region::create, region::update, region::delete,
        region::regenerate_proxy, region::regenerate_ssh_gateway, region::regenerate_snapshot_manager,
        runner::list, runner::create, runner::get, runner::scheduling, runner::draining, runner::delete,
        runner::list_all, runner::create_any, runner::get_any, runner::delete_any, runner::scheduling_of_any,
        runner::can_clean_up_image, runner::can_clean_up_image_older, runner::own, runner::own_snapshots,
        runner::healthcheck, runner_link::link, job::list, job::poll, job::get, job::update, job::sandboxes, job::sandbox_state,
        gate::public, gate::validate, gate::access, gate::sandbox_id, gate::signing_key, gate::warning,
        gate::runner_of_sandbox, gate::runners_with_image, gate::runner,
        snapshot::list, snapshot::get, snapshot::create, snapshot::delete, snapshot::activate,
        snapshot::deactivate, snapshot::build_logs, snapshot::build_logs_url,
        image::list, image::create, image::build, image::get, image::delete, image::toggle, image::build_logs,
        registry::list, registry::create, registry::get, registry::update, registry::delete,
        volume::list, volume::create, volume::get, volume::by_name, volume::delete,
        registry::set_default, registry::set_default_older, registry::push_access,
        object_storage::push_access,
        audit::list, audit::list_all, audit::list_all_older, audit::create, audit::scenarios, audit::export,
        audit::export_all, activity::list,
        actions::list, actions::get, actions::call, mcp::call,
        auth::sign_in, auth::session, auth::sign_out, auth::sign_out_everywhere, auth::change_password,
        auth::set_password, auth::look_at_invitation, auth::accept_invitation, auth::create_password_link, auth::begin_totp, auth::confirm_totp, auth::remove_totp,
        otel::get, otel::update, otel::delete, otel::of_token, otel::identity, otel::experimental,
        otel::gpu_capacity, otel::queue_timeout,
        service::list, service::create, service::delete,
        device::code, device::token, device::look, device::confirm,
        warm_pool::list, warm_pool::create, warm_pool::update, warm_pool::delete,
        webhook::enabled_older, webhook::portal_access, webhook::status, webhook::initialize,
        webhook::refresh, webhook::send_older, webhook::messages, webhook::attempts,
        webhook::list, webhook::create, webhook::get, webhook::update,
        webhook::delete, webhook::secret, webhook::rotate, webhook::replay,
        webhook::endpoint_attempts, webhook::enabled, webhook::send, webhook::attempts_of_any,
        webhook::initialize_any, webhook::portal, webhook::portal_script, webhook::portal_style,
    ),
    modifiers(&Bearer, &AnyFailure, &OlderNumbers, &Descriptions),
    security(("bearer" = []))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// What every operation may answer beside what it says itself: each failure has the one shape.
struct AnyFailure;

impl Modify for AnyFailure {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let failure = ResponseBuilder::new()
            .description("Any other failure")
            .content(
                "application/json",
                ContentBuilder::new()
                    .schema(Some(Ref::from_schema_name("ErrorBody")))
                    .build(),
            )
            .build();
        for operation in operations(document) {
            let responses = &mut operation.responses.responses;
            responses.insert("default".to_owned(), failure.clone().into());
        }
    }
}

fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    let paths = document.paths.paths.values_mut();
    let by_path = paths.flat_map(|item| {
        [
            item.get.as_mut(),
            item.put.as_mut(),
            item.post.as_mut(),
            item.delete.as_mut(),
            item.patch.as_mut(),
        ]
    });
    by_path.flatten()
}

/// What older clients read: strict clients refuse an answer with a field that its schema does not have.
struct OlderNumbers;

impl Modify for OlderNumbers {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (schema, fields) in OLDER_NUMBERS {
            let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(schema) else {
                continue;
            };
            for field in fields {
                let number = ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .description(Some("For older clients"))
                    .deprecated(Some(Deprecated::True));
                let number = RefOr::T(Schema::Object(number.build()));
                object.properties.insert((*field).to_owned(), number);
            }
        }
    }
}

/// Each answer must have one; where there is nothing to add, it is what the status means.
struct Descriptions;

impl Modify for Descriptions {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for operation in operations(document) {
            for (status, answer) in &mut operation.responses.responses {
                let RefOr::T(answer) = answer else { continue };
                if answer.description.is_empty() {
                    let status = status.parse::<StatusCode>().ok();
                    let meaning = status.and_then(|status| status.canonical_reason());
                    meaning
                        .unwrap_or("An answer")
                        .clone_into(&mut answer.description);
                }
            }
        }
    }
}

static TEXT: LazyLock<String> = LazyLock::new(|| {
    // A document that does not serialise is caught by the test that compares it with the tree's copy.
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// The document as it is served and kept in `docs/openapi.json`.
pub fn document() -> &'static str {
    &TEXT
}

pub(crate) fn text() -> &'static str {
    document()
}
