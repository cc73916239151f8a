//! Multipart bodies, read as they come.
//!
//! Holds one piece of the body and not more: the sender is slowed down to the pace of whoever asks for the next
//! piece.

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use memchr::memmem;

/// Longest block of a part's headers.
const MAX_HEAD_BYTES: usize = 16 << 10;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    #[error("not a multipart body")]
    NotMultipart,
    #[error("the multipart body ends too early")]
    Truncated,
    #[error("the multipart body is malformed")]
    Malformed,
    #[error("cannot read the body: {0}")]
    Body(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Before the first boundary, or in a part.
    InContent,
    /// Right behind a boundary.
    BehindBoundary,
    End,
}

/// A body and the place we have read it to.
#[derive(Debug)]
pub struct Multipart {
    body: Body,
    buffer: BytesMut,
    is_body_over: bool,
    delimiter: memmem::Finder<'static>,
    position: Position,
}

impl Multipart {
    /// # Errors
    /// The headers do not announce a multipart body.
    pub fn new(headers: &HeaderMap, body: Body) -> Result<Self, MultipartError> {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let boundary = kind
            .and_then(boundary_of)
            .ok_or(MultipartError::NotMultipart)?;
        let delimiter = format!("\r\n--{boundary}");
        Ok(Self {
            body,
            // The first boundary needs no line break before it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            is_body_over: false,
            delimiter: memmem::Finder::new(delimiter.as_bytes()).into_owned(),
            position: Position::InContent,
        })
    }

    /// Goes to the next part, over what is left of the current one. The result is the part's field name;
    /// none behind the last part.
    ///
    /// # Errors
    /// The body is cut off or malformed.
    pub async fn next_part(&mut self) -> Result<Option<String>, MultipartError> {
        while self.next_piece().await?.is_some() {}
        if self.position == Position::End {
            return Ok(None);
        }
        while self.buffer.len() < 2 {
            self.read_more().await?;
        }
        if self.buffer.starts_with(b"--") {
            self.position = Position::End;
            return Ok(None);
        }
        let head_end = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(MultipartError::Malformed);
            }
            self.read_more().await?;
        };
        let head = self.buffer.split_to(head_end + 4);
        self.position = Position::InContent;
        Ok(Some(field_name(&head).unwrap_or_default()))
    }

    /// The next piece of the current part; none at its end.
    ///
    /// # Errors
    /// The body is cut off.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, MultipartError> {
        let length = self.delimiter.needle().len();
        while self.position == Position::InContent {
            match self.delimiter.find(&self.buffer) {
                Some(0) => {
                    self.buffer.advance(length);
                    self.position = Position::BehindBoundary;
                }
                Some(at) => return Ok(Some(self.buffer.split_to(at).freeze())),
                None => {
                    let safe = self.buffer.len() - self.possible_start();
                    if safe > 0 {
                        return Ok(Some(self.buffer.split_to(safe).freeze()));
                    }
                    self.read_more().await?;
                }
            }
        }
        Ok(None)
    }

    /// Reads the rest of the body, whatever it is, so that the sender is not cut off before our answer.
    pub async fn drain(&mut self) {
        while self.read_more().await.is_ok() {
            self.buffer.clear();
        }
    }

    /// How many bytes at the end of the buffer may be the beginning of a boundary.
    fn possible_start(&self) -> usize {
        let needle = self.delimiter.needle();
        let longest = (needle.len() - 1).min(self.buffer.len());
        let tail = &self.buffer[self.buffer.len() - longest..];
        memchr::memchr_iter(b'\r', tail)
            .map(|at| &tail[at..])
            .find(|start| needle.starts_with(start))
            .map_or(0, <[u8]>::len)
    }

    async fn read_more(&mut self) -> Result<(), MultipartError> {
        if self.is_body_over {
            return Err(MultipartError::Truncated);
        }
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                Ok(())
            }
            Some(Err(error)) => {
                self.is_body_over = true;
                Err(MultipartError::Body(error.to_string()))
            }
            None => {
                self.is_body_over = true;
                Err(MultipartError::Truncated)
            }
        }
    }
}

