//! `alcove login`: a key for the command line, approved by a person.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use alcove_e2e::server::{Folder, Raw, Setup, TestServer};
use serde_json::{Value, json};

const PASSWORD: &str = "a-pass-phrase-of-somebody";

/// The command line of somebody who has nothing but this file.
fn alcove(credentials: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("ALCOVE_BIN").expect("ALCOVE_BIN is set");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("DAYTONA_API_KEY")
        .env_remove("DAYTONA_API_URL")
        .env_remove("ALCOVE_DATA_DIR")
        .env("ALCOVE_CREDENTIALS", credentials);
    command
}

fn succeeds(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

async fn ask(raw: &Raw, method: &str, path: &str, body: Value) -> Value {
    let answer = raw.ask(method, path, body.to_string()).await;
    assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// The administrator's browser, signed in.
async fn browser(raw: &Raw) -> Raw {
    let me = ask(raw, "GET", "/api/users/me", Value::Null).await;
    let path = format!(
        "/api/admin/users/{}/password-link",
        me["id"].as_str().unwrap()
    );
    let link = ask(raw, "POST", &path, json!({})).await;
    let (_, token) = link["url"].as_str().unwrap().split_once('#').unwrap();
    let nobody = raw.with_authorization(None);
    let body = json!({"token": token, "password": PASSWORD});
    ask(&nobody, "POST", "/api/auth/set-password", body).await;
    let body = json!({"username": "admin@localhost", "password": PASSWORD});
    let answer = nobody
        .ask("POST", "/api/auth/sign-in", body.to_string())
        .await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let csrf = answer.json()["csrfToken"].as_str().unwrap().to_owned();
    nobody
        .with_header("Cookie", cookie.split(';').next().unwrap())
        .with_header("X-CSRF-Token", &csrf)
}

/// Logs in, while a person approves it in a browser.
async fn log_in(mut login: Command, browser: &Raw) {
    let mut login = login.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(login.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let code = lines.find(|line| line.starts_with("    ")).unwrap();
    let body = json!({"userCode": code.trim(), "approve": true});
    ask(browser, "POST", "/api/auth/device/confirm", body).await;
    let rest: Vec<String> = lines.collect();
    assert!(login.wait().unwrap().success(), "{rest:?}");
}

#[tokio::test]
async fn who_logs_in_with_a_browser_can_act_until_logging_out() {
    let server = TestServer::start().await;
    let (raw, url) = (server.raw(), format!("{}/api", server.url()));
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("alcove").join("credentials.json");
    let browser = browser(&raw).await;

    log_in(alcove(&credentials, &["login", "--url", &url]), &browser).await;
    let mode = fs::metadata(&credentials).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let act = ["action", "list_sandboxes", "--url", &url];
    let told = succeeds(&mut alcove(&credentials, &act));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["success"], true, "{told}");

    let keys = ask(&raw, "GET", "/api/api-keys", Value::Null).await;
    let of_login = |keys: &Value| {
        let names = keys.as_array().unwrap().iter();
        names
            .filter(|key| key["name"].as_str().unwrap().starts_with("login-"))
            .count()
    };
    assert_eq!(of_login(&keys), 1, "{keys}");
    succeeds(&mut alcove(&credentials, &["logout"]));
    let keys = ask(&raw, "GET", "/api/api-keys", Value::Null).await;
    assert_eq!(of_login(&keys), 0, "{keys}");
    let refused = alcove(&credentials, &act).output().unwrap();
    assert!(!refused.status.success());
    server.finish().await;
}

#[tokio::test]
async fn a_server_of_https_is_logged_in_to_if_its_certificate_is_trusted() {
    let folder = Folder::plain();
    let data_dir = folder.data_dir();
    let make = ["tls", "make", "--data-dir", data_dir.to_str().unwrap()];
    let credentials = folder.path().join("credentials.json");
    succeeds(&mut alcove(&credentials, &make));
    let authority = data_dir.join("tls").join("authority.pem");
    let server = TestServer::start_in(folder, Setup::default()).await;
    let raw = server.raw();
    let browser = browser(&raw).await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let url = format!("https://127.0.0.1:{port}/api");
    // Nobody trusts an authority of one machine.
    let login = ["login", "--url", &url];
    let distrusted = alcove(&credentials, &login).output().unwrap();
    assert!(!distrusted.status.success());
    let why = String::from_utf8_lossy(&distrusted.stderr).to_lowercase();
    assert!(why.contains("certificate"), "{why}");

    let mut trusting = alcove(&credentials, &login);
    trusting.env("SSL_CERT_FILE", &authority);
    log_in(trusting, &browser).await;
    let act = ["action", "list_sandboxes", "--url", &url];
    let told = succeeds(alcove(&credentials, &act).env("SSL_CERT_FILE", &authority));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["success"], true, "{told}");
    server.finish().await;
}

#[tokio::test]
async fn what_waits_for_a_person_and_what_that_one_said_outlives_a_kill() {
    let mut server = TestServer::start().await;
    let nobody = server.raw().with_authorization(None);
    let begin = json!({"client_id": "other"});
    let approved = ask(&nobody, "POST", "/api/auth/device/code", begin.clone()).await;
    let denied = ask(&nobody, "POST", "/api/auth/device/code", begin).await;
    let browser = browser(&server.raw()).await;
    server.kill_and_restart().await;
    for (begun, approve) in [(&approved, true), (&denied, false)] {
        let body = json!({"userCode": begun["user_code"], "approve": approve});
        ask(&browser, "POST", "/api/auth/device/confirm", body).await;
    }
    server.kill_and_restart().await;
    let redeem = async |begun: &Value| {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let body =
            json!({"grant_type": grant, "device_code": begun["device_code"], "client_id": "other"});
        let path = "/api/auth/device/token";
        nobody.ask("POST", path, body.to_string()).await.json()
    };
    assert_eq!(redeem(&denied).await["error"], "access_denied");
    let made = redeem(&approved).await;
    assert_eq!(made["token_type"], "Bearer", "{made}");
    // Nor does a kill make a code good once more.
    server.kill_and_restart().await;
    assert_eq!(redeem(&approved).await["error"], "invalid_grant");
    server.finish().await;
}
