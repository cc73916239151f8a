//! What old clients cannot read, and what they read instead.
//!
//! One server answers all generations with the union of all fields. Three things do not fit into that:
//! closed lists of words before 0.170, a bare array where there is an object today, and Go clients that
//! refuse unknown keys. Those are decided here, by the version that the client names.

use serde_json::{Map, Value};

use super::{SandboxDesiredState, SandboxState};

/// Fields of a sandbox that came after 0.190, or are our own, which strict Go clients before 0.188 refuse.
const SANDBOX_FIELDS_AFTER_0190: [&str; 11] = [
    "errorCode",
    "kvm",
    "outboundProxyUrl",
    "otelEndpointOverride",
    "spot",
    "spotEvictedAt",
    "queueTimedOutAt",
    "warmPoolId",
    "autoPauseInterval",
    "autoDestroyAt",
    "queueTimeout",
];

/// Permissions that came after 0.108.
const PERMISSIONS_AFTER_0108: [&str; 11] = [
    "write:regions",
    "delete:regions",
    "read:runners",
    "write:runners",
    "delete:runners",
    "manage:api_keys",
    "manage:secrets",
    "read:limits",
    "manage:sso",
    "read:billing",
    "manage:billing",
];

/// The user agent of the generated Python client from 0.18 to some time before 0.160, whatever its release.
const NAMELESS_PYTHON: &str = "OpenAPI-Generator/0.0.0-dev/python";
/// It is taken for the first of them: what is more in an answer than a later one knows does no harm.
const NAMELESS_IS: (u64, u64) = (0, 18);

/// What matters about a client's generation. The default is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Era {
    /// Major and minor number; `None` is the newest.
    version: Option<(u64, u64)>,
    is_go: bool,
    is_python: bool,
    is_typescript: bool,
}

impl Era {
    /// From the headers `X-Daytona-SDK-Version`, `X-Daytona-Source` and, where there is no version, `User-Agent`.
    ///
    /// Forms seen are `0.25.6`, `0.131.0-alpha.1`, `0.190.0a1`, `unknown`, `dev` and `0.0.0-dev`. What
    /// does not name a release is the newest: a developer's build is newer than any release.
    pub fn from_headers(
        version: Option<&str>,
        source: Option<&str>,
        user_agent: Option<&str>,
    ) -> Self {
        let version = match version {
            Some(text) => release(text),
            None => user_agent.and_then(generated_client),
        };
        Self {
            version,
            is_go: source.is_some_and(|source| {
                // The second name before 0.159.
                source.eq_ignore_ascii_case("sdk-go") || source.eq_ignore_ascii_case("go-sdk")
            }),
            is_python: source.is_some_and(|source| source.to_ascii_lowercase().contains("python")),
            is_typescript: source
                .is_some_and(|source| source.to_ascii_lowercase().contains("typescript")),
        }
    }

    /// The age of workspaces, whose clients name no version.
    pub const WORKSPACES: Self = Self {
        version: Some((0, 20)),
        is_go: false,
        is_python: false,
        is_typescript: false,
    };

    fn is_before(self, minor: u64) -> bool {
        self.version.is_some_and(|version| version < (0, minor))
    }

    /// `GET /sandbox` is a bare array of full sandboxes. SDKs list by page from 0.108 on, the clients below them keep this.
    pub fn lists_arrays(self) -> bool {
        self.is_before(180)
    }

    /// Unknown words in `state` make the whole answer unreadable.
    pub fn has_closed_words(self) -> bool {
        self.is_before(170)
    }

    /// Whether a permission is in the list that the client knows, where it looks at that.
    pub fn reads_permission(self, word: &str) -> bool {
        !self.has_closed_words() || !PERMISSIONS_AFTER_0108.contains(&word)
    }

    /// Asks for a sandbox right after its delete was accepted, and takes it for a failed delete if there is none: a host
    /// was never done by then.
    pub fn asks_after_a_delete(self) -> bool {
        (self.is_python || self.is_typescript) && self.is_before(111)
    }

    /// Waits until its time is up for a sandbox whose image could not be built, and gives up at once on an error.
    fn overlooks_failed_builds(self) -> bool {
        self.is_typescript && self.is_before(200)
    }

    fn refuses_unknown_fields(self) -> bool {
        self.is_go && self.is_before(188)
    }

    /// Build contexts are uploaded over TLS only, to a server that the operating system trusts. Others look at lists of
    /// their own, in which no private authority is, and do without TLS.
    pub fn uploads_by_tls(self) -> bool {
        self.is_python && !self.is_before(22)
    }

    /// Snapshots must have the field `enabled`.
    fn needs_enabled_snapshots(self) -> bool {
        self.is_before(25)
    }

