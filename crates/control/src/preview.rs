//! Who may reach a port of a sandbox, and the tokens that say so.
//!
//! Nothing is kept of a token: whoever has the server's secret can tell that it is one of ours. There are three kinds.
//! A **preview token** is for one sandbox and lasts as long as it; what it opens depends on what its receiver was allowed.
//! A **signed label** is for one port of one sandbox and until a time, and stands in the address itself. A **pass** is the
//! same as a cookie of a browser that came with a preview token once. Only a signed label that is ended before its time
//! is written down.

pub(crate) mod tokens;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use alcove_domain::{Permission, Port, Reason, Sandbox, SandboxId, SandboxState};
use jiff::Timestamp;

use crate::control::ToolboxTarget;
use crate::directory::Entry;
use crate::sandboxes;
use crate::shared::Shared;
use crate::sign_in::session::OrganizationChoice;
use crate::signed_files::{self, SignedFile};
use crate::{Caller, Error};

use self::tokens::{Scope, is_pass, is_token, label_id, label_of, pass_of, read_label, token_of};

/// Seconds that a signed URL is good for, where its caller does not say.
pub const SIGNED_DEFAULT_SECONDS: i64 = 60;
/// Longest time that a signed URL is good for.
pub const SIGNED_MAX_SECONDS: i64 = 86_400;
/// How long a browser need not show its token again.
const PASS_LASTS: Duration = Duration::from_hours(1);

/// What a visitor brings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visitor<'a> {
    /// Who was let in already, at the toolbox. Counts before all else.
    pub caller: Option<&'a Caller>,
    /// An API key, or a token of the identity provider.
    pub bearer: Option<&'a str>,
    /// The organization that a token is to act in.
    pub organization: Option<&'a str>,
    pub preview_token: Option<&'a str>,
    /// A pass that this server gave to a browser.
    pub pass: Option<&'a str>,
    /// What the address itself says, where it is a signed URL of a file.
    pub signed_file: Option<&'a SignedFile>,
}

impl<'a> Visitor<'a> {
    /// Whether there is nothing that the toolbox could be opened by.
    pub fn brings_nothing(&self) -> bool {
        self.caller.is_none()
            && self.bearer.is_none()
            && self.preview_token.is_none()
            && self.signed_file.is_none()
    }

    fn choice(&self) -> OrganizationChoice<'a> {
        OrganizationChoice {
            path: None,
            named: self.organization,
        }
    }
}

/// What lets a visitor in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// None: the sandbox is public.
    Public,
    /// The address itself.
    Label,
    Bearer,
    PreviewToken,
    Pass,
}

/// A visitor who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub target: ToolboxTarget,
    pub by: Credential,
    /// Whether the bearer is a credential of this platform, whatever let the visitor in. It must not go on.
    pub has_our_bearer: bool,
    /// For a browser that came with a preview token: how it comes in again.
    pub pass: Option<Pass>,
}

/// What a browser keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    pub value: String,
    pub lasts: Duration,
}

/// A URL that carries its own credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLabel {
    pub sandbox: SandboxId,
    pub port: Port,
    /// Stands in the host name in place of the sandbox.
    pub label: String,
    pub expires_at: Timestamp,
}

/// Ended labels that would still be good.
#[derive(Default)]
pub(crate) struct EndedLabels(RwLock<HashMap<String, Timestamp>>);

impl EndedLabels {
    pub fn contains(&self, id: &str) -> bool {
        let ended = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ended.contains_key(id)
    }

    fn insert(&self, id: String, expires_at: Timestamp, now: Timestamp) {
        let mut ended = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|_, expires_at| *expires_at > now);
        ended.insert(id, expires_at);
    }
}

/// Takes up what was written down.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let now = shared.clock.now();
    let ended = shared.store.reader().previews_ended(now).await;
    for (id, expires_at) in ended.map_err(|error| Error::store("reading ended URLs", error))? {
        shared.ended_labels.insert(id, expires_at, now);
    }
    Ok(())
}

