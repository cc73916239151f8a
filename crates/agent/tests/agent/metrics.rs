use std::time::Instant;

use crate::support::TestAgent;

#[tokio::test]
async fn metrics_are_those_of_the_machine_where_the_agent_has_no_limits() {
    let agent = TestAgent::start().await;
    let first = agent.get("/system/metrics").await.expect(200).json();
    let number = |name: &str| {
        first[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {first}"))
    };
    assert_eq!(
        number("cpuCount"),
        std::thread::available_parallelism().unwrap().get() as u64
    );
    assert!(number("memTotal") > number("memUsed") && number("memUsed") > 0);
    assert!(number("diskTotal") >= number("diskUsed") + number("diskFree"));
    assert!(number("timestampUnix") > 1_700_000_000);
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(first["cpuUsedPct"].is_number());
}

#[tokio::test]
async fn processor_time_is_of_the_time_since_the_question_before() {
    let agent = TestAgent::start().await;
    let busy = agent.execute("timeout 2 sh -c 'while :; do :; done'");
    let measured = async {
        agent.get("/system/metrics").await.expect(200);
        let start = Instant::now();
        let second = agent.get("/system/metrics").await.expect(200).json();
        (second["cpuUsedPct"].as_f64().unwrap(), start.elapsed())
    };
    let (_, (percent, took)) = tokio::join!(busy, measured);
    // Others use this machine too, so that there is no upper bound to it.
    assert!(percent > 1.0 && percent <= 100.0, "{percent}");
    assert!(took.as_secs() < 5);
}

#[tokio::test]
async fn asking_side_by_side_is_answered() {
    let agent = TestAgent::start().await;
    let ask = async || agent.get("/system/metrics").await.expect(200);
    tokio::join!(ask(), ask(), ask());
}
