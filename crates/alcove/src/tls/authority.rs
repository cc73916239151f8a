//! The local authority and what it issues.
//!
//! ```text
//! authority.pem, authority.key   good for ten years; what clients trust
//! server.pem, server.key         good for 90 days; issued anew when a third of that is left, or for other names
//! issued.json                    what the two are, so that no certificate has to be read back
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

use super::folder::{self, PUBLIC, SECRET};

const AUTHORITY_LASTS: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// Clients of some systems refuse those of their own authorities that are good for more than 825 days.
const SERVER_LASTS: SignedDuration = SignedDuration::from_hours(24 * 90);
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Clocks differ.
const GOOD_SINCE: SignedDuration = SignedDuration::from_hours(1);
const VERSION: u32 = 1;

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// What clients must trust.
    pub authority: PathBuf,
    /// The server's certificate.
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// What the authority is called, and what it issued last.
#[derive(Debug, Clone)]
pub struct Issued {
    pub files: Files,
    /// The authority's name. No two have the same.
    pub name: String,
    /// Whether the certificate is another one than before.
    pub is_new: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    name: String,
    authority_since: Timestamp,
    authority_until: Timestamp,
    server_until: Timestamp,
    names: Vec<String>,
}

struct Folder(PathBuf);

impl Folder {
    fn files(&self) -> Files {
        Files {
            authority: self.0.join("authority.pem"),
            chain: self.0.join("server.pem"),
            key: self.0.join("server.key"),
        }
    }

    fn authority_key(&self) -> PathBuf {
        self.0.join("authority.key")
    }

    fn record(&self) -> anyhow::Result<Option<Record>> {
        let path = self.0.join("issued.json");
        let Some(text) = folder::read(&path)? else {
            return Ok(None);
        };
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(
            record.version == VERSION,
            "{} is of another version",
            path.display()
        );
        Ok(Some(record))
    }

    fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(record).context("cannot write a record")?;
        folder::write(&self.0.join("issued.json"), &text, SECRET)
    }
}

/// What there is in a folder of certificates; None if no authority was made in it.
pub fn read_issued(folder: &Path) -> anyhow::Result<Option<Issued>> {
    let folder = Folder(folder.to_owned());
    Ok(folder.record()?.map(|record| Issued {
        files: folder.files(),
        name: record.name,
        is_new: false,
    }))
}

/// Makes what is missing: the authority, and a certificate for this machine's names and `names` that is good for a
/// while. Names that it was issued for before stay.
pub fn issue(folder: &Path, names: &[String], now: Timestamp) -> anyhow::Result<Issued> {
    folder::make(folder)?;
    let folder = Folder(folder.to_owned());
    let known = folder.record()?.filter(|record| {
        now + RENEW_BEFORE < record.authority_until && folder.files().authority.exists()
    });
    let mut record = match known {
        Some(record) => record,
        None => make_authority(&folder, now)?,
    };
    let mut wanted: Vec<String> = own_names();
    wanted.extend(names.iter().map(|name| name.to_ascii_lowercase()));
    wanted.extend(record.names.iter().cloned());
    wanted.sort();
    wanted.dedup();
    let is_good = wanted == record.names
        && now + RENEW_BEFORE < record.server_until
        && folder.files().chain.exists()
        && folder.files().key.exists();
    if !is_good {
        // A kill between key and certificate leaves two that do not fit. Until both are there, the record says that
        // none is.
        record.names = wanted;
        record.server_until = now;
        folder.write_record(&record)?;
        record.server_until = (now + SERVER_LASTS).min(record.authority_until);
        issue_server(&folder, &record, now)?;
        folder.write_record(&record)?;
    }
    Ok(Issued {
        files: folder.files(),
        name: record.name,
        is_new: !is_good,
    })
}

/// The loopback addresses and the machine's own name.
fn own_names() -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let uname = rustix::system::uname();
    if let Ok(host) = uname.nodename().to_str()
        && !host.is_empty()
    {
        names.push(host.to_ascii_lowercase());
    }
    names
}

fn authority_params(record: &Record) -> anyhow::Result<CertificateParams> {
    let mut params =
        CertificateParams::new(Vec::<String>::new()).context("cannot name an authority")?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, record.name.clone());
    // It signs servers and no other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(record.authority_since)?;
    params.not_after = moment(record.authority_until)?;
    Ok(params)
}