/// Whether a content type announces a multipart body.
pub fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| boundary_of(kind).is_some())
}

fn boundary_of(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    let is_multipart = kind.trim().get(..10)?.eq_ignore_ascii_case("multipart/");
    is_multipart
        .then(|| parameter(parameters, "boundary"))
        .flatten()
        .filter(|boundary| !boundary.is_empty())
}

fn field_name(head: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_disposition = name.trim().eq_ignore_ascii_case("content-disposition");
        is_disposition
            .then(|| parameter(value.split_once(';')?.1, "name"))
            .flatten()
    })
}

/// The value of one of `a=b; c="d"`, quotes and their escapes taken off.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_start_matches([';', ' ', '\t']).trim_end();
        let after = after.trim_start();
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let (value, next) = after.split_once(';').unwrap_or((after, ""));
            (value.trim_end().to_owned(), next)
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

/// Reads up to the closing quote; the second result is what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use futures_util::stream;
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn open(content_type: &str, body: &[u8], chunk: usize) -> Result<Multipart, MultipartError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        let chunks: Vec<_> = body
            .chunks(chunk)
            .map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)))
            .collect();
        Multipart::new(&headers, Body::from_stream(stream::iter(chunks)))
    }

    fn parts(body: &[u8], chunk: usize) -> Result<Vec<(String, Vec<u8>)>, MultipartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut multipart = open("multipart/form-data; boundary=\"b\"", body, chunk)?;
            let mut parts = Vec::new();
            while let Some(name) = multipart.next_part().await? {
                let mut content = Vec::new();
                while let Some(piece) = multipart.next_piece().await? {
                    content.extend_from_slice(&piece);
                }
                parts.push((name, content));
            }
            Ok(parts)
        })
    }

    fn body_of(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in parts {
            let head = format!(
                "--b\r\nContent-Type: x/y\r\ncontent-disposition: form-data; filename=\"a;name=x\"; name=\"{name}\"\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b--\r\n");
        body
    }

    #[test]
    fn other_content_types_are_refused() {
        for kind in [
            "application/json",
            "multipart/form-data",
            "text/plain; boundary=b",
        ] {
            assert_eq!(
                open(kind, b"", 1).unwrap_err(),
                MultipartError::NotMultipart,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_body_without_its_last_boundary_is_truncated() {
        let whole = body_of(&[("a".into(), b"content".to_vec())]);
        assert_eq!(
            parts(&whole[..whole.len() - 9], 5).unwrap_err(),
            MultipartError::Truncated
        );
    }

    #[test]
    fn quoted_names_lose_their_escapes() {
        assert_eq!(
            parameter(r#" name="a\"b;c"; x=y"#, "name"),
            Some(r#"a"b;c"#.to_owned())
        );
        assert_eq!(
            parameter("x=1;Name= plain ; z", "name"),
            Some("plain".to_owned())
        );
        assert_eq!(parameter("x=\"unclosed", "name"), None);
    }

    proptest! {
        #[test]
        fn parts_come_back_whole_however_the_body_is_cut(
            parts_in in proptest::collection::vec(
                ("[a-z\\[\\].]{1,8}", proptest::collection::vec(
                    prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'c'), any::<u8>()], 0..60)), 0..5),
            chunk in 1usize..40
        ) {
            // Content that holds the boundary itself cannot be sent with it.
            prop_assume!(parts_in.iter().all(|(_, content)| memmem::find(content, b"\r\n--b").is_none()
                && !content.starts_with(b"--b")));
            prop_assert_eq!(parts(&body_of(&parts_in), chunk).unwrap(), parts_in);
        }

        #[test]
        fn no_body_panics(body in any::<Vec<u8>>(), chunk in 1usize..40) {
            let _ = parts(&body, chunk);
        }
    }
    /// The first byte says how the body is cut: what is read must not depend on it.
    #[test]
    fn random_bodies_are_read_alike_however_they_are_cut() {
        crate::fuzz::run("multipart", |input| {
            let chunk = 1 + usize::from(input.first().copied().unwrap_or(0)) % 40;
            let whole = parts(input, input.len().max(1));
            assert_eq!(parts(input, chunk), whole);
        });
    }
}
