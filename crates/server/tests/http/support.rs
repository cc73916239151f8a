//! A server in the test's own process, and ways to ask it.

use std::time::Duration;

use alcove_server::{App, AppService, Options};
use alcove_testkit::TestControl;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A control plane over a fresh store, and the service in front of it.
pub struct Server {
    pub kit: TestControl,
    pub service: AppService,
    pub app: App,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of an answer that must be a plain success.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/json");
        self.json()
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::over(TestControl::open().await)
    }

    /// The service in front of a control plane that there is.
    pub fn over(kit: TestControl) -> Self {
        Self::with_options(kit, Options::default())
    }

    pub fn with_options(kit: TestControl, options: Options) -> Self {
        let options = Options {
            public_url: "http://127.0.0.1:3000/".to_owned(),
            ..options
        };
        let app = App::new(kit.control.clone(), &options);
        Self {
            kit,
            service: app.clone().into_service(),
            app,
        }
    }

    /// Sends one request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = within(self.service.clone().oneshot(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Asks with the right key and headers of one's own.
    pub async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("authorization", format!("Bearer {}", self.kit.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    /// Asks with the right key.
    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, &[], "").await
    }

    /// Sends JSON with the right key, but without a content type.
    pub async fn put(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_with(method, path, &[], &body.to_string()).await
    }

    /// Sends JSON with a key of one's own.
    pub async fn put_as(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("authorization", format!("Bearer {key}"));
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// Asks with a key of one's own.
    pub async fn ask_as(&self, key: &str, method: &str, path: &str) -> Answer {
        self.put_as(key, method, path, Value::Null).await
    }

    /// Makes a sandbox and returns its JSON.
    pub async fn create(&self, body: Value) -> Value {
        self.put("POST", "/api/sandbox", body).await.ok()
    }

    /// Serves on a port of its own until the token is cancelled or the test ends.
    pub async fn listen(&self) -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = CancellationToken::new();
        let done = tokio::spawn(alcove_server::serve(
            listener,
            self.app.clone(),
            shutdown.clone(),
            Duration::from_millis(500),
        ));
        Listening {
            port,
            shutdown,
            done,
        }
    }
}

pub struct Listening {
    pub port: u16,
    pub shutdown: CancellationToken,
    pub done: tokio::task::JoinHandle<()>,
}

impl Listening {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }
}

/// No test waits longer than this for anything.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("in time")
}
