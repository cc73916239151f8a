//! Organizations with several members: who may do what, and what ends when somebody may no longer.

use alcove_control::{Caller, Error, MemberView};
use alcove_domain::{
    MemberRole, NewSandbox, Permission, Permissions, SandboxState, SnapshotState, UserRequest,
};
use alcove_testkit::{TestControl, eventually, within};
use tokio::task::JoinHandle;

use crate::support::*;

/// What stays by a caller's key, such as an event stream.
fn stays(kit: &TestControl, caller: &Caller) -> JoinHandle<()> {
    let (control, caller) = (kit.control.clone(), caller.clone());
    tokio::spawn(async move { control.key_ended(&caller).await })
}

/// Says what a member of the administrator's organization is from now on.
async fn give(kit: &TestControl, user: &str, role: &str, roles: &[&str]) -> MemberView {
    let (by, roles) = (&kit.caller, words(roles));
    let given = kit.control.set_access(by, org(by), user, role, &roles);
    given.await.unwrap()
}

/// Lets a user into the lab as a member with one role, and gives the user's key there.
async fn join(kit: &TestControl, owner: &Caller, id: &str, role: &str) -> String {
    let (user, _) = kit.add_stranger(id).await;
    let email = format!("{id}@example.com");
    let offer = ("member", &*words(&[role]));
    let invited = kit
        .control
        .create_invitation(owner, org(owner), &email, offer, None);
    let id = invited.await.unwrap().invitation.id;
    let accepted = kit.control.accept_invitation(&user, id.as_str()).await;
    accepted.unwrap();
    kit.add_key(&user.user, &owner.organization).await
}

#[tokio::test]
async fn a_key_does_what_both_it_and_its_user_may() {
    let kit = TestControl::open().await;
    let developer = kit.add_member("dev", &[1]).await;
    assert_eq!(developer.role, MemberRole::Member);
    assert!(developer.require(Permission::WriteSandboxes).is_ok());
    assert!(developer.require(Permission::DeleteSandboxes).is_err());
    let plain = kit.add_member("plain", &[]).await;
    assert_eq!(*plain.permissions, Permissions::default());
    let both = kit.add_member("both", &[1, 6]).await;
    assert_eq!(both.permissions.iter().count(), 4);
    // Every right by roles is not the rights of an owner.
    let all = kit.add_member("all", &[5]).await;
    assert_eq!(*all.permissions, Permissions::all());
    forbidden(all.require_owner());
    assert!(kit.caller.require_owner().is_ok());
}

