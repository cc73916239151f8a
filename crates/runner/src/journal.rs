//! The runner's journal: what is on this host, one file a sandbox.
//!
//! A file is replaced by a rename, so a reader sees the old or the new one, never half of one. What tells of a
//! run is not flushed to the disk: the journal answers "what did the server leave running when it was killed?",
//! and a killed process loses nothing that it has written. After a loss of power nothing runs any more, and
//! what should exist is in the store. A record that cannot be read keeps its sandbox's disk from being removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use alcove_domain::SandboxId;
use alcove_runner_api::{Fault, Generation, ImageDigest, SandboxSpec};
use serde::{Deserialize, Serialize};

use crate::disk::LoopNumber;
use crate::net::SlotIndex;
use crate::ranges::RANGES_MAX;

/// Of records that cannot be read.
const ASIDE: &str = "unreadable";

/// Raised when a record changes its meaning. A record of another version is kept aside, not guessed at.
const FORMAT: u32 = 2;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {step} {path}")]
    Io {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {path}: it is not a record of this version")]
    Format {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl JournalError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            Self::Format { .. } => None,
        }
    }
}

/// Which of the host's id ranges a sandbox has; see [`crate::ranges`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RangeIndex(pub u32);

/// One sandbox on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub(crate) format: u32,
    pub sandbox: SandboxId,
    pub generation: Generation,
    pub range: RangeIndex,
    pub image: ImageDigest,
    /// The disk is a copy of another sandbox's and has not been used yet.
    #[serde(default)]
    pub is_copy: bool,
    pub phase: Phase,
}

impl Record {
    pub fn new(
        sandbox: SandboxId,
        generation: Generation,
        range: RangeIndex,
        image: ImageDigest,
    ) -> Self {
        Self {
            format: FORMAT,
            sandbox,
            generation,
            range,
            image,
            is_copy: false,
            phase: Phase::Making,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every sandbox that has a record in memory runs"
)]
pub enum Phase {
    /// Being made for the first time. Found at a start of the runner, it is taken apart: nobody was told
    /// that it exists.
    Making,
    /// Being started from its disk. Found at a start of the runner, it is stopped.
    Starting,
    Running(Running),
    Stopped {
        fault: Option<Fault>,
    },
}

/// What is needed to find a running sandbox again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub spec: SandboxSpec,
    pub process: ProcessIdentity,
    pub slot: SlotIndex,
    pub address: Ipv4Addr,
    pub loop_device: LoopNumber,
    /// The secret that the agent asks of every request.
    pub token: String,
    pub agent_version: String,
    #[serde(default)]
    pub hold: Hold,
}

/// What of a running sandbox is held still. Written down before it is held, and after it has been let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    #[default]
    Nothing,
    /// Its processes: it is paused.
    Processes,
    /// Its file system, while it is copied. Found at a start of the runner, it is let go.
    FileSystem,
}

/// A process number that cannot be mistaken for a later process of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// Start time in clock ticks since the boot.
    pub start_ticks: u64,
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The identity of a process that runs now.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_ticks: start_ticks(pid)?,
            boot_id: boot_id()?,
        })
    }

    /// A descriptor of the process, if it still runs.
    pub fn open(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = rustix::process::Pid::from_raw(self.pid)?;
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        // Looked at after the descriptor is there: it cannot change its meaning any more.
        let is_same = boot_id().is_ok_and(|id| id == self.boot_id)
            && start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks);
        is_same.then_some(fd)
    }
}

/// The kernel's name of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold blanks and brackets; the last bracket ends it. Field 22 follows as the
    // 20th after it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = rest.split_whitespace();
    let state = fields.next().unwrap_or_default();
    if matches!(state, "Z" | "X") {
        return Err(io::ErrorKind::NotFound.into());
    }
    fields
        .nth(18)
        .and_then(|f| f.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What is left of a record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    pub path: PathBuf,
    /// The sandbox, as the file is named.
    pub name: String,
    /// As far as the file tells.
    pub range: Option<RangeIndex>,
    pub image: Option<ImageDigest>,
}

impl SetAside {
    fn look(path: PathBuf) -> Result<Self, JournalError> {
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        // That of another version has these fields all the same, or none.
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let range = json.get("range").and_then(serde_json::Value::as_u64);
        let image = json.get("image").and_then(serde_json::Value::as_str);
        Ok(Self {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            range: range
                .and_then(|index| u32::try_from(index).ok())
                .filter(|index| *index < RANGES_MAX)
                .map(RangeIndex),
            image: image.map(|image| ImageDigest(image.to_owned())),
            path,
        })
    }
}

