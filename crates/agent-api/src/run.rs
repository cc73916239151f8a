//! A program with somebody attached: its input, output and errors apart, a terminal if wanted, and how it ended.
//!
//! Not part of the toolbox API: the server asks for it, for SSH. A request for [`RUN_PATH`] becomes a stream of pieces
//! each way, as one for [`SFTP_PATH`] becomes a stream of SFTP packets. A piece is a byte for its kind, four for its
//! length (the highest first), and that many bytes.
//!
//! Input has a window of its own: at most [`RUN_WINDOW_BYTES`] may be on their way that the agent has not said to have
//! [taken](RunSaid::Taken). A program that does not read thus holds up its input alone, not what is told about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::PtySize;

/// Where a program is run.
pub const RUN_PATH: &str = "/attached/run";
/// What the connection is upgraded to there.
pub const RUN_PROTOCOL: &str = "alcove-run";
/// Where files are served by SFTP.
pub const SFTP_PATH: &str = "/attached/sftp";
/// What the connection is upgraded to there.
pub const SFTP_PROTOCOL: &str = "alcove-sftp";

/// Input that the agent holds for a program that does not read.
pub const RUN_WINDOW_BYTES: usize = 256 << 10;
/// Longest piece.
pub const RUN_PIECE_BYTES: usize = 64 << 10;
/// Longest command.
pub const RUN_COMMAND_MAX_BYTES: usize = RUN_PIECE_BYTES;

/// Bytes before those of a piece.
const HEAD: usize = 5;

/// What is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRequest {
    /// Win over the sandbox's. Names that no shell could name are left out.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<RunTerminal>,
}

/// The terminal that a program is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTerminal {
    pub cols: u16,
    pub rows: u16,
    /// Modes by their numbers in RFC 4254, section 8. Unknown ones are left out.
    #[serde(default)]
    pub modes: Vec<(u8, u32)>,
}

/// How a program ended, or why it did not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunEnd {
    Code(i32),
    /// By its number.
    Signal(i32),
    NotStarted(String),
}

/// What whoever is attached says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOrder {
    /// For the user's shell; comes before the start. Without one, the shell itself runs.
    Command(Vec<u8>),
    Start(RunRequest),
    Input(Vec<u8>),
    InputEnd,
    Resize(PtySize),
    /// By its name without `SIG`.
    Signal(String),
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunSaid {
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// So many more bytes of input have gone to the program, or nowhere because it takes none.
    Taken(u32),
    /// The last piece.
    End(RunEnd),
}

/// It is no piece, or none of the side it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    #[error("a piece is too long")]
    TooLong,
    #[error("a piece is of no known kind")]
    Kind,
    #[error("a piece cannot be read")]
    Body,
}

fn encode(into: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    into.push(kind);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(body);
}

/// The first piece's kind and body, once it is whole.
fn take(bytes: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, PieceError> {
    let [kind, head @ ..] = &bytes[..] else {
        return Ok(None);
    };
    let Some(length) = head.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > RUN_PIECE_BYTES {
        return Err(PieceError::TooLong);
    }
    let kind = *kind;
    if bytes.len() < HEAD + length {
        return Ok(None);
    }
    let body = bytes[HEAD..HEAD + length].to_vec();
    bytes.drain(..HEAD + length);
    Ok(Some((kind, body)))
}

fn text(body: Vec<u8>) -> Result<String, PieceError> {
    String::from_utf8(body).map_err(|_| PieceError::Body)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data can always be written")
}

fn of_json<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, PieceError> {
    serde_json::from_slice(body).map_err(|_| PieceError::Body)
}

impl RunOrder {
    /// Appends the piece. What is longer than [`RUN_PIECE_BYTES`] must be cut before.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Command(command) => encode(into, 1, command),
            Self::Start(request) => encode(into, 2, &json(request)),
            Self::Input(bytes) => encode(into, 3, bytes),
            Self::InputEnd => encode(into, 4, &[]),
            Self::Resize(size) => encode(into, 5, &json(&(size.cols(), size.rows()))),
            Self::Signal(name) => encode(into, 6, name.as_bytes()),
        }
    }

    /// Takes the first piece off `bytes`; none where it is not whole yet.
    ///
    /// # Errors
    /// It is no piece.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, PieceError> {
        let Some((kind, body)) = take(bytes)? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            1 => Self::Command(body),
            2 => Self::Start(of_json(&body)?),
            3 => Self::Input(body),
            4 => Self::InputEnd,
            5 => {
                let (cols, rows): (u16, u16) = of_json(&body)?;
                let size = PtySize::new(cols.into(), rows.into());
                Self::Resize(size.map_err(|_| PieceError::Body)?)
            }
            6 => Self::Signal(text(body)?),
            _ => return Err(PieceError::Kind),
        }))
    }
}

