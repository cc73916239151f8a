//! Sandboxes as clients of sessions see them: a name in a project, and one session from each start to the next stop.
//!
//! What such a client says of a sandbox that no other does is kept in labels of the sandbox, below one prefix; all other
//! labels are the client's tags. A label that says nonsense, since anybody may write labels, counts as absent.
//!
//! Long because the terms, the labels that say them and the checks of what is asked for are read together.

mod drive;
mod image;
mod retention;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

pub use self::drive::{DriveMount, check_drive_bytes, check_drive_name, mounts};
pub use self::image::{ImageWord, image_word, runtime_word};
pub use self::retention::{
    EXPIRATION_MIN_MS, KEEP_LAST_MAX, KeepLast, KeepLastRequest, Retention, check_expiration,
};
pub use self::usage::{RunUsage, TotalUsage, Traffic};

use crate::{Reason, Resources, Sandbox, SandboxId, SandboxState};

/// Labels of ours begin so.
pub const PREFIX: &str = "vercel.";

const PROJECT: &str = "vercel.project";
const PERSISTENT: &str = "vercel.persistent";
const TIMEOUT: &str = "vercel.timeoutMs";
const LASTS: &str = "vercel.sessionTimeoutMs";
const PORTS: &str = "vercel.ports";
const RUNTIME: &str = "vercel.runtime";
const IMAGE: &str = "vercel.image";
const SESSION: &str = "vercel.session";
const STARTED: &str = "vercel.startedMs";
const STOPPED: &str = "vercel.stoppedMs";
const SOURCE: &str = "vercel.sourceSnapshot";
const CURRENT: &str = "vercel.currentSnapshot";
const EXPIRATION: &str = "vercel.snapshotExpirationMs";
const MOUNTS: &str = "vercel.mounts";
const KEEP_LAST: &str = "vercel.keepLastSnapshots";
const USED: &str = "vercel.used";
const TOTAL: &str = "vercel.usedInAll";

/// How long a session lasts where nobody says.
pub const TIMEOUT_DEFAULT_MS: u64 = 300_000;
pub const TIMEOUT_MIN_MS: u64 = 1000;
/// A year: later than any client means, and early enough for every clock.
pub const TIMEOUT_MAX_MS: u64 = 365 * 86_400_000;
pub const PORTS_MAX: usize = 15;
pub const PORT_MIN: u16 = 1024;
pub const TAGS_MAX: usize = 5;
pub const TAG_VALUE_MAX_BYTES: usize = 256;
pub const NAME_MAX_BYTES: usize = 128;
/// Names that paths need for something else.
pub const NAMES_RESERVED: [&str; 3] = ["sessions", "snapshots", "drives"];
/// Seconds that a client has to open the terminal that it was promised.
pub const INTERACTIVE_SECONDS: i64 = 60;
/// Minutes that a sandbox is kept that need not outlive its session.
pub const DISCARDED_AFTER_MINUTES: i64 = 60;

/// What a file that a sandbox begins with may have, compressed.
pub const SOURCE_MAX_BYTES: u64 = 1 << 30;
/// What a fetch of one may take: clients wait 300 seconds for the whole create.
pub const SOURCE_WITHIN: Duration = Duration::from_mins(4);
/// Signed addresses are long.
const URL_MAX_BYTES: usize = 8192;

/// What is asked of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTerms {
    pub project: String,
    /// Whether its files outlive a session.
    pub is_persistent: bool,
    /// How long a session lasts.
    pub timeout_ms: u64,
    /// Those that are shown to visitors.
    pub ports: Vec<u16>,
    pub runtime: Option<String>,
    pub image: Option<String>,
    pub source_snapshot: Option<String>,
    pub current_snapshot: Option<String>,
    /// How long its snapshots are kept.
    pub retention: Retention,
    /// Names of drives by the paths where they are.
    pub drives: BTreeMap<String, String>,
}

