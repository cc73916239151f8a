//! Terminals over time: what clients see of them, and how they end.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::pty::{Client, Closed, connect_uri, create, start};
use crate::support::{TestAgent, children_of, eventually, is_running};

#[tokio::test]
async fn all_output_comes_before_the_end_and_the_end_says_how() {
    let agent = start().await;
    let non_zero = json!({ "exitCode": 7, "exitReason": "non-zero exit" });
    let killed = json!({ "exitCode": 137, "exitReason": "SIGKILL" });
    let table = [
        ("seq 200000; exit 7\n", Closed(1011, non_zero)),
        ("seq 200000; exit\n", Closed(1000, json!({ "exitCode": 0 }))),
        ("seq 200000; kill -9 $$\n", Closed(1011, killed)),
    ];
    for (typed, wanted) in table {
        let mut new = Client::create(&agent, "t").await;
        let mut old = Client::connect(&agent, &connect_uri("t"), &[]).await;
        new.until("ready> ").await;
        new.type_in(typed).await;
        let (closed, closed_old) = tokio::join!(new.closed(), old.closed());
        for client in [&new, &old] {
            let text = client.text();
            let lines: Vec<_> = text.lines().collect();
            let last = lines.iter().rposition(|line| *line == "200000");
            assert!(last.is_some(), "{typed}: ends with {:?}", lines.last());
            // The first line may share its own with what the shell tells the terminal.
            let second = lines.iter().position(|line| *line == "2").unwrap();
            assert_eq!(last.unwrap() - second, 199_998, "{typed}");
        }
        let mut exited = wanted.1.clone();
        exited["type"] = "control".into();
        exited["status"] = "exited".into();
        assert_eq!(new.controls, [exited]);
        assert_eq!(old.controls, [Value::Null; 0]);
        assert_eq!((&closed, &closed_old), (&wanted, &wanted));
        agent.get("/process/pty/t").await.expect(404);
        let body = json!({ "cols": 80, "rows": 24 });
        agent.post("/process/pty/t/resize", &body).await.expect(410);
    }
}

