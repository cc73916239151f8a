//! `alcove audit`: whether an audit log is still as it was written; and what the operator decides about it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use alcove_api_types::daytona::ExportedAuditLog;
use alcove_control::AuditSettings;
use alcove_domain::{AuditEntry, AuditKey, AuditRow};
use alcove_store::{AuditBreak, AuditFault, CheckedLog, ExportCheck, Reader};
use anyhow::Context as _;

use crate::serve::DATA_DIR;

/// What the operator decides.
#[derive(Debug, Clone, clap::Args)]
pub struct AuditArguments {
    /// Days that rows of the audit log are kept; 0 keeps them for ever.
    #[arg(
        long = "audit-retention",
        env = "ALCOVE_AUDIT_RETENTION_DAYS",
        value_name = "DAYS",
        default_value_t = 90
    )]
    retention_days: u32,
    /// Leaves requests into sandboxes, and what these ask of the network, out of the audit log.
    #[arg(long = "no-audit-traffic", env = "ALCOVE_NO_AUDIT_TRAFFIC")]
    no_traffic: bool,
    /// Leaves the text of commands out of the audit log.
    #[arg(long = "no-audit-commands", env = "ALCOVE_NO_AUDIT_COMMANDS")]
    no_commands: bool,
}

impl AuditArguments {
    pub fn settings(&self) -> AuditSettings {
        let days = u64::from(self.retention_days);
        AuditSettings {
            kept: (days > 0).then(|| Duration::from_hours(24 * days)),
            traffic: !self.no_traffic,
            commands: !self.no_commands,
        }
    }
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Follows the chain of every log from its first row to its last, and says where one does not hold. The server may run
    /// meanwhile.
    Verify(Arguments),
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's folder for all data.
    #[arg(long, env = "ALCOVE_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// The PostgreSQL database that the server keeps its state in, where it has one.
    #[arg(
        long,
        env = "ALCOVE_DATABASE",
        hide_env_values = true,
        conflicts_with = "file"
    )]
    database: Option<String>,
    /// An export instead, of a whole log or from some row on.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The last row of a log as an earlier run has told it: LOG:NUMBER:HASH, with nothing before the first colon for the
    /// server's log. A log that was written anew does not have it.
    #[arg(long = "expect", value_name = "LOG:NUMBER:HASH")]
    expected: Vec<Expected>,
}

/// A row that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    log: String,
    number: i64,
    hash: String,
}

