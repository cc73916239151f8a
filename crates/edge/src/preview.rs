//! Previews: what programs in sandboxes serve on their ports, shown to browsers and other clients.

mod headers;
mod page;
pub(crate) mod place;
pub(crate) mod trust;
mod warning;

use alcove_control::{Admission, Credential, Pass, Visitor};
use alcove_domain::Port;
use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    LOCATION, ORIGIN, SET_COOKIE, VARY,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use ipnet::IpNet;

use self::headers::Way;
use self::place::{Address, Place};
use self::trust::Seen;
use crate::error::Failure;
use crate::gate::{Gate, Server, Target};
use crate::headers::{self as agent_headers, is_websocket_upgrade};
use crate::proxy::{Arrival, Edge, Refused, bearer, organization, preview_token};
use crate::terminal::{self, Part};

pub(crate) use self::headers::PREVIEW_TOKEN;

/// How long a browser may remember that a page of another origin may ask.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");
/// The name of a pass where the connection is not encrypted, or the program is shown below a path.
const PASS: &str = "alcove-preview";
/// Where a browser can be told that no other host may set it.
const GUARDED_PASS: &str = "__Host-alcove-preview";

/// Where previews are shown.
#[derive(Debug, Clone, Default)]
pub struct Previews {
    /// Host names are below these, in lower case.
    pub domains: Vec<String>,
    /// Whether clients speak TLS with something in front of this server.
    pub is_https: bool,
    /// Addresses of proxies in front of this server, whose word on a client counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a browser is shown a page of ours before the first one of a program.
    pub warns: bool,
}

/// A request for a preview, as [`Edge::preview_of`] read it.
#[derive(Debug)]
pub struct PreviewRequest(Address);

impl<G: Gate> Edge<G> {
    /// Reads whether a request is for a preview; None if it is the server's own.
    pub fn preview_of(&self, request: &Request<Body>) -> Option<PreviewRequest> {
        let domains = &self.shared.previews.domains;
        match place::read(request.uri(), request.headers(), domains) {
            Address::Elsewhere => None,
            address => Some(PreviewRequest(address)),
        }
    }

    /// Answers a request for a preview.
    pub async fn preview(&self, preview: PreviewRequest, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let wants_page = page::is_wanted(&parts.headers);
        let answered = match preview.0 {
            Address::Place(place) => self.show(&place, &mut parts, body).await,
            Address::MissesSlash => Ok(with_slash(&parts)),
            Address::Malformed | Address::Elsewhere => Err(Failure::NoSuchPreview),
        };
        answered.unwrap_or_else(|failure| {
            if wants_page {
                page::of(&failure, parts.method == Method::HEAD)
            } else {
                failure.into_response(&parts)
            }
        })
    }

    async fn show(
        &self,
        place: &Place,
        parts: &mut Parts,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let asks_first = is_preflight(parts);
        if place.port.get() == Port::TOOLBOX {
            if asks_first {
                return Ok(preflight(parts));
            }
            let origin = parts.headers.get(ORIGIN).cloned();
            let mut response = self.to_agent(parts, body, &place.name, &place.path).await?;
            headers::let_origin_read(response.headers_mut(), origin.as_ref());
            return Ok(response);
        }
        if place.port.get() == Port::TERMINAL {
            return self.terminal(place, parts, body).await;
        }
        let (admission, token_from_query) = match self.admit(place, parts).await {
            Ok(admitted) => admitted,
            // A browser asks first without any credential.
            Err(Failure::Refused(_)) if asks_first => return Ok(preflight(parts)),
            Err(failure) => return Err(failure),
        };
        if admission.by == Credential::Pass && self.is_use_by_stranger(place, parts) {
            return Err(Failure::ForeignOrigin);
        }
        let previews = &self.shared.previews;
        let seen = self.seen(parts);
        let is_https = seen.is_https;
        if previews.warns
            && let Some(mut page) = warning::answer(place, parts, is_https)
        {
            if token_from_query {
                hand_out_pass(&mut page, place, admission.pass.as_ref(), is_https);
            }
            return Ok(page);
        }
        let origin = parts.headers.get(ORIGIN).cloned();
        let lets_read = matches!(admission.by, Credential::Bearer | Credential::PreviewToken)
            && !parts.headers.contains_key(headers::DISABLE_CORS);
        let host = place::authority(&parts.uri, &parts.headers)
            .and_then(|authority| HeaderValue::from_str(authority).ok());
        let way = Way {
            host: host.as_ref(),
            chain: seen.chain.as_ref(),
            is_https,
        };
        let target = Target::new(&admission.target, Server::Port(place.port));
        let has_our_bearer = admission.has_our_bearer;
        let answer = self
            .forward(
                &target,
                &admission.target.visitor,
                parts,
                body,
                &place.path,
                |outgoing| headers::prepare_request(outgoing, place, way, has_our_bearer),
            )
            .await?;
        let mut response = answer.response;
        headers::prepare_response(response.headers_mut(), place, answer.is_upgrade);
        if lets_read {
            headers::let_origin_read(response.headers_mut(), origin.as_ref());
        }
        if token_from_query {
            hand_out_pass(&mut response, place, admission.pass.as_ref(), is_https);
        }
        Ok(response)
    }

