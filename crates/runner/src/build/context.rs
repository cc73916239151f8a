//! Where parts of contexts come from, and how they become layers.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use alcove_build::Ignore;
use alcove_runner_api::{Build, BuildFault};

use super::fault;
use crate::cancel::Cancel;
use crate::image::{BUILD_PREFIX, ImageStore, Sha256Digest, topmost};

/// Most parts of one context. Each is a layer of the source that files are copied from.
const PARTS_MAX: usize = 100;

/// Longest name of a part.
const KEY_MAX_BYTES: usize = 128;

/// The store of what organizations have uploaded for their builds.
pub trait ContextSource: fmt::Debug + Send + Sync {
    /// The archive of a part; none if the organization has uploaded no such part. May block.
    ///
    /// # Errors
    /// The store does not answer.
    fn open(&self, organization: &str, key: &str) -> io::Result<Option<Box<dyn Read + Send>>>;
}

/// There are no contexts: nothing was uploaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoContexts;

impl ContextSource for NoContexts {
    fn open(&self, _: &str, _: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        Ok(None)
    }
}

/// The layers of a context, lowest first: what of it is not here yet is unpacked. Blocks.
pub fn layers(
    images: &ImageStore,
    contexts: &Arc<dyn ContextSource>,
    order: &Build,
    cancel: &Cancel,
) -> Result<Vec<Sha256Digest>, BuildFault> {
    if order.contexts.len() > PARTS_MAX {
        let message = format!(
            "the context has {} parts, and at most {PARTS_MAX} are taken",
            order.contexts.len()
        );
        return Err(fault::context(message));
    }
    let open = |key: &str| -> Result<Box<dyn Read + Send>, BuildFault> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if key.is_empty() || key.len() > KEY_MAX_BYTES || !key.chars().all(is_plain) {
            return Err(fault::context(
                "the name of a part of the context is not plain",
            ));
        }
        match contexts.open(&order.organization, key) {
            Ok(Some(archive)) => Ok(archive),
            Ok(None) => Err(fault::context(format!(
                "the part {key} of the context was not uploaded"
            ))),
            Err(error) => Err(fault::unreadable_context(key, error)),
        }
    };
    let mut text = Vec::new();
    for key in &order.contexts {
        let found = images
            .find_ignore(open(key)?, cancel)
            .map_err(|error| fault::image(&error))?;
        text = found.unwrap_or(text);
    }
    let digest = Sha256Digest::of(&text);
    let ignore = Ignore::parse(&String::from_utf8_lossy(&text)).map_err(fault::context)?;
    let mut layers = Vec::new();
    let mut seen = HashSet::new();
    // The same file may be copied by two lines, and clients name it once for each.
    for key in order.contexts.iter().filter(|key| seen.insert(*key)) {
        let name = part_name(&order.organization, key, digest);
        let image = if let Some(image) = images.find_built(&name) {
            image.digest.clone()
        } else {
            let image = images
                .unpack_context(&name, open(key)?, &ignore, digest, cancel)
                .map_err(|error| fault::image(&error))?;
            image.digest
        };
        layers.extend(
            images
                .layers_of(&image)
                .map_err(|error| fault::image(&error))?,
        );
    }
    // Two parts may have the same content.
    Ok(topmost(&layers))
}

/// Each part of the hashed text with its length before it.
fn part_name(organization: &str, key: &str, ignore: Sha256Digest) -> String {
    let text = format!(
        "{}:{organization}{}:{key}{ignore}",
        organization.len(),
        key.len()
    );
    format!(
        "{BUILD_PREFIX}context-{}",
        Sha256Digest::of(text.as_bytes()).to_hex()
    )
}
