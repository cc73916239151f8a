//! How an action reaches the API.

use std::error::Error;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use percent_encoding::percent_encode_byte;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;

/// The body of a request or an answer.
pub type ApiBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// The server could not be asked, or went away before it answered. The text is for people.
#[derive(Debug)]
pub struct Unreachable(pub String);

/// A server that speaks the public API, on behalf of one caller.
///
/// Requests have a path from `/api` or `/toolbox` on and no credentials; whoever implements this adds the caller's.
#[async_trait]
pub trait Api: Send + Sync {
    async fn send(&self, request: Request<ApiBody>) -> Result<Response<ApiBody>, Unreachable>;
}

/// Answers other than files are not larger than this; the longest are outputs of commands.
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// A refusal is a sentence or two.
const REFUSAL_MAX_BYTES: usize = 256 << 10;

/// What is asked of the API: one request in the making.
pub(crate) struct Ask {
    method: Method,
    target: String,
    content_type: Option<String>,
    body: ApiBody,
}

/// Every byte is escaped: a name that is also a word of the API's paths, or is `..`, stays a name.
pub(crate) fn segment(text: &str) -> String {
    text.bytes().map(percent_encode_byte).collect()
}

impl Ask {
    fn new(method: Method, target: String) -> Self {
        Self {
            method,
            target,
            content_type: None,
            body: whole(Bytes::new()),
        }
    }

    /// An operation of the control plane; `path` begins behind `/api`.
    pub(crate) fn api(method: Method, path: &str) -> Self {
        Self::new(method, format!("/api{path}"))
    }

    /// An operation on one sandbox; `tail` begins with a slash or is empty.
    pub(crate) fn sandbox(method: Method, id_or_name: &str, tail: &str) -> Self {
        Self::new(
            method,
            format!("/api/sandbox/{}{tail}", segment(id_or_name)),
        )
    }

    /// An operation of a sandbox's toolbox.
    pub(crate) fn toolbox(method: Method, id_or_name: &str, tail: &str) -> Self {
        Self::new(method, format!("/toolbox/{}{tail}", segment(id_or_name)))
    }

    /// Adds a parameter to the query.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(&segment(value));
        self
    }

    /// The same for one that may be left out.
    pub(crate) fn query_if(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.content_type = Some("application/json".to_owned());
        self.body = whole(Bytes::from(body.to_string()));
        self
    }

    pub(crate) fn streamed(mut self, content_type: String, body: ApiBody) -> Self {
        self.content_type = Some(content_type);
        self.body = body;
        self
    }

    /// The answer, which is a success; its body is still to be read.
    pub(crate) async fn open(self, api: &dyn Api) -> Result<Response<ApiBody>, Failure> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self
            .target
            .parse()
            .map_err(|_| Failure::invalid("the request would be too long"))?;
        if let Some(Ok(value)) = self.content_type.map(HeaderValue::try_from) {
            request.headers_mut().insert(CONTENT_TYPE, value);
        }
        let response = api.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = collect(response.into_body(), REFUSAL_MAX_BYTES).await;
        Err(Failure::refused(status, &body.unwrap_or_default()))
    }

    /// Asks for JSON.
    pub(crate) async fn value<T: DeserializeOwned>(self, api: &dyn Api) -> Result<T, Failure> {
        let body = self.bytes(api).await?;
        serde_json::from_slice(&body).map_err(|_| Failure::unreadable())
    }

    /// Asks for JSON where older servers answer nothing.
    pub(crate) async fn value_or_nothing<T: DeserializeOwned>(
        self,
        api: &dyn Api,
    ) -> Result<Option<T>, Failure> {
        let body = self.bytes(api).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(&body).map_err(|_| Failure::unreadable())
    }

    /// Asks for something whose answer says nothing but that it is done.
    pub(crate) async fn done(self, api: &dyn Api) -> Result<(), Failure> {
        self.bytes(api).await.map(drop)
    }

    async fn bytes(self, api: &dyn Api) -> Result<Bytes, Failure> {
        let response = self.open(api).await?;
        collect(response.into_body(), ANSWER_MAX_BYTES).await
    }
}

fn whole(bytes: Bytes) -> ApiBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn collect(mut body: ApiBody, limit: usize) -> Result<Bytes, Failure> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| Failure::broken())?.into_data() else {
            continue;
        };
        if collected.len() + piece.len() > limit {
            return Err(Failure::new(
                StatusCode::BAD_GATEWAY,
                format!("the answer is larger than {limit} bytes"),
            ));
        }
        collected.extend_from_slice(&piece);
    }
    Ok(collected.freeze())
}
