//! A sandbox's part of a backup.

use std::path::Path;

use alcove_runner_api::{Fault, FaultCode};

use super::Driver;
use super::held::Held;
use super::inbox::Inbox;
use crate::backup::{ARCHIVE, BackedUp, DISKS, JOURNAL};
use crate::disk::ranges;
use crate::host::HostError;
use crate::journal::{Journal, Phase, Record};

impl Driver {
    /// Copies the disk as it is at one moment, or the archive, into the folder of a backup, with what the journal is to say
    /// where it is restored: that it is stopped. The sandbox stays as it is.
    pub(super) async fn back_up(
        &mut self,
        to: &Path,
        inbox: &mut Inbox,
    ) -> Result<BackedUp, HostError> {
        let record = match &self.held {
            Held::Absent { .. } => return Ok(BackedUp::Nothing),
            Held::Archived { .. } => {
                let from = self.host.archives.path(&self.sandbox);
                let to = to.join(ARCHIVE).join(format!("{}.archive", self.sandbox));
                self.long(inbox, move |cancel| {
                    let copied = ranges::copy(&from, &to, cancel);
                    copied.map_err(|source| HostError::Io {
                        step: "copy the archive",
                        source,
                    })
                })
                .await?;
                return Ok(BackedUp::Archive);
            }
            Held::Running(live) => stopped(&live.record, Some(restored())),
            Held::Stopped { record, .. } => match &record.phase {
                Phase::Stopped { fault } => stopped(record, fault.clone()),
                _ => stopped(record, None),
            },
        };
        let disk = to.join(DISKS).join(format!("{}.ext4", self.sandbox));
        self.copy_disk_anywhere(&disk, inbox).await?;
        let journal = Journal::at(to.join(JOURNAL));
        journal.write(&record).map_err(HostError::Journal)?;
        Ok(BackedUp::Disk)
    }
}

fn stopped(record: &Record, fault: Option<Fault>) -> Record {
    Record {
        phase: Phase::Stopped { fault },
        ..record.clone()
    }
}

fn restored() -> Fault {
    Fault {
        code: FaultCode::HostRebooted,
        message: "the sandbox ran when the backup was made that it comes from".to_owned(),
    }
}