fn make_authority(folder: &Folder, now: Timestamp) -> anyhow::Result<Record> {
    let mut mark = [0_u8; 4];
    rustix::rand::getrandom(&mut mark, rustix::rand::GetRandomFlags::empty())
        .context("cannot draw a name")?;
    let record = Record {
        version: VERSION,
        name: format!("Alcove local authority {}", hex::encode(mark)),
        authority_since: now - GOOD_SINCE,
        authority_until: now + AUTHORITY_LASTS,
        server_until: now,
        names: Vec::new(),
    };
    let key = KeyPair::generate().context("cannot make the authority's key")?;
    let certificate = authority_params(&record)?
        .self_signed(&key)
        .context("cannot make the authority's certificate")?;
    let files = folder.files();
    folder::write(
        &folder.authority_key(),
        key.serialize_pem().as_bytes(),
        SECRET,
    )?;
    folder::write(&files.authority, certificate.pem().as_bytes(), PUBLIC)?;
    folder.write_record(&record)?;
    Ok(record)
}

fn issue_server(folder: &Folder, record: &Record, now: Timestamp) -> anyhow::Result<()> {
    let path = folder.authority_key();
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let authority_key = KeyPair::from_pem(&text).context("cannot read the authority's key")?;
    let authority = authority_params(record)?;
    let issuer = Issuer::new(authority, authority_key);

    let mut params = CertificateParams::new(record.names.clone())
        .context("a name cannot stand in a certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Alcove".to_owned());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = moment(now - GOOD_SINCE)?;
    params.not_after = moment(record.server_until)?;
    let key = KeyPair::generate().context("cannot make the server's key")?;
    let certificate = params
        .signed_by(&key, &issuer)
        .context("cannot make the server's certificate")?;
    let files = folder.files();
    folder::write(&files.key, key.serialize_pem().as_bytes(), SECRET)?;
    folder::write(&files.chain, certificate.pem().as_bytes(), PUBLIC)
}

fn moment(at: Timestamp) -> anyhow::Result<time::OffsetDateTime> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).context("a time cannot be written")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn day(number: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap() + SignedDuration::from_hours(24 * number)
    }

    fn chain(issued: &Issued) -> Vec<u8> {
        fs::read(&issued.files.chain).unwrap()
    }

    #[test]
    fn a_certificate_stays_until_it_gets_old_or_misses_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let issue = |names: &[&str], at| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            issue(folder.path(), &names, at).unwrap()
        };
        let first = issue(&[], day(0));
        assert!(first.is_new);
        let (authority, original) = (fs::read(&first.files.authority).unwrap(), chain(&first));
        assert!(!issue(&[], day(59)).is_new);
        assert_eq!(chain(&first), original);
        let renewed = issue(&[], day(61));
        assert!(renewed.is_new);
        assert_ne!(chain(&renewed), original);
        assert!(issue(&["Box.Example.com"], day(61)).is_new);
        // A name that was there once stays.
        assert!(!issue(&[], day(61)).is_new);
        assert!(!issue(&["box.example.com"], day(61)).is_new);
        assert_eq!(fs::read(&first.files.authority).unwrap(), authority);
        let name = read_issued(folder.path()).unwrap().unwrap().name;
        assert_eq!(name, first.name);
        // The authority itself is renewed before it ends.
        let late = issue(&[], day(3630));
        assert_ne!(late.name, first.name);
    }

    #[test]
    fn private_keys_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("tls");
        issue(&place, &[], day(0)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&place.join("server.key")), 0o600);
        assert_eq!(mode(&place.join("authority.key")), 0o600);
        assert_eq!(mode(&place.join("authority.pem")), 0o644);
    }

    #[test]
    fn a_kill_between_key_and_certificate_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let first = issue(folder.path(), &[], day(0)).unwrap();
        // As a kill leaves it: the record of before the issue, and a key without its certificate.
        let place = Folder(folder.path().to_owned());
        let mut record = place.record().unwrap().unwrap();
        record.server_until = day(0);
        place.write_record(&record).unwrap();
        fs::write(
            &first.files.key,
            KeyPair::generate().unwrap().serialize_pem(),
        )
        .unwrap();
        assert!(issue(folder.path(), &[], day(0)).unwrap().is_new);
        let chain = chain(&first);
        let key = fs::read(&first.files.key).unwrap();
        assert!(alcove_server::Certificate::from_pem(&chain, &key).is_ok());
    }
}
