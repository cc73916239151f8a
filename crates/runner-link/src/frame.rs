//! Messages of a stream: their length in four bytes, what they are in one, and that.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec, LengthDelimitedCodecError};
use tokio_util::io::StreamReader;

use crate::limit::{CutOff, Knife, Limit};

const JSON: u8 = 0;
const BYTES: u8 = 1;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Json(Bytes),
    Bytes(Bytes),
}

impl Message {
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Json(text) => serde_json::from_slice(text).ok(),
            Self::Bytes(_) => None,
        }
    }
}

pub(crate) fn of_json<T: Serialize>(value: &T) -> Bytes {
    // What is sent are words of ours without maps whose keys are no texts: this cannot fail.
    let text = serde_json::to_vec(value).unwrap_or_default();
    framed(JSON, &text)
}

pub(crate) fn of_bytes(bytes: &[u8]) -> Bytes {
    framed(BYTES, bytes)
}

fn framed(kind: u8, content: &[u8]) -> Bytes {
    let length = u32::try_from(content.len() + 1).unwrap_or(u32::MAX);
    let mut frame = BytesMut::with_capacity(content.len() + 5);
    frame.put_u32(length);
    frame.put_u8(kind);
    frame.put_slice(content);
    frame.freeze()
}

/// The messages of a body, each within the limit. An error means that the connection broke off, or that it was cut for what
/// came over it, and is the last that comes.
pub(crate) fn messages(
    body: Incoming,
    limit: Limit,
    knife: Knife,
) -> impl Stream<Item = std::io::Result<Message>> + Send {
    let pieces = body
        .into_data_stream()
        .map_err(std::io::Error::other)
        .boxed();
    let codec = LengthDelimitedCodec::builder()
        .max_frame_length(limit.bytes)
        .new_codec();
    let cut = move |why: CutOff| {
        knife.cut(why.clone());
        std::io::Error::other(why)
    };
    FramedRead::new(StreamReader::new(pieces), codec).map(move |frame| {
        let mut frame = match frame {
            Ok(frame) => frame.freeze(),
            Err(error) if is_too_long(&error) => {
                return Err(cut(CutOff::TooMuch {
                    what: limit.what,
                    limit: limit.bytes,
                }));
            }
            Err(error) => return Err(error),
        };
        let kind = if frame.is_empty() {
            None
        } else {
            frame.split_to(1).first().copied()
        };
        match kind {
            Some(JSON) => Ok(Message::Json(frame)),
            Some(BYTES) => Ok(Message::Bytes(frame)),
            _ => Err(cut(CutOff::NoMessage { what: limit.what })),
        }
    })
}

fn is_too_long(error: &std::io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<LengthDelimitedCodecError>());
    cause.is_some()
}
