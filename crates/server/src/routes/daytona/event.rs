//! What happens in an organization, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use alcove_api_types::ErrorBody;
use alcove_control::{Event, ResumedEvents};
use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName};

use crate::app::App;
use crate::error::ApiError;
use crate::events::message;
use crate::extract::{Authenticated, QueryOf};

/// Silence after which a comment is sent, so that nothing on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Where a browser says, when it connects again, what it has seen.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Of an event that tells that others were lost. It has no body.
const LOST: &str = "events.lost";

/// What happens in the caller's organization, from now on, or from behind the event that `Last-Event-ID` names. Names and
/// bodies are those of the event socket.
///
/// Past events are kept for a day. Where some of those asked for are gone, the first event is `events.lost`: then look at
/// what there is. The stream ends when the caller's key does.
#[utoipa::path(get, path = "/api/events", tag = "events", operation_id = "streamEvents",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen."),
        ("lastEventId" = Option<String>, Query, description = "The same, for clients that cannot set the header, which counts before it.")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = ErrorBody)))]
pub(crate) async fn stream(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    QueryOf(mut query): QueryOf,
) -> Result<Response, ApiError> {
    let cursor = match headers.get(LAST_EVENT_ID) {
        Some(value) => Some(value.to_str().unwrap_or("?").to_owned()),
        None => query.text("lastEventId"),
    };
    let cursor = cursor.filter(|cursor| !cursor.is_empty());
    let cursor = cursor.map(|cursor| cursor.parse().ok().filter(|cursor: &i64| *cursor >= 0));
    if cursor == Some(None) {
        return Err(ApiError::invalid(&[
            "Last-Event-ID must be the id of an event".to_owned(),
        ]));
    }
    let control = app.control();
    let resumed = control
        .resume_events(&caller.organization, cursor.flatten())
        .await?;
    let ending = app.clone();
    let ended = async move {
        tokio::select! {
            () = ending.control().key_ended(&caller) => {}
            () = ending.closing() => {}
        }
    };
    let events = told(app, resumed).map(Ok::<_, Infallible>);
    let events = Sse::new(events.take_until(Box::pin(ended)));
    Ok(events
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

/// The place first: who is cut off before anything happened comes back to it.
fn told(app: App, resumed: ResumedEvents) -> impl futures_util::Stream<Item = sse::Event> + use<> {
    let place = sse::Event::default().id(resumed.after.to_string());
    let place = if resumed.has_gap {
        place.event(LOST).data("{}")
    } else {
        place
    };
    let events = resumed.stream.map(move |event| of(&app, &event));
    stream::once(async { place }).chain(events)
}

fn of(app: &App, event: &Event) -> sse::Event {
    let (name, payload) = message(app, event);
    sse::Event::default()
        .id(event.sequence.to_string())
        .event(name)
        .data(payload.to_string())
}
