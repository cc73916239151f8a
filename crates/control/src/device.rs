//! Keys for programs whose user signs in elsewhere: the device authorization grant of OAuth 2.0 (RFC 8628).
//!
//! ```text
//!  program ── begin ──> device code, user code          person ── signs in, looks at the user code ──> approves or denies
//!  program ── redeem, again and again ─────────────────────────────────────────────> a key of that person, once
//! ```
//!
//! What waits is in memory, and written down too, so that a restart loses none: it lasts ten minutes, and anybody may begin one,
//! so there are bounds of how many wait, of one address and of all. Codes are kept as hashes; the user code, which is short, under a
//! secret of the server. How often a program asks, and how often a person guesses, is in memory alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alcove_domain::{
    DeviceCodeHash, DeviceDecision, DeviceLogin, NewApiKey, OrganizationId, Permissions, Reason,
    UserId,
};
use aws_lc_rs::hmac;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::keys;
use crate::shared::{Shared, lock};
use crate::{Caller, CameWith, Counted, CreatedApiKey, Error};

/// How long a person has to approve.
pub(crate) const LASTS: Duration = Duration::from_mins(10);
/// How long a program waits between two asks, at first.
const INTERVAL: Duration = Duration::from_secs(5);
/// What it waits longer each time that it did not.
const SLOWER: Duration = Duration::from_secs(5);
/// What waits at once.
const PENDING_MAX: usize = 1024;
/// What waits at once of one address.
const PENDING_OF_ADDRESS_MAX: usize = 16;
/// User codes that a person may ask for in vain within the time that one lasts.
const GUESSES_MAX: u32 = 20;
/// Those of a user code: no vowels, so that none is a word, and nothing that looks like another.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const USER_CODE_LETTERS: usize = 8;
/// Longest name that a program gives itself, in characters.
const NAME_MAX_CHARS: usize = 64;

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRequest {
    pub client: String,
    /// The host that it runs on.
    pub device: Option<String>,
}

/// What a program is told that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCodes {
    pub device_code: String,
    pub user_code: String,
    pub lasts: Duration,
    pub interval: Duration,
}

/// What a person sees of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    pub request: DeviceRequest,
    pub address: Option<IpAddr>,
    pub began_at: Timestamp,
}

/// Why a program gets no key, in the words of RFC 8628 and RFC 6749.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceRefusal {
    /// The person has not decided.
    AuthorizationPending,
    /// The same, and it asks too often: it must wait longer from now on.
    SlowDown,
    AccessDenied,
    ExpiredToken,
    /// There is no such code, or it was redeemed.
    InvalidGrant,
}

impl DeviceRefusal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::AccessDenied => "access_denied",
            Self::ExpiredToken => "expired_token",
            Self::InvalidGrant => "invalid_grant",
        }
    }
}

#[derive(Debug, Clone)]
struct Pending {
    login: DeviceLogin,
    interval: Duration,
    asked_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// By the hash of the device code. Those that have expired stay as long again, so that programs are told so.
    pending: Mutex<HashMap<DeviceCodeHash, Pending>>,
    /// User codes that were asked for in vain, since when.
    guesses: Mutex<HashMap<UserId, (u32, Timestamp)>>,
    /// Held from the look to the note, so that people decide one after the other.
    deciding: tokio::sync::Mutex<()>,
}

impl Pending {
    fn new(login: DeviceLogin) -> Self {
        Self {
            login,
            interval: INTERVAL,
            asked_at: None,
        }
    }

    fn is_over(&self, now: Timestamp, lasts: Duration) -> bool {
        passed(self.login.began_at, now) >= lasts
    }
}

fn passed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn hash(device_code: &str) -> DeviceCodeHash {
    DeviceCodeHash(Sha256::digest(device_code.as_bytes()).into())
}