#[tokio::test]
async fn what_a_member_loses_the_members_keys_lose_at_once() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let member = kit.add_member("dev", &[1]).await;
    let key = format!("dtn_dev_{}", org(&member));
    let (by, user) = (&kit.caller, member.user.as_str());
    make(&kit, "box").await;
    assert!(control.stop_sandbox(&member, "box", true).await.is_ok());

    let changed = give(&kit, user, "member", &[AUDITOR]).await;
    assert_eq!(changed.roles[0].name, "Auditor");
    let now = control.authenticate(&key).await.unwrap();
    forbidden(control.start_sandbox(&now, "box").await);
    assert!(now.require(Permission::ReadAuditLogs).is_ok());

    // So it is when the role itself changes.
    let (name, rights) = ("Starter".to_owned(), words(&["write:sandboxes"]));
    let made = control.create_role(by, org(by), name, String::new(), &rights);
    let role = made.await.unwrap();
    give(&kit, user, "member", &[role.id.as_str()]).await;
    let now = control.authenticate(&key).await.unwrap();
    assert!(control.start_sandbox(&now, "box").await.is_ok());
    let (name, rights) = ("Reader".to_owned(), words(&["read:volumes"]));
    let id = role.id.as_str();
    let updated = control.update_role(by, org(by), id, name, String::new(), &rights);
    assert_eq!(updated.await.unwrap().name, "Reader");
    let now = control.authenticate(&key).await.unwrap();
    forbidden(control.stop_sandbox(&now, "box", true).await);

    // An owner may everything, until it is one no more.
    give(&kit, user, "owner", &[]).await;
    let owner = control.authenticate(&key).await.unwrap();
    assert!(owner.require_owner().is_ok());
    let stream = stays(&kit, &owner);
    let removed = control.remove_member(by, org(by), user);
    removed.await.unwrap();
    within("the end of what stays", stream).await.unwrap();
    let refused = control.authenticate(&key).await.unwrap_err();
    assert_eq!(refused.code(), "UNAUTHORIZED");
    // The key itself is gone, for the day of a return too.
    assert_eq!(control.list_api_keys(by).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_member_who_goes_takes_open_ssh_sessions_along() {
    const KEY: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS me@here";
    let kit = TestControl::open().await;
    let control = &kit.control;
    let id = make(&kit, "box").await.id.clone();
    let member = kit.add_member("dev", &[1]).await;
    let made = control.create_ssh_key(&member, KEY, None).await.unwrap();
    let blob = made.public.as_bytes().to_vec();
    let session = control.open_ssh_by_key(id.as_str(), &blob).await.unwrap();
    let by = &kit.caller;
    let user = member.user.as_str();
    give(&kit, user, "member", &[AUDITOR]).await;
    within("the end of the session", session.ended()).await;
    assert!(control.open_ssh_by_key(id.as_str(), &blob).await.is_err());

    give(&kit, user, "member", &[DEVELOPER]).await;
    let session = control.open_ssh_by_key(id.as_str(), &blob).await.unwrap();
    control.leave_organization(&member, org(by)).await.unwrap();
    within("the end of the session", session.ended()).await;
    assert!(control.open_ssh_by_key(id.as_str(), &blob).await.is_err());
    assert_eq!(control.list_ssh_keys(&member).await.unwrap(), []);
}

#[tokio::test]
async fn an_organization_keeps_an_owner() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let by = &kit.caller;
    let me = by.user.as_str();
    forbidden(control.leave_organization(by, org(by)).await);
    forbidden(control.remove_member(by, org(by), me).await);
    let own = control.set_access(by, org(by), me, "member", &[]);
    assert_eq!(
        own.await.unwrap_err().to_string(),
        "You cannot change your own access"
    );
    let other = kit.add_member("other", &[1]).await;
    give(&kit, other.user.as_str(), "owner", &[]).await;
    let other_key = format!("dtn_other_{}", org(by));
    let other = control.authenticate(&other_key).await.unwrap();
    // With two of them, one may go.
    let access = control.set_access(&other, org(by), me, "member", &[]);
    access.await.unwrap();
    let left = control.authenticate(&kit.key).await.unwrap();
    forbidden(left.require_owner());
    let last = control.remove_member(&other, org(by), other.user.as_str());
    forbidden(last.await);
    control.leave_organization(&left, org(by)).await.unwrap();
    assert!(control.authenticate(&kit.key).await.is_err());
}

#[tokio::test]
async fn what_owners_decide_is_for_owners_with_a_whole_key() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let by = &kit.caller;
    let permissions: Vec<String> = Permission::ALL[1..]
        .iter()
        .map(|permission| permission.as_str().to_owned())
        .collect();
    let made = control.create_api_key(by, "nearly".to_owned(), &permissions, None, None);
    let nearly = control
        .authenticate(&made.await.unwrap().text)
        .await
        .unwrap();
    let member = kit.add_member("all", &[5]).await;
    let offer = ("member", &*words(&[DEVELOPER]));
    for caller in [&nearly, &member] {
        let name = || "x".to_owned();
        let rights = words(&["write:sandboxes"]);
        forbidden(
            control
                .create_role(caller, org(by), name(), name(), &rights)
                .await,
        );
        forbidden(
            control
                .set_access(caller, org(by), "all", "owner", &[])
                .await,
        );
        forbidden(
            control
                .remove_member(caller, org(by), by.user.as_str())
                .await,
        );
        forbidden(
            control
                .create_invitation(caller, org(by), "a@b", offer, None)
                .await,
        );
        // What all members may see.
        assert!(control.list_members(caller, org(by)).await.is_ok());
        assert!(control.list_roles(caller, org(by)).await.is_ok());
        assert!(control.list_invitations(caller, org(by)).await.is_ok());
    }
    forbidden(
        control
            .create_organization(&nearly, "x".to_owned(), None)
            .await,
    );
    forbidden(control.own_invitations(&nearly).await);
    forbidden(control.leave_organization(&nearly, org(by)).await);
}

