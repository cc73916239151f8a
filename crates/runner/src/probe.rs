//! What this host can do: the list that `alcove doctor` prints and that the server checks before it starts.
//!
//! What a sandbox needs is tried and not guessed from version numbers: namespaces by a rehearsal of a sandbox's
//! birth, disks and layers by making one of each, control groups by a group with limits, the firewall by loading the
//! very rules into a network namespace that nobody else sees. Each module has a part that tries or looks and a
//! pure one that judges. Nothing is left behind, and nothing of the host is changed.

mod abilities;
mod groups;
mod limits;
mod namespaces;
mod network;
mod scratch;
mod storage;
mod system;

pub use self::abilities::{abilities, checks_of};
pub use self::scratch::scratch_in;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::net::Ipv4Pool;

/// Version of the JSON form. Raised when a field or a check's name changes its meaning or goes away; new
/// fields and new checks may come at any time.
pub const REPORT_VERSION: u32 = 1;

/// What to look at.
#[derive(Debug, Clone)]
pub struct ProbeRequest {
    pub data_dir: PathBuf,
    pub network_pool: Ipv4Pool,
    /// The program that rehearses.
    pub spawner_program: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Sandboxes work, something of them does not; or it could not be tried.
    Degraded,
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Status,
    /// Whether the server refuses to start where it is missing.
    pub required: bool,
    pub found: String,
    pub need: &'static str,
    /// What to do. Empty where nothing is to be done.
    pub advice: Cow<'static, str>,
}

/// The list as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport<'a> {
    pub report_version: u32,
    /// Whether the server would start.
    pub fit: bool,
    pub checks: &'a [Check],
}

impl<'a> ProbeReport<'a> {
    pub fn new(checks: &'a [Check]) -> Self {
        Self {
            report_version: REPORT_VERSION,
            fit: required_failures(checks).is_empty(),
            checks,
        }
    }
}

/// Tries everything. Takes some hundred milliseconds.
pub async fn probe(request: &ProbeRequest) -> Vec<Check> {
    let (rehearsal, network, groups) = tokio::join!(
        namespaces::try_out(&request.spawner_program),
        network::try_out(request),
        groups::try_out(),
    );
    let storage = storage::try_out(&request.data_dir, rehearsal.as_ref().ok()).await;
    let mut checks = system::checks();
    checks.extend(namespaces::judge(&rehearsal));
    checks.extend(groups::judge(&groups));
    checks.extend(storage::judge(&storage));
    checks.extend(network::judge(&network));
    checks.extend(limits::checks());
    checks
}

/// Those without which no sandbox can be made.
pub fn required_failures(checks: &[Check]) -> Vec<&Check> {
    checks
        .iter()
        .filter(|c| c.required && c.status == Status::Missing)
        .collect()
}

/// The list for people.
pub fn render_table(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        let mark = match check.status {
            Status::Ok => "ok      ",
            Status::Degraded => "degraded",
            Status::Missing => "MISSING ",
        };
        lines.push(format!("{mark}  {:<18} {}", check.name, check.found));
        if check.status != Status::Ok {
            let advice = &check.advice;
            lines.push(format!("          needs {}. {advice}", check.need));
        }
    }
    // The last line ends like the others.
    lines.push(String::new());
    lines.join("\n")
}

/// A check before it is made.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    required: bool,
    need: &'static str,
}

impl Subject {
    /// Without it the server does not start.
    const fn required(name: &'static str, need: &'static str) -> Self {
        Self {
            name,
            required: true,
            need,
        }
    }

    const fn wished(name: &'static str, need: &'static str) -> Self {
        Self {
            name,
            required: false,
            need,
        }
    }

    fn with(
        &self,
        status: Status,
        found: impl Into<String>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Check {
        Check {
            name: self.name,
            status,
            required: self.required,
            found: found.into(),
            need: self.need,
            advice: advice.into(),
        }
    }

    fn ok(&self, found: impl Into<String>) -> Check {
        self.with(Status::Ok, found, "")
    }

    fn degraded(&self, found: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Check {
        self.with(Status::Degraded, found, advice)
    }

    /// Missing where it is required, and a degradation where it is wished.
    fn lacking(&self, found: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Check {
        let status = if self.required {
            Status::Missing
        } else {
            Status::Degraded
        };
        self.with(status, found, advice)
    }

    /// What comes before it failed, so that nothing can be said.
    fn not_tried(&self) -> Check {
        self.degraded("not tried", "See what is missing above it.")
    }

    /// Judges a trial. `None` is one that did not take place.
    fn judge(&self, trial: Option<&Result<String, Trouble>>, advice: &'static str) -> Check {
        match trial {
            None => self.not_tried(),
            Some(Ok(found)) => self.ok(found.clone()),
            // A full host must still get its server, which is the way to make room.
            Some(Err(trouble)) if trouble.is_for_want_of_room() => self.degraded(
                format!("not tried: {}", trouble.text),
                "Make room and look again.",
            ),
            Some(Err(trouble)) => self.lacking(trouble.text.clone(), advice),
        }
    }
}

/// Why a trial failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    text: String,
    errno: Option<i32>,
}

impl Trouble {
    /// With the whole chain of reasons.
    fn of(error: &(dyn std::error::Error + 'static), errno: Option<i32>) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self { text, errno }
    }

    fn io(step: &str, error: &io::Error) -> Self {
        Self {
            text: format!("cannot {step}: {error}"),
            errno: error.raw_os_error(),
        }
    }

    fn is_for_want_of_room(&self) -> bool {
        matches!(
            self.errno,
            Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EMFILE | libc::ENFILE)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Subject = Subject::required("x", "y");
    const WISH: Subject = Subject::wished("x", "y");

    fn trouble(errno: i32) -> Result<String, Trouble> {
        Err(Trouble::io("try", &io::Error::from_raw_os_error(errno)))
    }

    #[test]
    fn a_missing_wish_degrades_and_a_missing_need_fails() {
        assert_eq!(required_failures(&[NEED.lacking("", "z")]).len(), 1);
        assert!(required_failures(&[WISH.lacking("", "z")]).is_empty());
        assert!(render_table(&[NEED.lacking("", "z")]).contains("MISSING"));
    }

    #[test]
    fn a_trial_is_judged_by_its_outcome() {
        use Status::{Degraded, Missing, Ok as Fine};
        for (subject, trial, expected) in [
            (NEED, Some(Ok("found".to_owned())), Fine),
            (NEED, Some(trouble(libc::EPERM)), Missing),
            (WISH, Some(trouble(libc::EPERM)), Degraded),
            // A host that is full at the moment is not an unfit one.
            (NEED, Some(trouble(libc::ENOSPC)), Degraded),
            (NEED, Some(trouble(libc::EMFILE)), Degraded),
            (NEED, None, Degraded),
        ] {
            let check = subject.judge(trial.as_ref(), "z");
            assert_eq!(check.status, expected, "{trial:?}");
        }
    }

    #[test]
    fn the_json_form_keeps_its_shape() {
        let checks = [NEED.lacking("nothing", "Do z."), WISH.ok("some")];
        let json = serde_json::to_value(ProbeReport::new(&checks)).ok();
        let expected = serde_json::json!({
            "reportVersion": 1,
            "fit": false,
            "checks": [
                {"name": "x", "status": "missing", "required": true, "found": "nothing", "need": "y", "advice": "Do z."},
                {"name": "x", "status": "ok", "required": false, "found": "some", "need": "y", "advice": ""},
            ],
        });
        assert_eq!(json, Some(expected));
    }
}
