//! A server that is played, and writes down what it was asked.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use crate::api::{Api, ApiBody, Unreachable};
use crate::{Entry, Outcome, Room, find_tool};

#[derive(Debug, Default)]
pub(crate) struct Played {
    answers: Mutex<VecDeque<(StatusCode, Vec<u8>)>>,
    asked: Mutex<Vec<Asked>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub line: String,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

impl Played {
    /// One that answers so, once and again.
    pub(crate) fn answering(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let played = Self::default();
        let status = StatusCode::from_u16(status).unwrap();
        played
            .answers
            .lock()
            .unwrap()
            .push_back((status, body.into()));
        played
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) async fn call(&self, name: &str, input: Value) -> (Outcome, Value) {
        let entry: &Entry = find_tool(name).unwrap();
        let outcome = entry.call(input, self, &Room::default()).await;
        let output = serde_json::from_str(&outcome.json).unwrap();
        (outcome, output)
    }
}

#[async_trait]
impl Api for Played {
    async fn send(&self, request: Request<ApiBody>) -> Result<Response<ApiBody>, Unreachable> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let content_type = parts.headers.get("content-type");
        self.asked.lock().unwrap().push(Asked {
            line: format!("{} {}", parts.method, parts.uri),
            content_type: content_type.map(|value| value.to_str().unwrap().to_owned()),
            body,
        });
        let mut answers = self.answers.lock().unwrap();
        let Some((status, body)) = answers.front().cloned() else {
            return Err(Unreachable("nobody is there".to_owned()));
        };
        if answers.len() > 1 {
            answers.pop_front();
        }
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = status;
        Ok(response)
    }
}
