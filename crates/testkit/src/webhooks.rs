//! Endpoints of webhooks that a test plays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alcove_control::{Event, EventBody, WebhookRequest, WebhookSender};
use alcove_domain::webhook::Outcome;
use alcove_domain::{WebhookEndpoint, WebhookEvent};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

/// What was sent to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub url: String,
    pub id: String,
    pub body: String,
}

/// Takes messages for every endpoint. Each answers 200, unless the test says otherwise.
#[derive(Debug, Clone)]
pub struct FakeWebhooks {
    sent: Arc<Mutex<Vec<Sent>>>,
    answers: Arc<Mutex<BTreeMap<String, u16>>>,
    /// Endpoints that do not answer while they are in here.
    held: watch::Sender<Vec<String>>,
}

impl Default for FakeWebhooks {
    fn default() -> Self {
        Self {
            sent: Arc::default(),
            answers: Arc::default(),
            held: watch::Sender::new(Vec::new()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeWebhooks {
    /// Says what this endpoint answers from now on.
    pub fn answer(&self, url: &str, status: u16) {
        lock(&self.answers).insert(url.to_owned(), status);
    }

    /// Lets these endpoints, and no others, take messages without an answer.
    pub fn hold(&self, urls: &[&str]) {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        self.held.send_replace(urls);
    }

    /// All that came, in order.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.sent).clone()
    }

    /// The bodies that came to one endpoint, in order.
    pub fn bodies(&self, url: &str) -> Vec<String> {
        let sent = self.sent().into_iter();
        sent.filter(|sent| sent.url == url)
            .map(|sent| sent.body)
            .collect()
    }
}

#[async_trait]
impl WebhookSender for FakeWebhooks {
    fn is_known(&self, host: &str) -> bool {
        host == "known.internal"
    }

    fn tell(&self, event: &Event) -> Vec<(WebhookEvent, String)> {
        match &event.body {
            EventBody::VolumeCreated { volume } => {
                vec![(WebhookEvent::VolumeCreated, volume.name.clone())]
            }
            EventBody::VolumeStateUpdated {
                volume, new_state, ..
            } => vec![(
                WebhookEvent::VolumeStateUpdated,
                format!("{} {}", volume.name, new_state.as_str()),
            )],
            _ => Vec::new(),
        }
    }

    fn tell_disabled(&self, endpoint: &WebhookEndpoint, _: Timestamp) -> String {
        format!("disabled {}", endpoint.url)
    }

    async fn send(&self, request: WebhookRequest) -> Outcome {
        lock(&self.sent).push(Sent {
            url: request.url.clone(),
            id: request.id.to_string(),
            body: request.body,
        });
        let mut held = self.held.subscribe();
        // The sender lives as long as what is borrowed here.
        let _ = held.wait_for(|held| !held.contains(&request.url)).await;
        let status = lock(&self.answers).get(&request.url).copied();
        Outcome::Answered {
            status: status.unwrap_or(200),
        }
    }
}
