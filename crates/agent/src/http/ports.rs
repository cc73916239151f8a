//! Ports: which are taken, and the way to what listens on them.

use std::sync::Arc;

use alcove_agent_api::{ErrorCode, IsPortInUseResponse, PortList};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http::header::LOCATION;
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::agent::Agent;
use crate::http::ApiError;
use crate::http::error::PassedOn;
use crate::port::loopback::{LoopbackError, asked_protocol, strip_hop};
use crate::port::{self};

/// Ports that the question whether one is in use may name.
const ASKABLE: std::ops::RangeInclusive<u16> = 3000..=9999;

pub fn routes(router: Router<Arc<Agent>>) -> Router<Arc<Agent>> {
    router
        .route("/port", get(list))
        .route("/port/{port}/in-use", get(is_in_use))
        .route("/proxy/{*port_and_path}", any(proxy))
}

impl From<LoopbackError> for ApiError {
    fn from(error: LoopbackError) -> Self {
        Self::new(ErrorCode::BadGateway, error)
    }
}

async fn listening() -> Result<std::collections::BTreeSet<u16>, ApiError> {
    let listening = tokio::task::spawn_blocking(port::listening).await;
    listening
        .map_err(|_| super::error::panicked())?
        .map_err(|error| {
            ApiError::new(
                ErrorCode::InternalServerError,
                format_args!("cannot read the table of sockets: {error}"),
            )
        })
}

async fn list() -> Result<Json<PortList>, ApiError> {
    let ports = listening().await?.into_iter().collect();
    Ok(Json(PortList { ports }))
}

async fn is_in_use(Path(port): Path<String>) -> Result<Json<IsPortInUseResponse>, ApiError> {
    let port = number(&port).filter(|port| ASKABLE.contains(port));
    let port = port.ok_or_else(|| {
        ApiError::bad_request(format_args!(
            "port must be a number from {} to {}",
            ASKABLE.start(),
            ASKABLE.end()
        ))
    })?;
    let is_in_use = listening().await?.contains(&port);
    Ok(Json(IsPortInUseResponse { is_in_use }))
}

/// Digits only.
fn number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port > 0)
}

/// What a path of the port proxy names.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub port: u16,
    port_text: &'a str,
    /// As it was written, from its slash on; empty where that is missing.
    pub path: &'a str,
}

impl<'a> Target<'a> {
    /// None where the port is none.
    pub fn parse(path: &'a str) -> Option<Self> {
        let tail = path.strip_prefix("/proxy/")?;
        let (port_text, path) = tail.split_at(tail.find('/').unwrap_or(tail.len()));
        Some(Self {
            port: number(port_text)?,
            port_text,
            path,
        })
    }
}

/// Passes a request on to a port: `/proxy/{port}/{path}`. The path keeps its percent-encoding.
///
/// The one way from the platform to servers of the sandbox, those on its loopback included.
async fn proxy(
    State(agent): State<Arc<Agent>>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let Target {
        port,
        port_text,
        path,
    } = Target::parse(request.uri().path())
        .ok_or_else(|| ApiError::bad_request("port must be a number from 1 to 65535"))?;
    let query = request.uri().query();
    let with_query = |path: &str| match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    if path.is_empty() {
        return Ok(to_folder(
            request.method(),
            &with_query(&format!("{port_text}/")),
        ));
    }
    let path = PathAndQuery::try_from(with_query(path)).map_err(ApiError::bad_request)?;

    let wants_protocol = asked_protocol(request.headers()).is_some();
    let client_side = request.extensions_mut().remove::<OnUpgrade>();
    let client_side = client_side.filter(|_| wants_protocol);
    let mut response = agent.loopback.send(port, path, request).await?;
    match (response.status(), client_side) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(client_side)) => {
            let server_side = hyper::upgrade::on(&mut response);
            tokio::spawn(tunnel(agent, client_side, server_side));
        }
        (StatusCode::SWITCHING_PROTOCOLS, None) => {
            return Err(LoopbackError::NoAnswer { port }.into());
        }
        _ => {}
    }
    strip_hop(response.headers_mut(), false);
    *response.version_mut() = http::Version::HTTP_11;
    response.extensions_mut().insert(PassedOn);
    Ok(response.map(Body::new))
}

/// Relative links of a page work only below its folder. The target is relative too: what stands before `/proxy/` on
/// the client's side is not known here.
fn to_folder(method: &Method, location: &str) -> Response {
    let status = if method == Method::GET {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::TEMPORARY_REDIRECT
    };
    (status, [(LOCATION, location)]).into_response()
}

/// Carries bytes both ways until one side ends or the agent does.
async fn tunnel(agent: Arc<Agent>, client_side: OnUpgrade, server_side: OnUpgrade) {
    let carry = async {
        let (client, server) = tokio::try_join!(client_side, server_side).ok()?;
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        copy_bidirectional(&mut client, &mut server).await.ok()
    };
    // How it ended is for the two sides to know.
    tokio::select! {
        _ = carry => {}
        () = agent.stopping() => {}
    }
}
