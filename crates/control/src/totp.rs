//! Codes of an authenticator as a second factor (RFC 6238): six digits, from a secret that both sides have and the time.

use aws_lc_rs::{constant_time, hmac};
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;

/// The hash that every authenticator knows. What is weak in SHA-1 does not matter below HMAC.
const ALGORITHM: hmac::Algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
/// RFC 4226 recommends 160 bits.
pub(crate) const SECRET_BYTES: usize = 20;
const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
/// Steps before and after the present one whose codes are taken: clocks differ, and typing takes time.
const LEEWAY: i64 = 1;
/// Who issues the secret, as authenticators show it.
const ISSUER: &str = "Alcove";

/// The step of a code, if it is one of about now and of a later step than `after`: each is good once.
pub(crate) fn step_of(secret: &[u8], code: &str, now: Timestamp, after: i64) -> Option<i64> {
    let present = now.as_second().div_euclid(STEP_SECONDS);
    let mut found = None;
    // All are looked at, so that the time taken tells nothing.
    for step in (present - LEEWAY)..=(present + LEEWAY) {
        let right = code_at(secret, step);
        let is_right = constant_time::verify_slices_are_equal(right.as_bytes(), code.as_bytes());
        if is_right.is_ok() && step > after {
            found = Some(step);
        }
    }
    found
}

/// The code of a step: RFC 4226, section 5.3.
fn code_at(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(ALGORITHM, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0xf);
    let mut chosen = [0; 4];
    chosen.copy_from_slice(&tag[offset..offset + 4]);
    let number = u32::from_be_bytes(chosen) & 0x7fff_ffff;
    format!("{:0DIGITS$}", number % 1_000_000)
}

/// A secret as people type it.
pub(crate) fn to_text(secret: &[u8]) -> String {
    BASE32_NOPAD.encode(secret)
}

pub(crate) fn from_text(text: &str) -> Option<Vec<u8>> {
    BASE32_NOPAD.decode(text.as_bytes()).ok()
}

/// What authenticators read from a picture. `account` has no character that would have to be written in another way.
pub(crate) fn url(account: &str, secret: &str) -> String {
    format!(
        "otpauth://totp/{ISSUER}:{account}?secret={secret}&issuer={ISSUER}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The last six digits of those in RFC 6238, appendix B.
    #[test]
    fn codes_are_those_of_the_standard() {
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(SECRET, second / 30), code, "{second}");
            assert_eq!(
                step_of(SECRET, code, at(second), 0),
                Some(second / 30),
                "{second}"
            );
        }
    }

    #[test]
    fn a_code_is_good_for_a_step_before_and_after_its_own_and_once() {
        let code = code_at(SECRET, 100);
        for (second, is_good) in [
            (98 * 30 + 29, false),
            (99 * 30, true),
            (100 * 30, true),
            (101 * 30 + 29, true),
            (102 * 30, false),
        ] {
            let found = step_of(SECRET, &code, at(second), 0);
            assert_eq!(found, is_good.then_some(100), "{second}");
        }
        assert_eq!(step_of(SECRET, &code, at(3_000), 99), Some(100));
        assert_eq!(step_of(SECRET, &code, at(3_000), 100), None);
        for wrong in ["", "1", "0000000", "abcdef", &format!("{code} ")] {
            assert_eq!(step_of(SECRET, wrong, at(3_000), 0), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_written_for_people_and_read_again() {
        let text = to_text(SECRET);
        assert_eq!(from_text(&text).as_deref(), Some(SECRET));
        assert_eq!(from_text("not base 32!"), None);
        let url = url("ann", &text);
        assert!(
            url.starts_with("otpauth://totp/Alcove:ann?secret=GEZDGNBV"),
            "{url}"
        );
    }
}
