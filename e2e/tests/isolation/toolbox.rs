//! What the agent tells of its sandbox that it cannot learn from the kernel's general tables, and what it reaches
//! through the filter that it is under itself.

use alcove_domain::SandboxId;
use alcove_e2e::runner::TestRunner;
use alcove_e2e::wait;
use serde_json::Value;

async fn get(host: &TestRunner, id: &SandboxId, path: &str) -> Value {
    let (status, answer) = host.call(id, "GET", path, Vec::new().into()).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test]
async fn metrics_are_those_of_the_sandbox_and_not_of_the_host() {
    let host = TestRunner::start().await;
    let id = host.run("measured").await;
    let resources = host.spec().resources;
    let before = get(&host, &id, "/system/metrics").await;
    assert_eq!(before["memTotal"], resources.memory_bytes);
    assert_eq!(before["cpuCount"], 1);
    let number = |metrics: &Value, name: &str| metrics[name].as_u64().unwrap();
    assert!(number(&before, "diskTotal") <= resources.disk_bytes);
    assert!(number(&before, "memUsed") < resources.memory_bytes / 2);

    let fill = "head -c 33554432 /dev/zero >/dev/shm/x && timeout 20 sh -c 'while :; do :; done' >/dev/null 2>&1 &";
    host.execute(&id, fill).await;
    wait::until("memory and processor are in use", async || {
        let now = get(&host, &id, "/system/metrics").await;
        let has_grown = number(&now, "memUsed") > number(&before, "memUsed") + (30 << 20);
        if has_grown && now["cpuUsedPct"].as_f64().unwrap() > 10.0 {
            return Ok(());
        }
        Err(now.to_string())
    })
    .await;
}

#[tokio::test]
async fn what_listens_inside_is_seen_and_reached_and_nothing_of_the_host() {
    let host = TestRunner::start().await;
    let id = host.run("listening").await;
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(
        get(&host, &id, "/port").await["ports"],
        serde_json::json!([])
    );
    let serve =
        "mkdir -p /tmp/www && echo inside >/tmp/www/x && httpd -p 127.0.0.1:3456 -h /tmp/www";
    assert_eq!(host.execute(&id, serve).await.0, 0);
    wait::until("the server listens", async || {
        let ports = get(&host, &id, "/port").await["ports"].to_string();
        if ports == "[3456]" {
            Ok(())
        } else {
            Err(ports)
        }
    })
    .await;
    let in_use = get(&host, &id, "/port/3456/in-use").await;
    assert_eq!(in_use["isInUse"], true);
    let proxied = async |port: u16| {
        let path = format!("/proxy/{port}/x");
        host.call(&id, "GET", &path, Vec::new().into()).await
    };
    let (status, body) = proxied(3456).await;
    assert_eq!((status, &body[..]), (200, &b"inside\n"[..]));
    let port = foreign.local_addr().unwrap().port();
    assert_eq!(proxied(port).await.0, 502, "the host's loopback is another");
}
