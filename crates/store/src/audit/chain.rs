//! Each row of a log holds the hash of what it says and of the row before it, so that what was changed afterwards shows.
//!
//! The hash is SHA-256 over: the text `alcove-audit-1`, the 32 bytes of the hash before, and the columns in the order of
//! [`content`]. A number is a 1 and its eight bytes, the highest first; a text is a 1, the number of its bytes in UTF-8
//! as eight bytes, and these; what is not there is a 0. Texts that are cut or joined elsewhere are other bytes, then.

use sha2::{Digest as _, Sha256};

use crate::entity::audit_row::Model;

const VERSION: &[u8] = b"alcove-audit-1";

/// What stands before the first row, in hex.
pub(super) const BEGINNING: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// Where a chain does not hold any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditBreak {
    /// The organization whose log it is; empty for the server's.
    pub log: String,
    /// The number of the first row that is not as it was written, or is not there.
    pub number: i64,
    pub fault: AuditFault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditFault {
    /// It is not there.
    Missing,
    /// It says something else than it did.
    Changed,
    /// It does not follow the row before it.
    Unlinked,
    /// Rows are there after the one that was written last, or in a log that is not known.
    Surplus,
}

enum Value<'a> {
    Number(Option<i64>),
    Text(Option<&'a str>),
}

fn content(row: &Model) -> [Value<'_>; 18] {
    [
        Value::Text(Some(&row.log)),
        Value::Number(Some(row.number)),
        Value::Text(Some(&row.id)),
        Value::Number(Some(row.created_at)),
        Value::Text(Some(&row.actor_id)),
        Value::Text(Some(&row.actor_email)),
        Value::Text(row.key_name.as_deref()),
        Value::Text(row.key_prefix.as_deref()),
        Value::Text(row.key_suffix.as_deref()),
        Value::Text(Some(&row.action)),
        Value::Text(row.target_type.as_deref()),
        Value::Text(row.target_id.as_deref()),
        Value::Number(row.status),
        Value::Text(row.error_message.as_deref()),
        Value::Text(row.ip_address.as_deref()),
        Value::Text(row.user_agent.as_deref()),
        Value::Text(row.source.as_deref()),
        Value::Text(Some(&row.metadata)),
    ]
}

/// The hash of a row that follows the one with `previous_hash`. What is no hash counts as no bytes.
pub(super) fn hash(row: &Model) -> String {
    let mut sum = Sha256::new();
    sum.update(VERSION);
    sum.update(hex::decode(&row.previous_hash).unwrap_or_default());
    for value in content(row) {
        match value {
            Value::Number(Some(number)) => {
                sum.update([1]);
                sum.update(number.to_be_bytes());
            }
            Value::Text(Some(text)) => {
                sum.update([1]);
                sum.update((text.len() as u64).to_be_bytes());
                sum.update(text.as_bytes());
            }
            Value::Number(None) | Value::Text(None) => sum.update([0]),
        }
    }
    hex::encode(sum.finalize())
}

/// Follows the rows of one log from where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    log: String,
    next: i64,
    previous_hash: String,
}

impl Check {
    pub fn new(log: String, first: i64, previous_hash: String) -> Self {
        Self {
            log,
            next: first,
            previous_hash,
        }
    }

    fn broken(&self, number: i64, fault: AuditFault) -> AuditBreak {
        AuditBreak {
            log: self.log.clone(),
            number,
            fault,
        }
    }

    /// The row that comes next, by its number.
    pub fn row(&mut self, row: &Model) -> Result<(), AuditBreak> {
        if row.number < self.next {
            return Err(self.broken(row.number, AuditFault::Surplus));
        }
        if row.number > self.next {
            return Err(self.broken(self.next, AuditFault::Missing));
        }
        if hash(row) != row.hash {
            return Err(self.broken(row.number, AuditFault::Changed));
        }
        if row.previous_hash != self.previous_hash {
            return Err(self.broken(row.number, AuditFault::Unlinked));
        }
        self.next += 1;
        self.previous_hash.clone_from(&row.hash);
        Ok(())
    }

    /// No more rows: this was written last.
    pub fn end(&self, last: i64, last_hash: &str) -> Result<(), AuditBreak> {
        if self.next <= last {
            return Err(self.broken(self.next, AuditFault::Missing));
        }
        if self.next > last + 1 {
            return Err(self.broken(last + 1, AuditFault::Surplus));
        }
        if self.previous_hash != last_hash {
            return Err(self.broken(last, AuditFault::Unlinked));
        }
        Ok(())
    }