#[tokio::test]
async fn roles_have_names_and_holders() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (by, _) = lab(&kit).await;
    let rights = words(&["write:volumes"]);
    let create = async |name: &str| {
        let name = name.to_owned();
        let made = control.create_role(&by, org(&by), name, "d".to_owned(), &rights);
        made.await
    };
    let role = create("Keeper").await.unwrap();
    for taken in ["Keeper", "Developer"] {
        assert_eq!(create(taken).await.unwrap_err().code(), "ROLE_EXISTS");
    }
    let listed = control.list_roles(&by, org(&by)).await.unwrap();
    assert_eq!(listed.len(), 9);
    assert_eq!(listed[8], role);
    // Of another organization it is not there, and those of the server cannot be changed.
    let here = org(&kit.caller);
    missing(
        control
            .delete_role(&kit.caller, here, role.id.as_str())
            .await,
    );
    missing(
        control
            .delete_role(&kit.caller, org(&by), role.id.as_str())
            .await,
    );
    forbidden(control.delete_role(&by, org(&by), DEVELOPER).await);
    let unknown = words(&[role.id.as_str()]);
    let given = control.set_access(&kit.caller, here, "nobody", "member", &unknown);
    assert!(matches!(given.await, Err(Error::Invalid { .. })));

    join(&kit, &by, "ann", role.id.as_str()).await;
    let offer = ("member", &*unknown);
    let invited = control.create_invitation(&by, org(&by), "bob@example.com", offer, None);
    let invited = invited.await.unwrap();
    let refused = control.delete_role(&by, org(&by), role.id.as_str()).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "The role is assigned to 1 members and 1 invitations"
    );
    let id = invited.invitation.id;
    let cancelled = control.cancel_invitation(&by, org(&by), id.as_str());
    cancelled.await.unwrap();
    control.remove_member(&by, org(&by), "ann").await.unwrap();
    let removed = control.delete_role(&by, org(&by), role.id.as_str());
    removed.await.unwrap();
}

#[tokio::test]
async fn a_key_sees_no_organization_but_its_own() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (lab, _) = lab(&kit).await;
    // The same user, who owns both.
    assert_eq!(lab.user, kit.caller.user);
    for id in [org(&kit.caller), "nowhere"] {
        missing(control.get_organization(&lab, id).await);
        missing(control.list_members(&lab, id).await);
        missing(control.list_roles(&lab, id).await);
        missing(control.list_invitations(&lab, id).await);
        missing(control.leave_organization(&lab, id).await);
        missing(control.set_default_region(&lab, id, "us"));
    }
    missing(control.set_default_region(&lab, org(&lab), "moon"));
    let set = control.set_default_region(&lab, org(&lab), "us");
    assert_eq!(set.unwrap_err().code(), "DEFAULT_REGION_SET");
    let own = control.get_organization(&lab, org(&lab)).await.unwrap();
    assert_eq!((own.name.as_str(), own.is_personal), ("Lab", false));
    let elsewhere = control
        .create_organization(&lab, "Moon".to_owned(), Some("moon"))
        .await;
    missing(elsewhere);
    for number in 1..10 {
        let name = format!("Lab {number}");
        let made = control.create_organization(&lab, name, None);
        made.await.unwrap();
    }
    forbidden(
        control
            .create_organization(&lab, "One more".to_owned(), None)
            .await,
    );
}

