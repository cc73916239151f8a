//! A new key takes the place of the one that seals secrets.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{CreateRegistry, Error, ListSandboxes, SealingKey, SealingKeys, Step};
use alcove_domain::{
    EndpointRequest, NewSandbox, NewVaultSecret, RegistryRequest, SealedTotp, Secret,
};
use alcove_testkit::{HoldAt, TestControl, TestStore, eventually};

use crate::second_factor::{PASSWORD, shown, sign_in, try_with, turn_on};
use crate::support::*;

const REGISTRY_PASSWORD: &str = "correct horse battery staple";
const PROXY: &str = "http://user:pass%20word@proxy.example.com:3128";

/// What was sealed, to be found again.
#[derive(Clone)]
struct Sealed {
    endpoint: String,
    endpoint_secret: String,
    totp: String,
}

/// One secret of each kind.
async fn seal_each(kit: &TestControl) -> Sealed {
    let request = RegistryRequest {
        name: "mine".to_owned(),
        url: "registry.example.com".to_owned(),
        username: "me".to_owned(),
        password: Some(Secret(REGISTRY_PASSWORD.to_owned())),
        project: None,
    };
    let create = CreateRegistry {
        request,
        kind: None,
        is_default: false,
    };
    let made = kit.control.create_registry(&kit.caller, create).await;
    made.unwrap();
    let request = NewSandbox {
        outbound_proxy_url: Some(PROXY.to_owned()),
        ..named("box")
    };
    create_sandbox(kit, request).await;
    let request = EndpointRequest {
        url: Some("https://a.example.com/".to_owned()),
        events: Some(vec!["volume.created".to_owned()]),
        ..EndpointRequest::default()
    };
    let who = crate::webhooks::manager(kit);
    let made = kit.control.create_endpoint(&who, request).await.unwrap();
    let caller = sign_in(kit).await;
    let (totp, _) = turn_on(kit, &caller).await;
    Sealed {
        endpoint: made.endpoint.id.to_string(),
        endpoint_secret: made.secret.0,
        totp,
    }
}

async fn create_sandbox(kit: &TestControl, request: NewSandbox) {
    create(kit, request).await.unwrap();
}

/// Every secret is what it was.
async fn all_open(kit: &TestControl, sealed: &Sealed) {
    let (control, org) = (&kit.control, &kit.caller.organization);
    let login = control.registry_login(org, "registry.example.com", "x");
    let login = login.await.unwrap().unwrap();
    assert_eq!(login.password.0, REGISTRY_PASSWORD);
    let found = get(kit, "box").await.unwrap();
    assert_eq!(control.outbound_proxy_url(&found).as_deref(), Some(PROXY));
    let who = crate::webhooks::manager(kit);
    let secret = control.endpoint_secret(&who, &sealed.endpoint);
    assert_eq!(secret.await.unwrap().0, sealed.endpoint_secret);
    // No code is good twice.
    kit.clock.advance(Duration::from_secs(30));
    let code = shown(kit, &sealed.totp, 0);
    try_with(kit, PASSWORD, Some(&code)).await.unwrap();
}

async fn settled(kit: &TestControl) {
    eventually("one key", async || kit.keys().count() == 1).await;
}

#[tokio::test]
async fn every_secret_opens_before_and_after_and_the_old_key_opens_none() {
    let kit = TestControl::open().await;
    let sealed = seal_each(&kit).await;
    let before = kit.control.sealing_status().unwrap();
    let status = kit.control.rotate_sealing_key().await.unwrap();
    assert_ne!(status.current, before.current);
    assert_eq!(status.older, [before.current]);
    all_open(&kit, &sealed).await;
    kit.control.sealing_settled().await;
    assert_eq!(kit.keys().count(), 1);
    all_open(&kit, &sealed).await;
    // The next process has the new key alone.
    let kit = kit.kill_and_read_keys().await.open().await;
    all_open(&kit, &sealed).await;

    let mut store = kit.kill().await;
    let keeper = Arc::new(store.keys.clone());
    let old = SealingKeys::new(SealingKey::new([7; 32]), Vec::new(), keeper);
    store.settings.sealing_key = Some(old);
    let kit = store.open().await;
    let org = &kit.caller.organization;
    let login = kit.control.registry_login(org, "registry.example.com", "x");
    assert!(matches!(login.await, Err(Error::Internal { .. })));
    let found = get(&kit, "box").await.unwrap();
    assert_eq!(kit.control.outbound_proxy_url(&found), None);
}

