//! Drives of Vercel Sandbox.

use alcove_runner_api::Goal;
use serde_json::{Value, json};

use crate::support::Server;
use crate::vercel::{ask, assert_no_null, make};

#[tokio::test]
async fn a_drive_is_made_once_found_mounted_and_kept_while_a_sandbox_has_it() {
    let server = Server::start().await;
    let path = "/v2/sandboxes/drives/data";
    let body = json!({"projectId": "p", "maxSizeBytes": 64 << 20}).to_string();
    let (status, made) = ask(&server, "POST", path, &body).await;
    assert_eq!(status, 201, "{made}");
    assert_no_null(&made, "");
    let drive = &made["drive"];
    assert_eq!(
        (&drive["name"], &drive["maxSizeBytes"]),
        (&json!("data"), &json!(64 << 20))
    );
    assert_eq!(
        ask(&server, "POST", path, &body).await.1["drive"]["id"],
        drive["id"]
    );
    let theirs = json!({"projectId": "q"}).to_string();
    assert_eq!(ask(&server, "POST", path, &theirs).await.0, 409);
    assert_eq!(
        ask(&server, "GET", &format!("{path}?projectId=q"), "")
            .await
            .0,
        404
    );
    for wrong in [json!({"maxSizeBytes": 5}), json!({"region": "mars"})] {
        let (status, _) = ask(
            &server,
            "POST",
            "/v2/sandboxes/drives/x",
            &wrong.to_string(),
        )
        .await;
        assert!(matches!(status, 400 | 404), "{wrong} {status}");
    }
    assert_eq!(
        ask(&server, "POST", "/v2/sandboxes/drives/a=b", "{}")
            .await
            .0,
        400
    );
    let box_body = json!({"projectId": "p", "name": "box", "mounts": {"/data": {"drive": "data", "mode": "read-write"}}});
    let session = make(&server, box_body).await;
    assert_eq!(session["sandbox"]["mounts"]["/data"]["drive"], "data");
    let (_, used) = ask(&server, "GET", &format!("{path}?projectId=p"), "").await;
    assert_eq!(used["drive"]["currentSandboxName"], "box");
    assert_eq!(used["drive"]["currentSessionId"], session["session"]["id"]);
    assert_eq!(session["sandbox"]["mounts"]["/data"]["mode"], "read-write");
    let none = json!({"projectId": "p", "mounts": {"/data": {"drive": "none"}}}).to_string();
    assert_eq!(ask(&server, "POST", "/v2/sandboxes", &none).await.0, 404);
    assert_eq!(
        ask(&server, "DELETE", &format!("{path}?projectId=p"), "")
            .await
            .0,
        409
    );
    ask(
        &server,
        "POST",
        "/v2/sandboxes/drives/second",
        r#"{"projectId":"p"}"#,
    )
    .await;
    let list = "/v2/sandboxes/drives?projectId=p&sortBy=name&sortOrder=asc&limit=1";
    let (_, page) = ask(&server, "GET", list, "").await;
    assert_eq!(page["drives"][0]["name"], "data");
    let next = page["pagination"]["next"].as_str().unwrap();
    let (_, page) = ask(&server, "GET", &format!("{list}&cursor={next}"), "").await;
    assert_eq!(page["drives"][0]["name"], "second");
    assert_eq!(page["pagination"], json!({"count": 1, "next": null}));
    let (_, found) = ask(
        &server,
        "GET",
        "/v2/sandboxes/drives?projectId=p&namePrefix=se",
        "",
    )
    .await;
    assert_eq!(found["pagination"]["count"], 1);
    assert_eq!(ask(&server, "DELETE", "/v2/sandboxes/box", "").await.0, 200);
    alcove_testkit::eventually("nothing has it any more", async || {
        ask(&server, "DELETE", &format!("{path}?projectId=p"), "")
            .await
            .0
            == 200
    })
    .await;
    assert_eq!(
        ask(&server, "GET", &format!("{path}?projectId=p"), "")
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn a_drive_that_is_only_read_is_ordered_so_and_told_so_of_its_forks_too() {
    let server = Server::start().await;
    for drive in ["read", "written"] {
        let path = format!("/v2/sandboxes/drives/{drive}");
        ask(&server, "POST", &path, "{}").await;
    }
    let mounts = json!({
        "/read/": {"drive": "read", "mode": "read-only"},
        "/written": {"drive": "written"},
    });
    make(&server, json!({"name": "box", "mounts": mounts})).await;
    let told = json!({
        "/read/": {"drive": "read", "mode": "read-only"},
        "/written": {"drive": "written", "mode": "read-write"},
    });
    let (_, found) = ask(&server, "GET", "/v2/sandboxes/box", "").await;
    assert_eq!(found["sandbox"]["mounts"], told);
    let fork = r#"{"name":"copy"}"#;
    let (status, forked) = ask(&server, "POST", "/v2/sandboxes/box/fork", fork).await;
    assert_eq!(status, 200, "{forked}");
    assert_eq!(forked["sandbox"]["mounts"], told);
    let mut ordered: Vec<Vec<_>> = Vec::new();
    for order in server.kit.runner.orders() {
        if let Goal::Running(spec) = order.goal {
            let mounts = spec.volumes.into_iter();
            ordered.push(mounts.map(|it| (it.mount_path, it.is_read_only)).collect());
        }
    }
    let wanted = vec![("/read".to_owned(), true), ("/written".to_owned(), false)];
    assert_eq!(ordered, vec![wanted; 2]);
}

#[tokio::test]
async fn what_a_sandbox_mounts_and_its_variables_are_changed_for_the_sessions_to_come() {
    let server = Server::start().await;
    for drive in ["one", "two"] {
        let path = format!("/v2/sandboxes/drives/{drive}");
        ask(&server, "POST", &path, "{}").await;
    }
    let one = json!({"/data": {"drive": "one", "mode": "read-write"}});
    let made = json!({"name": "box", "mounts": one, "env": {"A": "1", "B": "1"}});
    let session = make(&server, made).await;
    let region = session["sandbox"]["region"].as_str().unwrap();
    let path = "/v2/sandboxes/box";
    let change = async |body: Value| ask(&server, "PATCH", path, &body.to_string()).await;
    let two = json!({"/other": {"drive": "two", "mode": "read-only"}});

    // What is so already asks for nothing.
    let (status, same) = change(json!({"mounts": one, "region": region})).await;
    assert_eq!(status, 200, "{same}");
    let (status, refused) = change(json!({"mounts": two})).await;
    assert_eq!(status, 400, "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("stop it first"), "{message}");
    let (_, found) = ask(&server, "GET", path, "").await;
    assert_eq!(found["sandbox"]["mounts"], one, "nothing is half done");

    let stop = format!(
        "/v2/sandboxes/sessions/{}/stop",
        session["session"]["id"].as_str().unwrap()
    );
    ask(&server, "POST", &stop, "").await;
    let (status, changed) = change(json!({"mounts": two, "env": {"A": "2"}})).await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(changed["sandbox"]["mounts"], two);
    // What is not mounted any more can go, and what is cannot.
    let delete = async |drive: &str| {
        let path = format!("/v2/sandboxes/drives/{drive}");
        ask(&server, "DELETE", &path, "").await.0
    };
    assert_eq!((delete("one").await, delete("two").await), (200, 409));
    for wrong in [
        json!({"mounts": {"/x": {"drive": "one"}}}),
        json!({"mounts": {"/proc/x": {"drive": "two"}}}),
        json!({"env": {"": "x"}}),
        json!({"region": "mars"}),
    ] {
        let (status, refused) = change(wrong.clone()).await;
        assert!(matches!(status, 400 | 404), "{wrong}: {refused}");
    }

    let resumed = format!("{path}?resume=true");
    let (status, again) = ask(&server, "GET", &resumed, "").await;
    assert_eq!((status, &again["resumed"]), (200, &json!(true)));
    assert_eq!(again["sandbox"]["mounts"], two);
    let last = server.kit.runner.orders().pop().unwrap();
    let Goal::Running(spec) = last.goal else {
        panic!("{last:?}");
    };
    assert_eq!(spec.env.get("A").map(String::as_str), Some("2"));
    assert!(!spec.env.contains_key("B"), "it is the whole");
    let mounts: Vec<_> = spec.volumes.iter().collect();
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0].mount_path, "/other");
    assert!(mounts[0].is_read_only);
}

#[tokio::test]
async fn a_fork_of_a_drive_is_a_drive_of_the_same_size_and_project() {
    let server = Server::start().await;
    let body = json!({"projectId": "p", "maxSizeBytes": 64 << 20}).to_string();
    let (_, source) = ask(&server, "POST", "/v2/sandboxes/drives/data", &body).await;
    let path = "/v2/sandboxes/drives/data/fork?projectId=p";
    let name = r#"{"name":"copy"}"#;
    let (status, forked) = ask(&server, "POST", path, name).await;
    assert_eq!(status, 201, "{forked}");
    assert_no_null(&forked, "");
    let drive = &forked["drive"];
    assert_eq!(
        (&drive["name"], &drive["projectId"], &drive["maxSizeBytes"]),
        (&json!("copy"), &json!("p"), &json!(64 << 20))
    );
    assert_eq!(drive["parentDriveId"], source["drive"]["id"]);
    let (_, found) = ask(&server, "GET", "/v2/sandboxes/drives/copy?projectId=p", "").await;
    assert_eq!(found["drive"]["id"], drive["id"]);
    let volumes = server.kit.runner.volumes();
    let sizes: Vec<u64> = volumes.values().copied().collect();
    assert_eq!(sizes, [64 << 20; 2]);
    for (path, body, status) in [
        (path, name, 409),
        (path, r#"{"name":"a b"}"#, 400),
        (path, "{}", 400),
        (
            "/v2/sandboxes/drives/data/fork?projectId=q",
            r#"{"name":"x"}"#,
            404,
        ),
        ("/v2/sandboxes/drives/none/fork", r#"{"name":"x"}"#, 404),
    ] {
        let (found, refused) = ask(&server, "POST", path, body).await;
        assert_eq!(found, status, "{path} {body} {refused}");
    }
}
