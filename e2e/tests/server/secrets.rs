//! Secrets that were used lie nowhere to be read: not in the database, the logs, the journal, a backup, or anything else that
//! the server keeps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alcove_api_types::daytona::CreateSandbox;
use alcove_e2e::server::{Folder, KEY, Raw, TestServer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{labels, named, run};

const PASSWORD: &str = "a-pass-phrase-of-somebody";
const PROXY_PASSWORD: &str = "pass-of-the-proxy-of-a-sandbox";
const VARIABLE: &str = "value-of-a-secret-variable";
const LABEL: &str = "label-that-everybody-may-read";

/// What was used, by what it is for.
type Used = Vec<(&'static str, String)>;

async fn ask(raw: &Raw, method: &str, path: &str, body: Value) -> Value {
    let answer = raw.ask(method, path, body.to_string()).await;
    assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

fn text(value: &Value, name: &str) -> String {
    let found = value[name].as_str();
    let found = found.unwrap_or_else(|| panic!("no {name} in {value}"));
    assert!(found.len() >= 8, "{name} is too short to look for");
    found.to_owned()
}

/// Credentials of people: a link, a password, a session, an authenticator.
async fn sign_in(raw: &Raw, used: &mut Used) {
    let me = ask(raw, "GET", "/api/users/me", Value::Null).await;
    let path = format!(
        "/api/admin/users/{}/password-link",
        me["id"].as_str().unwrap()
    );
    let link = text(&ask(raw, "POST", &path, json!({})).await, "url");
    let token = link.split_once('#').unwrap().1.to_owned();
    let nobody = raw.with_authorization(None);
    let body = json!({"token": token, "password": PASSWORD});
    ask(&nobody, "POST", "/api/auth/set-password", body).await;
    let wrong = json!({"username": "admin@localhost", "password": "a-wrong-pass-phrase"});
    let answer = nobody.ask("POST", "/api/auth/sign-in", wrong.to_string());
    assert_eq!(answer.await.status, 401);
    let body = json!({"username": "admin@localhost", "password": PASSWORD});
    let answer = nobody
        .ask("POST", "/api/auth/sign-in", body.to_string())
        .await;
    assert!(answer.status.is_success(), "{answer:?}");
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let csrf = text(&answer.json(), "csrfToken");
    let session = nobody
        .with_header("Cookie", cookie)
        .with_header("X-CSRF-Token", &csrf);
    let begun = json!({"password": PASSWORD});
    let begun = ask(&session, "POST", "/api/auth/totp", begun).await;
    used.push(("the link of a password", token));
    used.push(("a password", PASSWORD.to_owned()));
    used.push(("a wrong password", "a-wrong-pass-phrase".to_owned()));
    used.push(("a session", cookie.split_once('=').unwrap().1.to_owned()));
    used.push(("an authenticator", text(&begun, "secret")));
}

/// Credentials that an organization keeps or is given.
async fn organize(raw: &Raw, used: &mut Used) {
    let body = json!({"name": "another", "permissions": []});
    let key = text(&ask(raw, "POST", "/api/api-keys", body).await, "value");
    let with_key = raw.with_authorization(Some(&format!("Bearer {key}")));
    ask(&with_key, "GET", "/api/sandbox", Value::Null).await;
    let unknown = "dtn_a-key-that-nobody-has";
    let stranger = raw.with_authorization(Some(&format!("Bearer {unknown}")));
    let refused = stranger.ask("GET", "/api/sandbox", "").await;
    assert_eq!(refused.status, 401);
    let password = "pass-of-a-registry";
    let body = json!({"name": "mine", "url": "registry.example.com", "username": "me", "password": password});
    ask(raw, "POST", "/api/docker-registry", body).await;
    let body = json!({"name": "kept", "value": "a-secret-that-is-kept"});
    ask(raw, "POST", "/api/secret", body).await;
    used.push(("a kept secret", "a-secret-that-is-kept".to_owned()));
    ask(raw, "GET", "/api/api-keys/current", Value::Null).await;
    let organizations = ask(raw, "GET", "/api/organizations", Value::Null).await;
    let org = organizations[0]["id"].as_str().unwrap().to_owned();
    let endpoints = format!("/api/webhooks/organizations/{org}/endpoints");
    let body = json!({"url": "https://hooks.example.com/"});
    let made = ask(raw, "POST", &endpoints, body).await;
    let webhook = text(&made, "secret");
    used.push(("an API key", key));
    used.push(("the administrator's key", KEY.to_owned()));
    used.push(("an unknown key", unknown.to_owned()));
    used.push(("the password of a registry", password.to_owned()));
    let path = "/api/docker-registry/registry-push-access";
    let access = ask(raw, "GET", path, Value::Null).await;
    used.push(("access to the registry", text(&access, "secret")));
    let access = ask(raw, "GET", "/api/object-storage/push-access", Value::Null).await;
    used.push(("access to the storage", text(&access, "secret")));
    used.push(("a session of the storage", text(&access, "sessionToken")));
    let bytes = webhook.strip_prefix("whsec_").unwrap();
    used.push(("the secret of a webhook", bytes.to_owned()));
}

/// Credentials of one sandbox.
async fn use_sandbox(raw: &Raw, used: &mut Used) {
    let access = ask(raw, "POST", "/api/sandbox/box/ssh-access", Value::Null).await;
    let token = text(&access, "token");
    let path = format!("/api/sandbox/ssh-access/validate?token={token}");
    ask(raw, "GET", &path, Value::Null).await;
    used.push(("a token for SSH", token));
    let preview = ask(
        raw,
        "GET",
        "/api/sandbox/box/ports/8080/preview-url",
        Value::Null,
    )
    .await;
    used.push(("a token of previews", text(&preview, "token")));
    let path = "/api/sandbox/box/ports/8080/signed-preview-url";
    let signed = ask(raw, "GET", path, Value::Null).await;
    used.push(("a signed preview", text(&signed, "token")));
    let id = ask(raw, "GET", "/api/sandbox/box", Value::Null).await;
    let id = text(&id, "id");
    let password = "token-for-a-git-server";
    let body = json!({"url": "http://127.0.0.1:9/x.git", "path": "x", "username": "me", "password": password});
    let clone = format!("/toolbox/{id}/git/clone");
    let refused = raw.ask("POST", &clone, body.to_string()).await;
    assert!(!refused.status.is_success(), "{refused:?}");
    used.push(("a password for git", password.to_owned()));
}

#[tokio::test]
async fn no_secret_that_was_used_can_be_read_from_what_the_server_keeps() {
    let server = TestServer::start().await;
    let (client, raw) = (server.client(), server.raw());
    let mut used = Used::new();
    let proxy = format!("http://me:{PROXY_PASSWORD}@proxy.example.com:3128");
    let request = CreateSandbox {
        env: labels(&[("SECRET", VARIABLE)]),
        labels: labels(&[("label", LABEL)]),
        outbound_proxy_url: Some(proxy),
        ..named("box")
    };
    client.create(&request).await.unwrap();
    let told = run(&client, "box", "echo $SECRET $HTTP_PROXY").await;
    assert!(
        told.contains(VARIABLE) && told.contains(PROXY_PASSWORD),
        "{told}"
    );
    used.push(("the proxy of a sandbox", PROXY_PASSWORD.to_owned()));
    sign_in(&raw, &mut used).await;
    organize(&raw, &mut used).await;
    use_sandbox(&raw, &mut used).await;

    let place = Folder::plain();
    let backup = place.path().join("backup");
    let data_dir = server.instance.data_dir();
    let program = std::env::var_os("ALCOVE_BIN").unwrap();
    let mut command = Command::new(program);
    command
        .arg("backup")
        .arg(&backup)
        .arg("--data-dir")
        .arg(data_dir);
    command.arg("--without-keys");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");

    // While it runs, and the sandbox with it: the journal has what it has of a sandbox that runs.
    let mut kept = files(data_dir);
    kept.extend(files(&backup));
    let log = data_dir.parent().unwrap().join("server.log");
    assert!(log.exists());
    kept.push(log.clone());
    for (what, secret) in &used {
        assert_eq!(
            having(&kept, secret),
            Vec::<PathBuf>::new(),
            "{what}: {secret}"
        );
    }
    // Variables are settings that the API shows; the database has them, and nothing else.
    for file in having(&kept, VARIABLE) {
        assert!(is_database(&file), "a variable is in {}", file.display());
    }

    // The controls: what is no secret is found, in each of these places.
    let labelled = having(&kept, LABEL);
    let in_both = [data_dir, backup.as_path()].map(|folder| {
        let mut found = labelled.iter().filter(|file| file.starts_with(folder));
        found.any(|file| is_database(file))
    });
    assert_eq!(in_both, [true, true], "{labelled:?}");
    let id = client.get("box").await.unwrap().id;
    let journal = data_dir.join(format!("runner/journal/{id}.json"));
    let named = having(&kept, &id);
    assert!(named.contains(&journal), "{named:?}");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    server.finish().await;
}

fn is_database(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    name.starts_with("alcove.db")
}

/// What is kept below a folder, but for the keys themselves, and what sandboxes write to their own disks.
fn files(folder: &Path) -> Vec<PathBuf> {
    const KEYS: [&str; 3] = ["sealing.key", "admin.key", "ssh_host_ed25519_key"];
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let below = path.strip_prefix(folder).unwrap().to_str().unwrap();
            let is_passed_over = KEYS.contains(&below)
                || ["images/layers", "runner/disks", "parts"].contains(&below);
            if is_passed_over {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found
}

/// Files with a text in them: as it is, in hexadecimal, or in base 64.
fn having(files: &[PathBuf], wanted: &str) -> Vec<PathBuf> {
    let hex = hex::encode(wanted);
    let base64 = STANDARD.encode(wanted);
    let forms = [wanted, &hex, base64.trim_end_matches('=')].map(str::as_bytes);
    let has = |file: &&PathBuf| {
        // What was there a moment ago may have gone.
        let bytes = fs::read(file).unwrap_or_default();
        forms
            .iter()
            .any(|form| bytes.windows(form.len()).any(|window| window == *form))
    };
    files.iter().filter(has).cloned().collect()
}
