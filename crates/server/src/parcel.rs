//! Bodies of large answers. Their memory is one of few places for such, so a reader has it for a bounded time only.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use alcove_actions::Held;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// What is handed on at a time, and so all that a connection holds by itself.
const PIECE_BYTES: usize = 256 << 10;
/// How long a reader may take for the whole. As much as a sender has for as large an input.
const SEND_TIMEOUT: Duration = Duration::from_mins(5);

#[derive(Debug, thiserror::Error)]
#[error("the answer was not read within {} s", SEND_TIMEOUT.as_secs())]
struct TooSlow;

/// What has not been handed on yet, and the place that it takes.
struct Parcel {
    rest: Bytes,
    _held: Held,
}

type Shared = Mutex<Option<Parcel>>;

/// A body whose place counts until it has been sent or given up. After the time for it the rest is dropped, whether the
/// connection asks for it or not, and the body ends in an error.
pub(crate) fn body(content: Bytes, held: Held) -> Body {
    let parcel = Arc::new(Mutex::new(Some(Parcel {
        rest: content,
        _held: held,
    })));
    let taken_away = tokio::spawn(take_away(Arc::downgrade(&parcel)));
    let until_sent = AbortOnDropHandle::new(taken_away);
    let pieces = stream::unfold((parcel, until_sent), async |(parcel, until_sent)| {
        let piece = next_piece(&parcel)?;
        Some((piece, (parcel, until_sent)))
    });
    Body::from_stream(pieces)
}

async fn take_away(parcel: Weak<Shared>) {
    sleep(SEND_TIMEOUT).await;
    if let Some(parcel) = parcel.upgrade() {
        lock(&parcel).take();
    }
}

fn next_piece(parcel: &Shared) -> Option<Result<Bytes, TooSlow>> {
    let mut parcel = lock(parcel);
    let Some(Parcel { rest, .. }) = parcel.as_mut() else {
        return Some(Err(TooSlow));
    };
    let piece = rest.split_to(rest.len().min(PIECE_BYTES));
    // A copy: a piece of the whole would keep the whole for as long as the connection keeps the piece.
    (!piece.is_empty()).then(|| Ok(Bytes::copy_from_slice(&piece)))
}

fn lock(parcel: &Shared) -> std::sync::MutexGuard<'_, Option<Parcel>> {
    parcel.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_actions::Room;
    use http_body_util::BodyExt as _;
    use tokio::time::{Instant, timeout};

    use super::*;

    /// A body that takes all the room there is.
    async fn parcel_of(room: &Room, content: &Bytes) -> Body {
        body(content.clone(), room.hold(u64::MAX).await)
    }

    fn content() -> Bytes {
        let bytes = (0..=u8::MAX).cycle();
        bytes.take(3 * PIECE_BYTES + 7).collect()
    }

    async fn is_full(room: &Room) -> bool {
        timeout(Duration::from_secs(1), room.hold(2 << 20))
            .await
            .is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn all_of_it_is_handed_on_and_then_its_place_is_free() {
        let room = Room::default();
        let mut body = parcel_of(&room, &content()).await;
        let mut read = body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .to_vec();
        assert!(is_full(&room).await, "it is still being sent");
        // Slow, but not too slow.
        sleep(SEND_TIMEOUT.mul_f32(0.9)).await;
        read.extend(body.collect().await.unwrap().to_bytes());
        assert_eq!(read, content());
        assert!(!is_full(&room).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_does_not_come_back_keeps_its_place_for_a_time_only() {
        let room = Room::default();
        let mut body = parcel_of(&room, &content()).await;
        body.frame().await.unwrap().unwrap();
        let begun = Instant::now();
        room.hold(2 << 20).await;
        assert!(begun.elapsed() <= SEND_TIMEOUT + Duration::from_secs(1));
        assert!(begun.elapsed() >= SEND_TIMEOUT.mul_f32(0.9));
        // An end would look like the whole.
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_goes_away_leaves_its_place_at_once() {
        let room = Room::default();
        let mut body = parcel_of(&room, &content()).await;
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert!(!is_full(&room).await);
    }
}
