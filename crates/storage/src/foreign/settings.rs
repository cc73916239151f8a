//! Where the store is, and how one gets in.

use std::fmt;

use http::Uri;
use object_store::ClientConfigKey;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder};

use super::RETRY;
use super::client::Hyper;
use crate::StorageError;

/// An S3 store and a bucket of it.
#[derive(Clone)]
pub struct ForeignSettings {
    /// `https://HOST[:PORT]`, or `http` where nobody listens in between.
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    /// What names in the bucket begin with: parts with slashes between, or nothing.
    pub prefix: String,
    pub access_key: String,
    pub secret_key: String,
    /// Whether the bucket is part of the host's name and not of the path.
    pub is_virtual_hosted: bool,
}

/// Why settings mean no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("the endpoint must be http(s)://HOST[:PORT], and nothing behind it")]
    Endpoint,
    #[error("the bucket must be 3 to 63 small letters, digits, dots and dashes")]
    Bucket,
    #[error("the region must be letters, digits and dashes")]
    Region,
    #[error("the prefix must be parts of letters, digits, '.', '_' and '-' with slashes between")]
    Prefix,
    #[error("an access key and a secret key must be given")]
    Keys,
}

impl fmt::Debug for ForeignSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignSettings")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl ForeignSettings {
    /// # Errors
    /// The first setting that cannot be.
    pub fn check(&self) -> Result<(), SettingsError> {
        let is_of = |text: &str, more: &[u8]| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let uri: Uri = self.endpoint.parse().map_err(|_| SettingsError::Endpoint)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let has_user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        if !is_http || !is_bare || has_user || uri.host().is_none_or(str::is_empty) {
            return Err(SettingsError::Endpoint);
        }
        let bucket = self.bucket.as_str();
        let is_small = !bucket.bytes().any(|byte| byte.is_ascii_uppercase());
        if !(3..=63).contains(&bucket.len()) || !is_small || !is_of(bucket, b".-") {
            return Err(SettingsError::Bucket);
        }
        if self.region.is_empty() || !is_of(&self.region, b"-") {
            return Err(SettingsError::Region);
        }
        let parts = || self.prefix.split('/');
        let is_part =
            |part: &str| !part.is_empty() && !matches!(part, "." | "..") && is_of(part, b".-_");
        if !self.prefix.is_empty() && !parts().all(is_part) {
            return Err(SettingsError::Prefix);
        }
        // What begins or ends with a space was copied by mistake, and no header can hold a line's end.
        let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_key(&self.access_key) || !is_key(&self.secret_key) {
            return Err(SettingsError::Keys);
        }
        Ok(())
    }

    /// A client for the bucket.
    pub(super) fn client(&self) -> Result<AmazonS3, StorageError> {
        self.check()
            .map_err(|source| StorageError::foreign("be used", source))?;
        let retry = RetryConfig {
            retry_timeout: RETRY.longest,
            max_retries: RETRY.times,
            ..RetryConfig::default()
        };
        let endpoint = self.endpoint.trim_end_matches('/');
        let endpoint = if self.is_virtual_hosted {
            endpoint.replacen("://", &format!("://{}.", self.bucket), 1)
        } else {
            endpoint.to_owned()
        };
        AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.access_key)
            .with_secret_access_key(&self.secret_key)
            .with_virtual_hosted_style_request(self.is_virtual_hosted)
            .with_config(
                object_store::aws::AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp),
                "true",
            )
            .with_retry(retry)
            .with_http_connector(Hyper)
            .build()
            .map_err(|source| StorageError::foreign("be used", source))
    }

    /// The text of an error without what opens the store: some stores repeat in their answers what they were sent.
    pub(super) fn without_keys(&self, text: &str) -> String {
        text.replace(&self.secret_key, "[secret key]")
            .replace(&self.access_key, "[access key]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ForeignSettings {
        ForeignSettings {
            endpoint: "https://s3.example.com".to_owned(),
            bucket: "alcove-objects".to_owned(),
            region: "eu-central-1".to_owned(),
            prefix: "a/b".to_owned(),
            access_key: "AKEXAMPLE".to_owned(),
            secret_key: "very/secret+".to_owned(),
            is_virtual_hosted: false,
        }
    }

    #[test]
    fn settings_that_mean_no_store_are_refused_each_for_its_reason() {
        type Change = fn(&mut ForeignSettings);
        assert_eq!(good().check(), Ok(()));
        let wrong: [(SettingsError, Change); 12] = [
            (SettingsError::Endpoint, |it| {
                it.endpoint = "s3.example.com".to_owned();
            }),
            (SettingsError::Endpoint, |it| {
                it.endpoint = "ftp://s3.example.com".to_owned();
            }),
            (SettingsError::Endpoint, |it| {
                it.endpoint.push_str("/bucket");
            }),
            (SettingsError::Endpoint, |it| {
                it.endpoint = "https://me:pw@host".to_owned();
            }),
            (SettingsError::Bucket, |it| it.bucket = "Big".to_owned()),
            (SettingsError::Bucket, |it| it.bucket = "a/b".to_owned()),
            (SettingsError::Region, |it| it.region.clear()),
            (SettingsError::Prefix, |it| it.prefix = "/a".to_owned()),
            (SettingsError::Prefix, |it| it.prefix = "a/../b".to_owned()),
            (SettingsError::Keys, |it| it.access_key.clear()),
            (SettingsError::Keys, |it| it.secret_key.clear()),
            (SettingsError::Keys, |it| it.secret_key.push('\n')),
        ];
        for (reason, change) in wrong {
            let mut settings = good();
            change(&mut settings);
            assert_eq!(settings.check(), Err(reason), "{settings:?}");
        }
    }

    #[test]
    fn keys_are_in_no_text_that_is_written_down() {
        let settings = good();
        let text = format!("{settings:?}");
        assert!(
            !text.contains("AKEXAMPLE") && !text.contains("very/secret+"),
            "{text}"
        );
        assert_eq!(
            settings.without_keys("<Id>AKEXAMPLE</Id> is not very/secret+"),
            "<Id>[access key]</Id> is not [secret key]"
        );
    }
}