    /// A volume must say when it was used last, used or not.
    pub fn needs_use_of_volumes(self) -> bool {
        self.is_before(21)
    }

    /// Turns a serialised sandbox, list item or label answer into what this client can read.
    pub fn adapt_sandbox(self, sandbox: &mut Map<String, Value>) {
        if self.has_closed_words() {
            for (field, older) in [
                ("state", older_state as fn(&str) -> Option<&'static str>),
                ("desiredState", older_desired_state),
            ] {
                if let Some(value) = sandbox.get_mut(field)
                    && let Some(word) = value.as_str().and_then(older)
                {
                    *value = word.into();
                }
            }
            if self == Self::WORKSPACES
                && let Some(value) = sandbox.get_mut("state")
                && let Some(state) = value.as_str().and_then(SandboxState::from_word)
            {
                *value = workspace_state(state).into();
            }
        }
        if self.overlooks_failed_builds()
            && let Some(state) = sandbox.get_mut("state")
            && state == SandboxState::BuildFailed.as_str()
        {
            *state = SandboxState::Error.as_str().into();
        }
        if self.refuses_unknown_fields() {
            for field in SANDBOX_FIELDS_AFTER_0190 {
                sandbox.remove(field);
            }
        }
    }

    /// Whether [`Self::adapt_sandbox`] would change anything at all.
    pub fn needs_adapting(self) -> bool {
        self.has_closed_words() || self.refuses_unknown_fields() || self.overlooks_failed_builds()
    }

    pub fn adapt_snapshot(self, snapshot: &mut Map<String, Value>) {
        if self.needs_enabled_snapshots() {
            snapshot.insert("enabled".to_owned(), true.into());
        }
        if self.is_before(210)
            && let Some(state) = snapshot.get_mut("state")
            && state == "snapshotting"
        {
            *state = "pending".into();
        }
        if self.refuses_unknown_fields() {
            snapshot.remove("sourceSandboxId");
        }
    }
}

/// Major and minor number of a release.
fn release(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.trim().trim_start_matches('v').split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    (!(major == 0 && minor == 0)).then_some((major, minor))
}

/// The release of a generated Python client that is used without an SDK. Nothing else tells its age.
fn generated_client(user_agent: &str) -> Option<(u64, u64)> {
    if user_agent == NAMELESS_PYTHON {
        return Some(NAMELESS_IS);
    }
    let older = user_agent
        .strip_prefix("OpenAPI-Generator/")
        .and_then(|rest| rest.strip_suffix("/python"));
    release(older.or_else(|| user_agent.strip_prefix("api-client-python/"))?)
}

/// The state in the words of clients up to 0.20, who had images where there are snapshots now.
pub(super) fn workspace_state(state: SandboxState) -> &'static str {
    match state {
        SandboxState::PullingSnapshot => "pulling_image",
        SandboxState::BuildingSnapshot => "building_image",
        // They have no word for it.
        SandboxState::BuildFailed => "error",
        state => older_state(state.as_str()).unwrap_or(state.as_str()),
    }
}

fn older_state(word: &str) -> Option<&'static str> {
    let older = match SandboxState::from_word(word)? {
        SandboxState::Paused => SandboxState::Stopped,
        SandboxState::Pausing => SandboxState::Stopping,
        SandboxState::Resuming | SandboxState::Resizing => SandboxState::Starting,
        SandboxState::Snapshotting | SandboxState::Forking => SandboxState::Started,
        SandboxState::Creating
        | SandboxState::Restoring
        | SandboxState::Destroyed
        | SandboxState::Destroying
        | SandboxState::Started
        | SandboxState::Stopped
        | SandboxState::Starting
        | SandboxState::Stopping
        | SandboxState::Error
        | SandboxState::BuildFailed
        | SandboxState::PendingBuild
        | SandboxState::BuildingSnapshot
        | SandboxState::Unknown
        | SandboxState::PullingSnapshot
        | SandboxState::Archived
        | SandboxState::Archiving => return None,
    };
    Some(older.as_str())
}

