//! Where a server has its certificate from, and that it stays a good one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alcove_server::Certificate;
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::authority::{issue, read_issued};
use super::{folder_of, now};

/// How often it is looked whether there is, or should be, a newer one.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Where the certificate comes from.
#[derive(Debug)]
enum Origin {
    /// Files that somebody else renews.
    Given { chain: PathBuf, key: PathBuf },
    /// The local authority's, in this folder, for these names.
    Own { folder: PathBuf, names: Vec<String> },
}

/// A certificate with what keeps it fresh.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
    pub certificate: Certificate,
    shown: (Vec<u8>, Vec<u8>),
}

impl Source {
    /// The operator's files, else what `alcove tls` made in the data folder, which is issued for `names` as well.
    /// None if there is neither.
    pub fn find(
        given: Option<(&Path, &Path)>,
        data_dir: &Path,
        names: Vec<String>,
    ) -> anyhow::Result<Option<Self>> {
        let folder = folder_of(data_dir);
        let origin = match given {
            Some((chain, key)) => Origin::Given {
                chain: chain.to_owned(),
                key: key.to_owned(),
            },
            None if read_issued(&folder)?.is_some() => Origin::Own { folder, names },
            None => return Ok(None),
        };
        let shown = origin.read()?;
        let certificate = Certificate::from_pem(&shown.0, &shown.1)
            .context("cannot use the certificate of the listeners")?;
        Ok(Some(Self {
            origin,
            certificate,
            shown,
        }))
    }

    /// Whether it comes from an authority that only clients of this machine know.
    pub fn is_private(&self) -> bool {
        matches!(self.origin, Origin::Own { .. })
    }

    /// Shows newer certificates as they come, until `stop`.
    pub async fn keep_fresh(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match self.refresh() {
                Ok(true) => tracing::info!("the listeners show a new certificate"),
                Ok(false) => {}
                // The old one is shown on: it may be good for a while.
                Err(error) => {
                    tracing::error!("cannot renew the certificate of the listeners: {error:#}");
                }
            }
        }
    }

    /// Whether there was a newer one.
    fn refresh(&mut self) -> anyhow::Result<bool> {
        let found = self.origin.read()?;
        if found == self.shown {
            return Ok(false);
        }
        self.certificate
            .replace(&found.0, &found.1)
            .context("cannot use the new one")?;
        self.shown = found;
        Ok(true)
    }
}

impl Origin {
    /// Chain and key as PEM, issued anew where that is ours to do.
    fn read(&self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let (chain, key) = match self {
            Self::Given { chain, key } => (chain.clone(), key.clone()),
            Self::Own { folder, names } => {
                let files = issue(folder, names, now())?.files;
                (files.chain, files.key)
            }
        };
        let read =
            |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok((read(&chain)?, read(&key)?))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn there_is_a_certificate_once_one_was_made_or_given() {
        let folder = tempfile::tempdir().unwrap();
        let find = |given| Source::find(given, folder.path(), vec!["box".to_owned()]);
        assert!(find(None).unwrap().is_none());
        let place = folder_of(folder.path());
        issue(&place, &[], now()).unwrap();
        let mut own = find(None).unwrap().unwrap();
        assert!(!own.refresh().unwrap());
        // A new name makes a new certificate, which the running server takes over.
        issue(&place, &["other".to_owned()], now()).unwrap();
        assert!(own.refresh().unwrap());
        let (chain, key) = (place.join("server.pem"), place.join("server.key"));
        assert!(find(Some((&chain, &key))).unwrap().is_some());
        assert!(find(Some((&key, &chain))).is_err());
        assert!(find(Some((Path::new("/nowhere"), &key))).is_err());
    }
}
