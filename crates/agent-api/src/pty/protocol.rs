//! What terminal sockets say besides input and output: offers at the start, controls, the close reason.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::client::WS_VERSION_PREFIX;

/// Offered by clients that read the `exited` control.
pub const PTY_EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";

/// Opens the sub-protocol that carries variables: base64url of a JSON object.
pub const PTY_ENV_PREFIX: &str = "X-Daytona-Pty-Envs~";

/// Longest reason that fits into a close frame, bytes.
const MAX_CLOSE_REASON: usize = 123;

/// The clients send no padding; whoever does is understood all the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// What a client offers as sub-protocols.
///
/// They are no protocols but the only header that a browser lets its programs set. One of them must be chosen:
/// Node's client breaks the connection otherwise, and equally when one is chosen that it did not offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PtyOffer {
    /// The one to choose.
    pub chosen: Option<String>,
    pub reads_exit_control: bool,
    pub envs: BTreeMap<String, String>,
}

/// The variables of an offer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{PTY_ENV_PREFIX} takes base64url of a JSON object of strings")]
pub struct PtyOfferError;

impl PtyOffer {
    /// Reads the values of all `Sec-WebSocket-Protocol` headers.
    ///
    /// # Errors
    /// Variables are offered and cannot be read.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Self, PtyOfferError> {
        let mut offer = Self::default();
        let mut rank_of_chosen = usize::MAX;
        let offered = headers.into_iter().flat_map(|value| value.split(','));
        for protocol in offered.map(str::trim) {
            let rank = if protocol == PTY_EXIT_CONTROL {
                offer.reads_exit_control = true;
                0
            } else if protocol.starts_with(WS_VERSION_PREFIX) {
                1
            } else if let Some(text) = protocol.strip_prefix(PTY_ENV_PREFIX) {
                offer.envs = decode_envs(text).ok_or(PtyOfferError)?;
                2
            } else {
                continue;
            };
            if rank < rank_of_chosen {
                rank_of_chosen = rank;
                offer.chosen = Some(protocol.to_owned());
            }
        }
        Ok(offer)
    }
}

fn decode_envs(text: &str) -> Option<BTreeMap<String, String>> {
    let json = BASE64.decode(text).ok()?;
    serde_json::from_slice(&json).ok()
}

/// A text message of the server; everything else that it sends is output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "control")]
pub struct PtyControl {
    #[serde(flatten)]
    pub status: PtyStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum PtyStatus {
    /// The first message. Clients drop what comes before it.
    Connected,
    /// Output was lost because the client did not read it in time. Clients that do not know it pass it over.
    Lagged {
        #[serde(rename = "droppedBytes")]
        dropped_bytes: u64,
    },
    /// All output has been sent. Only for clients that offered [`PTY_EXIT_CONTROL`].
    Exited(PtyExit),
    Error {
        error: String,
    },
}

impl PtyControl {
    pub fn to_json(&self) -> String {
        // Texts and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<PtyStatus> for PtyControl {
    fn from(status: PtyStatus) -> Self {
        Self { status }
    }
}

/// How a terminal's shell ended; the reason of the close frame, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PtyExit {
    pub exit_code: i32,
    /// Absent for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_reason: Option<String>,
}

impl PtyExit {
    /// From the code as a shell puts it, 128 and the signal's number for a death by signal.
    pub fn new(exit_code: i32) -> Self {
        let exit_reason = match exit_code {
            0 => None,
            130 => Some("Ctrl+C".to_owned()),
            137 => Some("SIGKILL".to_owned()),
            143 => Some("SIGTERM".to_owned()),
            129.. => Some(format!("signal {}", exit_code - 128)),
            _ => Some("non-zero exit".to_owned()),
        };
        Self {
            exit_code,
            exit_reason,
        }
    }

