//! Which generation of clients is asking.
//!
//! One server answers all of them. Where two generations expect different answers of one path, the version
//! that a client names decides, and nothing else: `Accept` headers of old clients do not say what they read.

use semver::{Prerelease, Version};

use crate::interpreter::{CLOSE_TIMED_OUT, CLOSE_TIMED_OUT_GO};

/// Names the client's version on HTTP requests.
pub const SDK_VERSION_HEADER: &str = "x-daytona-sdk-version";

/// Names the client's kind, such as `sdk-python`.
pub const SOURCE_HEADER: &str = "x-daytona-source";

/// A client without a version may ask for marked output with the value `true`.
pub const SPLIT_OUTPUT_HEADER: &str = "x-daytona-split-output";

/// Opens the WebSocket sub-protocol by which browsers, which cannot set headers, name their version.
pub const WS_VERSION_PREFIX: &str = "X-Daytona-SDK-Version~";

/// How session output is written for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    /// Both streams in one text without markers.
    Combined,
    /// Text with markers; the client splits it.
    Marked,
    /// JSON with `output` (marked), `stdout` and `stderr`.
    Split,
}

/// What Go clients call themselves; the second one did before 0.159.
const GO_LABELS: [&str; 2] = ["sdk-go", "go-sdk"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    Absent,
    /// `dev`, `0.0.0-dev`, `unknown` and anything that is no version: as new as can be.
    Newest,
    Released(Version),
}

/// What a client says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientGeneration {
    claim: Claim,
    wants_split: bool,
    is_go: bool,
    is_python: bool,
}

impl ClientGeneration {
    /// Reads the version (of the header, or of the sub-protocol behind its `~`), the source label and the
    /// value of the split-output header.
    pub fn new(version: Option<&str>, source: Option<&str>, split_output: Option<&str>) -> Self {
        let claim = match version.map(str::trim) {
            None | Some("") => Claim::Absent,
            Some(text) => parse(text).map_or(Claim::Newest, Claim::Released),
        };
        Self {
            claim,
            wants_split: split_output == Some("true"),
            is_go: source.is_some_and(|label| GO_LABELS.contains(&label)),
            is_python: source
                .is_some_and(|label| label.starts_with("sdk-python") || label == "python-sdk"),
        }
    }

    /// The form of logs and of synchronous session output over HTTP.
    pub fn log_form(&self) -> LogForm {
        match &self.claim {
            Claim::Absent if self.wants_split => LogForm::Marked,
            Claim::Absent => LogForm::Combined,
            Claim::Released(_) if self.is_before(0, 27) => LogForm::Combined,
            Claim::Released(_) if self.is_before(0, 167) => LogForm::Marked,
            Claim::Newest | Claim::Released(_) => LogForm::Split,
        }
    }

    /// Whether the live log stream carries markers. Clients without a version get them: those that follow
    /// by WebSocket drop bytes before the first marker.
    pub fn stream_has_markers(&self) -> bool {
        !self.is_before(0, 27)
    }

    /// Whether a log is followed over plain HTTP: `follow=true` without a WebSocket goes on until the command
    /// ends. Later clients get what is there so far.
    pub fn follows_by_http(&self) -> bool {
        matches!(self.claim, Claim::Absent) && !self.wants_split || self.is_before(0, 27)
    }

    /// Whether a new session starts in the home directory instead of the work dir.
    pub fn session_starts_at_home(&self) -> bool {
        self.is_before(0, 103)
    }

    /// Whether a field that the client does not know makes it fail.
    pub fn is_strict(&self) -> bool {
        self.is_go && self.is_before(0, 188)
    }

    /// Whether a terminal whose program failed is closed like any other. The Go client reads how it ended from normal
    /// closes only.
    pub fn reads_normal_closes_only(&self) -> bool {
        self.is_go
    }

    /// The WebSocket close code by which this client knows that an execution took too long.
    pub fn timed_out_close(&self) -> u16 {
        if self.is_go {
            CLOSE_TIMED_OUT_GO
        } else {
            CLOSE_TIMED_OUT
        }
    }

    /// Whether the plain file name of a multipart header is kept as Latin-1. The Python client does since 0.152:
    /// streamed downloads raise on any other letter. Before that it reads UTF-8.
    pub fn keeps_names_as_latin1(&self) -> bool {
        self.is_python && !self.is_before(0, 152)
    }

    /// Pre-releases of the threshold already count as new.
    fn is_before(&self, major: u64, minor: u64) -> bool {
        match &self.claim {
            Claim::Released(version) => (version.major, version.minor) < (major, minor),
            Claim::Absent | Claim::Newest => false,
        }
    }
}