fn older_desired_state(word: &str) -> Option<&'static str> {
    match SandboxDesiredState::from_word(word)? {
        SandboxDesiredState::Paused => Some(SandboxDesiredState::Stopped.as_str()),
        SandboxDesiredState::Destroyed
        | SandboxDesiredState::Started
        | SandboxDesiredState::Stopped
        | SandboxDesiredState::Resized
        | SandboxDesiredState::Archived => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;

    fn era(version: &str) -> Era {
        Era::from_headers(Some(version), None, None)
    }

    #[test]
    fn a_version_that_names_no_release_is_the_newest() {
        for text in ["unknown", "dev", "0.0.0-dev", "", "1", "x.y"] {
            assert_eq!(era(text), Era::default(), "{text}");
        }
        assert!(!Era::from_headers(None, None, None).lists_arrays());
    }

    #[test]
    fn a_generated_client_without_an_sdk_is_told_by_its_user_agent() {
        let told = |agent| Era::from_headers(None, None, Some(agent));
        for agent in [
            "OpenAPI-Generator/0.0.0-dev/python",
            "OpenAPI-Generator/0.14.0/python",
            "api-client-python/0.160.0",
        ] {
            assert!(told(agent).has_closed_words(), "{agent}");
            assert!(told(agent).lists_arrays(), "{agent}");
        }
        assert_eq!(told("api-client-python/0.190.0"), era("0.190.0"));
        for agent in [
            "api-client-python/unknown",
            "OpenAPI-Generator/0.0.0-dev/go",
            "axios/1.7.0",
            "",
        ] {
            assert_eq!(told(agent), Era::default(), "{agent}");
        }
        let sdk = Era::from_headers(
            Some("dev"),
            None,
            Some("OpenAPI-Generator/0.0.0-dev/python"),
        );
        assert_eq!(sdk, Era::default(), "what an SDK says of itself counts");
    }

    #[test]
    fn pre_releases_count_as_their_release() {
        assert!(era("0.179.9").lists_arrays());
        assert!(!era("0.180.0").lists_arrays());
        assert!(era("0.169.0-alpha.1").has_closed_words());
        assert!(!era("0.190.0a1").has_closed_words());
        assert!(!era("1.0.0").has_closed_words());
    }

    #[test]
    fn only_older_sdks_ask_right_after_a_delete() {
        for (version, source, asks) in [
            ("0.25.6", "python-sdk", true),
            ("0.110.2", "python-sdk", true),
            ("0.110.2", "typescript-sdk", true),
            ("0.111.0", "python-sdk", false),
            ("0.111.0", "typescript-sdk", false),
            ("0.110.2", "sdk-go", false),
        ] {
            let era = Era::from_headers(Some(version), Some(source), None);
            assert_eq!(era.asks_after_a_delete(), asks, "{version} {source}");
        }
        assert!(!Era::default().asks_after_a_delete());
        // Who asks without an SDK decides alone what to ask.
        let generated = Era::from_headers(None, None, Some(NAMELESS_PYTHON));
        assert!(!generated.asks_after_a_delete());
    }

    #[test]
    fn only_newer_python_clients_insist_on_tls() {
        for (version, source, insists) in [
            ("0.226.1", "sdk-python", true),
            ("0.226.1", "sdk-python-async", true),
            ("0.140.0", "python-sdk", true),
            ("0.21.0", "python-sdk", false),
            ("0.218.0", "sdk-typescript", false),
            ("0.190.0", "sdk-go", false),
        ] {
            let era = Era::from_headers(Some(version), Some(source), None);
            assert_eq!(era.uploads_by_tls(), insists, "{version} {source}");
        }
    }

    #[test]
    fn no_state_is_unknown_to_a_client_with_a_closed_list() {
        const CLOSED: [&str; 16] = [
            "creating",
            "restoring",
            "destroyed",
            "destroying",
            "started",
            "stopped",
            "starting",
            "stopping",
            "error",
            "build_failed",
            "pending_build",
            "building_snapshot",
            "unknown",
            "pulling_snapshot",
            "archived",
            "archiving",
        ];
        for state in SandboxState::ALL {
            let mut sandbox = json!({"state": state, "desiredState": "paused"});
            era("0.160.0").adapt_sandbox(sandbox.as_object_mut().unwrap());
            let word = sandbox["state"].as_str().unwrap();
            assert!(CLOSED.contains(&word), "{word}");
            assert_eq!(sandbox["desiredState"], "stopped");
        }
    }

    #[test]
    fn a_failed_build_is_an_error_to_clients_that_would_wait_on() {
        for (version, source, shown) in [
            ("0.150.0", "typescript-sdk", "error"),
            ("0.190.0", "sdk-typescript", "error"),
            ("0.200.0", "sdk-typescript", "build_failed"),
            ("0.150.0", "python-sdk", "build_failed"),
        ] {
            let mut sandbox = json!({"state": "build_failed"});
            let era = Era::from_headers(Some(version), Some(source), None);
            era.adapt_sandbox(sandbox.as_object_mut().unwrap());
            assert_eq!(sandbox["state"], shown, "{version} {source}");
        }
        assert_eq!(workspace_state(SandboxState::BuildFailed), "error");
    }

    #[test]
    fn strict_go_clients_get_no_newer_fields() {
        let mut sandbox = json!({"id": "a", "kvm": false, "spot": false});
        Era::from_headers(Some("0.187.0"), Some("sdk-go"), None)
            .adapt_sandbox(sandbox.as_object_mut().unwrap());
        assert_eq!(sandbox, json!({"id": "a"}));
    }
}