/// How often a test looks while its clock stands.
const LOOKS_A_MINUTE: u32 = 200;

#[tokio::test]
async fn a_suspended_organization_makes_and_starts_nothing_and_is_stopped_after_a_while() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (by, _) = lab(&kit).await;
    let lasting = NewSandbox {
        auto_stop_interval: Some(0),
        ..named("running")
    };
    let running = control.create_sandbox(&by, lasting).await.unwrap();
    control.create_sandbox(&by, named("stopped")).await.unwrap();
    let stopped = control.stop_sandbox(&by, "stopped", true).await;
    stopped.unwrap();
    for name in ["own", "shared"] {
        let snapshot = control.snapshot_sandbox(&by, "running", name.to_owned(), false);
        snapshot.await.unwrap();
    }
    let shared = control.get_snapshot(&by, "shared").await.unwrap();
    let set = control.set_snapshot_general(&kit.caller, shared.id.as_str(), true);
    set.await.unwrap();
    forbidden(
        control
            .suspend_organization(
                &kit.add_member("dev", &[5]).await,
                org(&by),
                None,
                None,
                None,
            )
            .await,
    );
    let reason = Some("unpaid".to_owned());
    let suspend = control.suspend_organization(&kit.caller, org(&by), reason, None, Some(0));
    suspend.await.unwrap();
    let refused = control.create_sandbox(&by, NewSandbox::default()).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "Organization is suspended: unpaid"
    );
    forbidden(control.start_sandbox(&by, "stopped").await);
    forbidden(control.fork_sandbox(&by, "running", None).await);
    let snapshot = control.snapshot_sandbox(&by, "running", "s".to_owned(), false);
    forbidden(snapshot.await);
    forbidden(control.create_volume(&by, None).await);
    forbidden(control.recover_sandbox(&by, "stopped", false).await);
    // What it has can be seen and ended.
    assert!(control.get_sandbox(&by, "running").await.is_ok());
    assert!(control.delete_sandbox(&by, "stopped").await.is_ok());
    // The control: nobody else is held.
    make(&kit, "mine").await;

    // A restart does not forget it, nor that what runs is to be stopped.
    let kit = kit.restart().await;
    let control = &kit.control;
    forbidden(control.create_sandbox(&by, NewSandbox::default()).await);
    let state = async |id: &alcove_domain::SandboxId| {
        control.get_sandbox(&by, id.as_str()).await.unwrap().state()
    };
    let mut looks = 0;
    eventually("what runs is stopped", async || {
        let now = state(&running.id).await;
        // An order under way needs its time, also before it shows: its lease must not run out at each look.
        if now == SandboxState::Started && looks % LOOKS_A_MINUTE == 0 {
            kit.clock.advance_minutes(1);
        }
        looks += 1;
        now == SandboxState::Stopped
    })
    .await;
    eventually("its snapshots are inactive", async || {
        let own = control.get_snapshot(&by, "own").await.unwrap();
        own.state == SnapshotState::Inactive
    })
    .await;
    let shared = control.get_snapshot(&by, "shared").await.unwrap();
    assert_eq!(shared.state, SnapshotState::Active, "others use it");
    let unsuspend = control.unsuspend_organization(&kit.caller, org(&by));
    unsuspend.await.unwrap();
    assert!(control.start_sandbox(&by, "running").await.is_ok());
}