    /// Answers on the port of the terminal, where the page and the sandbox's agent are and nothing else.
    async fn terminal(
        &self,
        place: &Place,
        parts: &mut Parts,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let part = terminal::part(&parts.method, &place.path);
        if let Some(Part::File(file)) = part {
            return Ok(file.to_response(&parts.method));
        }
        let (admission, token_from_query) = self.admit(place, parts).await?;
        let is_https = self.seen(parts).is_https;
        let mut response = match part {
            Some(Part::Page(page)) => page.to_response(&parts.method),
            Some(Part::Terminals) if place::is_own_origin(&parts.uri, &parts.headers) => {
                let target = Target::new(&admission.target, Server::Agent);
                let visitor = &admission.target.visitor;
                let answer = self.forward(&target, visitor, parts, body, &place.path, |_| {});
                let mut answer = answer.await?;
                agent_headers::prepare_response(answer.response.headers_mut(), answer.is_upgrade);
                answer.response
            }
            // Whoever is in here runs programs: no other page, of whatever credential, is to.
            Some(Part::Terminals) => return Err(Failure::ForeignOrigin),
            Some(Part::File(_)) | None => return Err(Failure::NoSuchPath),
        };
        if token_from_query {
            hand_out_pass(&mut response, place, admission.pass.as_ref(), is_https);
        }
        Ok(response)
    }

    /// Opens a WebSocket of the agent for a visitor whom a label of the terminal's port lets in, for a route of the server
    /// that is built on it. The path and the query of `parts` are the agent's.
    ///
    /// # Errors
    /// Why it was not opened.
    pub async fn open_terminal(
        &self,
        mut parts: Parts,
        label: &str,
    ) -> Result<Response<Body>, Refused> {
        let path = parts.uri.path().to_owned();
        let opened = async {
            let visitor = Visitor::default();
            let port = Port::new(Port::TERMINAL).ok_or(Failure::NoSuchPath)?;
            let admitted = self.shared.gate.admit_port(&visitor, label, port).await;
            let admitted = admitted.map_err(Failure::Refused)?.target;
            let target = Target::new(&admitted, Server::Agent);
            let visitor = &admitted.visitor;
            let answer = self.forward(&target, visitor, &mut parts, Body::empty(), &path, |_| {});
            let mut answer = answer.await?;
            agent_headers::prepare_response(answer.response.headers_mut(), answer.is_upgrade);
            Ok(answer.response)
        };
        let opened: Result<_, Failure> = opened.await;
        opened.map_err(Refused::from)
    }

    /// How the client came.
    fn seen(&self, parts: &Parts) -> Seen {
        let previews = &self.shared.previews;
        let arrival = parts.extensions.get::<Arrival>().copied();
        let mut seen = trust::seen(&previews.trusted_proxies, arrival, &parts.headers);
        seen.is_https |= previews.is_https;
        seen
    }

    /// Whether a page of neither this origin nor another port of the sandbox uses what a cookie opened, for more than
    /// reading what the browser keeps from it anyway. A WebSocket is read by whoever opened it.
    fn is_use_by_stranger(&self, place: &Place, parts: &Parts) -> bool {
        let acts = !parts.method.is_safe() || is_websocket_upgrade(&parts.headers);
        let domains = &self.shared.previews.domains;
        acts && !place::is_own_origin(&parts.uri, &parts.headers)
            && !place::is_origin_of(&parts.headers, place, domains)
    }

    /// Lets the visitor in, and tells whether it showed its token in the query.
    async fn admit(&self, place: &Place, parts: &Parts) -> Result<(Admission, bool), Failure> {
        let token = preview_token(&parts.headers, parts.uri.query());
        let pass = [GUARDED_PASS, PASS]
            .into_iter()
            .find_map(|name| headers::own_cookie(&parts.headers, name));
        let visitor = Visitor {
            // The session of the server's own pages is nothing to a preview, on whichever name it is shown.
            caller: None,
            bearer: bearer(&parts.headers),
            organization: organization(&parts.headers),
            preview_token: token.as_deref(),
            pass,
            signed_file: None,
        };
        let admitted = self
            .shared
            .gate
            .admit_port(&visitor, &place.name, place.port)
            .await;
        let from_query = !parts.headers.contains_key(PREVIEW_TOKEN);
        Ok((admitted.map_err(Failure::Refused)?, from_query))
    }
}

/// Lets the browser come in again without its token.
fn hand_out_pass(
    response: &mut Response<Body>,
    place: &Place,
    pass: Option<&Pass>,
    is_https: bool,
) {
    if let Some(cookie) = pass.and_then(|pass| pass_cookie(place, pass, is_https)) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

fn pass_cookie(place: &Place, pass: &Pass, is_https: bool) -> Option<HeaderValue> {
    let (name, path) = match &place.prefix {
        Some(prefix) => (PASS, format!("{prefix}/")),
        None if is_https => (GUARDED_PASS, "/".to_owned()),
        None => (PASS, "/".to_owned()),
    };
    let seconds = pass.lasts.as_secs();
    let secure = if is_https { "; Secure" } else { "" };
    let value = &pass.value;
    let cookie =
        format!("{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&cookie).ok()
}

fn with_slash(parts: &Parts) -> Response<Body> {
    let query = parts.uri.query().map(|query| format!("?{query}"));
    let path = format!("{}/{}", parts.uri.path(), query.unwrap_or_default());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(path) = HeaderValue::from_str(&path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

/// Whether a browser asks for leave on behalf of a page of another origin.
fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(ORIGIN)
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && !parts.headers.contains_key(headers::DISABLE_CORS)
}

/// Lets any page ask. It must bring its token itself: no answer may be read that was given for a cookie.
fn preflight(parts: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    for (given, asked) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN),
        (ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_REQUEST_METHOD),
        (ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS),
    ] {
        if let Some(value) = parts.headers.get(asked) {
            answer.insert(given, value.clone());
        }
    }
    answer.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    answer.insert(VARY, HeaderValue::from(ORIGIN));
    response
}
