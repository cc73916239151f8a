//! How a receiver knows that a message is from here: the scheme of Standard Webhooks, which Svix's libraries check.

use alcove_domain::{Secret, WebhookMessageId};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Rng;

const PREFIX: &str = "whsec_";
/// The scheme asks for 24 to 64.
const SECRET_BYTES: usize = 32;

pub(crate) fn new_secret(rng: &dyn Rng) -> Secret {
    let mut bytes = [0; SECRET_BYTES];
    rng.fill(&mut bytes);
    Secret(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// One signature for each secret. A secret that is none of ours signs nothing.
pub(crate) fn sign(secrets: &[Secret], id: &WebhookMessageId, second: i64, body: &str) -> Secret {
    let text = format!("{id}.{second}.{body}");
    let signatures = secrets.iter().filter_map(|secret| {
        let key = STANDARD.decode(secret.0.strip_prefix(PREFIX)?).ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        Some(format!("v1,{signature}"))
    });
    Secret(signatures.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::SystemRng;

    /// The example in the documentation of the scheme.
    #[test]
    fn the_signature_is_that_of_the_published_example() {
        let secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek".parse().unwrap();
        let signature = sign(&[secret], &id, 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(
            signature.0,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn two_secrets_make_two_signatures_and_each_secret_is_new() {
        let secrets = [new_secret(&SystemRng), new_secret(&SystemRng)];
        assert_ne!(secrets[0], secrets[1]);
        let signature = sign(&secrets, &"msg_a".parse().unwrap(), 1, "{}");
        assert_eq!(signature.0.split(' ').count(), 2);
    }
}