    pub fn to_close_reason(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Code of the close frame: 1000, or 1011 for a failure.
    pub fn close_code(&self) -> u16 {
        if self.exit_code == 0 { 1000 } else { 1011 }
    }
}

/// The reason of a close frame that tells of an error; the text is cut to what such a frame can hold.
pub fn error_close_reason(error: &str) -> String {
    let json = |text: &str| serde_json::json!({ "error": text }).to_string();
    let mut end = error.len();
    loop {
        let reason = json(&error[..end]);
        if reason.len() <= MAX_CLOSE_REASON {
            return reason;
        }
        end = error.floor_char_boundary(end - 1);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_of_the_offers_is_chosen_whatever_their_order() {
        let version = "X-Daytona-SDK-Version~0.226.1";
        let envs = "X-Daytona-Pty-Envs~eyJBIjoiMSJ9";
        let table = [
            (vec![PTY_EXIT_CONTROL], Some(PTY_EXIT_CONTROL)),
            (
                vec![version, envs, PTY_EXIT_CONTROL],
                Some(PTY_EXIT_CONTROL),
            ),
            (vec![envs, version], Some(version)),
            (vec![envs], Some(envs)),
            (vec!["chat", version], Some(version)),
            (vec!["chat"], None),
            (vec![], None),
        ];
        for (offered, wanted) in table {
            let one_header = offered.join(", ");
            for headers in [vec![one_header.as_str()], offered.clone()] {
                let offer = PtyOffer::parse(headers).unwrap();
                assert_eq!(offer.chosen.as_deref(), wanted, "{offered:?}");
                assert_eq!(
                    offer.reads_exit_control,
                    offered.contains(&PTY_EXIT_CONTROL)
                );
                assert_eq!(offer.envs.contains_key("A"), offered.contains(&envs));
            }
        }
    }

    #[test]
    fn variables_that_cannot_be_read_are_an_error() {
        for text in ["%", "eyJBIjoxfQ", "W10", "bm8", ""] {
            let offered = format!("{PTY_ENV_PREFIX}{text}");
            assert_eq!(
                PtyOffer::parse([offered.as_str()]),
                Err(PtyOfferError),
                "{text}"
            );
        }
    }

    #[test]
    fn controls_are_spelled_as_the_clients_know_them() {
        let spelled = |status: PtyStatus| PtyControl::from(status).to_json();
        assert_eq!(
            spelled(PtyStatus::Connected),
            r#"{"type":"control","status":"connected"}"#
        );
        assert_eq!(
            spelled(PtyStatus::Exited(PtyExit::new(0))),
            r#"{"type":"control","status":"exited","exitCode":0}"#
        );
        assert_eq!(
            spelled(PtyStatus::Exited(PtyExit::new(7))),
            r#"{"type":"control","status":"exited","exitCode":7,"exitReason":"non-zero exit"}"#
        );
        assert_eq!(
            spelled(PtyStatus::Error { error: "no".into() }),
            r#"{"type":"control","status":"error","error":"no"}"#
        );
    }

    #[test]
    fn exits_have_the_reasons_of_the_original() {
        let reason = |code| PtyExit::new(code).exit_reason;
        assert_eq!(reason(0), None);
        assert_eq!(reason(130).as_deref(), Some("Ctrl+C"));
        assert_eq!(reason(137).as_deref(), Some("SIGKILL"));
        assert_eq!(reason(143).as_deref(), Some("SIGTERM"));
        assert_eq!(reason(139).as_deref(), Some("signal 11"));
        assert_eq!(reason(128).as_deref(), Some("non-zero exit"));
        assert_eq!(reason(-1).as_deref(), Some("non-zero exit"));
        assert_eq!(
            (PtyExit::new(0).close_code(), PtyExit::new(1).close_code()),
            (1000, 1011)
        );
    }

    proptest! {
        #[test]
        fn variables_come_back_as_they_were_sent(
            envs in proptest::collection::btree_map(".*", ".*", 0..5), is_padded in any::<bool>()
        ) {
            let json = serde_json::to_vec(&envs).unwrap();
            let text = if is_padded { URL_SAFE.encode(json) } else { URL_SAFE_NO_PAD.encode(json) };
            let offered = format!("{PTY_EXIT_CONTROL},{PTY_ENV_PREFIX}{text}");
            let offer = PtyOffer::parse([offered.as_str()]).unwrap();
            prop_assert_eq!(offer.envs, envs);
            prop_assert_eq!(offer.chosen.as_deref(), Some(PTY_EXIT_CONTROL));
        }

        #[test]
        fn no_header_panics_and_what_is_chosen_was_offered(headers in proptest::collection::vec(".{0,60}", 0..4)) {
            if let Ok(offer) = PtyOffer::parse(headers.iter().map(String::as_str))
                && let Some(chosen) = offer.chosen
            {
                let mut offered = headers.iter().flat_map(|value| value.split(',')).map(str::trim);
                prop_assert!(offered.any(|protocol| protocol == chosen));
            }
        }

        #[test]
        fn controls_come_back_as_they_were_sent(code in any::<i32>(), dropped in any::<u64>(), error in ".*") {
            for status in [
                PtyStatus::Connected,
                PtyStatus::Lagged { dropped_bytes: dropped },
                PtyStatus::Exited(PtyExit::new(code)),
                PtyStatus::Error { error: error.clone() },
            ] {
                let control = PtyControl::from(status);
                prop_assert_eq!(serde_json::from_str::<PtyControl>(&control.to_json()).unwrap(), control);
            }
        }

        #[test]
        fn close_reasons_fit_into_a_close_frame(code in any::<i32>(), error in ".{0,300}") {
            let exit = PtyExit::new(code);
            prop_assert!(exit.to_close_reason().len() <= MAX_CLOSE_REASON);
            prop_assert_eq!(serde_json::from_str::<PtyExit>(&exit.to_close_reason()).unwrap(), exit);
            let reason = error_close_reason(&error);
            prop_assert!(reason.len() <= MAX_CLOSE_REASON);
            let read: serde_json::Value = serde_json::from_str(&reason).unwrap();
            prop_assert!(error.starts_with(read["error"].as_str().unwrap()));
        }
    }
}
