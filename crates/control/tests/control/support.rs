//! Short words for what most tests do.

use std::sync::Arc;

use alcove_control::{Caller, Error};
use alcove_domain::{NewSandbox, Sandbox, SandboxId, SandboxState};
use alcove_testkit::{TestControl, eventually, within};

pub fn named(name: &str) -> NewSandbox {
    NewSandbox {
        name: Some(name.to_owned()),
        ..NewSandbox::default()
    }
}

pub async fn create(kit: &TestControl, request: NewSandbox) -> Result<Arc<Sandbox>, Error> {
    let created = kit.control.create_sandbox(&kit.caller, request);
    within("a create", created).await
}

pub async fn make(kit: &TestControl, name: &str) -> Arc<Sandbox> {
    create(kit, named(name)).await.unwrap()
}

pub async fn get(kit: &TestControl, id_or_name: &str) -> Result<Arc<Sandbox>, Error> {
    kit.control.get_sandbox(&kit.caller, id_or_name).await
}

/// None where it is not seen.
pub async fn state(kit: &TestControl, id: &SandboxId) -> Option<SandboxState> {
    let sandbox = get(kit, id.as_str()).await.ok()?;
    Some(sandbox.state())
}

pub async fn becomes(kit: &TestControl, id: &SandboxId, wanted: SandboxState) {
    let what = format!("{id} becomes {wanted}");
    eventually(&what, async || state(kit, id).await == Some(wanted)).await;
}

/// Gone from the API, from the queue of orders and from the host.
pub async fn vanishes(kit: &TestControl, id: &SandboxId) {
    eventually(&format!("{id} vanishes"), async || {
        state(kit, id).await.is_none() && kit.runner.observed(id).is_none()
    })
    .await;
    no_open_orders(kit).await;
}

pub async fn no_open_orders(kit: &TestControl) {
    eventually("no order is open", async || {
        kit.store.reader().command_list().await.unwrap().is_empty()
    })
    .await;
}

/// The row as the store has it.
pub async fn row(kit: &TestControl, id: &SandboxId) -> Sandbox {
    kit.store.reader().sandbox_find(id).await.unwrap().unwrap()
}

pub const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";
pub const AUDITOR: &str = "00000000-0000-0000-0000-000000000007";

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub fn org(caller: &Caller) -> &str {
    caller.organization.as_str()
}

#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what a call has just answered"
)]
pub fn forbidden<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(
        matches!(outcome, Err(Error::Forbidden { .. })),
        "{outcome:?}"
    );
}

#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what a call has just answered"
)]
pub fn missing<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(
        matches!(outcome, Err(Error::NotFound { .. })),
        "{outcome:?}"
    );
}

/// An organization of the administrator's own making, and a key to all of it.
pub async fn lab(kit: &TestControl) -> (Caller, String) {
    let made = kit
        .control
        .create_organization(&kit.caller, "Lab".to_owned(), Some("us"));
    let made = made.await.unwrap();
    let key = kit.add_key(&kit.caller.user, &made.id).await;
    (kit.control.authenticate(&key).await.unwrap(), key)
}
