//! A certificate for a public name, from an authority that speaks ACME, had by the whole server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alcove_e2e::server::{Port, Setup, TestServer};
use alcove_e2e::wait;
use alcove_testkit::acme::{Names, Pebble};
use serde_json::Value;

const NAME: &str = "box.example.com";

/// Of the folder `tls/acme`; None if it is not there.
fn record(server: &TestServer, file: &str) -> Option<Value> {
    let path = server.instance.data_dir().join("tls/acme").join(file);
    let text = fs::read(path).ok()?;
    let record: Value = serde_json::from_slice(&text).ok()?;
    Some(record["kept"].clone())
}

/// What curl says: whether it went well, and what it printed.
fn curl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(arguments)
        .env_remove("https_proxy")
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// A file with what the authority's certificates are trusted by.
fn roots(authority: &Pebble, folder: &Path) -> PathBuf {
    let own = authority.root();
    let (is_done, pem) = curl(&["--cacert", own.to_str().unwrap(), &authority.roots_url()]);
    assert!(is_done, "{pem}");
    let path = folder.join("roots.pem");
    fs::write(&path, pem).unwrap();
    path
}

/// Asks the server by its name, trusting this authority and nobody else.
fn ask(server: &TestServer, roots: &Path, name: &str) -> (bool, String) {
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    curl(&[
        "--cacert",
        roots.to_str().unwrap(),
        "--resolve",
        &format!("{name}:{port}:127.0.0.1"),
        &format!("https://{name}:{port}/api/health"),
    ])
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn an_order_that_a_kill_cut_short_is_gone_on_with_and_its_certificate_served_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::start();
    let authority = Pebble::start(names.address(), 1, 1, 0).await;
    let roots = roots(&authority, folder.path());
    // Its own folder goes with it, and it goes before the server does.
    let own = folder.path().join("own.pem");
    fs::copy(authority.root(), &own).unwrap();
    // The program for DNS returns when the test wants it to.
    let go_on = folder.path().join("go-on");
    let hook = names.hook(
        folder.path(),
        &format!("while [ ! -e {} ]; do sleep 0.05; done", go_on.display()),
    );
    let redirect = free_port();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut server = TestServer::start_with(Setup {
        arguments: vec![
            "--acme-name".to_owned(),
            NAME.to_owned(),
            "--acme-directory".to_owned(),
            authority.directory(),
            "--acme-root".to_owned(),
            text(&own),
            "--acme-dns-hook".to_owned(),
            text(&hook),
            "--redirect-listen".to_owned(),
            format!("127.0.0.1:{redirect}"),
        ],
        ..Setup::default()
    })
    .await;
    wait::until("the order waits for DNS", async || {
        let order = record(&server, "order.json");
        if !names.is_empty() && order.is_some() {
            Ok(())
        } else {
            Err(server.log())
        }
    })
    .await;
    assert!(!ask(&server, &roots, NAME).0, "there is no certificate yet");
    let begun = record(&server, "order.json").unwrap();
    let account = record(&server, "account.json").unwrap();
    assert_eq!(begun["names"][0], NAME);

    server.kill();
    fs::write(&go_on, "").unwrap();
    server.restart(Port::Same).await;
    wait::until("the certificate is shown", async || {
        let (is_shown, said) = ask(&server, &roots, NAME);
        if is_shown { Ok(()) } else { Err(said) }
    })
    .await;
    let kept = record(&server, "certificate.json").unwrap();
    // The key is the order's: it was this one that was gone on with.
    assert_eq!(kept["key"], begun["key"]);
    assert_eq!(record(&server, "account.json"), Some(account));
    assert_eq!(record(&server, "order.json"), None);
    wait::until("what was put into DNS is taken away", async || {
        if names.is_empty() {
            Ok(())
        } else {
            Err("it is there")
        }
    })
    .await;
    let (is_trusted, said) = ask(&server, &roots, "other.example.com");
    assert!(!is_trusted, "{said}");

    // The next process shows it at once, and asks nobody.
    drop(authority);
    server.kill_and_restart().await;
    let (is_shown, said) = ask(&server, &roots, NAME);
    assert!(is_shown, "{said}");
    assert_eq!(record(&server, "certificate.json"), Some(kept));

    let (is_answered, said) = curl(&[
        "--resolve",
        &format!("{NAME}:{redirect}:127.0.0.1"),
        "--write-out",
        "%{http_code} %{redirect_url}",
        &format!("http://{NAME}:{redirect}/some/path?a=b"),
    ]);
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let there = format!("308 https://{NAME}:{port}/some/path?a=b");
    assert!(is_answered && said.ends_with(&there), "{said}");
    server.finish().await;
}