/// Reads `1.2.3`, `1.2.3-rc.1` and the Python way of `1.2.3a4`; none for development builds.
fn parse(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    if text.contains("dev") {
        return None;
    }
    let version = Version::parse(text).ok().or_else(|| {
        let mut parts = text.splitn(3, '.');
        let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (patch, suffix) = rest.split_at(digits);
        let mut version = Version::new(
            major.parse().ok()?,
            minor.parse().ok()?,
            patch.parse().ok()?,
        );
        version.pre = Prerelease::new(suffix).ok()?;
        Some(version)
    })?;
    // 0.0.0 is what builds without a version say of themselves.
    ((version.major, version.minor, version.patch) != (0, 0, 0)).then_some(version)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(version: Option<&str>, split: Option<&str>) -> LogForm {
        ClientGeneration::new(version, None, split).log_form()
    }

    #[test]
    fn python_is_known_by_all_its_labels() {
        for (label, is_python) in [
            ("sdk-python", true),
            ("sdk-python-async", true),
            ("python-sdk", true),
            ("sdk-typescript", false),
            ("typescript-sdk", false),
        ] {
            let client = ClientGeneration::new(None, Some(label), None);
            assert_eq!(client.keeps_names_as_latin1(), is_python, "{label}");
        }
        assert!(!ClientGeneration::new(Some("0.226.1"), None, None).keeps_names_as_latin1());
        let python = |version| ClientGeneration::new(Some(version), Some("sdk-python"), None);
        assert!(python("0.152.0").keeps_names_as_latin1());
        assert!(!python("0.148.0").keeps_names_as_latin1());
    }

    #[test]
    fn each_age_gets_the_form_it_reads() {
        let table = [
            (None, None, LogForm::Combined),
            (None, Some("true"), LogForm::Marked),
            (None, Some("1"), LogForm::Combined),
            (Some(""), None, LogForm::Combined),
            (Some("0.20.1"), None, LogForm::Combined),
            (Some("0.26.9"), Some("true"), LogForm::Combined),
            (Some("0.27.0"), None, LogForm::Marked),
            (Some("0.27.0-alpha.1"), None, LogForm::Marked),
            (Some("0.166.9"), None, LogForm::Marked),
            (Some("0.167.0"), None, LogForm::Split),
            (Some("0.167.0a1"), None, LogForm::Split),
            (Some("0.226.1"), None, LogForm::Split),
            (Some("1.0.0"), None, LogForm::Split),
            (Some("0.0.0-dev"), None, LogForm::Split),
            (Some("0.0.0"), None, LogForm::Split),
            (Some("dev"), None, LogForm::Split),
            (Some("unknown"), None, LogForm::Split),
        ];
        for (version, split, wanted) in table {
            assert_eq!(
                form(version, split),
                wanted,
                "version {version:?}, split {split:?}"
            );
        }
    }

    #[test]
    fn only_the_oldest_clients_get_a_live_stream_without_markers() {
        let has = |version| ClientGeneration::new(version, None, None).stream_has_markers();
        assert!(!has(Some("0.26.0")));
        assert!(has(Some("0.27.0")));
        assert!(has(None));
        assert!(has(Some("dev")));
    }

    #[test]
    fn only_clients_before_the_live_socket_follow_by_plain_http() {
        let follows = |version| ClientGeneration::new(version, None, None).follows_by_http();
        assert!(follows(Some("0.21.0")) && follows(Some("0.26.9")));
        // Those before 0.21 follow as well, and name no version.
        assert!(follows(None));
        assert!(!follows(Some("0.27.0")));
        assert!(!follows(Some("0.226.1")));
        assert!(!follows(Some("dev")));
    }

    #[test]
    fn old_clients_start_sessions_at_home() {
        let at_home = |version| ClientGeneration::new(version, None, None).session_starts_at_home();
        assert!(at_home(Some("0.102.9")));
        assert!(!at_home(Some("0.103.0-rc.1")));
        assert!(!at_home(None));
        assert!(!at_home(Some("0.0.0-dev")));
    }

    #[test]
    fn only_old_go_clients_are_strict() {
        let strict =
            |version, source| ClientGeneration::new(Some(version), Some(source), None).is_strict();
        assert!(strict("0.187.0", "sdk-go"));
        assert!(strict("0.145.0", "go-sdk"));
        assert!(!strict("0.188.0", "sdk-go"));
        assert!(!strict("0.187.0", "sdk-python"));
        assert!(!strict("0.0.0", "sdk-go"));
    }

    #[test]
    fn go_has_closes_of_its_own() {
        for (label, is_go, code) in [
            ("sdk-go", true, 4001),
            ("go-sdk", true, 4001),
            ("sdk-python", false, 4008),
        ] {
            let client = ClientGeneration::new(Some("0.201.0"), Some(label), None);
            assert_eq!(client.reads_normal_closes_only(), is_go, "{label}");
            assert_eq!(client.timed_out_close(), code, "{label}");
        }
        // Java names nothing on its sockets.
        let nameless = ClientGeneration::new(None, None, None);
        assert_eq!(nameless.timed_out_close(), 4008);
    }

    proptest! {
        #[test]
        fn no_header_value_panics(version in ".*", source in ".*", split in ".*") {
            let client = ClientGeneration::new(Some(&version), Some(&source), Some(&split));
            let _ = (client.log_form(), client.is_strict(), client.session_starts_at_home());
        }

        #[test]
        fn a_newer_client_never_gets_an_older_form(minor in 0u64..400, step in 0u64..400) {
            let rank = |minor: u64| form(Some(&format!("0.{minor}.1")), None) as u8;
            prop_assert!(rank(minor) <= rank(minor + step));
        }
    }
}
