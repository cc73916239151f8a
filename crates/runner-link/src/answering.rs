//! The runner's side: answers what is asked over a link.

use std::convert::Infallible;
use std::sync::Arc;

use alcove_control::{AgentStream, DialError, PortListener, RunnerClient};
use alcove_domain::Port;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use crate::call::{ASK, Accepted, Ask, DIAL, DIALLED, Dial, Dialled, FOLLOW, Follow};
use crate::frame;
use crate::listening::Waiting;
use crate::{CONNECTION_WINDOW, ORDER_MAX, PING, PONG, STREAM_WINDOW, STREAMS_MAX};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers what is asked over a connection that was upgraded to [`crate::PROTOCOL`], until it is over.
///
/// # Errors
/// How the connection broke off.
pub async fn serve<T>(connection: T, runner: Arc<dyn RunnerClient>) -> Result<(), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let waiting = Arc::new(Waiting::default());
    let service = service_fn(move |request| {
        let (runner, waiting) = (Arc::clone(&runner), Arc::clone(&waiting));
        async move { Ok::<_, Infallible>(answer(request, runner, waiting).await) }
    });
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(connection), service)
        .await
}

async fn answer(
    request: Request<Incoming>,
    runner: Arc<dyn RunnerClient>,
    waiting: Arc<Waiting>,
) -> Response<Body> {
    if request.method() == Method::CONNECT {
        return dial(request, &*runner, &waiting).await;
    }
    match request.uri().path() {
        ASK => match read(request).await {
            Some(ask) => Response::new(answer_of(ask, &*runner).await),
            None => refused(StatusCode::BAD_REQUEST),
        },
        FOLLOW => match read(request).await {
            Some(follow) => Response::new(streamed(follow, runner, waiting).await),
            None => refused(StatusCode::BAD_REQUEST),
        },
        _ => refused(StatusCode::NOT_FOUND),
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Option<T> {
    let body = Limited::new(request.into_body(), ORDER_MAX);
    let text = body.collect().await.ok()?.to_bytes();
    match serde_json::from_slice(&text) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::error!(%error, "a question of the server is not understood");
            None
        }
    }
}

fn refused(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

fn json<T: Serialize>(answer: &T) -> Body {
    Full::from(serde_json::to_vec(answer).unwrap_or_default()).boxed_unsync()
}

async fn answer_of(ask: Ask, runner: &dyn RunnerClient) -> Body {
    match ask {
        Ask::Apply(order) => json(&runner.apply(*order).await),
        Ask::ApplyVolume(order) => json(&runner.apply_volume(order).await),
        Ask::Inventory => json(&runner.inventory().await),
        Ask::HostStatus => json(&runner.host_status().await),
        Ask::Samples => json(&runner.samples().await),
        Ask::Images => json(&runner.images().await),
        Ask::ReleaseImage(name) => json(&runner.release_image(&name).await),
        Ask::CollectImages(needed) => json(&runner.collect_images(needed).await),
        Ask::Build(order) => json(&runner.build(*order).await),
        Ask::CancelBuild(build) => json(&runner.cancel_build(&build).await),
        Ask::ForgetBuild(build) => json(&runner.forget_build(&build).await),
        Ask::BuildLog { build, from, waits } => json(&runner.build_log(&build, from, waits).await),
        Ask::KeepWarm(wishes) => json(&runner.keep_warm(wishes).await),
        Ask::WarmStates => json(&runner.warm_states().await),
        Ask::TakeWarm(kinds) => json(&runner.take_warm(&kinds).await),
        Ask::GiveWarmBack(sandbox) => json(&runner.give_warm_back(&sandbox).await),
        Ask::TakeSightings => json(&runner.take_sightings().await),
    }
}

async fn streamed(follow: Follow, runner: Arc<dyn RunnerClient>, waiting: Arc<Waiting>) -> Body {
    match follow {
        Follow::Pull(pull) => match runner.pull(*pull).await {
            Ok(states) => after(&Ok::<_, ()>(()), states.map(|state| frame::of_json(&state))),
            Err(error) => only(&Err::<(), _>(error)),
        },
        // Heard from here on: what happens before the first is asked for is kept for it.
        Follow::Reports => {
            let reports = runner.reports().map(|report| frame::of_json(&report));
            after(&Ok::<_, ()>(()), reports)
        }
        Follow::Fetch(order) => match runner.fetch(order).await {
            Ok(pieces) => after(
                &Ok::<_, ()>(()),
                pieces.map(|piece| match piece {
                    Ok(piece) => frame::of_bytes(&piece),
                    Err(error) => frame::of_json(&error),
                }),
            ),
            Err(error) => only(&Err::<(), _>(error)),
        },
        Follow::Listen { sandbox, port } => {
            match runner.listen_port(&sandbox, port.and_then(Port::new)).await {
                Ok((listener, port)) => after(&Ok::<_, ()>(port), connections(listener, waiting)),
                Err(error) => only(&Err::<(), _>(told(error))),
            }
        }
    }
}

fn after<T: Serialize>(first: &T, rest: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    body(stream::iter([frame::of_json(first)]).chain(rest).boxed())
}

fn only<T: Serialize>(message: &T) -> Body {
    body(stream::iter([frame::of_json(message)]).boxed())
}

fn body(frames: BoxStream<'static, Bytes>) -> Body {
    let frames = frames.map(|bytes| Ok(Frame::data(bytes)));
    StreamBody::new(frames).boxed_unsync()
}

/// Every connection that a listener accepts, as the number that it is kept under. Ends with the listener.
fn connections(
    listener: Box<dyn PortListener>,
    waiting: Arc<Waiting>,
) -> BoxStream<'static, Bytes> {
    let accepting = stream::unfold((listener, waiting), |(mut listener, waiting)| async move {
        loop {
            let (stream, peer) = listener.accept().await.ok()?;
            if let Some(number) = waiting.keep(stream) {
                let peer = peer.to_string();
                let told = frame::of_json(&Accepted { number, peer });
                return Some((told, (listener, waiting)));
            }
        }
    });
    accepting.boxed()
}