impl RunSaid {
    /// Appends the piece. What is longer than [`RUN_PIECE_BYTES`] must be cut before.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Output(bytes) => encode(into, 1, bytes),
            Self::Errors(bytes) => encode(into, 2, bytes),
            Self::Taken(count) => encode(into, 3, &count.to_be_bytes()),
            Self::End(end) => encode(into, 4, &json(end)),
        }
    }

    /// Takes the first piece off `bytes`; none where it is not whole yet.
    ///
    /// # Errors
    /// It is no piece.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, PieceError> {
        let Some((kind, body)) = take(bytes)? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            1 => Self::Output(body),
            2 => Self::Errors(body),
            3 => {
                let count = body.try_into().map_err(|_| PieceError::Body)?;
                Self::Taken(u32::from_be_bytes(count))
            }
            4 => Self::End(of_json(&body)?),
            _ => return Err(PieceError::Kind),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn orders() -> Vec<RunOrder> {
        let request = RunRequest {
            env: [("LANG".to_owned(), "C".to_owned())].into(),
            terminal: Some(RunTerminal {
                cols: 80,
                rows: 24,
                modes: vec![(53, 0)],
            }),
        };
        vec![
            RunOrder::Command(b"echo \xff".to_vec()),
            RunOrder::Start(request),
            RunOrder::Input(b"hello".to_vec()),
            RunOrder::Input(Vec::new()),
            RunOrder::Resize(PtySize::new(100, 30).unwrap()),
            RunOrder::Signal("TERM".to_owned()),
            RunOrder::InputEnd,
        ]
    }

    #[test]
    fn orders_are_read_as_they_were_written_wherever_they_are_cut() {
        let orders = orders();
        let mut bytes = Vec::new();
        for order in &orders {
            order.encode(&mut bytes);
        }
        for cut in 0..bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            let mut read = Vec::new();
            while let Some(order) = RunOrder::take(&mut buffer).unwrap() {
                read.push(order);
            }
            buffer.extend_from_slice(&bytes[cut..]);
            while let Some(order) = RunOrder::take(&mut buffer).unwrap() {
                read.push(order);
            }
            assert_eq!(read, orders, "cut at {cut}");
        }
    }

    #[test]
    fn what_the_agent_says_is_read_as_it_was_written() {
        let said = [
            RunSaid::Output(b"out".to_vec()),
            RunSaid::Errors(b"err".to_vec()),
            RunSaid::Taken(70_000),
            RunSaid::End(RunEnd::Code(5)),
            RunSaid::End(RunEnd::Signal(9)),
            RunSaid::End(RunEnd::NotStarted("no".to_owned())),
        ];
        let mut bytes = Vec::new();
        for piece in &said {
            piece.encode(&mut bytes);
        }
        for piece in said {
            assert_eq!(RunSaid::take(&mut bytes), Ok(Some(piece)));
        }
        assert_eq!(RunSaid::take(&mut bytes), Ok(None));
        let too_long = RunSaid::take(&mut vec![1, 255, 0, 0, 0]);
        assert_eq!(too_long, Err(PieceError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reading(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = RunOrder::take(&mut bytes.clone());
            let _ = RunSaid::take(&mut bytes.clone());
        }
    }
}