/// The folder of records.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// Opens the folder and reads all records. A file that holds no record of this version is renamed to
    /// `*.unreadable`, so that one broken file does not keep the others from being adopted; see
    /// [`Journal::set_aside`].
    ///
    /// # Errors
    /// If the host does not give what is in a file: the next attempt may find a record there.
    pub fn open(folder: PathBuf) -> Result<(Self, Vec<Record>), JournalError> {
        fs::create_dir_all(&folder).map_err(|e| failed("make the folder", &folder)(e))?;
        let mut records = Vec::new();
        let journal = Self { folder };
        for path in journal.files()? {
            match path.extension().and_then(|e| e.to_str()) {
                Some("json") => match read(&path) {
                    Ok(mut record) => {
                        if forget_env(&mut record) {
                            journal.write(&record)?;
                        }
                        records.push(record);
                    }
                    Err(error @ JournalError::Format { .. }) => {
                        tracing::error!(
                            path = %path.display(),
                            error = &error as &dyn std::error::Error,
                            "a journal record is set aside"
                        );
                        fs::rename(&path, path.with_extension(ASIDE))
                            .map_err(failed("set aside", &path))?;
                    }
                    Err(error) => return Err(error),
                },
                Some("draft") => {
                    let _ = fs::remove_file(&path);
                }
                _ => {}
            }
        }
        Ok((journal, records))
    }

    /// The records that were set aside, at this start or an earlier one. Where the sandbox has a record again, it
    /// was made anew, and the old one means nothing.
    pub fn set_aside(&self) -> Result<Vec<SetAside>, JournalError> {
        let files = self.files()?.into_iter();
        files
            .filter(|path| path.extension().is_some_and(|extension| extension == ASIDE))
            .filter(|path| !path.with_extension("json").exists())
            .map(SetAside::look)
            .collect()
    }

    fn files(&self) -> Result<Vec<PathBuf>, JournalError> {
        fs::read_dir(&self.folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(failed("list", &self.folder))
    }

    /// A folder that nobody reads yet, as that of a backup.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// One record of a folder that another process may be working with: nothing is opened for good or tidied.
    pub fn look_up(folder: &Path, sandbox: &SandboxId) -> Result<Record, JournalError> {
        read(&folder.join(format!("{sandbox}.json")))
    }

    /// Writes a record down. Blocks, for longer where the sandbox is stopped.
    ///
    /// A new file's bytes can reach the disk after its name (xfs), so that a loss of power leaves an empty record.
    /// A record that a sandbox is stopped may stand for months and is all that tells whose ids and which image its
    /// disk is of: it is synced, for 0.4 ms. Those of a start and a run are not, since every create writes them one
    /// after the other. What a loss of power leaves empty of these is set aside, and the disk with it.
    pub fn write(&self, record: &Record) -> Result<(), JournalError> {
        let path = self.path(&record.sandbox);
        let draft = path.with_extension("draft");
        let bytes = serde_json::to_vec(record).map_err(|source| JournalError::Format {
            path: path.clone(),
            source,
        })?;
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(&bytes)?;
            match record.phase {
                Phase::Stopped { .. } => file.sync_data(),
                Phase::Making | Phase::Starting | Phase::Running(_) => Ok(()),
            }
        };
        let written = write()
            .map_err(|e| failed("write", &draft)(e))
            .and_then(|()| fs::rename(&draft, &path).map_err(|e| failed("replace", &path)(e)));
        if written.is_err() {
            // On a full disk even an empty file is room that somebody else could use.
            let _ = fs::remove_file(&draft);
        }
        written
    }

    /// Forgets a sandbox, and what an earlier start set aside of it; one that is not there is forgotten already.
    pub fn remove(&self, sandbox: &SandboxId) -> Result<(), JournalError> {
        let path = self.path(sandbox);
        let _ = fs::remove_file(path.with_extension(ASIDE));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The record of a sandbox, if there is one.
    pub fn find(&self, sandbox: &SandboxId) -> Option<Record> {
        read(&self.path(sandbox)).ok()
    }

    /// What every sandbox on the disk was made from.
    ///
    /// # Errors
    /// If one cannot be read: it may be of any image.
    pub fn images(&self) -> Result<BTreeSet<ImageDigest>, JournalError> {
        let mut images = BTreeSet::new();
        for path in self.files()? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(record) => {
                    images.insert(record.image);
                }
                // It has gone since the folder was listed.
                Err(JournalError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }

    fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.folder.join(format!("{sandbox}.json"))
    }
}

