//! A worker that builds snapshots and deletes them, one after the other, while the server is killed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alcove_e2e::server::{Raw, TestServer};
use alcove_e2e::wait;
use serde_json::{Value, json};

use super::{RETRY_PAUSE, Tally};

pub struct Builder {
    raw: Raw,
    tally: Arc<Tally>,
    /// Each has content of its own, so that its step is not known already.
    number: usize,
    known: Known,
    pub made: usize,
}

/// What may be counted on of the present snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nobody has asked for it.
    Absent,
    /// The order was acknowledged, or seen.
    Ordered,
    /// The order was not answered.
    Asked,
    /// The delete was acknowledged.
    Deleted,
}

impl Builder {
    pub fn new(server: &TestServer, tally: &Arc<Tally>) -> Self {
        Self {
            raw: server.raw(),
            tally: Arc::clone(tally),
            number: 0,
            known: Known::Absent,
            made: 0,
        }
    }

    fn path(&self) -> String {
        format!("/api/snapshots/built-{}", self.number)
    }

    /// The snapshot as it is now; None if the server does not answer.
    async fn look(&self) -> Option<Option<Value>> {
        let answer = self.raw.ask_if_alive("GET", &self.path(), "").await?;
        match answer.status.as_u16() {
            200 => Some(Some(answer.json())),
            404 => Some(None),
            _ => None,
        }
    }

    pub async fn work(mut self) -> Self {
        while !self.tally.is_paused.load(Ordering::Relaxed) {
            match self.look().await {
                Some(seen) => self.act(seen).await,
                None => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
        self
    }

    async fn act(&mut self, seen: Option<Value>) {
        match (self.known, seen) {
            (Known::Absent | Known::Asked, None) => self.order().await,
            (Known::Ordered, None) => panic!("built-{} is lost", self.number),
            (Known::Deleted, None) => {
                self.number += 1;
                self.known = Known::Absent;
            }
            (known, Some(snapshot)) => match snapshot["state"].as_str() {
                Some("active") if known == Known::Deleted => panic!("it rose again: {snapshot}"),
                Some("active") => {
                    self.known = Known::Ordered;
                    self.made += 1;
                    self.delete().await;
                }
                Some("building" | "removing") => tokio::time::sleep(RETRY_PAUSE).await,
                _ => panic!("a kill is no fault of a build: {snapshot}"),
            },
        }
    }

    async fn order(&mut self) {
        let dockerfile = format!(
            "FROM default\nUSER root\nRUN echo {} > /made\n",
            self.number
        );
        let body = json!({
            "name": format!("built-{}", self.number),
            "buildInfo": {"dockerfileContent": dockerfile},
        });
        let asked = self
            .raw
            .ask_if_alive("POST", "/api/snapshots", body.to_string());
        self.known = match asked.await.map(|answer| answer.status.as_u16()) {
            Some(200) => Known::Ordered,
            // It may have been written by an earlier try, or by this one.
            Some(409) | None => Known::Asked,
            Some(status) if status >= 500 => Known::Asked,
            Some(status) => panic!("built-{} is refused: {status}", self.number),
        };
    }

    async fn delete(&mut self) {
        let asked = self.raw.ask_if_alive("DELETE", &self.path(), "").await;
        match asked.map(|answer| answer.status.as_u16()) {
            Some(200 | 404) => self.known = Known::Deleted,
            // Done or not: whatever is seen next is right.
            None => self.known = Known::Asked,
            Some(status) if status >= 500 => self.known = Known::Asked,
            Some(status) => panic!("built-{} is not deleted: {status}", self.number),
        }
    }

    /// In a pause, what was ordered is built and what was deleted is gone, and no step's sandbox is left.
    pub async fn comes_to_rest(&self, server: &TestServer) {
        wait::until("the build settles", async || {
            let seen = self.look().await.ok_or("no answer".to_owned())?;
            match (self.known, seen) {
                (Known::Ordered, None) => panic!("built-{} is lost", self.number),
                (_, None) => Ok(()),
                (known, Some(snapshot)) if snapshot["state"] == "active" => {
                    assert_ne!(known, Known::Deleted, "it rose again: {snapshot}");
                    Ok(())
                }
                (_, Some(snapshot)) => Err(snapshot.to_string()),
            }
        })
        .await;
        wait::until("no sandbox of a step is left", async || {
            let mut left = server.instance.sandboxes();
            left.retain(|name| name.starts_with("build-"));
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
}
