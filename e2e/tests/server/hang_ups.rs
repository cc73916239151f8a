//! A client that goes away in the middle of a call.

use std::time::Instant;

use alcove_api_types::daytona::SandboxState;
use alcove_e2e::server::{Dice, Port, TestServer};
use alcove_e2e::wait;
use tokio::io::AsyncWriteExt;

use crate::support::{becomes, make, named, run, state};

const ROUNDS: u32 = 6;

#[tokio::test]
async fn a_client_that_hangs_up_during_a_create_leaves_a_whole_sandbox_or_none() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let mut dice = Dice::roll_out("hang-up during a create");
    let start = Instant::now();
    make(&client, "measured").await;
    let span = start.elapsed();
    for round in 0..ROUNDS {
        let name = format!("box-{round}");
        let body = serde_json::to_string(&named(&name)).unwrap();
        let raw = server.raw();
        let mut stream = raw.connect().await;
        let head = raw.head("POST", "/api/sandbox", "application/json", body.len());
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
        tokio::time::sleep(dice.moment(span, round, ROUNDS)).await;
        drop(stream);
    }
    // What was written down before the caller went is made, the rest never was. A server that stopped has no
    // call under way any more, so that nothing comes later.
    server.stop().await;
    server.restart(Port::New).await;
    let client = server.client();
    for round in 0..ROUNDS {
        let name = format!("box-{round}");
        if state(&client, &name).await.is_some() {
            becomes(&client, &name, SandboxState::Started).await;
            run(&client, &name, "true").await;
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_within_the_body_of_a_create_makes_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    let body = serde_json::to_string(&named("never")).unwrap();
    let raw = server.raw();
    let head = raw.head("POST", "/api/sandbox", "application/json", body.len());
    for cut in [0, 1, body.len() / 2, body.len() - 1] {
        let mut stream = raw.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body.as_bytes()[..cut]).await.unwrap();
        drop(stream);
    }
    make(&client, "later").await;
    assert_eq!(state(&client, "never").await, None);
    // The positive control: the same bytes, all of them, make it.
    let whole = raw.ask("POST", "/api/sandbox", body).await;
    assert_eq!(whole.status, http::StatusCode::OK);
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_during_an_upload_leaves_the_old_file_and_nothing_else() {
    const LENGTH: usize = 4 << 20;
    let server = TestServer::start().await;
    let client = server.client();
    let made = make(&client, "box").await;
    let toolbox = client.toolbox(&made).unwrap();
    toolbox.upload("old", b"old").await.unwrap();
    let raw = server.raw();
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\
                Content-Type: application/octet-stream\r\n\r\n";
    for (round, call) in ["upload", "upload-v2", "bulk-upload"]
        .into_iter()
        .enumerate()
    {
        for target in ["old", "new"] {
            for sent in [0, 1, LENGTH / 2, LENGTH - 1] {
                let path = format!("/toolbox/{}/files/{call}?path={target}", made.id);
                let part = if call == "bulk-upload" {
                    format!(
                        "--b\r\nContent-Disposition: form-data; name=\"files[0].path\"\r\n\r\n\
                         {target}\r\n{}",
                        part.replace("name=\"file\"", "name=\"files[0].file\"")
                    )
                } else {
                    part.to_owned()
                };
                let kind = "multipart/form-data; boundary=b";
                let head = raw.head("POST", &path, kind, part.len() + LENGTH);
                let mut stream = raw.connect().await;
                stream
                    .write_all(format!("{head}{part}").as_bytes())
                    .await
                    .unwrap();
                stream.write_all(&vec![b'x'; sent]).await.unwrap();
                stream.flush().await.unwrap();
                drop(stream);
            }
        }
        wait::until("the agent has given up the uploads", async || {
            let open = run(
                &client,
                "box",
                "ls -l /proc/1/fd 2>/dev/null | grep -c deleted || true",
            );
            let (open, files) = (open.await, run(&client, "box", "ls -A").await);
            if files == "old\n" {
                Ok(())
            } else {
                Err((round, open, files))
            }
        })
        .await;
        assert_eq!(
            &toolbox.download("old").await.unwrap()[..],
            b"old",
            "{call}"
        );
    }
    // The positive control: the same call, whole, changes the file.
    toolbox.upload("old", b"new").await.unwrap();
    assert_eq!(&toolbox.download("old").await.unwrap()[..], b"new");
    server.finish().await;
}

#[tokio::test]
async fn a_command_goes_on_when_its_client_hangs_up() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = make(&client, "box").await;
    let raw = server.raw();
    let body =
        r#"{"command": "touch begun; while ! test -e go; do sleep 0.05; done; echo done > end"}"#;
    let path = format!("/toolbox/{}/process/execute", made.id);
    let mut stream = raw.connect().await;
    let head = raw.head("POST", &path, "application/json", body.len());
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let file_comes = async |file: &str| {
        wait::until(&format!("{file} is there"), async || {
            let files = run(&client, "box", "ls").await;
            if files.lines().any(|line| line == file) {
                Ok(())
            } else {
                Err(files)
            }
        })
        .await;
    };
    file_comes("begun").await;
    drop(stream);
    // Another caller lets it go on; it could not have ended before.
    run(&client, "box", "touch go").await;
    file_comes("end").await;
    assert_eq!(run(&client, "box", "cat end").await, "done\n");
    server.finish().await;
}
