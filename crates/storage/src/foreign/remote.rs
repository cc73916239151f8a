//! The bucket itself: what is asked of the store, in our words.

use std::io;
use std::time::SystemTime;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3;
use object_store::path::Path as Name;
use object_store::{
    Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore as _, ObjectStoreExt as _,
    PutPayload,
};

use super::names::Names;
use super::settings::ForeignSettings;
use crate::folder::header::{self, HEADER_BYTES};
use crate::{Body, Key, KeyError, Object, StorageError};

/// Longest name of an object in S3, in bytes.
const NAME_MAX_BYTES: usize = crate::key::KEY_MAX_BYTES;

#[derive(Debug)]
pub(super) struct Remote {
    pub store: AmazonS3,
    pub names: Names,
    settings: ForeignSettings,
}

/// The text of an error of the store, with all that was behind it, and without keys.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

impl Remote {
    pub fn new(settings: ForeignSettings) -> Result<Self, StorageError> {
        Ok(Self {
            store: settings.client()?,
            names: Names::new(&settings.prefix),
            settings,
        })
    }

    /// Turns an error of the store into ours.
    pub fn failed(&self, step: &'static str) -> impl Fn(Error) -> StorageError {
        move |error| {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(&error);
            while let Some(source) = next {
                let told = source.to_string();
                // Most of them repeat what is behind them.
                if !text.contains(&told) {
                    text = format!("{text}: {told}");
                }
                next = source.source();
            }
            StorageError::foreign(step, Told(self.settings.without_keys(&text)))
        }
    }

    pub fn object(&self, key: &Key) -> Result<Name, StorageError> {
        name(self.names.object(key))
    }

    pub fn mark(&self, key: &Key) -> Result<Name, StorageError> {
        name(self.names.mark(key))
    }

    /// What the store says of an object; None if there is none.
    pub async fn look(&self, name: &Name) -> Result<Option<ObjectMeta>, StorageError> {
        there(self.store.head(name).await).map_err(self.failed("look for an object"))
    }

    pub async fn get(
        &self,
        name: &Name,
        range: Option<(u64, u64)>,
        e_tag: Option<String>,
    ) -> Result<Option<GetResult>, Error> {
        let options = GetOptions {
            range: range.map(|(start, end)| GetRange::Bounded(start..end)),
            if_match: e_tag,
            ..GetOptions::default()
        };
        there(self.store.get_opts(name, options).await)
    }

    /// What an object says of itself, with the version that the store has of it.
    pub async fn header(
        &self,
        name: &Name,
    ) -> Result<Option<(Object, Option<String>)>, StorageError> {
        let failed = self.failed("read the header of an object");
        let range = Some((0, HEADER_BYTES));
        let Some(got) = self.get(name, range, None).await.map_err(&failed)? else {
            return Ok(None);
        };
        let meta = got.meta.clone();
        let bytes = got.bytes().await.map_err(&failed)?;
        let object = header::of(&bytes, meta.size, modified(&meta))?;
        Ok(Some((object, meta.e_tag)))
    }

    /// An object with all of its content, in one answer of the store.
    pub async fn whole(&self, name: &Name) -> Result<Option<(Object, Body)>, StorageError> {
        let failed = self.failed("read an object");
        let Some(got) = self.get(name, None, None).await.map_err(&failed)? else {
            return Ok(None);
        };
        let meta = got.meta.clone();
        let mut body = self.body(got);
        let mut start = Vec::new();
        let header_bytes = usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX);
        while start.len() < header_bytes {
            match body.try_next().await {
                Ok(Some(piece)) => start.extend_from_slice(&piece),
                Ok(None) => break,
                Err(source) => return Err(StorageError::foreign("read an object", source)),
            }
        }
        let object = header::of(&start, meta.size, modified(&meta))?;
        // What came with the header.
        let rest = bytes::Bytes::from(start).slice(header_bytes..);
        let first = (!rest.is_empty()).then_some(Ok(rest));
        let body = futures_util::stream::iter(first).chain(body).boxed();
        Ok(Some((object, body)))
    }

    /// The bytes of an answer. What goes wrong on the way is told without keys.
    pub fn body(&self, got: GetResult) -> Body {
        let settings = self.settings.clone();
        got.into_stream()
            .map_err(move |error| io::Error::other(settings.without_keys(&error.to_string())))
            .boxed()
    }

    /// Writes down that an object was refreshed.
    pub async fn put_mark(&self, name: &Name) -> Result<(), StorageError> {
        let put = self.store.put(name, PutPayload::new()).await;
        put.map(drop)
            .map_err(self.failed("note the use of an object"))
    }

    pub async fn delete(&self, name: &Name) -> Result<(), StorageError> {
        let deleted = there(self.store.delete(name).await);
        deleted.map(drop).map_err(self.failed("remove an object"))
    }
}

fn name(text: String) -> Result<Name, StorageError> {
    if text.len() > NAME_MAX_BYTES {
        return Err(KeyError::Length { bytes: text.len() }.into());
    }
    Name::parse(text).map_err(|source| StorageError::foreign("name an object", source))
}

/// Not being there is no error here.
fn there<T>(asked: Result<T, Error>) -> Result<Option<T>, Error> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// By the store's clock.
pub(super) fn modified(meta: &ObjectMeta) -> SystemTime {
    meta.last_modified.into()
}
