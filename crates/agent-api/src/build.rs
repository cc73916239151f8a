//! What the agent does in a sandbox that is a step of a build. It has these routes only where
//! [`AgentConfig::build`](crate::AgentConfig) says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of `POST /build/run`. The answer is a row of [`BuildFrame`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildRunRequest {
    /// The program, looked for in `PATH` if it has no slash, and its arguments. Empty where there is a script.
    pub argv: Vec<String>,
    /// A program to write down first, at an absolute path, and to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<BuildInlineFile>,
    /// Absolute.
    pub cwd: String,
    /// Variables besides those of the configuration.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Body of `POST /build/copy`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a separate thing that an instruction says"
)]
pub struct BuildCopyRequest {
    /// The folder that is the root of the source: paths and links lead nowhere else.
    pub root: String,
    /// Paths and patterns below it.
    pub paths: Vec<String>,
    /// Files that have their contents here.
    pub inline: Vec<BuildInlineFile>,
    /// Absolute.
    pub target: String,
    /// Whether the target is a folder although nothing is there yet.
    pub is_folder: bool,
    /// `user[:group]` for all that is copied, by name or number; see `keeps_owner` where absent.
    pub owner: Option<String>,
    /// Permission bits for all that is copied.
    pub mode: Option<u32>,
    /// Whether files keep their owners; else they become root's.
    pub keeps_owner: bool,
    /// Whether archives are unpacked.
    pub unpacks: bool,
    /// What is copied keeps its path: all of it, or what stands behind `/./`.
    pub keeps_path: bool,
    /// Patterns of what is left out, below each folder that is copied, or for the name of a file.
    pub excludes: Vec<String>,
    /// Nothing is copied: only the digest is wanted.
    pub is_dry: bool,
    /// The root of the source goes when all of it is copied.
    pub removes_root: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInlineFile {
    pub name: String,
    pub content: String,
}

/// Body of `POST /build/fetch`. The answer has no body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildFetchRequest {
    /// Where it is fetched from, with its credentials.
    pub address: String,
    /// Absolute, and not there yet; the folders above are made.
    pub path: String,
    pub what: BuildFetched,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum BuildFetched {
    /// A file by HTTP. It gets the time that its server tells, and is for its owner only.
    File {
        /// SHA-256 in lower-case hex; another content is refused.
        checksum: Option<String>,
    },
    /// The work tree of a repository.
    Repository {
        /// A branch or a tag; the remote's own choice where absent.
        branch: Option<String>,
        /// A whole commit id instead.
        commit: Option<String>,
        /// Whether `.git` stays.
        keeps_git_dir: bool,
    },
}

/// Answer of `POST /build/copy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildCopyResponse {
    /// SHA-256 over names, types, modes, owners that count, and contents, in hex. Times are left out.
    pub digest: String,
}

/// One piece of the answer to `POST /build/run`: a byte for its kind, four for its length (the highest first), and
/// that many bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildFrame {
    /// What the program said.
    Output(Vec<u8>),
    /// The last one.
    End(BuildRunEnd),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildRunEnd {
    /// 128 and the signal's number for a death by signal.
    pub exit_code: i32,
    /// Why it was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

const OUTPUT: u8 = 1;
const END: u8 = 2;

/// Bytes before those of a piece.
const HEAD: usize = 5;

/// Longest piece.
pub const BUILD_FRAME_MAX_BYTES: usize = 256 << 10;

impl BuildFrame {
    /// Output that is longer than [`BUILD_FRAME_MAX_BYTES`] must be cut before.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, bytes) = match self {
            Self::Output(bytes) => (OUTPUT, bytes.clone()),
            Self::End(end) => (
                END,
                serde_json::to_vec(end).expect("plain data can always be written"),
            ),
        };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut frame = Vec::with_capacity(HEAD + bytes.len());
        frame.push(kind);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&bytes);
        frame
    }

    /// Takes the first piece off `bytes`; none where it is not whole yet.
    ///
    /// # Errors
    /// It is no piece.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, &'static str> {
        let [kind, head @ ..] = &bytes[..] else {
            return Ok(None);
        };
        let Some(length) = head.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > BUILD_FRAME_MAX_BYTES {
            return Err("a piece of output is too long");
        }
        let kind = *kind;
        if bytes.len() < HEAD + length {
            return Ok(None);
        }
        let body: Vec<u8> = bytes.drain(..HEAD + length).skip(HEAD).collect();
        match kind {
            OUTPUT => Ok(Some(Self::Output(body))),
            END => serde_json::from_slice(&body)
                .map(|end| Some(Self::End(end)))
                .map_err(|_| "the end cannot be read"),
            _ => Err("a piece is of no known kind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_wherever_they_are_cut() {
        let frames = [
            BuildFrame::Output(b"hello".to_vec()),
            BuildFrame::Output(Vec::new()),
            BuildFrame::End(BuildRunEnd {
                exit_code: 3,
                reason: None,
            }),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(BuildFrame::encode).collect();
        for cut in 0..bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            let mut read = Vec::new();
            while let Ok(Some(frame)) = BuildFrame::take(&mut buffer) {
                read.push(frame);
            }
            buffer.extend_from_slice(&bytes[cut..]);
            while let Ok(Some(frame)) = BuildFrame::take(&mut buffer) {
                read.push(frame);
            }
            assert_eq!(read, frames, "cut at {cut}");
        }
        assert!(BuildFrame::take(&mut vec![9, 0, 0, 0, 0]).is_err());
        assert!(BuildFrame::take(&mut vec![1, 255, 0, 0, 0]).is_err());
    }
}
