//! The audit log: what was acknowledged has its row, once, and the chain of rows is whole, whenever the server was killed.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alcove_api_types::daytona::SandboxState;
use alcove_e2e::server::{Dice, Port, Raw, TestServer};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::CONTROL;
use crate::support::{becomes, named};

/// Callers at once.
const CALLERS: usize = 4;
/// Kills at moments of chance, and more of them until so much was acknowledged: a busy host does little between two.
const ROUNDS: u32 = 6;
const ACTS_MIN: usize = 100;
const ROUNDS_MAX: u32 = 60;
/// What is killed within.
const SPAN: Duration = Duration::from_millis(600);

/// Action and target of an act.
type Act = (String, String);

/// Makes and deletes keys until the server does not answer, and tells what was acknowledged.
async fn act_until_the_end(raw: Raw, numbers: Arc<AtomicU64>) -> Vec<Act> {
    let mut acknowledged = Vec::new();
    loop {
        let name = format!("key-{}", numbers.fetch_add(1, Ordering::Relaxed));
        let body = json!({"name": name, "permissions": ["write:sandboxes"]});
        let made = raw
            .ask_if_alive("POST", "/api/api-keys", body.to_string())
            .await;
        let Some(made) = made else { break };
        assert!(made.status.is_success(), "{made:?}");
        acknowledged.push(("create".to_owned(), name.clone()));
        let path = format!("/api/api-keys/{name}");
        let Some(ended) = raw.ask_if_alive("DELETE", &path, "").await else {
            break;
        };
        assert!(ended.status.is_success(), "{ended:?}");
        acknowledged.push(("delete".to_owned(), name));
    }
    acknowledged
}

fn callers(server: &TestServer, numbers: &Arc<AtomicU64>) -> JoinSet<Vec<Act>> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(act_until_the_end(server.raw(), Arc::clone(numbers)));
    }
    callers
}

/// How often each act on keys is in the log.
async fn written(server: &TestServer) -> BTreeMap<Act, u32> {
    let export = server.raw().ask("GET", "/api/admin/audit/export", "").await;
    let lines = String::from_utf8(export.body.to_vec()).unwrap();
    let mut found = BTreeMap::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        // A second row of the same act says that its answer was another one.
        let is_first = row["metadata"]["began"].is_null();
        if row["targetType"] == "api_key" && is_first {
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            *found.entry((text("action"), text("targetId"))).or_default() += 1;
        }
    }
    found
}

fn chain_is_whole(server: &TestServer) {
    let program = std::env::var_os("ALCOVE_BIN").expect("ALCOVE_BIN is set");
    let verified = Command::new(program)
        .args(["audit", "verify", "--data-dir"])
        .arg(server.instance.data_dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success(), "{said}");
}

async fn nothing_is_missing(server: &TestServer, acknowledged: &[Act], when: &str) {
    chain_is_whole(server);
    let rows = written(server).await;
    for act in acknowledged {
        assert_eq!(rows.get(act), Some(&1), "{act:?}, {when}");
    }
    let twice = rows.iter().find(|(_, count)| **count > 1);
    assert_eq!(twice, None, "{when}");
}

#[tokio::test]
async fn every_acknowledged_act_has_one_row_wherever_a_kill_cut_the_server_short() {
    let mut server = TestServer::start().await;
    let mut dice = Dice::roll_out("audit");
    let numbers = Arc::new(AtomicU64::new(0));
    let mut acknowledged: Vec<Act> = Vec::new();
    for place in CONTROL {
        server.doom(place).await;
        let callers = callers(&server, &numbers);
        let client = server.client();
        let wanted = named("box");
        let (_, ()) = tokio::join!(client.create(&wanted), server.dies_and_restarts());
        acknowledged.extend(callers.join_all().await.concat());
        nothing_is_missing(&server, &acknowledged, place).await;
        becomes(&server.client(), "box", SandboxState::Started).await;
        super::delete_and_wait(&server, "box").await;
    }
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS && acknowledged.len() > ACTS_MIN {
            break;
        }
        let callers = callers(&server, &numbers);
        tokio::time::sleep(dice.moment(SPAN, round % ROUNDS, ROUNDS)).await;
        server.kill();
        acknowledged.extend(callers.join_all().await.concat());
        server.restart(Port::Same).await;
        nothing_is_missing(&server, &acknowledged, &format!("in round {round}")).await;
    }
    // Otherwise nothing was shown.
    assert!(acknowledged.len() > ACTS_MIN, "{}", acknowledged.len());
    server.finish().await;
}