/// One session of a sandbox: the sandbox and the number of the session, from one on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    pub sandbox: SandboxId,
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sbx_{}_{}", self.sandbox, self.number)
    }
}

impl SessionId {
    /// None for what has not the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let (sandbox, number) = text.strip_prefix("sbx_")?.rsplit_once('_')?;
        Some(Self {
            sandbox: sandbox.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// What a sandbox's labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    pub terms: SessionTerms,
    /// Of the last session that began.
    pub number: u64,
    pub started_at: Timestamp,
    /// How long that session lasts; longer than the terms say where it was given more.
    pub lasts_ms: u64,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// What it used, once it has ended.
    pub used: Option<RunUsage>,
    /// What all that have ended used.
    pub total: Option<TotalUsage>,
    /// Whether it has not yet what its create promises. No label says so, since anybody may write labels.
    pub is_unfinished: bool,
    pub tags: BTreeMap<String, String>,
}

impl SessionRecord {
    /// Of a sandbox that begins its first session now.
    pub fn first(terms: SessionTerms, tags: BTreeMap<String, String>, at: Timestamp) -> Self {
        Self {
            lasts_ms: terms.timeout_ms,
            terms,
            number: 1,
            started_at: at,
            stopped_at: None,
            used: None,
            total: None,
            is_unfinished: false,
            tags,
        }
    }

    /// Of any sandbox: one that no client of sessions has made is in the project of whoever asks, and persistent.
    pub fn of(sandbox: &Sandbox) -> Self {
        let label = |name: &str| sandbox.labels.get(name).filter(|text| !text.is_empty());
        let number = |name: &str| label(name).and_then(|text| text.parse::<u64>().ok());
        let time = |name: &str| {
            let ms = number(name).and_then(|ms| i64::try_from(ms).ok())?;
            Timestamp::from_millisecond(ms).ok()
        };
        let length =
            |name: &str| number(name).filter(|ms| (TIMEOUT_MIN_MS..=TIMEOUT_MAX_MS).contains(ms));
        let timeout_ms = length(TIMEOUT).unwrap_or(TIMEOUT_DEFAULT_MS);
        let ports = label(PORTS).map_or("", String::as_str).split(',');
        let is_ours = |name: &String| name.starts_with(PREFIX);
        Self {
            terms: SessionTerms {
                project: label(PROJECT).cloned().unwrap_or_default(),
                is_persistent: label(PERSISTENT).is_none_or(|text| text != "false"),
                timeout_ms,
                ports: ports.filter_map(|port| port.parse().ok()).collect(),
                runtime: label(RUNTIME).cloned(),
                image: label(IMAGE).cloned(),
                source_snapshot: label(SOURCE).cloned(),
                current_snapshot: label(CURRENT).cloned(),
                retention: Retention {
                    expiration_ms: number(EXPIRATION),
                    keep_last: label(KEEP_LAST).and_then(|text| KeepLast::parse(text)),
                },
                drives: label(MOUNTS).map_or_else(BTreeMap::new, |text| drive::read_mounts(text)),
            },
            lasts_ms: length(LASTS).unwrap_or(timeout_ms),
            number: number(SESSION).unwrap_or(1),
            started_at: time(STARTED).unwrap_or(sandbox.created_at),
            stopped_at: time(STOPPED),
            used: label(USED).and_then(|text| RunUsage::parse(text)),
            total: label(TOTAL).and_then(|text| TotalUsage::parse(text)),
            is_unfinished: sandbox.is_unfinished,
            tags: sandbox
                .labels
                .iter()
                .filter(|(name, _)| !is_ours(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    pub fn id(&self, sandbox: &SandboxId) -> SessionId {
        SessionId {
            sandbox: sandbox.clone(),
            number: self.number,
        }
    }

    /// What the last session is. Nobody is to use one that has not all that it begins with.
    pub fn status(&self, state: SandboxState) -> &'static str {
        match status(state, true) {
            "running" if self.is_unfinished => "pending",
            other => other,
        }
    }

    /// The same, of a sandbox that a client of sessions has made or started.
    pub fn of_sessions(sandbox: &Sandbox) -> Option<Self> {
        let is_theirs = sandbox.labels.contains_key(SESSION);
        is_theirs.then(|| Self::of(sandbox))
    }

    /// The next session begins.
    pub fn begin(&mut self, at: Timestamp) {
        self.number += 1;
        self.started_at = at;
        self.lasts_ms = self.terms.timeout_ms;
        self.stopped_at = None;
        self.used = None;
    }

    /// The session is over and has used this, if anybody counted. False if it was over before.
    pub fn end(&mut self, at: Timestamp, used: Option<RunUsage>) -> bool {
        if self.stopped_at.is_some() {
            return false;
        }
        let lasted = at.as_millisecond() - self.started_at.as_millisecond();
        let lasted = u64::try_from(lasted).unwrap_or_default();
        let total = self.total.unwrap_or_default();
        self.total = Some(total.plus(lasted, used.unwrap_or_default()));
        self.stopped_at = Some(at);
        self.used = used;
        true
    }

    /// Takes over from labels that are in force what a session's end has written there: whoever read the record earlier, and
    /// writes it now, knows nothing of that.
    pub fn keep_end(labels: &mut BTreeMap<String, String>, in_force: &BTreeMap<String, String>) {
        if labels.get(SESSION) != in_force.get(SESSION) {
            return;
        }
        for name in [STOPPED, USED, TOTAL] {
            if let Some(value) = in_force.get(name) {
                labels.insert(name.to_owned(), value.clone());
            }
        }
    }

    /// When the session that runs is to end.
    pub fn ends_at(&self) -> Timestamp {
        after_ms(self.started_at, self.lasts_ms)
    }

    /// The labels that say all this but whether it is unfinished.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let terms = &self.terms;
        let ports: Vec<String> = terms.ports.iter().map(ToString::to_string).collect();
        let mut labels = self.tags.clone();
        let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
        set(PROJECT, terms.project.clone());
        set(PERSISTENT, terms.is_persistent.to_string());
        set(TIMEOUT, terms.timeout_ms.to_string());
        set(LASTS, self.lasts_ms.to_string());
        set(SESSION, self.number.to_string());
        set(STARTED, self.started_at.as_millisecond().to_string());
        if let Some(at) = self.stopped_at {
            set(STOPPED, at.as_millisecond().to_string());
        }
        if !ports.is_empty() {
            set(PORTS, ports.join(","));
        }
        if !terms.drives.is_empty() {
            set(MOUNTS, drive::mounts_text(&terms.drives));
        }
        if let Some(used) = self.used {
            set(USED, used.to_string());
        }
        if let Some(total) = self.total {
            set(TOTAL, total.to_string());
        }
        if let Some(ms) = terms.retention.expiration_ms {
            set(EXPIRATION, ms.to_string());
        }
        if let Some(keep) = terms.retention.keep_last {
            set(KEEP_LAST, keep.to_string());
        }
        for (name, value) in [
            (RUNTIME, &terms.runtime),
            (IMAGE, &terms.image),
            (SOURCE, &terms.source_snapshot),
            (CURRENT, &terms.current_snapshot),
        ] {
            if let Some(value) = value {
                set(name, value.clone());
            }
        }
        labels
    }

    /// Whether a caller who works in this project sees the sandbox.
    pub fn is_in(&self, project: Option<&str>) -> bool {
        let own = &self.terms.project;
        own.is_empty() || project.is_none_or(|project| project == own)
    }
}

/// The label by which the sandboxes of a project are found.
pub fn project_label(project: &str) -> (String, String) {
    (PROJECT.to_owned(), project.to_owned())
}

/// So many milliseconds later, or the end of time.
pub fn after_ms(at: Timestamp, ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    at.as_millisecond()
        .checked_add(ms)
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

/// What a session is, in the words of its clients. One that another has followed is over.
pub fn status(state: SandboxState, is_last: bool) -> &'static str {
    if !is_last {
        return "stopped";
    }
    match state {
        SandboxState::Started | SandboxState::Resizing => "running",
        SandboxState::Stopped
        | SandboxState::Archived
        | SandboxState::Archiving
        | SandboxState::Paused
        | SandboxState::Pausing
        | SandboxState::Destroyed
        | SandboxState::Destroying => "stopped",
        SandboxState::Stopping => "stopping",
        SandboxState::Snapshotting | SandboxState::Forking => "snapshotting",
        SandboxState::Error | SandboxState::BuildFailed => "failed",
        SandboxState::Creating
        | SandboxState::Starting
        | SandboxState::Restoring
        | SandboxState::Resuming
        | SandboxState::PendingBuild
        | SandboxState::BuildingSnapshot
        | SandboxState::PullingSnapshot
        | SandboxState::Unknown => "pending",
    }
}

/// The states of sandboxes that are there and whose last session is this, in the words of its clients. None for a word
/// that is not theirs.
pub fn states_of(word: &str) -> Option<Vec<SandboxState>> {
    let mut states = SandboxState::ALL.to_vec();
    states.retain(|state| *state != SandboxState::Destroyed && status(*state, true) == word);
    // One of their words that nothing here ever is.
    (!states.is_empty() || word == "aborted").then_some(states)
}

/// Checks a name, which stands in paths.
pub fn check_name(name: &str, reasons: &mut Vec<Reason>) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.bytes().all(is_plain) {
        reasons.push(Reason::invalid(format!(
            "name must have 1 to {NAME_MAX_BYTES} letters, digits, underscores and hyphens"
        )));
    }
    if NAMES_RESERVED.contains(&name) {
        reasons.push(Reason::invalid(format!("name must not be {name}")));
    }
}

/// Reads how long a session is to last, or by how much longer.
pub fn check_timeout(field: &str, ms: i64, least: u64, reasons: &mut Vec<Reason>) -> u64 {
    match u64::try_from(ms) {
        Ok(ms) if (least..=TIMEOUT_MAX_MS).contains(&ms) => ms,
        _ => {
            reasons.push(Reason::invalid(format!(
                "{field} must be from {least} to {TIMEOUT_MAX_MS} milliseconds"
            )));
            TIMEOUT_DEFAULT_MS
        }
    }
}

/// Reads the ports that visitors may reach.
pub fn check_ports(ports: &[i64], reasons: &mut Vec<Reason>) -> Vec<u16> {
    if ports.len() > PORTS_MAX {
        reasons.push(Reason::invalid(format!(
            "ports must be at most {PORTS_MAX}"
        )));
    }
    let mut read = Vec::new();
    for port in ports {
        match u16::try_from(*port) {
            Ok(port) if port >= PORT_MIN => {
                if !read.contains(&port) {
                    read.push(port);
                }
            }
            _ => reasons.push(Reason::invalid(format!(
                "ports must be from {PORT_MIN} to 65535, not {port}"
            ))),
        }
    }
    read
}

/// Checks what a client files a sandbox under.
pub fn check_tags(tags: &BTreeMap<String, String>, reasons: &mut Vec<Reason>) {
    if tags.len() > TAGS_MAX {
        reasons.push(Reason::invalid(format!("tags must be at most {TAGS_MAX}")));
    }
    for (name, value) in tags {
        if name.starts_with(PREFIX) {
            reasons.push(Reason::invalid(format!(
                "tags must not begin with {PREFIX}"
            )));
        }
        if value.len() > TAG_VALUE_MAX_BYTES {
            reasons.push(Reason::invalid(format!(
                "the value of a tag must have at most {TAG_VALUE_MAX_BYTES} bytes"
            )));
        }
    }
}

/// Checks the address of a file that a sandbox is to begin with.
pub fn check_source_url(url: &str, reasons: &mut Vec<Reason>) {
    let rest = ["https://", "http://"]
        .into_iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let authority = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if url.len() > URL_MAX_BYTES || !is_plain || authority.is_none_or(str::is_empty) {
        reasons.push(Reason::invalid(format!(
            "source.url must be an address of http or https of at most {URL_MAX_BYTES} bytes"
        )));
    } else if authority.is_some_and(|authority| authority.contains('@')) {
        reasons.push(Reason::invalid(
            "source.url must not hold credentials; sign it instead",
        ));
    }
}

/// Reads how many processors a sandbox is to have; memory goes with them.
pub fn check_vcpus(vcpus: i64, reasons: &mut Vec<Reason>) -> Option<(i64, i64)> {
    if vcpus == 1 || (vcpus > 0 && vcpus % 2 == 0 && vcpus <= 64) {
        return Some((vcpus, vcpus * 2));
    }
    reasons.push(Reason::invalid(
        "vcpus must be 1 or an even number up to 64",
    ));
    None
}

/// Memory as these clients count it.
pub fn memory_mib(resources: Resources) -> u64 {
    u64::from(resources.memory_gib) * 1024
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sandbox::sample;

    fn terms() -> SessionTerms {
        SessionTerms {
            project: "p".to_owned(),
            is_persistent: false,
            timeout_ms: 5000,
            ports: vec![3000, 8080],
            runtime: Some("node24".to_owned()),
            image: None,
            source_snapshot: None,
            current_snapshot: Some("snap".to_owned()),
            retention: Retention {
                expiration_ms: Some(0),
                keep_last: KeepLast::parse("2,,false"),
            },
            drives: BTreeMap::from([("/data".to_owned(), "d".to_owned())]),
        }
    }

    #[test]
    fn what_labels_say_is_read_as_it_was_written() {
        let tags = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap_or_default();
        let mut record = SessionRecord::first(terms(), tags, at);
        record.lasts_ms += 7000;
        let mut sandbox = sample(Timestamp::UNIX_EPOCH);
        for _ in 0..2 {
            sandbox.labels = record.labels();
            assert_eq!(SessionRecord::of(&sandbox), record);
            record.begin(after_ms(at, 9));
            let used = RunUsage {
                cpu_ms: Some(4),
                traffic: None,
            };
            assert!(record.end(after_ms(at, 10), Some(used)));
        }
    }

    #[test]
    fn a_session_ends_once_and_adds_what_it_used() {
        let at = |ms| after_ms(Timestamp::UNIX_EPOCH, ms);
        let used = |ms| {
            Some(RunUsage {
                cpu_ms: Some(ms),
                traffic: None,
            })
        };
        let mut record = SessionRecord::first(terms(), BTreeMap::new(), at(1000));
        assert!(record.end(at(1500), used(40)));
        assert!(!record.end(at(1700), used(40)), "it is over");
        assert_eq!(record.stopped_at, Some(at(1500)));
        record.begin(at(2000));
        assert_eq!(record.used, None);
        let (read_before, mut sandbox) = (record.clone(), sample(at(0)));
        assert!(record.end(at(2600), used(2)));
        let total = record.total.unwrap_or_default();
        assert_eq!((total.duration_ms, total.used.cpu_ms), (1100, Some(42)));
        let mut labels = read_before.labels();
        SessionRecord::keep_end(&mut labels, &record.labels());
        sandbox.labels = labels;
        assert_eq!(SessionRecord::of(&sandbox), record);
        record.begin(at(3000));
        let mut labels = record.labels();
        SessionRecord::keep_end(&mut labels, &sandbox.labels);
        assert_eq!(labels, record.labels(), "the next one has no end yet");
    }

    #[test]
    fn a_sandbox_that_was_made_elsewhere_is_seen_in_every_project() {
        let record = SessionRecord::of(&sample(Timestamp::UNIX_EPOCH));
        assert!(record.is_in(Some("any")) && record.is_in(None));
        assert!(record.terms.is_persistent);
        assert_eq!(record.number, 1);
        let own = SessionRecord::first(terms(), BTreeMap::new(), Timestamp::UNIX_EPOCH);
        assert!(own.is_in(Some("p")) && own.is_in(None) && !own.is_in(Some("q")));
    }

    #[test]
    fn only_addresses_of_the_web_without_credentials_are_sources() {
        let reasons = |url: &str| {
            let mut reasons = Vec::new();
            check_source_url(url, &mut reasons);
            reasons.len()
        };
        for url in ["https://a.b/c.tgz?x=1@2", "http://10.0.0.1:80/", "http://a"] {
            assert_eq!(reasons(url), 0, "{url}");
        }
        for url in [
            "",
            "a.tgz",
            "ftp://a/b",
            "https://",
            "http:///x",
            "https://u:p@a/b",
            "https://a/ b",
            "https://a/\u{e9}",
        ] {
            assert_eq!(reasons(url), 1, "{url}");
        }
    }

    #[test]
    fn only_sessions_have_the_form_of_one() {
        let id = SessionId {
            sandbox: sample(Timestamp::UNIX_EPOCH).id,
            number: 12,
        };
        assert_eq!(SessionId::parse(&id.to_string()), Some(id.clone()));
        for wrong in [
            "",
            "sbx_",
            "sbx__1",
            "sbx_x_",
            &format!("sbx_{}", id.sandbox),
            "a",
            &format!("sbx_{}_x", id.sandbox),
        ] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fields_out_of_bounds_are_named() {
        let mut reasons = Vec::new();
        check_name("sessions", &mut reasons);
        check_name("a b", &mut reasons);
        check_timeout("timeout", 999, TIMEOUT_MIN_MS, &mut reasons);
        check_ports(&[80], &mut reasons);
        check_ports(&[70_000], &mut reasons);
        check_vcpus(3, &mut reasons);
        let tags = BTreeMap::from([("vercel.project".to_owned(), "x".repeat(257))]);
        check_tags(&tags, &mut reasons);
        assert_eq!(reasons.len(), 8, "{reasons:?}");
        reasons.clear();
        check_name("My_box-1", &mut reasons);
        assert_eq!(check_ports(&[3000, 3000], &mut reasons), [3000]);
        assert_eq!(check_vcpus(4, &mut reasons), Some((4, 8)));
        assert_eq!(reasons, []);
    }

    #[test]
    fn a_session_that_another_has_followed_is_over_whatever_runs_now() {
        assert_eq!(status(SandboxState::Started, true), "running");
        assert_eq!(status(SandboxState::Started, false), "stopped");
        assert_eq!(status(SandboxState::Starting, true), "pending");
        let mut record = SessionRecord::first(terms(), BTreeMap::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(record.status(SandboxState::Started), "running");
        record.is_unfinished = true;
        assert_eq!(record.status(SandboxState::Started), "pending");
        assert_eq!(record.status(SandboxState::Error), "failed");
        assert_eq!(states_of("stopping"), Some(vec![SandboxState::Stopping]));
        assert_eq!(states_of("aborted"), Some(Vec::new()));
        assert_eq!(states_of("started"), None);
    }

    proptest! {
        #[test]
        fn no_labels_break_the_reading(labels in proptest::collection::btree_map("vercel\\.[a-zA-Z]{1,16}", ".{0,24}", 0..12)) {
            let mut sandbox = sample(Timestamp::UNIX_EPOCH);
            sandbox.labels = labels;
            let record = SessionRecord::of(&sandbox);
            let _ = (record.ends_at(), record.labels(), record.id(&sandbox.id).to_string());
        }
    }
}