#[tokio::test]
async fn the_first_client_sees_the_past_and_later_ones_on_request() {
    let agent = start().await;
    create(&agent, json!({ "id": "t" })).await;
    let mut first = Client::connect(&agent, &connect_uri("t"), &[]).await;
    first.type_in("echo one_$((1+1))\n").await;
    first.until("one_2").await;
    let mut replayed = Client::connect(&agent, "/process/pty/t/connect?scrollback=true", &[]).await;
    let mut late = Client::connect(&agent, &connect_uri("t"), &[]).await;
    replayed.until("one_2").await;
    late.type_in("echo three_$((2+2))\n").await;
    late.until("three_4").await;
    assert!(!late.text().contains("one_2"), "{:?}", late.text());
    first.until("three_4").await;
    replayed.until("three_4").await;
    assert!(
        replayed
            .text()
            .ends_with(&first.text()[first.text().find("one_2").unwrap()..])
    );
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_has_not_seen_and_nothing_twice() {
    let agent = start().await;
    create(&agent, json!({ "id": "t" })).await;
    let uri = |from: usize| format!("/process/pty/t/connect?from={from}");
    let mut client = Client::connect(&agent, &uri(0), &[]).await;
    client
        .type_in("echo one_$((1+1)); read A; echo three_$((2+2))\n")
        .await;
    client.until("one_2\r\n").await;
    let seen = client.text();
    client.type_in("\n").await;
    client.socket.close(None).await.unwrap();
    let mut back = Client::connect(&agent, &uri(seen.len()), &[]).await;
    back.until("three_4").await;
    let mut all = Client::connect(&agent, &uri(0), &[]).await;
    all.until("three_4").await;
    let both = seen + &back.text();
    let shorter = both.len().min(all.text().len());
    assert_eq!(both[..shorter], all.text()[..shorter]);
}

#[tokio::test]
async fn a_terminal_outlives_its_clients_and_takes_text_as_well() {
    let agent = start().await;
    let mut client = Client::create(&agent, "t").await;
    client.type_in("A=kept\n").await;
    client.socket.close(None).await.unwrap();
    let mut client = Client::connect(&agent, &connect_uri("t"), &[]).await;
    client
        .socket
        .send(Message::Text("echo \"<$A>\"\n".into()))
        .await
        .unwrap();
    client.until("<kept>").await;
}

#[tokio::test]
async fn deleting_a_terminal_kills_all_that_it_started() {
    let agent = start().await;
    let mut client = Client::create(&agent, "t").await;
    client.until("ready> ").await;
    client
        .type_in("sleep 5501 & disown; setsid sleep 5502 & (setsid setsid sleep 5503 &); nohup sleep 5504 >/dev/null\n")
        .await;
    let words = ["5501", "5502", "5503", "5504"];
    eventually("all run", || words.iter().all(|word| is_running(word))).await;
    let answer = agent.delete("/process/pty/t").await.expect(200).json();
    assert_eq!(answer, json!({}));
    for word in words {
        assert!(!is_running(word), "sleep {word} is left");
    }
    let killed = json!({ "exitCode": 137, "exitReason": "SIGKILL" });
    assert_eq!(client.closed().await, Closed(1011, killed));
    agent.get("/process/pty/t").await.expect(404);
    agent.delete("/process/pty/t").await.expect(404);
    // One that never had a shell.
    create(&agent, json!({ "id": "t", "lazyStart": true })).await;
    agent.delete("/process/pty/t").await.expect(200);
    create(&agent, json!({ "id": "t" })).await;
}

#[tokio::test]
async fn a_background_process_neither_holds_up_the_end_nor_dies_of_it() {
    let agent = start().await;
    let mut client = Client::create(&agent, "t").await;
    client.until("ready> ").await;
    client
        .type_in("nohup sleep 5601 & sleep 0.1; exit 3\n")
        .await;
    let start = Instant::now();
    assert_eq!(client.closed().await.1["exitCode"], 3);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(is_running("5601"));
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_up_nobody_and_is_dropped() {
    let agent = start().await;
    let mut fast = Client::create(&agent, "t").await;
    fast.until("ready> ").await;
    let mut slow = Client::connect(&agent, &connect_uri("t"), &[]).await;
    let mut alone = Client::create(&agent, "other").await;
    alone.until("ready> ").await;
    let before = agent.private_kib();
    let start = Instant::now();
    fast.type_in("seq 150000; echo do'ne'\n").await;
    fast.until("done").await;
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert!(fast.controls.is_empty(), "{:?}", fast.controls);
    // A program whose only client does not read waits for it, and is free when that one is given up.
    let start = Instant::now();
    alone.type_in("seq 150000; touch $HOME/free\n").await;
    let free = agent.dir.path().join("free");
    eventually("the program goes on", || free.exists()).await;
    assert!(
        start.elapsed() > Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    for client in [&mut slow, &mut alone] {
        assert_eq!(client.closed().await, Closed(1008, Value::Null));
        assert!(client.seen.len() < 1 << 19, "{}", client.seen.len());
    }
    let grown = agent.private_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "grew by {grown} KiB");
    fast.type_in("exit\n").await;
    assert_eq!(fast.closed().await.0, 1000);
    agent.delete("/process/pty/other").await.expect(200);
}

#[tokio::test]
async fn a_slow_client_that_reads_again_is_told_what_it_missed() {
    let agent = start().await;
    let mut fast = Client::create(&agent, "t").await;
    fast.until("ready> ").await;
    let mut slow = Client::connect(&agent, &connect_uri("t"), &[]).await;
    fast.type_in("seq 150000; echo do'ne'\n").await;
    fast.until("done").await;
    slow.until("done").await;
    let dropped: u64 = slow
        .controls
        .iter()
        .map(|control| {
            assert_eq!(control["status"], "lagged");
            control["droppedBytes"].as_u64().unwrap()
        })
        .sum();
    assert!(dropped > 0);
    let from = fast.text().find("seq 150000").unwrap();
    assert!(slow.seen.len() as u64 + dropped >= (fast.seen.len() - from) as u64);
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_hang_the_agent() {
    let agent = start().await;
    let mut client = Client::create(&agent, "t").await;
    client.until("ready> ").await;
    client
        .type_in("stty raw -echo; echo set_$((1)); sleep 60\n")
        .await;
    client.until("set_1").await;
    let before = agent.private_kib();
    let paste = "x".repeat(100_000);
    // More than the agent takes; the rest waits on the way.
    for _ in 0..2 {
        client.type_in(&paste).await;
    }
    agent.get("/version").await.expect(200);
    let grown = agent.private_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "grew by {grown} KiB");
    let long = Message::Binary(vec![b'x'; (1 << 20) + 1].into());
    let mut other = Client::connect(&agent, &connect_uri("t"), &[]).await;
    other.socket.send(long).await.unwrap();
    assert_eq!(other.closed().await.0, 1009);
    agent.delete("/process/pty/t").await.expect(200);
}

#[tokio::test]
async fn a_thousand_terminals_leave_nothing_behind() {
    let agent = start().await;
    // The first one brings what all share.
    for round in 0..=1000 {
        let uri = "/process/pty/create-connect?id=t";
        let mut client = Client::connect(&agent, uri, &[]).await;
        // Typed ahead; the shell reads it when it is up.
        client.type_in("exec true\n").await;
        assert_eq!(client.closed().await.0, 1000, "{:?}", client.text());
        client.socket.close(None).await.ok();
        if round == 0 {
            drop(client);
        }
    }
    let idle = TestAgent::start().await;
    idle.execute("true").await;
    eventually("no descriptor is left", || {
        agent.descriptor_count() <= idle.descriptor_count() + 1
    })
    .await;
    assert_eq!(children_of(agent.pid()), [0_u32; 0]);
}

#[tokio::test]
async fn a_stop_hangs_up_and_says_good_bye() {
    let mut agent = start().await;
    let mut client = Client::create(&agent, "t").await;
    client.until("ready> ").await;
    // To the shell that has the terminal, SIGTERM says nothing.
    let program = "setsid sleep 5701 & trap 'echo hung up >$HOME/witness; exit' HUP; trap '' TERM; echo s'et'; \
                   while :; do sleep 0.02; done";
    client.type_in(&format!("{program}\n")).await;
    client.until("set\r\n").await;
    eventually("the background runs", || is_running("5701")).await;
    let ((code, time), closed) = tokio::join!(agent.stop(), client.closed());
    assert_eq!(code, Some(0));
    // An interactive shell does not listen to SIGTERM; it must not take the whole budget.
    assert!(time < Duration::from_secs(4), "{time:?}");
    assert_eq!(closed, Closed(1001, Value::Null));
    let witness = std::fs::read_to_string(agent.dir.path().join("witness")).unwrap();
    assert_eq!(witness, "hung up\n");
    assert!(!is_running("5701"));
}

#[tokio::test]
async fn idle_sockets_are_asked_whether_they_are_there() {
    let agent = start().await;
    let mut client = Client::create(&agent, "t").await;
    client.until("ready> ").await;
    crate::sessions::create(&agent, "s").await;
    let command = crate::sessions::exec_async(&agent, "s", "sleep 60").await;
    let (mut log, _) = agent
        .connect(&format!("{command}/logs?follow=true"), &[])
        .await;
    let start = Instant::now();
    let patience = Duration::from_secs(40);
    let (of_terminal, of_log) = tokio::join!(
        tokio::time::timeout(patience, client.socket.next()),
        tokio::time::timeout(patience, log.next()),
    );
    for message in [of_terminal, of_log] {
        assert!(
            matches!(message, Ok(Some(Ok(Message::Ping(_))))),
            "{message:?}"
        );
    }
    let elapsed = start.elapsed();
    assert!((20..32).contains(&elapsed.as_secs()), "{elapsed:?}");
    // They are, and go on.
    client.type_in("echo a_$((1+1))\n").await;
    client.until("a_2").await;
}