#[tokio::test]
async fn what_organizations_keep_is_sealed_anew_too() {
    let kit = TestControl::open().await;
    let new = NewVaultSecret {
        name: "weather".to_owned(),
        value: Secret("hush".to_owned()),
        description: None,
        hosts: None,
    };
    let made = kit.control.create_vault_secret(&kit.caller, new);
    let id = made.await.unwrap().id;
    let bytes = async || {
        let found = kit.store.reader();
        let found = found.vault_secret_find(&kit.caller.organization, &id).await;
        found.unwrap().unwrap().value
    };
    let before = bytes().await;
    kit.control.rotate_sealing_key().await.unwrap();
    kit.control.sealing_settled().await;
    // Nothing gives the value out, so the bytes have to say it: those of the key that is gone would be the same.
    assert_eq!(kit.keys().count(), 1);
    assert_ne!(bytes().await, before);
}

/// The place after the first of two sandboxes, as the server signs it.
async fn cursor(kit: &TestControl) -> String {
    let list = ListSandboxes {
        limit: Some(1),
        ..ListSandboxes::default()
    };
    let page = kit.control.list_sandboxes(&kit.caller, list).await;
    page.unwrap().next_cursor.unwrap()
}

async fn goes_on(kit: &TestControl, cursor: &str) -> bool {
    let list = ListSandboxes {
        limit: Some(1),
        cursor: Some(cursor.to_owned()),
        ..ListSandboxes::default()
    };
    let page = kit.control.list_sandboxes(&kit.caller, list).await;
    page.is_ok()
}

/// What the store keeps of a secret of the server.
async fn kept(kit: &TestControl) -> Vec<u8> {
    let tx = kit.store.begin().await.unwrap();
    tx.secret_find("cursor").await.unwrap().unwrap()
}

#[tokio::test]
async fn what_the_server_signs_with_is_sealed_and_outlives_its_process_and_a_new_key() {
    let kit = TestControl::open().await;
    for name in ["one", "two"] {
        create(&kit, named(name)).await.unwrap();
    }
    let before = cursor(&kit).await;
    let sealed = kept(&kit).await;
    kit.control.rotate_sealing_key().await.unwrap();
    kit.control.sealing_settled().await;
    assert_ne!(kept(&kit).await, sealed);
    let kit = kit.kill_and_read_keys().await.open().await;
    assert!(goes_on(&kit, &before).await);

    // As earlier versions kept it.
    let plain = [9; 32];
    let tx = kit.store.begin().await.unwrap();
    tx.secret_put("cursor", &plain).await.unwrap();
    tx.commit().await.unwrap();
    let kit = kit.restart().await;
    assert!(!goes_on(&kit, &before).await, "signed with another");
    let signed = cursor(&kit).await;
    let sealed = kept(&kit).await;
    assert!(!sealed.windows(32).any(|bytes| bytes == plain));
    let kit = kit.restart().await;
    assert!(goes_on(&kit, &signed).await);
    assert_eq!(kept(&kit).await, sealed, "sealed once");

    // The key is lost: the server starts, and what it signed before is good no more.
    let mut store = kit.kill().await;
    let keeper = Arc::new(store.keys.clone());
    let other = SealingKeys::new(SealingKey::new([8; 32]), Vec::new(), keeper);
    store.settings.sealing_key = Some(other);
    let kit = store.open().await;
    assert!(!goes_on(&kit, &signed).await);
    let signed = cursor(&kit).await;
    assert!(goes_on(&kit, &signed).await);
}