fn user_hash(shared: &Shared, user_code: &str) -> DeviceCodeHash {
    let letters = user_code.chars().filter(char::is_ascii_alphanumeric);
    let letters: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &shared.secrets.sign_in);
    let mut hash = [0; 32];
    hash.copy_from_slice(hmac::sign(&key, format!("device:{letters}").as_bytes()).as_ref());
    DeviceCodeHash(hash)
}

/// Reads what waits, once.
pub(crate) async fn load(shared: &Shared) -> Result<(), Error> {
    let found = shared.store.reader().device_login_list_all().await;
    let found = found.map_err(|error| Error::store("reading programs that wait", error))?;
    let now = shared.clock.now();
    let all = found.into_iter().map(Pending::new);
    *lock(&shared.devices.pending) = all
        .filter(|it| !it.is_over(now, LASTS * 2))
        .map(|it| (it.login.code, it))
        .collect();
    Ok(())
}

/// Begins one for a program.
pub(crate) async fn begin(
    shared: &Shared,
    request: DeviceRequest,
    address: Option<IpAddr>,
) -> Result<DeviceCodes, Error> {
    let mut reasons = Vec::new();
    for (name, said) in [
        ("client_id", Some(&request.client)),
        ("device_name", request.device.as_ref()),
    ] {
        let is_fit = |said: &String| {
            let length = said.chars().count();
            (1..=NAME_MAX_CHARS).contains(&length) && !said.chars().any(char::is_control)
        };
        if said.is_some_and(|said| !is_fit(said)) {
            reasons.push(Reason::invalid(format!(
                "{name} must have 1 to {NAME_MAX_CHARS} visible characters"
            )));
        }
    }
    Error::check(reasons)?;
    let (login, codes) = reserve(shared, request, address)?;
    let written = write(shared, &login).await;
    if written.is_err() {
        lock(&shared.devices.pending).remove(&login.code);
    }
    written?;
    Ok(codes)
}

/// Takes a place among those that wait.
fn reserve(
    shared: &Shared,
    request: DeviceRequest,
    address: Option<IpAddr>,
) -> Result<(DeviceLogin, DeviceCodes), Error> {
    let now = shared.clock.now();
    let mut pending = lock(&shared.devices.pending);
    pending.retain(|_, it| !it.is_over(now, LASTS * 2));
    let who = Counted::from(address);
    let of_address = pending
        .values()
        .filter(|it| !it.is_over(now, LASTS) && Counted::from(it.login.address) == who);
    if of_address.count() >= PENDING_OF_ADDRESS_MAX || pending.len() >= PENDING_MAX {
        return Err(Error::TooManyRequests {
            message: "Too many devices wait to be let in; try again later",
            retry_after: LASTS,
        });
    }
    let mut random = [0; 32];
    shared.rng.fill(&mut random);
    let device_code = hex::encode(random);
    let user_code = loop {
        let code = new_user_code(shared);
        let hashed = user_hash(shared, &code);
        if pending.values().all(|it| it.login.user_code != hashed) {
            break code;
        }
    };
    let login = DeviceLogin {
        code: hash(&device_code),
        user_code: user_hash(shared, &user_code),
        client: request.client,
        device: request.device,
        address,
        began_at: now,
        decision: DeviceDecision::None,
    };
    pending.insert(login.code, Pending::new(login.clone()));
    let codes = DeviceCodes {
        device_code,
        user_code,
        lasts: LASTS,
        interval: INTERVAL,
    };
    Ok((login, codes))
}

/// Writes it down, and removes what is over from there too.
async fn write(shared: &Shared, login: &DeviceLogin) -> Result<(), Error> {
    let failed = |error| Error::store("writing down a program that waits", error);
    let over = login.began_at.saturating_sub(LASTS * 2);
    let over = over.unwrap_or(Timestamp::MIN);
    let tx = shared.store.begin().await.map_err(failed)?;
    tx.device_login_delete_until(over).await.map_err(failed)?;
    tx.device_login_insert(login).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}

