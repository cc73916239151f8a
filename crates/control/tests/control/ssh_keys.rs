//! Public keys for SSH, and what they open.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Caller, Error, SshEnd, SshRefusal};
use alcove_domain::{OrganizationId, Permission, Permissions, SandboxState, SshPublicKey, ssh_key};
use alcove_testkit::{TestControl, TestStore};
use data_encoding::BASE64;
use tokio::time::timeout;

use crate::support::{make, vanishes};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEl1lrEVneRQJCdiInsfJGRYdjC78dwfSnbPt8o6fwcL";
const OTHER_KEY: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLoefJUu4x34DLn1T5cNkCPENpjEGxEf2R1DxDaXOH7Al3XM/8+ptQhsUx3cnbHaLlCDHx5SKBFLLLaKYjLqXtg=";

fn blob(line: &str) -> Vec<u8> {
    SshPublicKey::parse(line).unwrap().0.as_bytes().to_vec()
}

async fn add(kit: &TestControl, line: &str) -> String {
    let key = kit.control.create_ssh_key(&kit.caller, line, None).await;
    key.unwrap().id.to_string()
}

async fn refusal(kit: &TestControl, sandbox: &str, line: &str) -> SshRefusal {
    let opened = kit.control.open_ssh_by_key(sandbox, &blob(line)).await;
    opened.unwrap_err()
}

fn of_other(kit: &TestControl) -> Caller {
    Caller {
        organization: "other".parse::<OrganizationId>().unwrap(),
        ..kit.caller.clone()
    }
}

#[tokio::test]
async fn a_key_opens_sandboxes_of_its_organization_by_id_and_name_until_it_is_removed() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    assert!(matches!(
        refusal(&kit, "box", KEY).await,
        SshRefusal::Unknown
    ));
    let first = add(&kit, &format!("{KEY} me@laptop")).await;
    kit.clock.advance_minutes(1);
    add(&kit, OTHER_KEY).await;
    let listed = kit.control.list_ssh_keys(&kit.caller).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].name, "me@laptop");

    let by_name = kit
        .control
        .open_ssh_by_key("box", &blob(KEY))
        .await
        .unwrap();
    let by_id = kit.control.open_ssh_by_key(id.as_str(), &blob(KEY)).await;
    assert_eq!(*by_id.unwrap().sandbox(), id);
    let by_other = kit.control.open_ssh_by_key("box", &blob(OTHER_KEY)).await;
    let by_other = by_other.unwrap();
    for unknown in ["", "no-such-box", "../box"] {
        assert!(matches!(
            refusal(&kit, unknown, KEY).await,
            SshRefusal::Unknown
        ));
    }
    // Tokens are another thing: their end is not that of keys.
    kit.control
        .revoke_ssh_access(&kit.caller, "box", None)
        .await
        .unwrap();
    assert!(timeout(Duration::ZERO, by_name.ended()).await.is_err());

    kit.control
        .delete_ssh_key(&kit.caller, &first)
        .await
        .unwrap();
    assert_eq!(by_name.ended().await, SshEnd::KeyRemoved);
    assert!(timeout(Duration::ZERO, by_other.ended()).await.is_err());
    assert!(matches!(
        refusal(&kit, "box", KEY).await,
        SshRefusal::Unknown
    ));
    let again = kit.control.delete_ssh_key(&kit.caller, &first).await;
    assert!(matches!(again, Err(Error::NotFound { .. })));

    // They hold what the next server takes.
    drop((by_name, by_other));
    let kit = kit.restart().await;
    let session = kit.control.open_ssh_by_key("box", &blob(OTHER_KEY)).await;
    let session = session.unwrap();
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    assert!(matches!(session.ended().await, SshEnd::Stopped(_)));
    assert!(matches!(
        refusal(&kit, "box", OTHER_KEY).await,
        SshRefusal::NotStarted(SandboxState::Stopped)
    ));
    // To who has no key here, a sandbox that is stopped is one that is not there.
    assert!(matches!(
        refusal(&kit, "box", KEY).await,
        SshRefusal::Unknown
    ));
    kit.control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap();
    vanishes(&kit, &id).await;
    assert!(matches!(
        refusal(&kit, id.as_str(), OTHER_KEY).await,
        SshRefusal::Unknown
    ));
}

#[tokio::test]
async fn a_key_opens_nothing_of_another_organization_and_is_nobody_elses_to_remove() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let other = of_other(&kit);
    let elsewhere = kit.control.create_ssh_key(&other, KEY, None).await.unwrap();
    for name in ["box", id.as_str()] {
        assert!(matches!(
            refusal(&kit, name, KEY).await,
            SshRefusal::Unknown
        ));
    }
    assert_eq!(kit.control.list_ssh_keys(&kit.caller).await.unwrap(), []);
    let colleague = Caller {
        user: "colleague".parse().unwrap(),
        ..other.clone()
    };
    for caller in [&kit.caller, &colleague] {
        let taken = kit
            .control
            .delete_ssh_key(caller, elsewhere.id.as_str())
            .await;
        assert!(matches!(taken, Err(Error::NotFound { .. })));
    }
    // The same key may be let in twice, by one person in two organizations. Each opens its own.
    add(&kit, KEY).await;
    kit.control
        .open_ssh_by_key("box", &blob(KEY))
        .await
        .unwrap();
    kit.control
        .delete_ssh_key(&other, elsewhere.id.as_str())
        .await
        .unwrap();
    kit.control
        .open_ssh_by_key("box", &blob(KEY))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_key_twice_the_same_and_too_many_are_refused() {
    let kit = TestControl::open().await;
    let create = async |caller: &Caller, line: &str, name: Option<&str>| {
        kit.control.create_ssh_key(caller, line, name).await
    };
    for (line, name) in [
        ("ssh-ed25519 AAAA", None),
        (KEY, Some(" ")),
        (KEY, Some("a\nb")),
    ] {
        let refused = create(&kit.caller, line, name).await;
        assert!(
            matches!(refused, Err(Error::Invalid { .. })),
            "{line} {name:?}"
        );
    }
    create(&kit.caller, KEY, Some("first")).await.unwrap();
    let twice = create(&kit.caller, &format!("{KEY} again"), Some("second")).await;
    assert!(matches!(twice, Err(Error::Conflict { .. })));
    let reader = Caller {
        permissions: Arc::new(
            [Permission::DeleteSandboxes]
                .into_iter()
                .collect::<Permissions>(),
        ),
        ..kit.caller.clone()
    };
    assert!(matches!(
        create(&reader, OTHER_KEY, None).await,
        Err(Error::Forbidden { .. })
    ));
    let removed = kit.control.delete_ssh_key(&reader, "any").await;
    assert!(matches!(removed, Err(Error::Forbidden { .. })));

    let numbered = |number: u8| {
        let mut key = blob(KEY);
        key[40] = number;
        key[41] = !key[41];
        format!("ssh-ed25519 {}", BASE64.encode(&key))
    };
    let most = u8::try_from(ssh_key::KEYS_MAX).unwrap();
    for number in 1..most {
        create(&kit.caller, &numbered(number), None).await.unwrap();
    }
    let more = create(&kit.caller, &numbered(most), None).await;
    assert!(matches!(more, Err(Error::QuotaExceeded { .. })), "{more:?}");
    create(&of_other(&kit), KEY, None).await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_ssh_takes_no_key() {
    let mut store = TestStore::default();
    store.settings.has_ssh = false;
    let kit = store.open().await;
    let refused = kit.control.create_ssh_key(&kit.caller, KEY, None).await;
    assert!(matches!(refused, Err(Error::Unprocessable { .. })));
}
