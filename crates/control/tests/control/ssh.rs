//! Tokens for SSH, and what ends sessions.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{Caller, Error, SshEnd, SshRefusal};
use alcove_domain::{OrganizationId, Permission, Permissions, SandboxState, SshTokenRefusal};
use alcove_testkit::TestControl;
use tokio::time::timeout;

use crate::support::{make, vanishes};

async fn grant(kit: &TestControl, minutes: f64) -> String {
    let granted = kit
        .control
        .create_ssh_access(&kit.caller, "box", Some(minutes))
        .await;
    granted.unwrap().token
}

async fn refusal(kit: &TestControl, token: &str) -> SshRefusal {
    kit.control.open_ssh(token).await.unwrap_err()
}

#[tokio::test]
async fn a_token_opens_sessions_until_a_newer_one_replaces_it_or_its_time_comes() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let first = grant(&kit, 60.0).await;
    let session = kit.control.open_ssh(&first).await.unwrap();
    assert_eq!(*session.sandbox(), id);
    let second = grant(&kit, 120.0).await;
    assert!(matches!(
        refusal(&kit, &first).await,
        SshRefusal::Ended(SshTokenRefusal::Replaced)
    ));
    let later = kit.control.open_ssh(&second).await.unwrap();

    // The open session goes on to the time of its own token.
    kit.clock.advance_minutes(59);
    assert!(timeout(Duration::ZERO, session.ended()).await.is_err());
    kit.clock.advance_minutes(1);
    assert_eq!(session.ended().await, SshEnd::Expired);
    assert!(timeout(Duration::ZERO, later.ended()).await.is_err());
    assert!(matches!(
        refusal(&kit, &first).await,
        SshRefusal::Ended(SshTokenRefusal::Expired)
    ));
    for unknown in [
        "",
        "guess",
        &"a".repeat(32),
        &"A".repeat(32),
        &"ä".repeat(16),
    ] {
        assert!(matches!(refusal(&kit, unknown).await, SshRefusal::Unknown));
    }
}

#[tokio::test]
async fn a_revocation_ends_the_sessions_of_its_token_or_of_all() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    make(&kit, "other").await;
    let first = grant(&kit, 60.0).await;
    let of_first = kit.control.open_ssh(&first).await.unwrap();
    let second = grant(&kit, 60.0).await;
    let of_second = kit.control.open_ssh(&second).await.unwrap();
    let revoke = async |name: &str, token: Option<&str>| {
        kit.control
            .revoke_ssh_access(&kit.caller, name, token)
            .await
    };
    // Another sandbox's token is not this one's to end.
    let elsewhere = revoke("other", Some(&second)).await;
    assert!(matches!(elsewhere, Err(Error::NotFound { .. })));
    revoke("other", None).await.unwrap();
    assert!(timeout(Duration::ZERO, of_second.ended()).await.is_err());

    revoke("box", Some(&second)).await.unwrap();
    assert_eq!(of_second.ended().await, SshEnd::Revoked);
    assert!(timeout(Duration::ZERO, of_first.ended()).await.is_err());
    // A replaced token is ended with all others.
    revoke("box", None).await.unwrap();
    assert_eq!(of_first.ended().await, SshEnd::Revoked);
    for token in [&first, &second] {
        assert!(matches!(
            refusal(&kit, token).await,
            SshRefusal::Ended(SshTokenRefusal::Revoked)
        ));
    }
}

#[tokio::test]
async fn a_stop_ends_sessions_and_a_snapshot_does_not() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let token = grant(&kit, 60.0).await;
    let session = kit.control.open_ssh(&token).await.unwrap();
    kit.control
        .snapshot_sandbox(&kit.caller, "box", "copy".to_owned(), false)
        .await
        .unwrap();
    assert!(timeout(Duration::ZERO, session.ended()).await.is_err());
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    assert!(matches!(session.ended().await, SshEnd::Stopped(_)));
    assert!(matches!(
        refusal(&kit, &token).await,
        SshRefusal::NotStarted(SandboxState::Stopped)
    ));
    kit.control.start_sandbox(&kit.caller, "box").await.unwrap();
    kit.control.open_ssh(&token).await.unwrap();
    let id = kit
        .control
        .delete_sandbox(&kit.caller, "box")
        .await
        .unwrap()
        .id
        .clone();
    vanishes(&kit, &id).await;
    assert!(matches!(refusal(&kit, &token).await, SshRefusal::Gone));
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_are_kept_from_others() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.clone();
    let token = grant(&kit, 60.0).await;
    let kit = kit.restart().await;
    let session = kit.control.open_ssh(&token).await.unwrap();
    let validate = async |caller: &Caller| {
        kit.control
            .validate_ssh_access(caller, &token)
            .await
            .unwrap()
    };
    assert_eq!(validate(&kit.caller).await, Some(id));
    let other = Caller {
        organization: "other".parse::<OrganizationId>().unwrap(),
        ..kit.caller.clone()
    };
    assert_eq!(validate(&other).await, None);
    let reader = Caller {
        permissions: Arc::new(
            [Permission::DeleteSandboxes]
                .into_iter()
                .collect::<Permissions>(),
        ),
        ..kit.caller.clone()
    };
    let create = kit.control.create_ssh_access(&reader, "box", None).await;
    assert!(matches!(create, Err(Error::Forbidden { .. })));
    let revoke = kit.control.revoke_ssh_access(&reader, "box", None).await;
    assert!(matches!(revoke, Err(Error::Forbidden { .. })));
    kit.control.shutdown().await;
    assert_eq!(session.ended().await, SshEnd::ShuttingDown);
}