/// Such as `WDJB-MJHT`.
fn new_user_code(shared: &Shared) -> String {
    let mut code = String::new();
    while code.len() < USER_CODE_LETTERS + 1 {
        let mut random = [0; 1];
        shared.rng.fill(&mut random);
        // All letters are as likely: what is left over of a byte is thrown away.
        let place = usize::from(random[0]);
        if place < 256 / LETTERS.len() * LETTERS.len() {
            code.push(char::from(LETTERS[place % LETTERS.len()]));
        }
        if code.len() == USER_CODE_LETTERS / 2 {
            code.push('-');
        }
    }
    code
}

/// A person who signed in, who alone can approve.
fn person(caller: &Caller) -> Result<&UserId, Error> {
    // The key would stand for all of the user.
    if !matches!(caller.came_with, CameWith::Key(_)) {
        caller.require_user()?;
    }
    match caller.came_with {
        CameWith::Session(_) | CameWith::Token { .. } => Ok(&caller.user),
        CameWith::Key(_) => Err(Error::wrong_credential()),
    }
}

fn not_found() -> Error {
    Error::NotFound {
        message: "No device waits with this code. It may have expired".to_owned(),
    }
}

/// What somebody begins that has this user code.
pub(crate) fn look(shared: &Shared, caller: &Caller, user_code: &str) -> Result<DeviceView, Error> {
    let found = waiting(shared, caller, user_code)?;
    Ok(DeviceView {
        request: request_of(&found),
        address: found.address,
        began_at: found.began_at,
    })
}

/// Says whether a program gets a key of the caller's user, in the organization that the caller acts in. Only once.
pub(crate) async fn decide(
    shared: &Shared,
    caller: &Caller,
    user_code: &str,
    is_approved: bool,
) -> Result<(), Error> {
    let failed = |error| Error::store("letting in a program", error);
    let decision = if is_approved {
        DeviceDecision::Approved(caller.user.clone(), caller.organization.clone())
    } else {
        DeviceDecision::Denied
    };
    let _deciding = shared.devices.deciding.lock().await;
    let device = waiting(shared, caller, user_code)?;
    let tx = shared.store.begin().await.map_err(failed)?;
    let decided = tx.device_login_decide(&device.code, &decision).await;
    if !decided.map_err(failed)? {
        return Err(not_found());
    }
    tx.commit().await.map_err(failed)?;
    if let Some(found) = lock(&shared.devices.pending).get_mut(&device.code) {
        found.login.decision = decision;
    }
    tracing::info!(
        user.id = %caller.user,
        "user {} {} {}", caller.user, if is_approved { "lets in" } else { "refuses" }, device.client
    );
    Ok(())
}

fn request_of(login: &DeviceLogin) -> DeviceRequest {
    DeviceRequest {
        client: login.client.clone(),
        device: login.device.clone(),
    }
}

/// What waits undecided under a user code. Who asks for too many that are none has to wait.
fn waiting(shared: &Shared, caller: &Caller, user_code: &str) -> Result<DeviceLogin, Error> {
    let user = person(caller)?;
    let now = shared.clock.now();
    let mut guesses = lock(&shared.devices.guesses);
    guesses.retain(|_, (_, since)| passed(*since, now) < LASTS);
    if let Some((count, since)) = guesses.get(user)
        && *count >= GUESSES_MAX
    {
        return Err(Error::TooManyRequests {
            message: "Too many codes that are none; try again later",
            retry_after: LASTS.saturating_sub(passed(*since, now)),
        });
    }
    let wanted = user_hash(shared, user_code);
    let pending = lock(&shared.devices.pending);
    let mut waiting = pending.values().filter(|it| {
        let login = &it.login;
        login.user_code == wanted
            && login.decision == DeviceDecision::None
            && !it.is_over(now, LASTS)
    });
    let Some(found) = waiting.next() else {
        guesses.entry(user.clone()).or_insert((0, now)).0 += 1;
        return Err(not_found());
    };
    Ok(found.login.clone())
}

