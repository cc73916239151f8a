//! What is written down of who did what.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::OrganizationId;

/// Longest text of one field of an entry, in characters. What is longer is cut.
pub const AUDIT_TEXT_MAX: usize = 1024;

/// One thing that was done, or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// A UUID.
    pub id: String,
    pub at: Timestamp,
    /// The user's id; empty where nobody was let in, or the platform did it itself.
    pub actor_id: String,
    pub actor_email: String,
    /// The key that the user came with.
    pub actor_key: Option<AuditKey>,
    /// In whose log it stands. None is the log of the server.
    pub organization: Option<OrganizationId>,
    pub action: String,
    pub target_type: Option<String>,
    pub target_id: Option<String>,
    /// The status of the answer. None while it is not known, and where there is none.
    pub status: Option<u16>,
    pub error: Option<String>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    /// What kind of client says that it is.
    pub source: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// What may be shown of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditKey {
    pub name: String,
    pub prefix: String,
    pub suffix: String,
}

impl AuditEntry {
    /// One of which nothing is known but what it is.
    pub fn new(id: String, at: Timestamp, action: impl Into<String>) -> Self {
        Self {
            id,
            at,
            actor_id: String::new(),
            actor_email: String::new(),
            actor_key: None,
            organization: None,
            action: action.into(),
            target_type: None,
            target_id: None,
            status: None,
            error: None,
            address: None,
            user_agent: None,
            source: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// A text as it may stand in an entry: no longer than [`AUDIT_TEXT_MAX`] and without NUL, which PostgreSQL does not take.
pub fn audit_text(text: &str) -> String {
    let mut kept: String = text
        .chars()
        .filter(|character| *character != '\0')
        .take(AUDIT_TEXT_MAX + 1)
        .collect();
    if kept.chars().count() > AUDIT_TEXT_MAX {
        kept.pop();
        kept.pop();
        kept.push('…');
    }
    kept
}

/// An entry with its place in the chain of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Grows with each row of any log.
    pub sequence: i64,
    /// Counts the rows of the log, from 1 on, without a gap.
    pub number: i64,
    pub entry: AuditEntry,
    /// The hash of the row before, 64 zeros for the first; in hex.
    pub previous_hash: String,
    /// The hash of this row and all before it, in hex.
    pub hash: String,
}

/// What a text must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextFilter {
    pub equals: Option<String>,
    pub not: Option<String>,
    /// One of these, where there are any.
    pub among: Vec<String>,
    pub not_among: Vec<String>,
}

/// What a number must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberFilter {
    pub equals: Option<i64>,
    pub not: Option<i64>,
    /// One of these, where there are any.
    pub among: Vec<i64>,
    pub not_among: Vec<i64>,
    /// At least.
    pub from: Option<i64>,
    /// At most.
    pub to: Option<i64>,
    pub above: Option<i64>,
    pub below: Option<i64>,
}

/// Which rows are wanted. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub id: TextFilter,
    pub actor_id: TextFilter,
    pub actor_email: TextFilter,
    pub key_prefix: TextFilter,
    pub key_suffix: TextFilter,
    pub action: TextFilter,
    pub target_type: TextFilter,
    pub target_id: TextFilter,
    pub status: NumberFilter,
    /// In milliseconds since 1970.
    pub at: NumberFilter,
}

/// Whose rows are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditScope {
    /// Of every log.
    All,
    Organization(OrganizationId),
    /// Of one target in one organization's log.
    Target(OrganizationId, String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_say_so() {
        assert_eq!(audit_text("short"), "short");
        assert_eq!(audit_text("a\0b"), "ab");
        let exact = "é".repeat(AUDIT_TEXT_MAX);
        assert_eq!(audit_text(&exact), exact);
        let long = audit_text(&"é".repeat(AUDIT_TEXT_MAX + 1));
        assert_eq!(long.chars().count(), AUDIT_TEXT_MAX);
        assert!(long.ends_with('…'));
    }
}