/// The sandbox and the token that opens as much of it as the caller may.
pub(crate) fn token(
    shared: &Shared,
    caller: &Caller,
    id_or_name: &str,
) -> Result<(Arc<Sandbox>, String), Error> {
    let sandbox = sandboxes::find(shared, caller, id_or_name)?.sandbox();
    let token = token_of(&shared.secrets.previews, &sandbox.id, Scope::of(caller));
    Ok((sandbox, token))
}

pub(crate) fn sign(
    shared: &Shared,
    caller: &Caller,
    id_or_name: &str,
    port: Port,
    seconds: Option<i64>,
) -> Result<SignedLabel, Error> {
    let sandbox = sandboxes::find(shared, caller, id_or_name)?.sandbox();
    if port.is_reserved() {
        caller.require(Permission::WriteSandboxes)?;
    }
    let seconds = seconds.unwrap_or(SIGNED_DEFAULT_SECONDS);
    if !(1..=SIGNED_MAX_SECONDS).contains(&seconds) {
        return Err(Error::refused(vec![Reason::invalid(format!(
            "expiresInSeconds must be 1 to {SIGNED_MAX_SECONDS}"
        ))]));
    }
    let not_signed = || Error::Internal {
        doing: "signing a preview URL",
        cause: None,
    };
    let expires_at = shared.clock.now().as_second().saturating_add(seconds);
    let key = &shared.secrets.previews;
    let label = label_of(key, &sandbox.id, port, expires_at).ok_or_else(not_signed)?;
    Ok(SignedLabel {
        sandbox: sandbox.id.clone(),
        port,
        label,
        expires_at: Timestamp::from_second(expires_at).map_err(|_| not_signed())?,
    })
}

/// Ends a signed URL. One that has ended already stays so.
pub(crate) async fn end(
    shared: &Arc<Shared>,
    caller: &Caller,
    id_or_name: &str,
    port: Port,
    label: &str,
) -> Result<(), Error> {
    let sandbox = sandboxes::find(shared, caller, id_or_name)?.sandbox();
    let read = read_label(&shared.secrets.previews, label, port);
    let Some((_, expires_at)) = read.filter(|(of, _)| *of == sandbox.id) else {
        return Err(Error::NotFound {
            message: "There is no such signed URL of this port".to_owned(),
        });
    };
    let now = shared.clock.now();
    if expires_at <= now {
        return Ok(());
    }
    let doing = "ending a preview URL";
    let id = label_id(label);
    let task = |shared: Arc<Shared>| async move {
        let failed = |error| Error::store(doing, error);
        let tx = shared.store.begin().await.map_err(failed)?;
        tx.preview_end(&id, expires_at, now).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        shared.ended_labels.insert(id, expires_at, now);
        Ok(())
    };
    // A caller that goes away must not leave a URL that has ended and still opens.
    shared.finish_shared(doing, task).await
}

/// Lets a visitor of the toolbox in, who must be allowed to run programs.
pub(crate) async fn admit_toolbox(
    shared: &Shared,
    visitor: &Visitor<'_>,
    id_or_name: &str,
) -> Result<ToolboxTarget, Error> {
    if let Some(caller) = visitor.caller {
        return sandboxes::resolve_toolbox(shared, caller, id_or_name);
    }
    if let Some(bearer) = visitor.bearer {
        let caller = shared.authenticate(bearer, visitor.choice()).await?;
        return sandboxes::resolve_toolbox(shared, &caller, id_or_name);
    }
    if let (None, Some(file)) = (visitor.preview_token, visitor.signed_file) {
        return signed_files::admit(shared, id_or_name, file).await;
    }
    let entry = anybodys(shared, id_or_name);
    let entry = entry.filter(|entry| {
        let token = visitor.preview_token.unwrap_or_default();
        is_token(&shared.secrets.previews, &entry.id, token, None)
    });
    sandboxes::running(&entry.ok_or_else(Error::bad_credentials)?.sandbox())
}

