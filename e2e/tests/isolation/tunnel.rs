//! A tunnel that people use: dns2tcp carries a stream in questions for names and their answers (Debian package dns2tcp).
//!
//! The host's own name server is the far end of the tunnel, so that whatever the resolver passes on arrives.

use std::process::Command;

use alcove_domain::NetworkPolicy;
use alcove_e2e::runner::TestRunner;
use alcove_e2e::wait;
use alcove_runner_api::{Goal, NetworkSpec, SandboxSpec, Work};

use crate::support::{HostProcess, Inside};
use crate::world::{INTERNET, in_world};

const NAME_SERVER: &str = "127.0.0.9";

fn network(version: u64, block_all: bool, domains: &[&str]) -> NetworkSpec {
    NetworkSpec {
        version,
        policy: NetworkPolicy {
            block_all,
            allow_networks: Vec::new(),
            allow_domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
        },
        ..NetworkSpec::default()
    }
}

/// Puts a program of the host into a sandbox, with what it is linked with, and says how to call it there.
async fn bring(inside: &Inside<'_>, program: &str) -> String {
    let linked = Command::new("ldd").arg(program).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    let libraries: Vec<&str> = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .collect();
    inside.expect("mkdir -p /tmp/brought").await;
    let mut loader = None;
    for path in libraries.into_iter().chain([program]) {
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with("ld-") {
            loader = Some(name);
        }
        let bytes = std::fs::read(path).unwrap();
        inside.upload(&format!("/tmp/brought/{name}"), bytes).await;
    }
    inside.expect("chmod 755 /tmp/brought/*").await;
    let loader = loader.expect("it is linked with a loader");
    let name = program.rsplit('/').next().unwrap_or(program);
    format!("/tmp/brought/{loader} --library-path /tmp/brought /tmp/brought/{name}")
}

#[test]
fn a_tunnel_in_questions_for_names_is_closed_by_every_policy_that_names_what_is_open() {
    in_world(|| async move {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings");
        let text = format!(
            "listen = {NAME_SERVER}\nport = 5353\nuser = nobody\nchroot = {}/\ndomain = tunnel.example\n\
             resources = far:{INTERNET}:8080\n",
            folder.path().display()
        );
        std::fs::write(&settings, text).unwrap();
        let mut far_end = Command::new("/usr/bin/dns2tcpd");
        far_end.arg("-F").arg("-f").arg(&settings);
        let _far_end = HostProcess::start(&mut far_end);
        let host = TestRunner::start_with(|mut config| {
            config.network.dns_servers = vec![format!("{NAME_SERVER}:5353").parse().unwrap()];
            config
        })
        .await;
        let open = |spec: SandboxSpec| SandboxSpec {
            network: network(1, false, &[]),
            ..spec
        };
        let inside = Inside::start(&host, "tunnel", open).await;
        let near_end = bring(&inside, "/usr/bin/dns2tcpc").await;
        let gateway = host.config.network.pool.gateway();
        // Asks the far end for what it carries to, so that no port is left open by an attempt.
        let attempt = format!("timeout 20 {near_end} -t 1 -z tunnel.example {gateway} 2>&1");
        let carries = async || {
            let (_, said) = inside.sh(&attempt).await;
            said
        };
        wait::until(
            "the control: an open sandbox reaches the far end",
            async || {
                let said = carries().await;
                if said.contains("far") {
                    Ok(())
                } else {
                    Err(said)
                }
            },
        )
        .await;
        // The whole way: a stream to a machine outside, in questions alone.
        let listen =
            format!("{near_end} -z tunnel.example -r far -l 7070 {gateway} >/dev/null 2>&1 &");
        inside.expect(&listen).await;
        wait::until("the control: the tunnel carries", async || {
            let outcome = inside.probe("tcp 127.0.0.1:7070").await;
            if outcome == "ok hello" {
                Ok(())
            } else {
                Err(outcome)
            }
        })
        .await;

        let policies = [
            network(2, true, &[]),
            network(3, false, &["a.example"]),
            // Not even where the tunnel's own names are listed: only addresses are asked for.
            network(4, false, &["*.tunnel.example", "tunnel.example"]),
        ];
        for policy in policies {
            let change = Goal::Networked(policy.clone());
            let report = host.apply(&inside.id, 1, change).await;
            assert_eq!(report.work, Some(Work::Done { image: None }));
            let said = carries().await;
            assert!(!said.contains("far"), "{policy:?}: {said}");
            let outcome = inside.probe("tcp 127.0.0.1:7070").await;
            assert_ne!(outcome, "ok hello", "{policy:?}: the tunnel that stood");
        }
        let change = Goal::Networked(network(5, false, &[]));
        host.apply(&inside.id, 1, change).await;
        let said = carries().await;
        assert!(said.contains("far"), "the control: {said}");
    });
}
