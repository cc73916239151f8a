//! What a path of the registry is about.

use crate::UploadId;
use crate::registry::answer::Failure;
use crate::registry::name::{Digest, Reference, Repository};

/// Where clients fetch a token for the bearer scheme.
pub(crate) const TOKEN: &str = "/v2/token";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Base,
    Token,
    In(Repository, Within),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Blob(Digest),
    Uploads,
    Upload(UploadId),
    Manifest(Reference),
    Tags,
}

/// Names hold slashes, so a path is read from its end.
pub(crate) fn parse(path: &str) -> Result<Place, Failure> {
    if matches!(path, "/v2" | "/v2/") {
        return Ok(Place::Base);
    }
    if path == TOKEN {
        return Ok(Place::Token);
    }
    let path = path.strip_prefix("/v2/").ok_or_else(Failure::no_place)?;
    if let Some(name) = path
        .strip_suffix("/blobs/uploads/")
        .or_else(|| path.strip_suffix("/blobs/uploads"))
    {
        return Ok(Place::In(Repository::parse(name)?, Within::Uploads));
    }
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Ok(Place::In(Repository::parse(name)?, Within::Tags));
    }
    let (before, last) = path.rsplit_once('/').ok_or_else(Failure::no_place)?;
    let (name, within) = if let Some(name) = before.strip_suffix("/blobs/uploads") {
        let id = last.parse().map_err(|_| Failure::no_upload())?;
        (name, Within::Upload(id))
    } else if let Some(name) = before.strip_suffix("/blobs") {
        (name, Within::Blob(Digest::parse(last)?))
    } else if let Some(name) = before.strip_suffix("/manifests") {
        (name, Within::Manifest(Reference::parse(last)?))
    } else {
        return Err(Failure::no_place());
    };
    Ok(Place::In(Repository::parse(name)?, within))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let within = |tail: &str| match parse(&format!("/v2/org/blobs/manifests{tail}")).unwrap() {
            Place::In(repository, within) => {
                assert_eq!(repository.to_string(), "org/blobs/manifests");
                within
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(within("/blobs/uploads/"), Within::Uploads);
        assert_eq!(within("/blobs/uploads"), Within::Uploads);
        assert_eq!(within("/tags/list"), Within::Tags);
        assert!(matches!(
            within(&format!("/blobs/{digest}")),
            Within::Blob(_)
        ));
        assert!(matches!(within("/manifests/latest"), Within::Manifest(_)));
        let id = "0".repeat(32);
        assert!(matches!(
            within(&format!("/blobs/uploads/{id}")),
            Within::Upload(_)
        ));
        for path in [
            "/v2/x",
            "/v2/_catalog",
            "/v2/a/b/referrers/x",
            "/v2/a/b/blobs/x",
            "/v2/../a/tags/list",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_refused(path in "/v2/[a-z./:%é]{0,40}") {
            let _ = parse(&path);
        }
    }
}
