//! The proxy of a single sandbox: kept sealed, told to its programs at every start.

use std::sync::Arc;

use alcove_control::{Error, SealingKey, SealingKeys};
use alcove_domain::{NewSandbox, Sandbox, SandboxState};
use alcove_testkit::{TestControl, TestStore};

use crate::support::*;

const URL: &str = "http://user:pass%20word@proxy.example.com:3128";

fn with_proxy(url: &str) -> NewSandbox {
    NewSandbox {
        outbound_proxy_url: Some(url.to_owned()),
        ..named("box")
    }
}

/// What the sandbox's programs are told.
fn told(kit: &TestControl, sandbox: &Sandbox, name: &str) -> Option<String> {
    let spec = kit.runner.spec(&sandbox.id).unwrap();
    spec.env.get(name).cloned()
}

#[tokio::test]
async fn programs_are_told_of_it_at_every_start_and_in_a_fork() {
    let kit = TestControl::open().await;
    let sandbox = create(&kit, with_proxy(URL)).await.unwrap();
    assert_eq!(told(&kit, &sandbox, "HTTP_PROXY").as_deref(), Some(URL));
    assert_eq!(told(&kit, &sandbox, "https_proxy").as_deref(), Some(URL));
    let exceptions = told(&kit, &sandbox, "NO_PROXY").unwrap();
    assert!(exceptions.starts_with("localhost,"), "{exceptions}");
    // What the caller wrote is the caller's own, and is not shown as a variable.
    assert!(sandbox.env.is_empty());

    let kit = kit.restart().await;
    let (control, caller) = (&kit.control, &kit.caller);
    let found = get(&kit, "box").await.unwrap();
    assert_eq!(control.outbound_proxy_url(&found).as_deref(), Some(URL));
    let fork = control.fork_sandbox(caller, "box", Some("child".to_owned()));
    let fork = fork.await.unwrap();
    assert_eq!(told(&kit, &fork, "HTTP_PROXY").as_deref(), Some(URL));
    control.stop_sandbox(caller, "box", true).await.unwrap();
    control.archive_sandbox(caller, "box").await.unwrap();
    becomes(&kit, &sandbox.id, SandboxState::Archived).await;
    let again = control.start_sandbox(caller, "box").await.unwrap();
    assert_eq!(told(&kit, &again, "HTTP_PROXY").as_deref(), Some(URL));
}

#[tokio::test]
async fn what_the_creator_sets_itself_stands_and_no_proxy_sets_nothing() {
    let kit = TestControl::open().await;
    let mut request = with_proxy("https://proxy.example.com");
    let own = ("HTTP_PROXY".to_owned(), "http://other:1".to_owned());
    request.env.insert(own.0, own.1);
    let sandbox = create(&kit, request).await.unwrap();
    let said = |name| told(&kit, &sandbox, name);
    assert_eq!(said("HTTP_PROXY").as_deref(), Some("http://other:1"));
    let with_port = Some("https://proxy.example.com:443");
    assert_eq!(said("HTTPS_PROXY").as_deref(), with_port);
    let plain = NewSandbox {
        name: Some("plain".to_owned()),
        ..with_proxy("")
    };
    let plain = create(&kit, plain).await.unwrap();
    assert_eq!(told(&kit, &plain, "HTTP_PROXY"), None);
    assert_eq!(told(&kit, &plain, "NO_PROXY"), None);
}

#[tokio::test]
async fn it_is_in_no_file_of_the_store_and_in_no_debug_text() {
    let kit = TestControl::open().await;
    let sandbox = create(&kit, with_proxy(URL)).await.unwrap();
    assert!(!format!("{sandbox:?}").contains("word"));
    let store = kit.kill().await;
    let folder = store.path().parent().unwrap().to_owned();
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let mut windows = bytes.windows(10);
        assert!(!windows.any(|window| window == b"pass%20wor"));
        count += 1;
    }
    assert!(count > 0);

    // Another key: the sandbox is there, without it.
    let mut store = store;
    let other = SealingKey::new([8; 32]);
    let keeper = Arc::new(store.keys.clone());
    store.settings.sealing_key = Some(SealingKeys::new(other, Vec::new(), keeper));
    let kit = store.open().await;
    let found = get(&kit, "box").await.unwrap();
    assert_eq!(kit.control.outbound_proxy_url(&found), None);
}

#[tokio::test]
async fn a_wrong_one_is_refused_without_its_password_and_a_server_without_a_key_takes_none() {
    let kit = TestControl::open().await;
    let refused = create(&kit, with_proxy("socks5://user:secret@a.example:1")).await;
    let Err(Error::Invalid { reasons, .. }) = refused else {
        panic!("{refused:?}");
    };
    let said = format!("{reasons:?}");
    assert!(
        said.contains("outboundProxyUrl") && !said.contains("secret"),
        "{said}"
    );

    let mut store = TestStore::default();
    store.settings.sealing_key = None;
    let kit = store.open().await;
    let refused = create(&kit, with_proxy(URL)).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(kit.runner.sandbox_count(), 0);
}
