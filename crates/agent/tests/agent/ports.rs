use std::net::TcpListener;

use serde_json::json;

use crate::support::TestAgent;

/// A listener on a port that the API may be asked about.
fn listen(address: &str) -> Option<TcpListener> {
    (3000..=9999)
        .rev()
        .find_map(|port| TcpListener::bind(format!("{address}:{port}")).ok())
}

#[tokio::test]
async fn listeners_are_seen_on_both_families_and_no_longer_when_they_end() {
    let agent = TestAgent::start().await;
    for address in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
        let Some(listener) = listen(address) else {
            assert!(address.starts_with('['), "no port is free on {address}");
            continue;
        };
        let port = listener.local_addr().unwrap().port();
        let ports = agent.get("/port").await.expect(200).json();
        let ports: Vec<_> = ports["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port.as_u64().unwrap())
            .collect();
        assert!(ports.contains(&port.into()), "{address}");
        assert!(ports.is_sorted_by(|a, b| a < b), "sorted, each once");
        let uri = format!("/port/{port}/in-use");
        assert_eq!(
            agent.get(&uri).await.expect(200).json(),
            json!({ "isInUse": true })
        );
        drop(listener);
        assert_eq!(
            agent.get(&uri).await.expect(200).json(),
            json!({ "isInUse": false })
        );
    }
}

#[tokio::test]
async fn only_ports_of_the_range_may_be_asked_about() {
    let agent = TestAgent::start().await;
    for port in ["2999", "10000", "0", "-1", "x", "+4000", "99999999999"] {
        agent.get(&format!("/port/{port}/in-use")).await.expect(400);
    }
    for port in ["3000", "9999"] {
        agent.get(&format!("/port/{port}/in-use")).await.expect(200);
    }
}
