//! What a list of names is worth while the server is killed, and what the next one makes of it.

use alcove_agent_api::ExecuteRequest;
use alcove_api_types::daytona::{CreateSandbox, UpdateSandboxNetworkSettings};
use alcove_client::{Client, Toolbox};
use alcove_e2e::server::{Setup, TestServer};
use alcove_e2e::wait;

use crate::support::{HostProcess, PROBE, program};
use crate::world::{ELSEWHERE, INTERNET, in_world};

const NAME_SERVER: &str = "127.0.0.9:5353";

async fn run(inside: &Toolbox, command: &str) -> String {
    let request = ExecuteRequest {
        command: command.to_owned(),
        ..ExecuteRequest::default()
    };
    inside
        .execute(&request)
        .await
        .unwrap()
        .result
        .trim_end()
        .to_owned()
}

async fn toolbox(client: &Client) -> Toolbox {
    let sandbox = client.get("box").await.unwrap();
    client.toolbox(&sandbox).unwrap()
}

/// Looks a name up and says it to the address that all names here share.
async fn reaches(client: &Client, name: &str) -> bool {
    let inside = toolbox(client).await;
    let resolver = "$(awk '/nameserver/ {print $2}' /etc/resolv.conf):53";
    let found = run(&inside, &format!("{PROBE} resolve {resolver} {name}")).await;
    let greeted = run(&inside, &format!("{PROBE} hello {INTERNET}:443 {name}")).await;
    assert_eq!(
        found.contains(INTERNET),
        greeted == "ok hello",
        "{name}: {found}, {greeted}"
    );
    greeted == "ok hello"
}

async fn in_force(client: &Client, list: &str) {
    wait::until("the list is in force", async || {
        let found = client.get("box").await.unwrap();
        let is_done =
            found.domain_allow_list.as_deref() == Some(list) && found.error_reason.is_none();
        if is_done { Ok(()) } else { Err(found) }
    })
    .await;
}

#[test]
fn a_list_holds_while_the_server_is_killed_and_its_names_are_reached_again_from_the_next() {
    in_world(|| async move {
        let _names = HostProcess::hold(&format!(
            "serve-names {NAME_SERVER} a.example={INTERNET} b.example={INTERNET}"
        ));
        let setup = Setup {
            dns_servers: vec![NAME_SERVER.to_owned()],
            ..Setup::default()
        };
        let mut server = TestServer::start_with(setup).await;
        let client = server.client();
        let create = CreateSandbox {
            name: Some("box".to_owned()),
            domain_allow_list: Some("a.example".to_owned()),
            ..CreateSandbox::default()
        };
        client.create(&create).await.unwrap();
        let inside = toolbox(&client).await;
        let bytes = std::fs::read(program()).unwrap();
        inside.upload(PROBE, &bytes).await.unwrap();
        run(&inside, &format!("chmod 755 {PROBE}")).await;
        assert!(reaches(&client, "a.example").await, "the control");
        // Goes on while no server does: nothing that is not listed may ever answer.
        let tries = format!(
            "while :; do for way in 'tcp {INTERNET}:8080' 'udp {ELSEWHERE}:53' 'hello {INTERNET}:443 b.example'; do \
             {PROBE} $way; done >>/tmp/tries; echo round >>/tmp/rounds; sleep 0.1; done >/dev/null 2>&1 &"
        );
        run(&inside, &tries).await;
        for _ in 0..3 {
            let client = server.client();
            assert!(reaches(&client, "a.example").await);
            assert!(!reaches(&client, "b.example").await);
            server.kill_and_restart().await;
        }
        for (place, list) in [
            ("runner:NetworkNoted", "b.example"),
            ("runner:NetworkSet", "a.example"),
        ] {
            server.doom(place).await;
            let client = server.client();
            let settings = UpdateSandboxNetworkSettings {
                domain_allow_list: Some(list.to_owned()),
                ..UpdateSandboxNetworkSettings::default()
            };
            let change = client.set_network("box", &settings);
            // Until here b.example was not listed, and from here on it may be.
            if list == "b.example" {
                run(&toolbox(&client).await, "cp /tmp/tries /tmp/before").await;
            }
            let (_, ()) = tokio::join!(change, server.dies_and_restarts());
            let client = server.client();
            in_force(&client, list).await;
            for name in ["a.example", "b.example"] {
                assert_eq!(
                    reaches(&client, name).await,
                    name == list,
                    "{place}: {name}"
                );
            }
        }
        let client = server.client();
        let inside = toolbox(&client).await;
        let got_out = run(&inside, "grep -c -e 'ok hello' -e 'ok echo' /tmp/before").await;
        assert_eq!(got_out, "0");
        wait::until("it has tried and goes on", async || {
            let rounds: u32 = run(&inside, "wc -l </tmp/rounds").await.parse().unwrap();
            if rounds >= 3 { Ok(()) } else { Err(rounds) }
        })
        .await;
        let other = UpdateSandboxNetworkSettings {
            network_block_all: Some(false),
            ..UpdateSandboxNetworkSettings::default()
        };
        client.set_network("box", &other).await.unwrap();
        wait::until("the control: opened, the same tries get out", async || {
            let last = run(&inside, "tail -n 3 /tmp/tries").await;
            let got_out = last.contains("ok hello") && last.contains("ok echo");
            if got_out { Ok(()) } else { Err(last) }
        })
        .await;
        server.finish().await;
    });
}
