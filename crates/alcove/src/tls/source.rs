//! Where a server has its certificate from, and that it stays a good one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alcove_server::Certificate;
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::acme::Acme;
use super::authority::{issue, read_issued};
use super::{folder_of, now};

/// How often it is looked whether somebody else put a newer one there. Reading two small files costs next to nothing, and
/// unlike watching them it sees links that lead elsewhere, and folders that are exchanged.
const LOOK_AT_GIVEN_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether ours gets old.
const LOOK_AT_OWN_EVERY: Duration = Duration::from_hours(1);

/// Where the certificate comes from.
#[derive(Debug)]
enum Origin {
    /// Files that somebody else renews.
    Given { chain: PathBuf, key: PathBuf },
    /// The local authority's, in this folder, for these names.
    Own { folder: PathBuf, names: Vec<String> },
}

/// What keeps a certificate fresh.
#[derive(Debug)]
pub enum Source {
    Files(Files),
    Acme(Box<Acme>),
}

/// A certificate in files.
#[derive(Debug)]
pub struct Files {
    origin: Origin,
    certificate: Certificate,
    /// Chain and key.
    shown: (Vec<u8>, Vec<u8>),
    /// Why the last look failed. The same is not said at every look.
    failed: Option<String>,
}

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Newer,
    Unusable(String),
}

impl Source {
    /// From the authority, else the operator's files, else what `alcove tls` made in the data folder, which is issued for
    /// `names` as well. None if there is nothing of it.
    pub fn find(
        acme: Option<Acme>,
        given: Option<(&Path, &Path)>,
        data_dir: &Path,
        names: Vec<String>,
    ) -> anyhow::Result<Option<Self>> {
        Ok(match acme {
            Some(acme) => Some(Self::Acme(Box::new(acme))),
            None => Files::find(given, data_dir, names)?.map(Self::Files),
        })
    }

    pub fn certificate(&self) -> Certificate {
        match self {
            Self::Files(files) => files.certificate.clone(),
            Self::Acme(acme) => acme.certificate.clone(),
        }
    }

    /// Whether it comes from an authority that only clients of this machine know.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Files(files) => matches!(files.origin, Origin::Own { .. }),
            Self::Acme(_) => false,
        }
    }

    /// Shows newer certificates as they come, until `stop`.
    pub async fn keep_fresh(self, stop: CancellationToken) {
        match self {
            Self::Files(files) => files.keep_fresh(stop).await,
            Self::Acme(acme) => acme.keep_fresh(stop).await,
        }
    }
}

impl Files {
    fn find(
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
            failed: None,
        }))
    }

    async fn keep_fresh(mut self, stop: CancellationToken) {
        let look_every = match self.origin {
            Origin::Given { .. } => LOOK_AT_GIVEN_EVERY,
            Origin::Own { .. } => LOOK_AT_OWN_EVERY,
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(look_every) => {}
            }
            match self.look() {
                Found::Nothing => {}
                Found::Newer => tracing::info!("the listeners show a new certificate"),
                Found::Unusable(reason) => {
                    tracing::error!(
                        "cannot take over the new certificate, so the listeners show the old one: {reason}"
                    );
                }
            }
        }
    }

    fn look(&mut self) -> Found {
        match self.refresh() {
            Ok(is_newer) => {
                self.failed = None;
                if is_newer {
                    Found::Newer
                } else {
                    Found::Nothing
                }
            }
            Err(error) => {
                let reason = Some(format!("{error:#}"));
                if reason == self.failed {
                    return Found::Nothing;
                }
                self.failed.clone_from(&reason);
                reason.map_or(Found::Nothing, Found::Unusable)
            }
        }
    }

    /// Whether there was a newer one, which is shown then.
    fn refresh(&mut self) -> anyhow::Result<bool> {
        let found = self.origin.read()?;
        if found == self.shown {
            return Ok(false);
        }
        self.certificate.replace(&found.0, &found.1)?;
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
        let find = |given| Files::find(given, folder.path(), vec!["box".to_owned()]);
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

    #[test]
    fn files_that_do_not_fit_are_told_of_once_and_the_old_certificate_stays() {
        let (own, given) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = issue(own.path(), &[], now()).unwrap().files;
        let (chain, key) = (given.path().join("chain.pem"), given.path().join("key.pem"));
        let copy = || {
            fs::copy(&files.chain, &chain).unwrap();
            fs::copy(&files.key, &key).unwrap();
        };
        copy();
        let mut source = Files::find(Some((&chain, &key)), given.path(), Vec::new())
            .unwrap()
            .unwrap();
        assert_eq!(source.look(), Found::Nothing);
        let shown = source.shown.clone();
        // A new chain whose key has not come yet.
        issue(own.path(), &["other".to_owned()], now()).unwrap();
        fs::copy(&files.chain, &chain).unwrap();
        assert!(matches!(source.look(), Found::Unusable(_)));
        assert_eq!(source.look(), Found::Nothing);
        fs::remove_file(&chain).unwrap();
        assert!(matches!(source.look(), Found::Unusable(reason) if reason.contains("chain.pem")));
        assert_eq!(source.shown, shown);
        copy();
        assert_eq!(source.look(), Found::Newer);
        assert_ne!(source.shown, shown);
        assert_eq!(source.look(), Found::Nothing);
    }
}