/// What is written down of what was ordered. Variables are said to the agent, needed by nobody later, and secret as often as not.
pub fn kept(spec: &SandboxSpec) -> SandboxSpec {
    SandboxSpec {
        env: BTreeMap::new(),
        ..spec.clone()
    }
}

/// Earlier versions wrote down what programs of a sandbox are told, secrets among it, which nobody needs.
fn forget_env(record: &mut Record) -> bool {
    match &mut record.phase {
        Phase::Running(running) => !std::mem::take(&mut running.spec.env).is_empty(),
        _ => false,
    }
}

fn read(path: &Path) -> Result<Record, JournalError> {
    let bytes = fs::read(path).map_err(|e| failed("read", path)(e))?;
    let format = |source| JournalError::Format {
        path: path.to_owned(),
        source,
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(format)?;
    if record.format == FORMAT {
        Ok(record)
    } else {
        Err(format(serde::de::Error::custom(format!(
            "format {} is not {FORMAT}",
            record.format
        ))))
    }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io {
        step,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn record(id: &str) -> Record {
        let image = ImageDigest("sha256:00".to_owned());
        Record::new(id.parse().unwrap(), Generation(3), RangeIndex(7), image)
    }

    #[test]
    fn a_record_comes_back_and_a_broken_neighbour_does_not_stop_it() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, records) = Journal::open(folder.path().to_owned()).unwrap();
        assert!(records.is_empty());
        journal.write(&record("a")).unwrap();
        fs::write(folder.path().join("b.json"), "{").unwrap();
        fs::write(folder.path().join("c.draft"), "{").unwrap();

        let (journal, records) = Journal::open(folder.path().to_owned()).unwrap();
        assert_eq!(records, [record("a")]);
        assert_eq!(journal.images().unwrap(), [record("a").image].into());
        assert!(folder.path().join("b.unreadable").exists());
        assert!(!folder.path().join("c.draft").exists());
        journal.remove(&"a".parse().unwrap()).unwrap();
        journal.remove(&"a".parse().unwrap()).unwrap();
    }

    #[test]
    fn what_was_set_aside_is_told_at_every_start_with_all_that_is_known_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let later = r#"{"format":3,"range":7,"image":"sha256:00","phase":{"new":true}}"#;
        fs::write(at("later.json"), later).unwrap();
        fs::write(at("empty.json"), "").unwrap();
        for start in ["the first", "the second"] {
            let (journal, records) = Journal::open(folder.path().to_owned()).unwrap();
            assert!(records.is_empty());
            let mut aside = journal.set_aside().unwrap();
            aside.sort_by(|a, b| a.name.cmp(&b.name));
            let expected = |name: &str, range, image| SetAside {
                path: at(&format!("{name}.unreadable")),
                name: name.to_owned(),
                range,
                image,
            };
            let image = ImageDigest("sha256:00".to_owned());
            let expected = [
                expected("empty", None, None),
                expected("later", Some(RangeIndex(7)), Some(image)),
            ];
            assert_eq!(aside, expected, "{start}");
        }
    }

    #[test]
    fn what_was_set_aside_means_nothing_once_the_sandbox_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), "").unwrap();
        let (journal, _) = Journal::open(folder.path().to_owned()).unwrap();
        journal.write(&record("a")).unwrap();
        assert!(journal.set_aside().unwrap().is_empty());
        journal.remove(&"a".parse().unwrap()).unwrap();
        assert!(journal.set_aside().unwrap().is_empty());
    }

    #[test]
    fn a_record_that_the_host_does_not_give_fails_the_start_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        // Reading a folder as a file fails as a broken disk does.
        let path = folder.path().join("a.json");
        fs::create_dir(&path).unwrap();
        let error = Journal::open(folder.path().to_owned()).unwrap_err();
        assert!(
            matches!(error, JournalError::Io { step: "read", .. }),
            "{error}"
        );
        assert!(path.exists());
    }

    #[test]
    fn a_process_is_known_again_and_its_successor_is_not() {
        let own = ProcessIdentity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.open().is_some());
        let other = ProcessIdentity {
            start_ticks: own.start_ticks + 1,
            ..own.clone()
        };
        assert!(other.open().is_none());
        let other = ProcessIdentity {
            boot_id: "another".to_owned(),
            ..own
        };
        assert!(other.open().is_none());
    }
}