    /// The last row that was followed: its number and its hash.
    pub fn reached(&self) -> (i64, &str) {
        (self.next - 1, &self.previous_hash)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(number: i64, previous_hash: &str, word: &str, status: Option<i64>) -> Model {
        let mut row = Model {
            sequence: number,
            log: "l".to_owned(),
            number,
            id: format!("id{number}"),
            created_at: number * 7,
            actor_id: word.to_owned(),
            actor_email: String::new(),
            key_name: None,
            key_prefix: Some(word.to_owned()),
            key_suffix: None,
            action: "create".to_owned(),
            target_type: None,
            target_id: status.map(|status| status.to_string()),
            status,
            error_message: None,
            ip_address: None,
            user_agent: None,
            source: None,
            metadata: "{}".to_owned(),
            previous_hash: previous_hash.to_owned(),
            hash: String::new(),
        };
        row.hash = hash(&row);
        row
    }

    fn chain(words: &[(String, Option<i64>)]) -> Vec<Model> {
        let mut rows: Vec<Model> = Vec::new();
        for (number, (word, status)) in (1..).zip(words) {
            let previous = rows.last().map_or(BEGINNING, |row| &row.hash).to_owned();
            rows.push(row(number, &previous, word, *status));
        }
        rows
    }

    fn check(rows: &[Model], first: i64, before: &str, last: &Model) -> Result<(), AuditBreak> {
        let mut check = Check::new("l".to_owned(), first, before.to_owned());
        for row in rows {
            check.row(row)?;
        }
        check.end(last.number, &last.hash)
    }

    fn words() -> impl Strategy<Value = Vec<(String, Option<i64>)>> {
        let word = ("[a-c]{0,3}", proptest::option::of(200_i64..600));
        proptest::collection::vec(word, 2..12)
    }

    /// Puts another value into one of the columns.
    fn edit(row: &mut Model, which: usize) {
        let other = |text: &Option<String>| match text {
            Some(_) => None,
            None => Some(String::new()),
        };
        match which {
            0 => row.id.push('x'),
            1 => row.created_at += 1,
            2 => row.actor_id.push('x'),
            3 => row.actor_email.push('x'),
            4 => row.key_name = other(&row.key_name),
            5 => row.key_prefix = other(&row.key_prefix),
            6 => row.key_suffix = other(&row.key_suffix),
            7 => row.action.push('x'),
            8 => row.target_type = other(&row.target_type),
            9 => row.target_id = other(&row.target_id),
            10 => row.status = row.status.map_or(Some(0), |_| None),
            11 => row.error_message = other(&row.error_message),
            12 => row.ip_address = other(&row.ip_address),
            13 => row.user_agent = other(&row.user_agent),
            14 => row.source = other(&row.source),
            15 => row.metadata.push(' '),
            16 => row.log.push('x'),
            _ => std::mem::swap(&mut row.actor_id, &mut row.actor_email),
        }
    }

    proptest! {
        #[test]
        fn a_chain_holds_as_a_whole_and_with_its_head_cut_off(words in words(), cut in 0_usize..12) {
            let rows = chain(&words);
            let last = rows.last().expect("two or more").clone();
            prop_assert_eq!(check(&rows, 1, BEGINNING, &last), Ok(()));
            let cut = cut % rows.len();
            let before = cut.checked_sub(1).map_or(BEGINNING, |at| rows[at].hash.as_str());
            let first = rows[cut].number;
            prop_assert_eq!(check(&rows[cut..], first, before, &last), Ok(()));
        }

        #[test]
        fn whatever_is_changed_is_found_at_its_row(words in words(), at in 0_usize..12, which in 0_usize..18) {
            let mut rows = chain(&words);
            let last = rows.last().expect("two or more").clone();
            let at = at % rows.len();
            let before = rows[at].clone();
            edit(&mut rows[at], which);
            prop_assume!(rows[at] != before);
            let found = check(&rows, 1, BEGINNING, &last).expect_err("it was changed");
            prop_assert_eq!((found.number, found.fault), (before.number, AuditFault::Changed));
            // With a hash that fits, the row after it or the log's own note tells.
            rows[at].hash = hash(&rows[at]);
            prop_assert!(check(&rows, 1, BEGINNING, &last).is_err());
        }

        #[test]
        fn what_is_taken_out_or_put_in_or_swapped_is_found(words in words(), at in 0_usize..12, to in 0_usize..12) {
            let rows = chain(&words);
            let last = rows.last().expect("two or more").clone();
            let (at, to) = (at % rows.len(), to % rows.len());
            let mut without = rows.clone();
            let gone = without.remove(at);
            let found = check(&without, 1, BEGINNING, &last).expect_err("one is gone");
            prop_assert_eq!((found.number, found.fault), (gone.number, AuditFault::Missing));

            // The rest counted anew, as if the row had never been.
            let mut counted = without.clone();
            for (number, row) in (1..).zip(&mut counted) {
                row.number = number;
            }
            prop_assert!(check(&counted, 1, BEGINNING, &last).is_err());

            let mut twice = rows.clone();
            twice.insert(at, rows[to].clone());
            prop_assert!(check(&twice, 1, BEGINNING, &last).is_err());

            prop_assume!(at != to);
            let mut swapped = rows.clone();
            swapped.swap(at, to);
            prop_assert!(check(&swapped, 1, BEGINNING, &last).is_err());
            // The same with their numbers put right.
            let numbers = (swapped[at].number, swapped[to].number);
            (swapped[to].number, swapped[at].number) = numbers;
            prop_assert!(check(&swapped, 1, BEGINNING, &last).is_err());
        }
    }

    #[test]
    fn the_hash_of_a_row_is_as_released() {
        let row = row(1, BEGINNING, "é", Some(200));
        insta::assert_snapshot!(row.hash);
    }
}