#[tokio::test]
async fn users_are_the_administrators_to_make() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (ann, _) = kit.add_stranger("ann").await;
    assert_eq!(ann.role, MemberRole::Owner);
    let request = |id: &str, email: &str| UserRequest {
        id: id.to_owned(),
        name: "X".to_owned(),
        email: Some(email.to_owned()),
        is_email_verified: true,
        role: None,
    };
    forbidden(control.list_users(&ann).await);
    forbidden(control.get_user(&ann, "ann").await);
    forbidden(
        control
            .create_user(&ann, request("b", "b@x"), None, false)
            .await,
    );
    let create = async |request| control.create_user(&kit.caller, request, None, true).await;
    let taken = create(request("ann", "b@x")).await.unwrap_err();
    assert_eq!(taken.code(), "USER_EXISTS");
    let taken = create(request("b", "Ann@example.com")).await.unwrap_err();
    assert_eq!(taken.code(), "EMAIL_TAKEN");
    let bad = UserRequest {
        id: "a b".to_owned(),
        name: String::new(),
        email: Some("none".to_owned()),
        is_email_verified: true,
        role: Some("king".to_owned()),
    };
    let Err(Error::Invalid { reasons, .. }) = create(bad).await else {
        panic!("it was taken")
    };
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    let all = control.list_users(&kit.caller).await.unwrap();
    assert_eq!(all.len(), 2);
    missing(control.get_user(&kit.caller, "nobody").await);
    let found = control.get_user(&kit.caller, "ann").await.unwrap();
    assert_eq!(found.email, "ann@example.com");
}

#[tokio::test]
async fn a_new_users_first_key_opens_the_way_into_every_organization_of_the_user() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let (owner, _) = lab(&kit).await;
    let request = UserRequest {
        id: "ann".to_owned(),
        name: "Ann".to_owned(),
        email: Some("ann@example.com".to_owned()),
        is_email_verified: true,
        role: None,
    };
    let made = control.create_user(&kit.caller, request, None, true).await;
    let first = made.unwrap().1.unwrap().text;
    let ann = control.authenticate(&first).await.unwrap();
    let key_of = async |by: &Caller, organization: &str, permissions: &[&str]| {
        let (name, permissions) = ("ci".to_owned(), words(permissions));
        let made = control.create_api_key(by, name, &permissions, None, Some(organization));
        made.await
    };
    missing(key_of(&ann, org(&owner), &["write:sandboxes"]).await);
    missing(key_of(&ann, "nowhere", &[]).await);
    let offer = ("member", &*words(&[DEVELOPER]));
    let invited = control.create_invitation(&owner, org(&owner), "ann@example.com", offer, None);
    let id = invited.await.unwrap().invitation.id;
    control.accept_invitation(&ann, id.as_str()).await.unwrap();
    // No more than the user may there, whatever the user may at home.
    forbidden(key_of(&ann, org(&owner), &["delete:sandboxes"]).await);
    let made = key_of(&ann, org(&owner), &["write:sandboxes"])
        .await
        .unwrap();
    let there = control.authenticate(&made.text).await.unwrap();
    assert_eq!(there.organization, owner.organization);
    assert_eq!(there.permissions.iter().count(), 1);
    // A part of the user does not stand for the user.
    forbidden(key_of(&there, org(&ann), &[]).await);
    forbidden(control.list_api_keys(&there).await);
}

#[tokio::test]
async fn what_is_read_of_rights_while_they_change_is_not_kept() {
    let kit = TestControl::open().await;
    let control = &kit.control;
    let member = kit.add_member("dev", &[1]).await;
    let key = format!("dtn_dev_{}", org(&member));
    // Readers all the while: whatever order they come in, after the change nobody has the old rights.
    for round in 0..20 {
        let roles = if round % 2 == 0 { AUDITOR } else { DEVELOPER };
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (control, key) = (control.clone(), key.clone());
                tokio::spawn(async move {
                    for _ in 0..5 {
                        let _ = control.authenticate(&key).await;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        give(&kit, "dev", "member", &[roles]).await;
        let now = control.authenticate(&key).await.unwrap();
        let may = now.require(Permission::WriteSandboxes).is_ok();
        assert_eq!(may, roles == DEVELOPER, "round {round}");
        for reader in readers {
            reader.await.unwrap();
        }
        let now = control.authenticate(&key).await.unwrap();
        let may = now.require(Permission::WriteSandboxes).is_ok();
        assert_eq!(may, roles == DEVELOPER, "round {round}");
    }
}