impl FromStr for Expected {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be LOG:NUMBER:HASH";
        let (rest, hash) = text.rsplit_once(':').ok_or(wrong)?;
        let (log, number) = rest.rsplit_once(':').ok_or(wrong)?;
        Ok(Self {
            log: log.to_owned(),
            number: number.parse().map_err(|_| wrong)?,
            hash: hash.to_owned(),
        })
    }
}

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Verify(arguments) = command;
    let checked = match &arguments.file {
        Some(file) => {
            if !arguments.expected.is_empty() {
                anyhow::bail!("--expect is for a database, not for an export");
            }
            check_file(file)?
        }
        None => check_database(&arguments).await?,
    };
    match checked {
        Ok(logs) => {
            for log in logs {
                let (number, hash) = &log.last;
                println!(
                    "{}: {} rows hold, the last is {}:{number}:{hash}",
                    named(&log.log),
                    log.rows,
                    log.log
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            println!("{}: {}", named(&broken.log), told(&broken));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn named(log: &str) -> String {
    match log {
        "" => "the log of the server".to_owned(),
        organization => format!("the log of organization {organization}"),
    }
}

fn told(broken: &AuditBreak) -> String {
    let number = broken.number;
    match broken.fault {
        AuditFault::Missing => format!("row {number} is missing"),
        AuditFault::Changed => format!("row {number} is not as it was written"),
        AuditFault::Unlinked => format!("row {number} does not follow the one before it"),
        AuditFault::Surplus => format!("row {number} was never written by the server"),
    }
}

type Checked = Result<Vec<CheckedLog>, AuditBreak>;

async fn check_database(arguments: &Arguments) -> anyhow::Result<Checked> {
    let reader = if let Some(url) = &arguments.database {
        Reader::connect(url).await
    } else {
        let path = arguments.data_dir.join("alcove.db");
        // SQLite says less clearly what is wrong.
        if !path.exists() {
            anyhow::bail!("there is no database {}", path.display());
        }
        Reader::open(&path).await
    };
    let reader = reader.context("cannot open the database")?;
    let checked = reader.audit_verify().await?;
    if checked.is_ok() {
        for expected in &arguments.expected {
            let found = reader.audit_hash(&expected.log, expected.number).await?;
            let fault = match found {
                None => AuditFault::Missing,
                Some(hash) if hash != expected.hash => AuditFault::Changed,
                Some(_) => continue,
            };
            return Ok(Err(AuditBreak {
                log: expected.log.clone(),
                number: expected.number,
                fault,
            }));
        }
    }
    Ok(checked)
}

fn check_file(path: &Path) -> anyhow::Result<Checked> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut check = ExportCheck::default();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        let row = row_of(&line).with_context(|| format!("line {number} is no row of an export"))?;
        if let Err(broken) = check.row(row) {
            return Ok(Err(broken));
        }
    }
    Ok(Ok(check.logs()))
}

fn row_of(line: &str) -> anyhow::Result<AuditRow> {
    let line: ExportedAuditLog = serde_json::from_str(line)?;
    let row = line.row;
    let key = row.actor_api_key_name.zip(row.actor_api_key_prefix);
    let entry = AuditEntry {
        id: row.id,
        at: row.created_at.0,
        actor_id: row.actor_id,
        actor_email: row.actor_email,
        actor_key: key
            .zip(row.actor_api_key_suffix)
            .map(|((name, prefix), suffix)| AuditKey {
                name,
                prefix,
                suffix,
            }),
        organization: row.organization_id.map(|id| id.parse()).transpose()?,
        action: row.action,
        target_type: row.target_type,
        target_id: row.target_id,
        status: row.status_code,
        error: row.error_message,
        address: row.ip_address,
        user_agent: row.user_agent,
        source: row.source,
        metadata: row.metadata.unwrap_or_default(),
    };
    Ok(AuditRow {
        sequence: 0,
        number: line.number,
        entry,
        previous_hash: line.previous_hash,
        hash: line.hash,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::io::Write as _;

    use alcove_store::Store;

    use super::*;

    fn arguments(folder: &Path) -> Arguments {
        Arguments {
            data_dir: folder.to_owned(),
            database: None,
            file: None,
            expected: Vec::new(),
        }
    }

    async fn filled(folder: &Path) -> Store {
        let store = Store::open(&folder.join("alcove.db")).await.unwrap();
        let tx = store.begin().await.unwrap();
        let entries = (1..=3).map(|number| {
            let at = jiff::Timestamp::from_second(number).unwrap();
            let mut entry = AuditEntry::new(number.to_string(), at, "create");
            entry
                .metadata
                .insert("a".to_owned(), "\"b\"\u{2028}".to_owned());
            entry
        });
        tx.audit_append(entries.collect()).await.unwrap();
        tx.commit().await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_database_is_checked_beside_the_server_and_by_what_an_earlier_check_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let mut arguments = arguments(folder.path());
        let logs = check_database(&arguments).await.unwrap().unwrap();
        let (number, hash) = &logs[0].last;
        assert_eq!((logs[0].rows, *number), (3, 3));
        arguments.expected = vec![format!(":{number}:{hash}").parse().unwrap()];
        assert!(check_database(&arguments).await.unwrap().is_ok());
        store.close().await;
        drop(store);
        assert!(check_database(&arguments).await.unwrap().is_ok());
        arguments.expected = vec![":2:00".parse().unwrap()];
        let broken = check_database(&arguments).await.unwrap().unwrap_err();
        assert_eq!((broken.number, broken.fault), (2, AuditFault::Changed));
        arguments.expected = vec![":4:00".parse().unwrap()];
        let broken = check_database(&arguments).await.unwrap().unwrap_err();
        assert_eq!((broken.number, broken.fault), (4, AuditFault::Missing));
    }

    #[tokio::test]
    async fn an_export_is_checked_from_its_first_row_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let page = alcove_store::AuditPage::After {
            sequence: 0,
            limit: 9,
        };
        let rows = store
            .reader()
            .audit_list(
                &alcove_domain::AuditScope::All,
                &alcove_domain::AuditFilter::default(),
                page,
            )
            .await
            .unwrap();
        let lines: Vec<String> = rows
            .into_iter()
            .map(|row| serde_json::to_string(&alcove_server::exported(row)).unwrap())
            .collect();
        let check = |lines: &[&str]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(lines.join("\n").as_bytes()).unwrap();
            check_file(file.path()).unwrap()
        };
        let [first, second, third] = [&*lines[0], &*lines[1], &*lines[2]];
        assert_eq!(check(&[first, second, third]).unwrap()[0].rows, 3);
        assert_eq!(check(&[second, third]).unwrap()[0].rows, 2);
        let broken = check(&[first, third]).unwrap_err();
        assert_eq!((broken.number, broken.fault), (2, AuditFault::Missing));
        let edited = second.replace("\"create\"", "\"delete\"");
        let broken = check(&[first, &edited, third]).unwrap_err();
        assert_eq!((broken.number, broken.fault), (2, AuditFault::Changed));
    }
}
