//! Orders to a worker and events of it: four bytes of length, the highest first, and JSON.
//!
//! The code of a context lives in the same process as the worker and can write here what it likes. Nothing but its
//! own execution depends on it, and a length that no event has ends the worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Longest event. Workers cut texts long before.
const MAX_EVENT_BYTES: usize = 8 << 20;

/// What the agent asks for.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Order<'a> {
    #[serde(rename_all = "camelCase")]
    Run {
        id: u64,
        code: &'a str,
        envs: &'a BTreeMap<String, String>,
        /// 0 for no limit. The agent keeps the time; this is for workers that cannot be interrupted otherwise.
        timeout_ms: u64,
    },
    /// Ends the execution of this number, if it still runs. A signal follows.
    Interrupt { id: u64 },
}

impl Order<'_> {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = vec![0; 4];
        // Writing plain data to memory does not fail, and requests are far below 4 GiB.
        let _ = serde_json::to_writer(&mut frame, self);
        let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame
    }
}

/// What a worker tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Event {
    /// The code raised something that it did not catch.
    Error {
        id: u64,
        name: String,
        value: String,
        traceback: String,
    },
    Done {
        id: u64,
        outcome: Outcome,
    },
}

impl Event {
    pub fn id(&self) -> u64 {
        match self {
            Self::Error { id, .. } | Self::Done { id, .. } => *id,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Completed,
    Interrupted,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What came is no event.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker does not speak the protocol")]
pub struct Broken;

/// Takes the next event off the front of what has been read; none if the rest of it has not come.
///
/// # Errors
/// The bytes are no event; what follows cannot be understood either.
pub fn take_event(bytes: &mut Vec<u8>) -> Result<Option<Event>, Broken> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Broken)?;
    if length > MAX_EVENT_BYTES {
        return Err(Broken);
    }
    let Some(text) = rest.get(..length) else {
        return Ok(None);
    };
    let event = serde_json::from_slice(text).map_err(|_| Broken)?;
    bytes.drain(..4 + length);
    Ok(Some(event))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    fn framed(text: &str) -> Vec<u8> {
        let mut frame = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(text.as_bytes());
        frame
    }

    #[test]
    fn an_order_is_its_length_and_json() {
        let envs = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let order = Order::Run {
            id: 7,
            code: "x",
            envs: &envs,
            timeout_ms: 0,
        };
        let text = r#"{"kind":"run","id":7,"code":"x","envs":{"A":"1"},"timeoutMs":0}"#;
        assert_eq!(order.encode(), framed(text));
    }

    #[test]
    fn what_is_no_event_is_told_from_half_an_event() {
        assert_eq!(take_event(&mut vec![0, 0, 0]), Ok(None));
        assert_eq!(take_event(&mut framed("{}")), Err(Broken));
        assert_eq!(take_event(&mut vec![0xff; 5]), Err(Broken));
        let mut half = framed(r#"{"kind":"done","id":1,"outcome":"completed"}"#);
        half.pop();
        assert_eq!(take_event(&mut half), Ok(None));
    }

    fn read_in_pieces(stream: &[u8], length: usize) -> (Vec<Event>, bool) {
        let (mut read, mut events) = (Vec::new(), Vec::new());
        for piece in stream.chunks(length) {
            read.extend_from_slice(piece);
            loop {
                match take_event(&mut read) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(Broken) => return (events, true),
                }
            }
        }
        (events, false)
    }

    /// The first byte says how the stream is cut: what is read must not depend on it.
    #[test]
    fn random_streams_of_a_worker_are_read_alike_however_they_are_cut() {
        crate::fuzz::run("interpreter", |input| {
            let Some((cut, stream)) = input.split_first() else {
                return;
            };
            let whole = read_in_pieces(stream, stream.len().max(1));
            assert_eq!(read_in_pieces(stream, 1 + usize::from(*cut) % 40), whole);
        });
    }

    proptest! {
        #[test]
        fn events_survive_any_cut(ids in proptest::collection::vec(any::<u64>(), 1..8), piece in 1usize..50) {
            let stream: Vec<u8> = ids
                .iter()
                .flat_map(|id| framed(&format!(r#"{{"kind":"done","id":{id},"outcome":"interrupted"}}"#)))
                .collect();
            let (mut read, mut seen) = (Vec::new(), Vec::new());
            for piece in stream.chunks(piece) {
                read.extend_from_slice(piece);
                while let Some(event) = take_event(&mut read).unwrap() {
                    seen.push(event.id());
                }
            }
            prop_assert_eq!(seen, ids);
            prop_assert!(read.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = take_event(&mut bytes);
        }
    }
}
