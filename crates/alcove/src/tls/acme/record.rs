//! What is kept of an authority in the folder `tls/acme` of the data folder.
//!
//! ```text
//! account.json      who we are to the authority
//! order.json        the order under way: the next process goes on with it, and takes its DNS records away
//! certificate.json  names, chain and key, together, so that a kill cannot part them
//! ```

use std::path::{Path, PathBuf};

use anyhow::Context;
use instant_acme::AccountCredentials;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::folder::{self, SECRET};

const VERSION: u32 = 1;

/// A file of its own.
pub trait Record: Serialize + DeserializeOwned {
    const FILE: &'static str;
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRecord {
    /// The authority's directory.
    pub directory: String,
    pub contact: Option<String>,
    pub credentials: AccountCredentials,
}

impl Record for AccountRecord {
    const FILE: &'static str = "account.json";
}

/// A value of type TXT that the operator's program was asked to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    pub name: String,
    pub value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRecord {
    pub directory: String,
    pub names: Vec<String>,
    pub url: String,
    /// The private key that the certificate is for, as PEM.
    pub key: String,
    pub dns: Vec<DnsRecord>,
}

impl Record for OrderRecord {
    const FILE: &'static str = "order.json";
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRecord {
    pub directory: String,
    pub names: Vec<String>,
    /// Both as PEM.
    pub chain: String,
    pub key: String,
}

impl Record for CertificateRecord {
    const FILE: &'static str = "certificate.json";
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    kept: T,
}

/// The folder of all three.
#[derive(Debug)]
pub struct Records(PathBuf);

impl Records {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        folder::make(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// None if nothing is kept.
    pub fn read<T: Record>(&self) -> anyhow::Result<Option<T>> {
        let path = self.path::<T>();
        let Some(text) = folder::read(&path)? else {
            return Ok(None);
        };
        let record: Versioned<T> = serde_json::from_slice(&text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(
            record.version == VERSION,
            "{} is of another version",
            path.display()
        );
        Ok(Some(record.kept))
    }

    pub fn write<T: Record>(&self, record: &T) -> anyhow::Result<()> {
        let record = Versioned {
            version: VERSION,
            kept: record,
        };
        let text = serde_json::to_vec_pretty(&record).context("cannot write a record")?;
        folder::write(&self.path::<T>(), &text, SECRET)
    }

    pub fn remove<T: Record>(&self) -> anyhow::Result<()> {
        folder::remove(&self.path::<T>())
    }

    fn path<T: Record>(&self) -> PathBuf {
        self.0.join(T::FILE)
    }
}
