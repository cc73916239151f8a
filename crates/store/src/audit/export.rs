//! Whether what was exported is still what was written.

use std::collections::BTreeMap;

use alcove_domain::AuditRow;

use super::chain::Check;
use super::{AuditBreak, CheckedLog, to_model};

/// Follows the chains of exported rows, each in its order. What came before the first of a log is not looked at: the log may
/// have been cut there.
#[derive(Debug, Default)]
pub struct ExportCheck {
    logs: BTreeMap<String, (Check, u64)>,
}

impl ExportCheck {
    /// The next row. Its sequence counts for nothing.
    pub fn row(&mut self, row: AuditRow) -> Result<(), AuditBreak> {
        let (number, before) = (row.number, row.previous_hash.clone());
        let model = to_model(row);
        let (check, count) = self.logs.entry(model.log.clone()).or_insert_with(|| {
            let check = Check::new(model.log.clone(), number, before);
            (check, 0)
        });
        check.row(&model)?;
        *count += 1;
        Ok(())
    }

    /// What was there.
    pub fn logs(&self) -> Vec<CheckedLog> {
        let logs = self.logs.iter().map(|(log, (check, rows))| {
            let (number, hash) = check.reached();
            CheckedLog {
                log: log.clone(),
                rows: *rows,
                last: (number, hash.to_owned()),
            }
        });
        logs.collect()
    }
}
