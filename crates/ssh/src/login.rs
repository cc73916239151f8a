//! How far a client has come in.

use std::sync::Arc;
use std::time::Duration;

use alcove_control::{SshRefusal, SshSession};
use russh::server::Auth;
use tokio::time::sleep;

use crate::gateway::{LoggedIn, Shared};
use crate::limits::{InSandbox, Stranger};

/// Before an unknown token is refused, so that guessing costs time.
const GUESS_COST: Duration = Duration::from_millis(300);

pub struct Login {
    shared: Arc<Shared>,
    state: State,
}

enum State {
    Stranger {
        _counted: Stranger,
        logged_in: LoggedIn,
    },
    /// Known well enough to be told why it may not come in. It is, and that is all.
    Refused(String),
    In {
        session: Arc<SshSession>,
        _counted: InSandbox,
        _logged_in: LoggedIn,
    },
    /// Between two of them.
    Moving,
}

impl Login {
    pub fn new(shared: Arc<Shared>, stranger: Stranger, logged_in: LoggedIn) -> Self {
        Self {
            shared,
            state: State::Stranger {
                _counted: stranger,
                logged_in,
            },
        }
    }

    /// Tries a token. Who has a known one that is of no use is let in as far as to be told so: the protocol has no other
    /// way to say more than no.
    pub async fn try_token(&mut self, token: &str, is_last_word: bool) -> Auth {
        let State::Stranger { .. } = &self.state else {
            return Auth::reject();
        };
        match self.shared.control.open_ssh(token).await {
            Err(SshRefusal::Unknown) => {
                sleep(GUESS_COST).await;
                if !is_last_word {
                    return Auth::reject();
                }
                self.refuse(SshRefusal::Unknown.to_string())
            }
            opened => self.enter(opened),
        }
    }

    /// Tries a key that the client has shown to have, for a sandbox that it calls by id or name. Neither whether the key is
    /// known nor whether there is such a sandbox is told.
    pub async fn try_key(&mut self, id_or_name: &str, key: &[u8]) -> Auth {
        let State::Stranger { .. } = &self.state else {
            return Auth::reject();
        };
        match self.shared.control.open_ssh_by_key(id_or_name, key).await {
            // The library makes it last as long as any other refusal.
            Err(SshRefusal::Unknown) => Auth::reject(),
            opened => self.enter(opened),
        }
    }

    fn enter(&mut self, opened: Result<SshSession, SshRefusal>) -> Auth {
        match opened {
            Ok(session) => match self.shared.counts.settle(session.sandbox()) {
                Some(counted) => self.settle(session, counted),
                None => self.refuse("this sandbox has too many SSH sessions".to_owned()),
            },
            Err(refusal) => {
                if let SshRefusal::Unavailable(error) = &refusal {
                    tracing::error!(
                        error = error as &dyn std::error::Error,
                        "cannot look up who opens an SSH session"
                    );
                }
                self.refuse(refusal.to_string())
            }
        }
    }

    fn refuse(&mut self, reason: String) -> Auth {
        self.state = State::Refused(reason);
        Auth::Accept
    }

    fn settle(&mut self, session: SshSession, counted: InSandbox) -> Auth {
        let session = Arc::new(session);
        tracing::info!(
            sandbox.id = %session.sandbox(),
            "an SSH session of sandbox {} begins, by {}",
            session.sandbox(),
            session.opener()
        );
        self.shared.control.record_activity(session.sandbox());
        // The stranger's count ends here.
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Stranger { logged_in, .. } => {
                logged_in.send_replace(Some(Arc::clone(&session)));
                self.state = State::In {
                    session,
                    _counted: counted,
                    _logged_in: logged_in,
                };
                Auth::Accept
            }
            other => {
                self.state = other;
                Auth::reject()
            }
        }
    }

    /// What the client has come in to.
    pub fn session(&self) -> Option<Arc<SshSession>> {
        match &self.state {
            State::In { session, .. } => Some(Arc::clone(session)),
            State::Stranger { .. } | State::Refused(_) | State::Moving => None,
        }
    }

    /// Why the client must go, once it is known.
    pub fn refusal(&self) -> Option<&str> {
        match &self.state {
            State::In { .. } => None,
            State::Refused(reason) => Some(reason),
            State::Stranger { .. } | State::Moving => Some("not logged in"),
        }
    }
}
