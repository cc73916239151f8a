//! Ways round a list of names, from inside of a sandbox. Each attempt gets through once the same sandbox is open.

use alcove_domain::NetworkPolicy;
use alcove_e2e::runner::TestRunner;
use alcove_runner_api::{Goal, NetworkSpec, SandboxSpec, Work};

use crate::support::{HostProcess, Inside};
use crate::world::{ELSEWHERE, HOST, INTERNET, expect_closed, in_world};

/// The host's own name server: it has an address of the loopback, where no sandbox can ask it.
const NAME_SERVER: &str = "127.0.0.9:5353";

fn network(version: u64, domains: &[&str]) -> NetworkSpec {
    NetworkSpec {
        version,
        policy: NetworkPolicy {
            allow_domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
            ..NetworkPolicy::default()
        },
        ..NetworkSpec::default()
    }
}

async fn change(inside: &Inside<'_>, network: NetworkSpec) {
    let version = network.version;
    let report = inside
        .host
        .apply(&inside.id, 1, Goal::Networked(network))
        .await;
    assert_eq!(report.work, Some(Work::Done { image: None }));
    assert_eq!(report.network_version, Some(version));
}

#[test]
fn a_list_of_names_is_not_got_round() {
    in_world(|| async move {
        let mut names = HostProcess::hold(&format!(
            "serve-names {NAME_SERVER} a.example={INTERNET} b.example={INTERNET} other.example={ELSEWHERE} \
             private.example=10.9.9.9 metadata.example=169.254.169.254 host.example={HOST}"
        ));
        let host = TestRunner::start_with(|mut config| {
            config.network.dns_servers = vec![NAME_SERVER.parse().unwrap()];
            config
        })
        .await;
        let resolver = format!("{}:53", host.config.network.pool.gateway());
        let listed = network(
            1,
            &[
                "a.example",
                "private.example",
                "metadata.example",
                "host.example",
            ],
        );
        let with = |spec: SandboxSpec| SandboxSpec {
            network: listed,
            ..spec
        };
        let inside = Inside::start(&host, "listed", with).await;
        let resolve = async |name: &str| inside.probe(&format!("resolve {resolver} {name}")).await;
        let hello = async |name: &str| inside.probe(&format!("hello {INTERNET}:443 {name}")).await;
        let direct: Vec<String> = [
            format!("tcp {INTERNET}:443"),
            format!("tcp {INTERNET}:8080"),
            format!("tcp {ELSEWHERE}:443"),
            format!("udp {INTERNET}:443"),
            format!("udp {ELSEWHERE}:53"),
            format!("tcp {ELSEWHERE}:53"),
            format!("ping {INTERNET}"),
        ]
        .to_vec();
        expect_closed(&inside, &direct).await;

        assert_eq!(resolve("a.example").await, format!("ok {INTERNET}"));
        assert_eq!(hello("a.example").await, "ok hello");
        for name in ["b.example", "other.example", "secret.tunnel.example"] {
            assert_eq!(resolve(name).await, "ok code 3", "{name}");
        }
        // The alert of TLS for "access denied".
        let denied = "ok \\u{15}\\u{3}\\u{3}\\0\\u{2}\\u{2}1";
        for name in ["b.example", "other.example", "xa.example"] {
            assert_eq!(hello(name).await, denied, "{name}");
        }
        let request = inside
            .probe(&format!("request {INTERNET}:443 b.example"))
            .await;
        assert!(
            request.contains("403") && request.contains("may not reach b.example"),
            "{request}"
        );
        for name in ["private.example", "metadata.example", "host.example"] {
            assert_eq!(resolve(name).await, "ok", "{name} has no address");
        }
        expect_closed(&inside, &direct[1..]).await;
        let gateway = host.config.network.pool.gateway();
        let inner =
            ["10.9.9.9", "169.254.169.254", HOST].map(|address| format!("tcp {address}:443"));
        expect_closed(&inside, &inner).await;
        expect_closed(&inside, &[format!("connect {gateway}:54")]).await;

        // The control: without a list the same attempts get through.
        change(&inside, network(2, &[])).await;
        for (attempt, outcome) in direct.iter().zip(inside.probes(&direct).await) {
            assert!(
                outcome.starts_with("ok"),
                "the control: {attempt}: {outcome}"
            );
        }
        assert_eq!(resolve("b.example").await, format!("ok {INTERNET}"));
        assert_eq!(hello("b.example").await, "ok hello");
        assert_eq!(resolve("open.tunnel.example").await, "ok code 3");
        assert_eq!(resolve("private.example").await, "ok 10.9.9.9");

        // And back, while it runs.
        change(&inside, network(3, &["other.example"])).await;
        expect_closed(&inside, &direct).await;
        assert_eq!(resolve("a.example").await, "ok code 3");
        assert_eq!(resolve("other.example").await, format!("ok {ELSEWHERE}"));
        assert_eq!(
            inside
                .probe(&format!("hello {ELSEWHERE}:443 other.example"))
                .await,
            "ok hello"
        );

        names.end();
        let asked = names.output();
        assert!(asked.contains("open"), "the control: {asked}");
        assert!(
            !asked.contains("secret"),
            "a question for an unlisted name left the host: {asked}"
        );
    });
}