/// Lets a visitor of a port in. `place` is an id, a name, or a signed label.
///
/// Who may not see a sandbox is not told whether there is one.
pub(crate) async fn admit_port(
    shared: &Arc<Shared>,
    visitor: &Visitor<'_>,
    place: &str,
    port: Port,
) -> Result<Admission, Error> {
    let key = &shared.secrets.previews;
    let caller = match visitor.bearer {
        Some(bearer) => match shared.authenticate(bearer, visitor.choice()).await {
            Ok(caller) => Some(caller),
            // It may be meant for the program behind the port.
            Err(Error::Unauthenticated { .. }) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let has_our_bearer = caller.is_some();
    let admitted = async |entry: &Arc<Entry>, by, pass| {
        Ok(Admission {
            target: target(shared, entry, by).await?,
            by,
            has_our_bearer,
            pass,
        })
    };

    if let Some((sandbox, expires_at)) = read_label(key, place, port) {
        let is_good =
            shared.clock.now() < expires_at && !shared.ended_labels.contains(&label_id(place));
        let entry = shared.directory.get(&sandbox);
        return match entry.filter(|entry| is_good && entry.sandbox().is_visible()) {
            Some(entry) => admitted(&entry, Credential::Label, None).await,
            None => Err(Error::Unauthenticated {
                message: "This URL has expired or was ended",
                code: "PREVIEW_URL_EXPIRED",
            }),
        };
    }
    let entry = anybodys(shared, place);
    if let Some(entry) = &entry
        && entry.sandbox().is_public
        && !port.is_reserved()
    {
        return admitted(entry, Credential::Public, None).await;
    }
    if let Some(caller) = caller {
        let entry = sandboxes::find(shared, &caller, place)?;
        if port.is_reserved() {
            caller.require(Permission::WriteSandboxes)?;
        }
        let mut admission = admitted(&entry, Credential::Bearer, None).await?;
        admission.target = admission.target.of(&caller);
        return Ok(admission);
    }
    let entry = entry.ok_or_else(Error::bad_credentials)?;
    if let Some(token) = visitor.preview_token
        && is_token(key, &entry.id, token, Some(port))
    {
        let expires_at = shared.clock.now().as_second() + PASS_LASTS.as_secs().cast_signed();
        let pass = Pass {
            value: pass_of(key, &entry.id, port, expires_at),
            lasts: PASS_LASTS,
        };
        return admitted(&entry, Credential::PreviewToken, Some(pass)).await;
    }
    if let Some(pass) = visitor.pass
        && is_pass(key, &entry.id, port, pass, shared.clock.now())
    {
        return admitted(&entry, Credential::Pass, None).await;
    }
    Err(Error::bad_credentials())
}

/// Where a visitor's requests go. The operator may let visitors start what has stopped; of a public sandbox that would be
/// everybody, so one without a credential does not.
async fn target(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    by: Credential,
) -> Result<ToolboxTarget, Error> {
    let may_start = shared.settings.visitors_start && by != Credential::Public;
    let state = entry.sandbox().state();
    if may_start && matches!(state, SandboxState::Stopped | SandboxState::Starting) {
        sandboxes::wake(shared, entry).await?;
    }
    sandboxes::running(&entry.sandbox())
}

/// Finds a sandbox for a visitor who has no organization: by its id, or by a name that only one has.
pub(crate) fn anybodys(shared: &Shared, id_or_name: &str) -> Option<Arc<Entry>> {
    let by_id = id_or_name
        .parse()
        .ok()
        .and_then(|id| shared.directory.get(&id))
        .filter(|entry| entry.sandbox().is_visible());
    by_id.or_else(|| shared.directory.only_one_named(id_or_name))
}
