//! What every program inherits, and how it is changed while the agent runs.

use std::sync::{Arc, Mutex, PoisonError};

use alcove_agent_api::UpdateEnvRequest;

use crate::process::spawn::EnvBlock;

/// Longest variable, its name included. The kernel takes 128 KiB for one string; a longer one would keep every later
/// program from starting.
const MAX_VARIABLE_BYTES: usize = (128 << 10) - 2;

/// Most bytes of all variables, for the same reason: with its arguments a program gets 2 MiB.
const MAX_TOTAL_BYTES: usize = 1 << 20;

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    #[error("invalid environment variable name: {0:?}")]
    Name(String),
    #[error("the value of {0} holds a NUL byte")]
    Value(String),
    #[error("the variable {0} is longer than {MAX_VARIABLE_BYTES} bytes")]
    TooLong(String),
    #[error("the variables take more than {MAX_TOTAL_BYTES} bytes")]
    TooMany,
}

/// The environment of programs that are still to be started.
#[derive(Debug)]
pub struct Environment(Mutex<Arc<EnvBlock>>);

impl Environment {
    pub fn new(block: EnvBlock) -> Self {
        Self(Mutex::new(Arc::new(block)))
    }

    /// As it is now.
    pub fn current(&self) -> Arc<EnvBlock> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<String> {
        self.current().get(name).map(str::to_owned)
    }

    /// Changes it as a whole or not at all. Programs that run keep what they were given.
    ///
    /// # Errors
    /// A variable could not be given to a program.
    pub fn update(&self, change: &UpdateEnvRequest) -> Result<(), EnvironmentError> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = EnvBlock::clone(&current);
        let set = change.set.as_ref();
        for name in change.unset.iter().flatten() {
            next.unset(name);
        }
        if let Some(prefix) = change
            .unset_value_prefix
            .as_deref()
            .filter(|p| !p.is_empty())
        {
            next.retain(|name, value| {
                set.is_some_and(|set| set.contains_key(name)) || !value.starts_with(prefix)
            });
        }
        for (name, value) in set.into_iter().flatten() {
            if !is_variable_name(name) {
                return Err(EnvironmentError::Name(name.clone()));
            }
            if name.len() + value.len() > MAX_VARIABLE_BYTES {
                return Err(EnvironmentError::TooLong(name.clone()));
            }
            next.set(name, value)
                .map_err(|_| EnvironmentError::Value(name.clone()))?;
        }
        if next.total_bytes() > MAX_TOTAL_BYTES {
            return Err(EnvironmentError::TooMany);
        }
        *current = Arc::new(next);
        Ok(())
    }
}

/// Whether a shell can name such a variable.
pub fn is_variable_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let mut block = EnvBlock::default();
        for (name, value) in pairs {
            block.set(name, value).unwrap();
        }
        Environment::new(block)
    }

    fn change(set: &[(&str, &str)], unset: &[&str], prefix: &str) -> UpdateEnvRequest {
        let text = |text: &&str| (*text).to_owned();
        UpdateEnvRequest {
            set: Some(set.iter().map(|(n, v)| (text(n), text(v))).collect()),
            unset: Some(unset.iter().map(text).collect()),
            unset_value_prefix: Some(prefix.to_owned()),
        }
    }

    #[test]
    fn what_goes_goes_first_and_what_is_set_stays() {
        let env = environment(&[("A", "1"), ("B", "secret:b"), ("C", "secret:c"), ("D", "4")]);
        let change = change(
            &[("A", "2"), ("C", "secret:new")],
            &["A", "C", "nope"],
            "secret:",
        );
        env.update(&change).unwrap();
        let get = |name| env.get(name);
        assert_eq!(get("A").as_deref(), Some("2"));
        assert_eq!(get("B"), None);
        assert_eq!(get("C").as_deref(), Some("secret:new"));
        assert_eq!(get("D").as_deref(), Some("4"));
    }

    #[test]
    fn a_change_that_is_refused_changes_nothing() {
        let env = environment(&[("A", "1")]);
        let long = "x".repeat(MAX_VARIABLE_BYTES);
        for (name, value) in [("B-C", ""), ("", ""), ("B=", ""), ("B", "\0"), ("B", &long)] {
            let change = change(&[("A0", "2"), (name, value)], &["A"], "");
            assert!(env.update(&change).is_err(), "{name:?}");
        }
        assert_eq!(env.get("A").as_deref(), Some("1"));
        assert_eq!(env.get("A0"), None);
    }

    #[test]
    fn all_together_have_a_bound() {
        let env = environment(&[]);
        let value = "x".repeat(100 << 10);
        let set = |name: &str| env.update(&change(&[(name, &value)], &[], ""));
        let taken = (0..20)
            .take_while(|at| set(&format!("V{at}")).is_ok())
            .count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn an_empty_prefix_removes_nothing() {
        let env = environment(&[("A", "1")]);
        env.update(&change(&[], &[], "")).unwrap();
        assert!(env.get("A").is_some());
    }

    #[test]
    fn variable_names_are_those_of_the_shell() {
        assert!(is_variable_name("A_1") && is_variable_name("_"));
        for name in ["", "1A", "A-B", "A B", "\u{e9}", "A="] {
            assert!(!is_variable_name(name), "{name:?}");
        }
    }
}