/// Kills at one step, `passes` arrivals late, and looks at every secret in the next process.
async fn kill_at(store: TestStore, step: Step, passes: usize) {
    let kit = store.open().await;
    let sealed = seal_each(&kit).await;
    let hold = Arc::new(HoldAt::new(step, passes));
    let kit = kit
        .kill_and_read_keys()
        .await
        .open_probed(hold.clone())
        .await;
    all_open(&kit, &sealed).await;
    let control = kit.control.clone();
    let rotating = tokio::spawn(async move { control.rotate_sealing_key().await });
    hold.held().await;
    if step != Step::KeyDropped {
        assert_eq!(kit.keys().count(), 2);
    }
    all_open(&kit, &sealed).await;
    let kit = kit.kill_and_read_keys().await.open().await;
    let _ = rotating.await;
    all_open(&kit, &sealed).await;
    settled(&kit).await;
    all_open(&kit, &sealed).await;
    let kit = kit.kill_and_read_keys().await.open().await;
    all_open(&kit, &sealed).await;
}

/// Each kind of secret is sealed anew in a transaction of its own.
const KINDS: usize = 4;

#[tokio::test]
async fn a_kill_at_any_step_loses_no_secret_and_the_next_process_goes_on() {
    for step in Step::ROTATION {
        let passes = if step == Step::Resealed { KINDS } else { 1 };
        for pass in 0..passes {
            kill_at(TestStore::default(), step, pass).await;
        }
    }
}

#[tokio::test]
async fn so_it_is_on_postgresql() {
    for step in Step::ROTATION {
        let passes = if step == Step::Resealed { KINDS } else { 1 };
        for pass in 0..passes {
            kill_at(TestStore::on_postgres().await, step, pass).await;
        }
    }
}

#[tokio::test]
async fn a_fork_of_a_sandbox_that_is_in_memory_under_the_old_key_is_sealed_with_the_new_one() {
    let kit = TestControl::open().await;
    let request = NewSandbox {
        outbound_proxy_url: Some(PROXY.to_owned()),
        ..named("box")
    };
    create_sandbox(&kit, request).await;
    kit.control.rotate_sealing_key().await.unwrap();
    kit.control.sealing_settled().await;
    let fork = kit
        .control
        .fork_sandbox(&kit.caller, "box", Some("child".to_owned()));
    fork.await.unwrap();
    // A change writes the row from what is in memory.
    let public = kit.control.set_public(&kit.caller, "box", true).await;
    public.unwrap();
    let kit = kit.kill_and_read_keys().await.open().await;
    for name in ["box", "child"] {
        let found = get(&kit, name).await.unwrap();
        let url = kit.control.outbound_proxy_url(&found);
        assert_eq!(url.as_deref(), Some(PROXY), "{name}");
    }
}

#[tokio::test]
async fn there_is_one_new_key_at_a_time_and_none_where_it_cannot_be_kept() {
    let store = TestStore::default();
    let hold = Arc::new(HoldAt::new(Step::Resealed, 0));
    let kit = store.open().await;
    seal_each(&kit).await;
    let kit = kit.kill().await.open_probed(hold.clone()).await;
    kit.keys().fail(true);
    let before = kit.control.sealing_status();
    let failed = kit.control.rotate_sealing_key().await;
    assert!(matches!(failed, Err(Error::Internal { .. })), "{failed:?}");
    assert_eq!(kit.control.sealing_status(), before);
    kit.keys().fail(false);
    kit.control.rotate_sealing_key().await.unwrap();
    hold.held().await;
    let again = kit.control.rotate_sealing_key().await;
    assert_eq!(again.unwrap_err().code(), "KEY_ROTATION_UNDER_WAY");
}

#[tokio::test]
async fn what_no_key_opens_stays_and_holds_nothing_up() {
    let kit = TestControl::open().await;
    let sealed = seal_each(&kit).await;
    let tx = kit.store.begin().await.unwrap();
    let lost = SealedTotp {
        sealed: vec![1; 40],
        last_step: 0,
        is_confirmed: true,
    };
    for number in 0..250 {
        let user = format!("lost-{number}").parse().unwrap();
        tx.totp_put(&user, &lost).await.unwrap();
    }
    tx.commit().await.unwrap();
    kit.control.rotate_sealing_key().await.unwrap();
    kit.control.sealing_settled().await;
    assert_eq!(kit.keys().count(), 1);
    let user = "lost-0".parse().unwrap();
    let found = kit.store.reader().totp_find(&user).await.unwrap();
    assert_eq!(found, Some(lost));
    all_open(&kit, &sealed).await;
}