/// Gives a program its key once a person has approved, and never again.
///
/// # Errors
/// What stands in the way inside of the server; whatever the program is told as an answer is the inner result.
pub(crate) async fn redeem(
    shared: &Arc<Shared>,
    device_code: &str,
) -> Result<Result<CreatedApiKey, DeviceRefusal>, Error> {
    let code = hash(device_code);
    let taken = match answer(shared, &code) {
        Ok(taken) => taken,
        Err(refusal) => {
            if refusal == DeviceRefusal::AccessDenied {
                forget(shared, &code).await;
            }
            return Ok(Err(refusal));
        }
    };
    let wish = wish(shared, &taken.pending.login);
    // Who goes away while it waits for its turn asks again and gets the key.
    let tx = shared.store.begin().await;
    let tx = tx.map_err(|error| Error::store("making an API key", error))?;
    let task = |shared: Arc<Shared>| async move {
        // All of it comes along: it is dropped with the task, and not with the request.
        let mut taken = taken;
        let (user, organization) = taken.by.clone();
        match keys::device_key(&shared, tx, organization, user, wish, &code).await {
            Ok(made) => {
                taken.is_over = true;
                Ok(Ok(made))
            }
            // Whoever approved is no member any more.
            Err(Error::Unauthenticated { .. }) => {
                taken.is_over = true;
                forget(&shared, &code).await;
                Ok(Err(DeviceRefusal::AccessDenied))
            }
            Err(error) => Err(error),
        }
    };
    shared.finish_shared("letting in a program", task).await
}

/// One that was approved and is taken out of those that wait. It waits again when this is dropped before it is over: nothing
/// was written then.
struct Taken {
    shared: Arc<Shared>,
    pending: Pending,
    /// Who approved, and in which organization.
    by: (UserId, OrganizationId),
    is_over: bool,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_over {
            let pending = self.pending.clone();
            lock(&self.shared.devices.pending).insert(pending.login.code, pending);
        }
    }
}

/// What a program is told; one that was approved is taken out, so that nobody else gets a key for it.
fn answer(shared: &Arc<Shared>, code: &DeviceCodeHash) -> Result<Taken, DeviceRefusal> {
    let now = shared.clock.now();
    let mut all = lock(&shared.devices.pending);
    let found = all.get_mut(code).ok_or(DeviceRefusal::InvalidGrant)?;
    if found.is_over(now, LASTS) {
        return Err(DeviceRefusal::ExpiredToken);
    }
    let is_early = found
        .asked_at
        .is_some_and(|asked| passed(asked, now) < found.interval);
    found.asked_at = Some(now);
    match found.login.decision.clone() {
        DeviceDecision::Denied => {
            all.remove(code);
            Err(DeviceRefusal::AccessDenied)
        }
        _ if is_early => {
            found.interval += SLOWER;
            Err(DeviceRefusal::SlowDown)
        }
        DeviceDecision::None => Err(DeviceRefusal::AuthorizationPending),
        DeviceDecision::Approved(user, organization) => {
            let pending = all.remove(code).ok_or(DeviceRefusal::InvalidGrant)?;
            Ok(Taken {
                shared: Arc::clone(shared),
                pending,
                by: (user, organization),
                is_over: false,
            })
        }
    }
}

/// Removes what is decided from the store. Where that fails the next process tells the program the same again.
async fn forget(shared: &Shared, code: &DeviceCodeHash) {
    let forgotten = async {
        let tx = shared.store.begin().await?;
        tx.device_login_delete(code).await?;
        tx.commit().await
    };
    if let Err(error) = forgotten.await {
        tracing::error!(%error, "a program that waited is not removed");
    }
}

/// A name that no other key has, by which its user finds it again.
fn wish(shared: &Shared, request: &DeviceLogin) -> NewApiKey {
    let mut random = [0; 4];
    shared.rng.fill(&mut random);
    let device = request.device.as_deref().unwrap_or("device");
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    let device: String = device.chars().filter(is_plain).take(40).collect();
    let name = format!("login-{device}-{}", hex::encode(random));
    NewApiKey {
        name,
        permissions: Permissions::all(),
        expires_at: None,
    }
}
