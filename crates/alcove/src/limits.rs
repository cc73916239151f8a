//! Limits of requests, as the operator gives them.

use std::str::FromStr;

use alcove_control::RateLimits;
use alcove_domain::rate_limit::{Limiter, RateLimit};
use anyhow::Context as _;

#[derive(Debug, clap::Args)]
pub struct LimitArguments {
    /// How many requests are taken in how many seconds, as NAME=COUNT/SECONDS; may be given several times, or with commas.
    /// The names are anonymous and failed-auth, by address; authenticated, sandbox-create and sandbox-lifecycle, by
    /// organization. What is not named has no limit.
    #[arg(
        long = "rate-limit",
        env = "ALCOVE_RATE_LIMITS",
        value_name = "NAME=COUNT/SECONDS",
        value_delimiter = ','
    )]
    rate_limits: Vec<NamedLimit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NamedLimit(Limiter, RateLimit);

impl FromStr for NamedLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('=')
            .and_then(|(name, limit)| Some(Self(Limiter::parse(name)?, RateLimit::parse(limit)?)));
        parsed.ok_or_else(|| {
            let names = Limiter::ALL.map(Limiter::as_str).join(", ");
            format!("{text} is no limit such as authenticated=1000/60; the names are {names}")
        })
    }
}

impl LimitArguments {
    /// Those that were given, and those of the original's variables that no other was given for.
    pub fn limits(&self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<RateLimits> {
        let mut limits = RateLimits::new();
        for limiter in Limiter::ALL {
            let name = limiter.as_str().to_uppercase().replace('-', "_");
            let number = |what: &str| -> anyhow::Result<Option<u32>> {
                let name = format!("RATE_LIMIT_{name}_{what}");
                let Some(text) = variable(&name) else {
                    return Ok(None);
                };
                let number = text.trim().parse();
                number
                    .map(Some)
                    .with_context(|| format!("{name} must be a whole number"))
            };
            // The original limits nothing unless both are there.
            if let (Some(seconds), Some(count)) = (number("TTL")?, number("LIMIT")?)
                && let Some(limit) = RateLimit::new(count, seconds)
            {
                limits.insert(limiter, limit);
            }
        }
        limits.extend(self.rate_limits.iter().map(|named| (named.0, named.1)));
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn limits_are_read_from_options_and_from_the_originals_variables() {
        let arguments = LimitArguments {
            rate_limits: vec!["authenticated=10/60".parse().unwrap()],
        };
        let limits = arguments.limits(|name| {
            let value = match name {
                "RATE_LIMIT_AUTHENTICATED_TTL" | "RATE_LIMIT_SANDBOX_CREATE_LIMIT" => "5",
                "RATE_LIMIT_AUTHENTICATED_LIMIT" | "RATE_LIMIT_SANDBOX_CREATE_TTL" => "7",
                "RATE_LIMIT_ANONYMOUS_TTL" => "1",
                _ => return None,
            };
            Some(value.to_owned())
        });
        let wanted = [
            (Limiter::Authenticated, RateLimit::new(10, 60).unwrap()),
            (Limiter::SandboxCreate, RateLimit::new(5, 7).unwrap()),
        ];
        assert_eq!(limits.unwrap(), RateLimits::from(wanted));
        assert!(arguments.limits(|_| Some("many".to_owned())).is_err());
        for wrong in [
            "",
            "authenticated",
            "authenticated=1",
            "other=1/1",
            "authenticated=0/1",
        ] {
            assert!(wrong.parse::<NamedLimit>().is_err(), "{wrong}");
        }
    }
}
