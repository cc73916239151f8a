//! Organizations, members and invitations over HTTP, and that two organizations see nothing of each other.

use std::time::Duration;

use alcove_server::Options;
use alcove_testkit::TestStore;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

const DEVELOPER: &str = "00000000-0000-0000-0000-000000000001";

/// Asks in somebody's name.
async fn ask(server: &Server, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    server.send(request).await
}

#[tokio::test]
async fn an_organization_tells_what_the_operator_has_set() {
    for (unused, minutes, warns) in [
        (Some(Duration::from_hours(72)), 4320, true),
        (None, 0, false),
    ] {
        let mut store = TestStore::default();
        store.settings.snapshots.unused = unused;
        let options = Options {
            warns_of_previews: warns,
            ..Options::default()
        };
        let server = Server::with_options(store.open().await, options);
        let shown = server.ask("GET", "/api/organizations").await.ok();
        assert_eq!(shown[0]["snapshotDeactivationTimeoutMinutes"], minutes);
        assert_eq!(shown[0]["previewWarningEnabled"], warns);
    }
}

/// An organization that the administrator makes, and a key to all of it.
async fn lab(server: &Server) -> (String, String) {
    let body = json!({"name": "Lab", "defaultRegionId": "us"});
    let made = server.put("POST", "/api/organizations", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let org = id.parse().unwrap();
    let key = server.kit.add_key(&server.kit.caller.user, &org).await;
    (id, key)
}

#[tokio::test]
async fn who_is_invited_becomes_a_member_with_what_was_offered() {
    let server = Server::start().await;
    let (lab, owner) = lab(&server).await;
    let (_, ann) = server.kit.add_stranger("ann").await;
    let path = format!("/api/organizations/{lab}/invitations");
    let body = json!({"email": "ann@example.com"});
    let made = ask(&server, &owner, "POST", &path, body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!(
        (&made["role"], &made["status"], &made["organizationName"]),
        (&json!("member"), &json!("pending"), &json!("Lab"))
    );
    assert_eq!(made["assignedRoles"][0]["id"], DEVELOPER);
    assert_eq!(made["invitedBy"], "admin@localhost");
    let again = ask(&server, &owner, "POST", &path, body).await;
    assert_eq!(again.status, StatusCode::CONFLICT);

    let id = made["id"].as_str().unwrap();
    let update =
        json!({"role": "member", "assignedRoleIds": [], "expiresAt": "2100-01-01T00:00:00Z"});
    let updated = ask(&server, &owner, "PUT", &format!("{path}/{id}"), update)
        .await
        .ok();
    assert_eq!(updated["assignedRoles"], json!([]));
    assert_eq!(updated["expiresAt"], "2100-01-01T00:00:00.000Z");
    let unknown = json!({"role": "member", "assignedRoleIds": ["no-such"]});
    let refused = ask(&server, &owner, "PUT", &format!("{path}/{id}"), unknown).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);

    let own = "/api/organizations/invitations";
    let count = ask(&server, &ann, "GET", &format!("{own}/count"), json!({}))
        .await
        .ok();
    assert_eq!(count, json!(1));
    let listed = ask(&server, &ann, "GET", own, json!({})).await.ok();
    assert_eq!(listed[0]["id"], id);
    let accept = format!("{own}/{id}/accept");
    let accepted = ask(&server, &ann, "POST", &accept, json!({})).await.ok();
    assert_eq!(accepted["status"], "accepted");
    let again = ask(&server, &ann, "POST", &accept, json!({})).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    let listed = ask(&server, &owner, "GET", &path, json!({})).await.ok();
    assert_eq!(listed, json!([]));

    let members = format!("/api/organizations/{lab}/users");
    let listed = ask(&server, &owner, "GET", &members, json!({})).await.ok();
    assert_eq!(listed[0]["role"], "owner");
    assert_eq!(
        (&listed[1]["userId"], &listed[1]["role"]),
        (&json!("ann"), &json!("member"))
    );
    let access = json!({"role": "member", "assignedRoleIds": [DEVELOPER]});
    let given = ask(
        &server,
        &owner,
        "POST",
        &format!("{members}/ann/access"),
        access,
    )
    .await
    .ok();
    assert_eq!(
        given["assignedRoles"][0]["permissions"],
        json!(["write:sandboxes"])
    );
    assert_eq!(given["assignedRoles"][0]["isGlobal"], true);
    // A member's key does not speak for the owner.
    let theirs = server
        .kit
        .add_key(&"ann".parse().unwrap(), &lab.parse().unwrap())
        .await;
    let access = json!({"role": "owner", "assignedRoleIds": []});
    let me = server.kit.caller.user.as_str();
    let taken = ask(
        &server,
        &theirs,
        "POST",
        &format!("{members}/{me}/access"),
        access,
    )
    .await;
    assert_eq!(taken.status, StatusCode::FORBIDDEN);
    let left = ask(
        &server,
        &theirs,
        "POST",
        &format!("/api/organizations/{lab}/leave"),
        json!({}),
    )
    .await;
    assert_eq!(left.status, StatusCode::NO_CONTENT);
    let after = ask(&server, &theirs, "GET", "/api/sandbox", json!({})).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_invitation_that_is_declined_or_taken_back_is_over() {
    let server = Server::start().await;
    let (lab, owner) = lab(&server).await;
    let (_, ann) = server.kit.add_stranger("ann").await;
    let path = format!("/api/organizations/{lab}/invitations");
    let invite = async || {
        let body = json!({"email": "ann@example.com", "role": "owner", "assignedRoleIds": [],
            "expiresAt": "2100-01-01T00:00:00Z"});
        let made = ask(&server, &owner, "POST", &path, body).await.json();
        assert_eq!(
            (&made["role"], &made["expiresAt"]),
            (&json!("owner"), &json!("2100-01-01T00:00:00.000Z"))
        );
        made["id"].as_str().unwrap().to_owned()
    };
    let id = invite().await;
    let decline = format!("/api/organizations/invitations/{id}/decline");
    let declined = ask(&server, &ann, "POST", &decline, json!({})).await;
    assert_eq!(declined.status, StatusCode::OK);
    let id = invite().await;
    let cancel = format!("{path}/{id}/cancel");
    let cancelled = ask(&server, &owner, "POST", &cancel, json!({})).await;
    assert_eq!(cancelled.status, StatusCode::NO_CONTENT);
    let again = ask(&server, &owner, "POST", &cancel, json!({})).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    let removed = ask(
        &server,
        &owner,
        "DELETE",
        &format!("/api/organizations/{lab}/users/ann"),
        json!({}),
    )
    .await;
    assert_eq!(removed.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn roles_are_made_changed_and_removed_by_owners() {
    let server = Server::start().await;
    let (lab, owner) = lab(&server).await;
    let path = format!("/api/organizations/{lab}/roles");
    let body =
        json!({"name": "Keeper", "description": "of volumes", "permissions": ["read:volumes"]});
    let made = ask(&server, &owner, "POST", &path, body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!(made["isGlobal"], false);
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let body = json!({"name": "Keeper", "description": "", "permissions": ["write:volumes"]});
    let changed = ask(&server, &owner, "PUT", &one, body).await.ok();
    assert_eq!(changed["permissions"], json!(["write:volumes"]));
    let body = json!({"name": "x", "description": "", "permissions": []});
    let empty = ask(&server, &owner, "PUT", &one, body).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    let listed = ask(&server, &owner, "GET", &path, json!({})).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 9);
    // Clients of an age that knows fifteen words at most are told no others.
    let request = http::Request::get(&path)
        .header("authorization", format!("Bearer {owner}"))
        .header("x-daytona-sdk-version", "0.108.1")
        .header("x-daytona-source", "python-sdk");
    let older = server
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await
        .ok();
    let words = older[4]["permissions"].as_array().unwrap();
    assert!(!words.contains(&json!("manage:api_keys")), "{words:?}");
    let removed = ask(&server, &owner, "DELETE", &one, json!({})).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let built_in = ask(
        &server,
        &owner,
        "DELETE",
        &format!("{path}/{DEVELOPER}"),
        json!({}),
    )
    .await;
    assert_eq!(built_in.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_suspended_organization_says_so_and_is_refused_work() {
    let server = Server::start().await;
    let (lab, owner) = lab(&server).await;
    let path = format!("/api/organizations/{lab}");
    let body = json!({"reason": "unpaid", "until": "2100-01-01T00:00:00Z", "suspensionCleanupGracePeriodHours": 3});
    let theirs = ask(
        &server,
        &owner,
        "POST",
        &format!("{path}/suspend"),
        body.clone(),
    )
    .await;
    // The owner is the administrator as well.
    assert_eq!(theirs.status, StatusCode::NO_CONTENT, "{}", theirs.text);
    let (_, ann) = server.kit.add_stranger("ann").await;
    let stranger = ask(
        &server,
        &ann,
        "POST",
        &format!("{path}/unsuspend"),
        json!({}),
    )
    .await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    let shown = ask(&server, &owner, "GET", &path, json!({})).await.ok();
    assert_eq!(
        (&shown["suspended"], &shown["suspensionReason"]),
        (&json!(true), &json!("unpaid"))
    );
    assert_eq!(shown["suspendedUntil"], "2100-01-01T00:00:00.000Z");
    assert_eq!(shown["suspensionCleanupGracePeriodHours"], 3);
    let refused = ask(&server, &owner, "POST", "/api/sandbox", json!({})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(
        refused.json()["message"],
        "Organization is suspended: unpaid"
    );
    let lifted = server
        .put("POST", &format!("{path}/unsuspend"), json!({}))
        .await;
    assert_eq!(lifted.status, StatusCode::NO_CONTENT);
    let made = ask(&server, &owner, "POST", "/api/sandbox", json!({}))
        .await
        .ok();
    let id = made["id"].as_str().unwrap();
    for path in [
        format!("/api/sandbox/{id}/organization"),
        format!("/api/organizations/by-sandbox-id/{id}"),
    ] {
        let found = ask(&server, &owner, "GET", &path, json!({})).await.ok();
        assert_eq!(
            (&found["id"], &found["suspended"]),
            (&json!(lab), &json!(false))
        );
        let foreign = server.ask("GET", &path).await;
        assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_region_of_an_organization_is_set_from_the_start() {
    let server = Server::start().await;
    let org = server.kit.caller.organization.to_string();
    let path = format!("/api/organizations/{org}/default-region");
    let set = async |region: &str| {
        let body = json!({"defaultRegionId": region});
        server.put("PATCH", &path, body).await.status
    };
    assert_eq!(set("us").await, StatusCode::CONFLICT);
    assert_eq!(set("moon").await, StatusCode::NOT_FOUND);
    let classes = format!("/api/organizations/{org}/available-sandbox-classes");
    let classes = server.ask("GET", &classes).await.ok();
    let expected = json!([{"regionId": "us", "sandboxClass": "container", "gpuAvailable": false}]);
    assert_eq!(classes, expected);
}

#[tokio::test]
async fn a_deleted_organization_is_nobodys_and_a_personal_one_stays() {
    let server = Server::start().await;
    let (lab, owner) = lab(&server).await;
    let path = format!("/api/organizations/{lab}");
    let foreign = server.ask("DELETE", &path).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let deleted = ask(&server, &owner, "DELETE", &path, json!({})).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let after = ask(&server, &owner, "GET", &path, json!({})).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
    let home = format!("/api/organizations/{}", server.kit.caller.organization);
    let refused = server.ask("DELETE", &home).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn users_are_made_and_seen_by_the_administrator_under_both_names() {
    let server = Server::start().await;
    let (_, ann) = server.kit.add_stranger("ann").await;
    for (number, path) in ["/api/admin/users", "/api/users"].into_iter().enumerate() {
        let id = format!("bob{number}");
        let body = json!({"id": id, "name": "Bob", "role": "user"});
        let stranger = ask(&server, &ann, "POST", path, body.clone()).await;
        assert_eq!(stranger.status, StatusCode::FORBIDDEN);
        let made = server.put("POST", path, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        assert_eq!(made.json()["emailVerified"], false);
        let found = server.ask("GET", &format!("{path}/{id}")).await.ok();
        assert_eq!(found["name"], "Bob");
        let pair = server
            .ask("POST", &format!("{path}/{id}/regenerate-key-pair"))
            .await;
        assert_eq!(pair.status, StatusCode::UNPROCESSABLE_ENTITY);
        let all = server.ask("GET", path).await.ok();
        assert_eq!(all.as_array().unwrap().len(), 3 + number);
        assert_eq!(
            ask(&server, &ann, "GET", path, json!({})).await.status,
            StatusCode::FORBIDDEN
        );
    }
}

/// What an organization has, as its key sees it.
async fn seen(server: &Server, key: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/api/sandbox",
        "/api/sandbox/paginated",
        "/api/snapshots",
        "/api/volumes",
        "/api/docker-registry",
        "/api/api-keys",
        "/api/ssh-keys",
        "/api/warm-pools",
        "/api/workspace",
    ] {
        all.push(ask(server, key, "GET", path, json!({})).await.ok());
    }
    all
}

#[tokio::test]
async fn two_organizations_see_nothing_of_each_other() {
    let mut store = alcove_testkit::TestStore::default();
    store.runner.add_image("tiny", "");
    store.settings.warm_pool_bytes = 1 << 30;
    let server = Server::over(store.open().await);
    let (_, theirs) = server.kit.add_stranger("ann").await;
    let before = seen(&server, &theirs).await;
    let make = async |key: &str| {
        for (path, body) in [
            ("/api/sandbox", json!({"name": "box"})),
            (
                "/api/snapshots",
                json!({"name": "mine", "imageName": "tiny:1"}),
            ),
            ("/api/volumes", json!({"name": "data"})),
            (
                "/api/docker-registry",
                json!({"name": "r", "url": "a.com", "username": "u", "password": "p"}),
            ),
            (
                "/api/api-keys",
                json!({"name": "ci", "permissions": ["write:sandboxes"]}),
            ),
            ("/api/warm-pools", json!({"snapshot": "default", "pool": 1})),
        ] {
            // Each name is free in each organization.
            let made = ask(&server, key, "POST", path, body).await;
            assert!(made.status.is_success(), "{path}: {}", made.text);
        }
    };
    let mine = server.kit.key.clone();
    make(&mine).await;
    assert_eq!(seen(&server, &theirs).await, before);
    let own = seen(&server, &mine).await;
    // The control: whoever made them sees them.
    assert_ne!(own, before);

    // Every one of them by its id, in every way that there is.
    let (sandboxes, snapshots, volumes) = (&own[0]["items"], &own[2]["items"], &own[3]);
    let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
    let snapshots = snapshots.as_array().unwrap().iter();
    let mut snapshots = snapshots.filter(|snapshot| snapshot["name"] == "mine");
    let snapshot = id(snapshots.next().unwrap());
    for (method, path) in [
        ("GET", format!("/api/sandbox/{}", id(&sandboxes[0]))),
        ("DELETE", format!("/api/sandbox/{}", id(&sandboxes[0]))),
        ("GET", format!("/toolbox/{}/files", id(&sandboxes[0]))),
        ("GET", format!("/api/snapshots/{snapshot}")),
        ("DELETE", format!("/api/snapshots/{snapshot}")),
        ("GET", format!("/api/volumes/{}", id(&volumes[0]))),
        ("DELETE", format!("/api/volumes/{}", id(&volumes[0]))),
        ("GET", "/api/volumes/by-name/data".to_owned()),
        ("GET", format!("/api/docker-registry/{}", id(&own[4][0]))),
        ("DELETE", format!("/api/docker-registry/{}", id(&own[4][0]))),
        ("GET", "/api/api-keys/ci".to_owned()),
        ("DELETE", "/api/api-keys/ci".to_owned()),
        ("DELETE", format!("/api/warm-pools/{}", id(&own[7][0]))),
    ] {
        let answer = ask(&server, &theirs, method, &path, json!({})).await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_FOUND,
            "{method} {path} {}",
            answer.text
        );
    }
    // What is the administrator's is not for the owner of another organization.
    let org = server.kit.caller.organization.to_string();
    let usage = ask(
        &server,
        &theirs,
        "GET",
        &format!("/api/organizations/{org}/usage"),
        json!({}),
    )
    .await;
    assert_eq!(usage.status, StatusCode::NOT_FOUND);
    let mounted = json!({"volumes": [{"volumeId": id(&volumes[0]), "mountPath": "/d"}]});
    let mounted = ask(&server, &theirs, "POST", "/api/sandbox", mounted).await;
    assert_eq!(mounted.status, StatusCode::NOT_FOUND, "{}", mounted.text);
    let linked = json!({"linkedSandbox": id(&sandboxes[0])});
    let linked = ask(&server, &theirs, "POST", "/api/sandbox", linked).await;
    assert_eq!(linked.status, StatusCode::NOT_FOUND, "{}", linked.text);
    let copied = ask(
        &server,
        &theirs,
        "POST",
        "/api/sandbox",
        json!({"snapshot": "mine"}),
    )
    .await;
    assert!(copied.status.is_client_error(), "{}", copied.text);

    make(&theirs).await;
    let unchanged = seen(&server, &mine).await;
    for (now, then) in unchanged.iter().zip(&own) {
        let names = |of: &Value| of.to_string().matches("\"id\"").count();
        assert_eq!(names(now), names(then));
    }
}

#[tokio::test]
async fn events_reach_their_organization_alone() {
    use alcove_control::EventBody;
    use futures_util::StreamExt as _;

    let server = Server::start().await;
    let (ann, theirs) = server.kit.add_stranger("ann").await;
    let control = &server.kit.control;
    let mut events = control.subscribe_events(&ann.organization);
    server.create(json!({"name": "mine"})).await;
    let made = ask(
        &server,
        &theirs,
        "POST",
        "/api/sandbox",
        json!({"name": "hers"}),
    )
    .await;
    assert!(made.status.is_success());
    // The first that comes is hers, although mine was made before.
    let first = crate::support::within(events.next()).await.unwrap();
    let EventBody::SandboxCreated { sandbox } = &first.body else {
        panic!("{first:?}")
    };
    assert_eq!(sandbox.name, "hers");
}