async fn dial(
    request: Request<Incoming>,
    runner: &dyn RunnerClient,
    waiting: &Waiting,
) -> Response<Body> {
    let wanted = request.headers().get(DIAL);
    let wanted = wanted.and_then(|wanted| serde_json::from_slice(wanted.as_bytes()).ok());
    let found: Result<(Box<dyn AgentStream>, Option<String>), DialError> = match wanted {
        Some(Dial::Agent { sandbox }) => {
            let connection = runner.dial_agent(&sandbox).await;
            connection.map(|connection| (connection.stream, Some(connection.token)))
        }
        Some(Dial::Port { sandbox, port }) => match Port::new(port) {
            Some(port) => {
                let stream = runner.dial_port(&sandbox, port).await;
                stream.map(|stream| (stream, None))
            }
            None => Err(DialError::NobodyListens),
        },
        Some(Dial::Accepted { number }) => {
            let stream = waiting.take(number).ok_or(DialError::NobodyListens);
            stream.map(|stream| (stream, None))
        }
        None => return refused(StatusCode::BAD_REQUEST),
    };
    let (mut stream, token) = match found {
        Ok(found) => found,
        Err(error) => return dialled(StatusCode::BAD_GATEWAY, &told(error)),
    };
    tokio::spawn(async move {
        let upgraded = match hyper::upgrade::on(request).await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a tunnel did not come about"),
        };
        if let Err(error) = copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await {
            tracing::trace!(%error, "a tunnel broke off");
        }
    });
    dialled(StatusCode::OK, &Dialled::Open { token })
}

fn told(error: DialError) -> Dialled {
    match error {
        DialError::NotRunning => Dialled::NotRunning,
        DialError::NobodyListens => Dialled::NobodyListens,
        DialError::PortTaken => Dialled::PortTaken,
        DialError::Unavailable => Dialled::Unavailable,
    }
}

fn dialled(status: StatusCode, told: &Dialled) -> Response<Body> {
    let mut response = refused(status);
    let told = serde_json::to_string(told).unwrap_or_default();
    if let Ok(told) = HeaderValue::from_str(&told) {
        response.headers_mut().insert(DIALLED, told);
    }
    response
}
