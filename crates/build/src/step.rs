//! What is to be done, with every input spelled out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Config;

/// All that is to be built, in order. A stage uses only those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub stages: Vec<StagePlan>,
}

/// One stage. The last one of the plan is the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan {
    /// Its place in the Dockerfile; stages that nobody uses are left out of the plan.
    pub index: usize,
    pub base: Base,
    pub steps: Vec<Step>,
    pub config: Config,
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage, by its index.
    Stage(usize),
    Image(String),
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    Context,
    /// By the index of the stage.
    Stage(usize),
    Image(String),
}

/// One instruction that changes files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    /// For the log: the instruction as it was written, in one line.
    pub text: String,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Run(Run),
    Copy(Copy),
    /// A working folder that must be there.
    Folder {
        path: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Followed by where the script is, if there is one.
    pub argv: Vec<String>,
    /// A program that stands in the Dockerfile, and says in its first line what reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<InlineFile>,
    /// All variables, build arguments included.
    pub env: BTreeMap<String, String>,
    /// Empty for root.
    pub user: String,
    pub workdir: String,
    pub mounts: Vec<Mount>,
    pub has_network: bool,
}

/// What is mounted while a command runs, and is no part of the layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Absolute.
    pub target: String,
    pub kind: MountKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MountKind {
    /// Files of a source. What is written to them is thrown away.
    Bind {
        source: Source,
        path: String,
        #[serde(skip_serializing_if = "is_false")]
        is_writable: bool,
    },
    /// A folder that outlives the build.
    Cache {
        id: String,
        sharing: Sharing,
        is_read_only: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    /// In memory.
    Tmpfs { size_bytes: Option<u64> },
}

/// What steps that use one cache at the same time see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Sharing {
    /// Each other's files.
    Shared,
    /// Each a cache of its own.
    Private,
    /// One after the other.
    Locked,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    pub source: Source,
    /// Paths and patterns below the root of the source.
    pub paths: Vec<String>,
    /// Files whose contents stand in the Dockerfile.
    pub inline: Vec<InlineFile>,
    /// What comes from elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fetched: Vec<Fetch>,
    /// Absolute.
    pub target: String,
    /// Whether the target was written as a folder, or must be one because there are several sources.
    pub is_folder: bool,
    /// `user[:group]`, by name or number.
    pub owner: Option<String>,
    /// Permission bits for all that is copied.
    pub mode: Option<u32>,
    /// Archives are unpacked.
    pub unpacks: bool,
    /// What is copied keeps its path: all of it, or what stands behind `/./`.
    #[serde(skip_serializing_if = "is_false")]
    pub keeps_path: bool,
    /// Patterns of what is left out, below each folder that is copied, or for the name of a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
}

/// Something that is fetched from its address, by the network of the step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fetch {
    /// With the credentials that it was written with.
    pub address: String,
    pub what: Fetched,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fetched {
    /// A file by HTTP.
    File {
        /// What it is called in a target that is a folder.
        name: String,
        /// SHA-256 in lower-case hex.
        checksum: Option<String>,
        /// An archive is unpacked.
        unpacks: bool,
    },
    /// A work tree of git.
    Repository {
        /// A branch, a tag, or a whole commit id; the remote's own choice where absent.
        reference: Option<String>,
        /// What of it is taken, below its root.
        folder: String,
        keeps_git_dir: bool,
    },
}

impl Fetched {
    /// What finds it below the folder that it was fetched into.
    pub fn pattern(&self) -> String {
        alcove_glob::escape(match self {
            Self::File { name, .. } => name,
            Self::Repository { folder, .. } => folder,
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "it is what the serializer calls"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InlineFile {
    pub name: String,
    pub content: String,
}

impl Action {
    /// Everything that files are taken from.
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            Self::Copy(copy) if copy.paths.is_empty() => Vec::new(),
            Self::Copy(copy) => vec![&copy.source],
            Self::Run(run) => run
                .mounts
                .iter()
                .filter_map(|mount| match &mount.kind {
                    MountKind::Bind { source, .. } => Some(source),
                    MountKind::Cache { .. } | MountKind::Tmpfs { .. } => None,
                })
                .collect(),
            Self::Folder { .. } => Vec::new(),
        }
    }

    /// Whether the result is the same for everyone at all times, given the same inputs.
    fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Copy(_) => "copy",
            Self::Folder { .. } => "folder",
        }
    }
}

/// What a finished step is found by again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey(String);

impl StepKey {
    /// `organization` comes first: nobody is served what another one uploaded or built. `layers` are the digests of
    /// all layers below, `sources` stand for the contents of what is copied or mounted, in the order of
    /// [`Action::sources`].
    pub fn new(organization: &str, layers: &[String], action: &Action, sources: &[String]) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // Length first: without it, parts that follow one another could be cut elsewhere.
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(b"alcove step 1");
        part(organization.as_bytes());
        part(action.name().as_bytes());
        part(&serde_json::to_vec(action).expect("plain data can always be written"));
        for list in [layers, sources] {
            part(&(list.len() as u64).to_le_bytes());
            for text in list {
                part(text.as_bytes());
            }
        }
        let digest = hash.finalize();
        let mut text = String::with_capacity(64);
        for byte in digest {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(organization: &str, layers: &[&str], path: &str, sources: &[&str]) -> StepKey {
        let owned =
            |list: &[&str]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
        let action = Action::Folder {
            path: path.to_owned(),
        };
        StepKey::new(organization, &owned(layers), &action, &owned(sources))
    }

    #[test]
    fn the_same_inputs_have_the_same_key_and_no_others() {
        let keys = [
            key("o", &["ab"], "/x", &[]),
            key("p", &["ab"], "/x", &[]),
            key("o", &["a", "b"], "/x", &[]),
            key("o", &["ab"], "/y", &[]),
            key("o", &[], "/x", &["ab"]),
            key("oa", &["b"], "/x", &[]),
        ];
        assert_eq!(keys[0], key("o", &["ab"], "/x", &[]));
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(keys[0].as_str().len(), 64);
    }
}
