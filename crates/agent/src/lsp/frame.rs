//! Messages on a byte stream: a header that tells the length, an empty line, that many bytes.

use bytes::{Buf, Bytes, BytesMut};

/// Longest message that a server may send.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Longest header, its empty line included.
pub const MAX_HEADER_BYTES: usize = 4 << 10;

const HEADER_END: &[u8] = b"\r\n\r\n";

/// What is not a message. The stream cannot be read on after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a header is longer than {MAX_HEADER_BYTES} bytes")]
    LongHeader,
    #[error("its output is no message: {0:?}")]
    BadHeader(String),
    #[error("a message of {0} bytes is too long; {MAX_MESSAGE_BYTES} are taken")]
    LongMessage(usize),
}

/// Takes a stream apart, whatever pieces it comes in.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
    /// Of the message whose header was read.
    length: Option<usize>,
}

impl FrameReader {
    /// Where the next bytes of the stream go.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// The stream holds something else.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.take_header()? {
                Some(length) => *self.length.insert(length),
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            return Ok(None);
        }
        self.length = None;
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // Or a long message would keep its memory until the next one.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }

    /// The length that the header at the beginning tells.
    fn take_header(&mut self) -> Result<Option<usize>, FrameError> {
        let seen = &self.buffer[..self.buffer.len().min(MAX_HEADER_BYTES)];
        let Some(end) = memchr::memmem::find(seen, HEADER_END) else {
            return match seen.len() {
                MAX_HEADER_BYTES => Err(FrameError::LongHeader),
                _ => Ok(None),
            };
        };
        let length = content_length(&seen[..end])?;
        self.buffer.advance(end + HEADER_END.len());
        Ok(Some(length))
    }
}

fn content_length(header: &[u8]) -> Result<usize, FrameError> {
    let header = String::from_utf8_lossy(header);
    let bad = || FrameError::BadHeader(header.chars().take(200).collect());
    let mut length = None;
    for line in header.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        if name.trim().eq_ignore_ascii_case("content-length") {
            let value = value.trim();
            // `parse` would take a sign.
            if !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(bad());
            }
            length = Some(value.parse::<usize>().map_err(|_| bad())?);
        }
    }
    match length {
        Some(length) if length <= MAX_MESSAGE_BYTES => Ok(length),
        Some(length) => Err(FrameError::LongMessage(length)),
        None => Err(bad()),
    }
}

/// A message as it goes over the stream.
pub fn encode(message: &[u8]) -> Vec<u8> {
    let mut frame = format!("Content-Length: {}\r\n\r\n", message.len()).into_bytes();
    frame.extend_from_slice(message);
    frame
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(stream: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        let mut reader = FrameReader::default();
        reader.buffer().extend_from_slice(stream);
        let mut messages = Vec::new();
        while let Some(message) = reader.next_message()? {
            messages.push(message);
        }
        Ok(messages)
    }

    proptest! {
        #[test]
        fn messages_come_back_whatever_pieces_they_travel_in(
            messages in vec(vec(any::<u8>(), 0..300), 0..8),
            cuts in vec(1usize..200, 1..50),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| encode(message)).collect();
            let mut reader = FrameReader::default();
            let mut read = Vec::new();
            let mut rest = stream.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = after;
                reader.buffer().extend_from_slice(piece);
                while let Some(message) = reader.next_message().unwrap() {
                    read.push(message.to_vec());
                }
            }
            prop_assert_eq!(read, messages);
            prop_assert!(reader.buffer().is_empty());
        }

        #[test]
        fn no_stream_makes_the_reader_panic_or_keep_more_than_a_header(
            stream in vec(prop_oneof![
                Just(b"Content-Length: ".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"\r\n\r\n".to_vec()),
                Just(b"99999999999999999999".to_vec()),
                Just(b"-1".to_vec()),
                (0u32..40).prop_map(|number| number.to_string().into_bytes()),
                vec(any::<u8>(), 0..2000),
            ], 0..20),
        ) {
            let mut reader = FrameReader::default();
            for piece in stream {
                reader.buffer().extend_from_slice(&piece);
                loop {
                    match reader.next_message() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                let expected = reader.length.unwrap_or(MAX_HEADER_BYTES);
                prop_assert!(reader.buffer.len() < expected.max(1));
            }
        }
    }

    /// The messages of a stream that comes in pieces, and why it could not be read on.
    fn read_in_pieces(stream: &[u8], length: usize) -> (Vec<Bytes>, Option<FrameError>) {
        let mut reader = FrameReader::default();
        let mut messages = Vec::new();
        for piece in stream.chunks(length) {
            reader.buffer().extend_from_slice(piece);
            loop {
                match reader.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Some(error)),
                }
            }
        }
        (messages, None)
    }

    /// The first byte says how the stream is cut: what is read must not depend on it.
    #[test]
    fn random_streams_are_read_alike_however_they_are_cut() {
        use crate::lsp::message::{kind, reply, result};

        crate::fuzz::run("lsp", |input| {
            let Some((cut, stream)) = input.split_first() else {
                return;
            };
            let (messages, error) = read_in_pieces(stream, 1 + usize::from(*cut) % 40);
            let whole = read_in_pieces(stream, stream.len().max(1));
            assert_eq!((&messages, &error), (&whole.0, &whole.1));
            for message in messages {
                assert_eq!(
                    read(&encode(&message)).unwrap(),
                    std::slice::from_ref(&message)
                );
                let is_json = kind(&message).is_ok();
                let reply = reply(&message, "file:///project", "project");
                assert!(is_json || reply.is_none());
                let _ = result::<serde_json::Value>(&message);
            }
        });
    }

    #[test]
    fn names_of_headers_are_known_in_any_case_and_others_are_skipped() {
        let stream = b"content-type: x; charset=utf-8\r\ncontent-LENGTH:  2\r\n\r\n{}";
        assert_eq!(read(stream).unwrap(), ["{}"]);
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_header() {
        let header = |length: usize| format!("Content-Length: {length}\r\n\r\n").into_bytes();
        assert_eq!(read(&header(MAX_MESSAGE_BYTES)).unwrap().len(), 0);
        assert_eq!(
            read(&header(MAX_MESSAGE_BYTES + 1)),
            Err(FrameError::LongMessage(MAX_MESSAGE_BYTES + 1))
        );
    }

    #[test]
    fn what_is_no_message_is_told() {
        for stream in [
            "hello\r\n\r\n",
            "Content-Length: +2\r\n\r\n{}",
            "A: b\r\n\r\n",
        ] {
            let error = read(stream.as_bytes()).unwrap_err();
            assert!(matches!(error, FrameError::BadHeader(_)), "{error}");
        }
        let endless = vec![b'x'; MAX_HEADER_BYTES];
        assert_eq!(read(&endless), Err(FrameError::LongHeader));
    }
}
