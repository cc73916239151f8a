//! Registries of organizations and what is logged in to them with.

use std::fs;
use std::sync::Arc;

use alcove_control::{Caller, CreateRegistry, Error};
use alcove_domain::{Permission, Permissions, Registry, RegistryKind, RegistryRequest, Secret};
use alcove_testkit::{TestControl, TestStore};

const PASSWORD: &str = "correct horse battery staple";

fn request(url: &str, project: &str) -> RegistryRequest {
    RegistryRequest {
        name: "mine".to_owned(),
        url: url.to_owned(),
        username: "me".to_owned(),
        password: Some(Secret(PASSWORD.to_owned())),
        project: Some(project.to_owned()),
    }
}

async fn add(
    kit: &TestControl,
    caller: &Caller,
    request: RegistryRequest,
) -> Result<Registry, Error> {
    let create = CreateRegistry {
        request,
        kind: None,
        is_default: false,
    };
    kit.control.create_registry(caller, create).await
}

async fn password(kit: &TestControl, host: &str, repository: &str) -> Option<String> {
    let login = kit
        .control
        .registry_login(&kit.caller.organization, host, repository)
        .await
        .unwrap()?;
    assert_eq!(login.username, "me");
    Some(login.password.0)
}

#[tokio::test]
async fn a_password_outlives_a_restart_and_lies_nowhere_to_be_read() {
    let kit = TestControl::open().await;
    let (registry, caller) = (request("registry.example.com", ""), kit.caller.clone());
    let made = add(&kit, &caller, registry).await.unwrap();
    let store = kit.kill().await;
    for file in fs::read_dir(store.path().parent().unwrap()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let is_there = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(!is_there(PASSWORD.as_bytes()));
        assert!(!is_there(hex::encode(PASSWORD).as_bytes()));
    }
    let kit = store.open().await;
    let found = password(&kit, "registry.example.com", "x").await;
    assert_eq!(found.as_deref(), Some(PASSWORD));
    // Sealed anew by a change, kept by one without it.
    let mut change = request("registry.example.com", "");
    change.password = None;
    let id = made.id.as_str();
    let changed = kit.control.update_registry(&kit.caller, id, change.clone());
    changed.await.unwrap();
    let found = password(&kit, "registry.example.com", "x").await;
    assert_eq!(found.as_deref(), Some(PASSWORD));
    change.password = Some(Secret("new".to_owned()));
    let changed = kit.control.update_registry(&kit.caller, id, change);
    changed.await.unwrap();
    let found = password(&kit, "registry.example.com", "x").await;
    assert_eq!(found.as_deref(), Some("new"));
}

#[tokio::test]
async fn without_a_key_no_password_is_taken() {
    let mut store = TestStore::default();
    store.settings.sealing_key = None;
    let kit = store.open().await;
    let refused = add(&kit, &kit.caller, request("a.com", "")).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })));
    assert!(
        kit.control
            .list_registries(&kit.caller)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_login_is_the_own_organizations_and_fits_the_image() {
    let kit = TestControl::open().await;
    let stranger = Caller {
        organization: "another-org".parse().unwrap(),
        ..kit.caller.clone()
    };
    add(&kit, &stranger, request("a.com", "")).await.unwrap();
    assert_eq!(password(&kit, "a.com", "x").await, None);
    add(&kit, &kit.caller, request("https://A.com/v2/", "team"))
        .await
        .unwrap();
    assert_eq!(password(&kit, "a.com", "x").await, None);
    assert!(password(&kit, "a.com", "team/x").await.is_some());
    assert_eq!(password(&kit, "", "library/x").await, None);
    add(&kit, &kit.caller, request("index.docker.io", ""))
        .await
        .unwrap();
    assert!(password(&kit, "", "library/x").await.is_some());
}

#[tokio::test]
async fn the_default_one_goes_first_and_there_is_one() {
    let kit = TestControl::open().await;
    let with = |username: &str| RegistryRequest {
        username: username.to_owned(),
        ..request("a.com", "")
    };
    let username = async || {
        let org = &kit.caller.organization;
        let login = kit.control.registry_login(org, "a.com", "x").await;
        login.unwrap().unwrap().username
    };
    let first = add(&kit, &kit.caller, with("first")).await.unwrap();
    kit.clock.advance_minutes(1);
    let second = add(&kit, &kit.caller, with("second")).await.unwrap();
    assert_eq!(username().await, "first");
    let default = async |id: &str| kit.control.set_default_registry(&kit.caller, id).await;
    default(second.id.as_str()).await.unwrap();
    assert_eq!(username().await, "second");
    default(first.id.as_str()).await.unwrap();
    assert_eq!(username().await, "first");
    let create = CreateRegistry {
        request: with("third"),
        kind: Some(RegistryKind::Organization),
        is_default: true,
    };
    kit.control
        .create_registry(&kit.caller, create)
        .await
        .unwrap();
    assert_eq!(username().await, "third");
    let all = kit.control.list_registries(&kit.caller).await.unwrap();
    assert_eq!(all.iter().filter(|registry| registry.is_default).count(), 1);
    assert!(matches!(default("nope").await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn strangers_see_nothing_and_each_use_needs_its_permission() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let made = add(&kit, &kit.caller, request("a.com", "")).await.unwrap();
    let id = made.id.as_str();
    let stranger = Caller {
        organization: "another-org".parse().unwrap(),
        ..kit.caller.clone()
    };
    for outcome in [
        control.get_registry(&stranger, id).await.map(drop),
        control.delete_registry(&stranger, id).await,
        control
            .update_registry(&stranger, id, request("b.com", ""))
            .await
            .map(drop),
        control.get_registry(&kit.caller, "../x").await.map(drop),
    ] {
        assert!(
            matches!(outcome, Err(Error::NotFound { .. })),
            "{outcome:?}"
        );
    }
    assert!(control.list_registries(&stranger).await.unwrap().is_empty());
    let with = |permissions: &[Permission]| Caller {
        permissions: Arc::new(permissions.iter().copied().collect::<Permissions>()),
        ..kit.caller.clone()
    };
    let reader = with(&[]);
    let writer = with(&[Permission::WriteRegistries]);
    for outcome in [
        add(&kit, &reader, request("a.com", "")).await.map(drop),
        control
            .update_registry(&reader, id, request("b.com", ""))
            .await
            .map(drop),
        control.delete_registry(&writer, id).await,
    ] {
        assert!(
            matches!(outcome, Err(Error::Forbidden { .. })),
            "{outcome:?}"
        );
    }
    assert!(control.get_registry(&reader, id).await.is_ok());
    let deleter = with(&[Permission::DeleteRegistries]);
    control.delete_registry(&deleter, id).await.unwrap();
}

#[tokio::test]
async fn an_organization_has_a_hundred_registries() {
    let kit = TestControl::open().await;
    for _ in 0..100 {
        add(&kit, &kit.caller, request("a.com", "")).await.unwrap();
    }
    let refused = add(&kit, &kit.caller, request("a.com", "")).await;
    assert!(matches!(refused, Err(Error::QuotaExceeded { .. })));
}
