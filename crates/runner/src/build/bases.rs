//! The images that a Dockerfile starts from: on the runner already, or brought from their registries for this build.

use std::collections::BTreeMap;
use std::time::Duration;

use alcove_runner_api::{
    BaseImage, Build, BuildFault, BuildFaultCode, ImageDigest, OrderError, Pull, PullFault,
    PullFaultCode, PullOfBase, PullState,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::LogWriter;
use super::{Builds, fault};
use crate::disk_pool::blocking;
use crate::image::{BUILD_PREFIX, ImageStore, Sha256Digest};

/// Between two lines of the log that tell how far a pull is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What the names of images in an order mean, and names that hold what was pulled for it.
#[derive(Debug)]
pub struct Bases {
    pub images: BTreeMap<String, ImageDigest>,
    held: Vec<String>,
}

impl Bases {
    /// Lets go of what was pulled. Its organization's next build finds it by another name.
    pub async fn release(self, builds: &Builds) {
        let (images, held) = (builds.host.images.clone(), self.held);
        let released = blocking(move || images.forget_names(&held)).await;
        if let Ok(Err(error)) = released {
            tracing::warn!(%error, "cannot release the images that a build started from");
        }
    }
}

/// Brings every image that is not here. A build that was cut short finds what its first attempt has brought: it goes on
/// with the same images, whatever their tags mean by now.
pub async fn resolve(
    builds: &Builds,
    order: &Build,
    names: &[String],
    log: &LogWriter,
    cancel: &CancellationToken,
) -> Result<Bases, BuildFault> {
    let mut bases = Bases {
        images: BTreeMap::new(),
        held: Vec::new(),
    };
    for name in names {
        let digest = match order.images.get(name) {
            Some(BaseImage::Here { digest }) => digest.clone(),
            Some(BaseImage::Pull(from)) => {
                let own = own_name(order, name);
                bases.held.push(own.clone());
                match pull(builds, order, from, own, log, cancel).await {
                    Ok(digest) => digest,
                    Err(fault) => {
                        bases.release(builds).await;
                        return Err(about(name, &fault));
                    }
                }
            }
            None => {
                bases.release(builds).await;
                let message = format!("the order says nothing of the image {name:?}");
                return Err(BuildFault::new(BuildFaultCode::Internal, message));
            }
        };
        bases.images.insert(name.clone(), digest);
    }
    Ok(bases)
}

async fn pull(
    builds: &Builds,
    order: &Build,
    from: &PullOfBase,
    own: String,
    log: &LogWriter,
    cancel: &CancellationToken,
) -> Result<ImageDigest, PullFault> {
    let images = &builds.host.images;
    let kept = kept_name(order, &from.reference);
    // A digest means the same for ever; a tag is asked for with each build.
    if from.reference.contains("@sha256:")
        && let Some(image) = images.find_built(&kept)
    {
        return Ok(image.digest.clone());
    }
    log.line(&format!("Pulling {}", from.reference));
    let started = builds.pulls.start(Pull {
        name: own.clone(),
        reference: from.reference.clone(),
        owner: order.organization.clone(),
        credentials: from.credentials.clone(),
        is_plain: from.is_plain,
        max_bytes: from.max_bytes,
    });
    let mut state = started.map_err(|error| PullFault {
        code: PullFaultCode::Internal,
        message: if matches!(error, OrderError::Unavailable) {
            "too many images are being pulled; try again later".to_owned()
        } else {
            error.to_string()
        },
    })?;
    let mut told = None;
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            PullState::Running {
                done_bytes,
                total_bytes: Some(total_bytes),
            } => {
                if told.is_none_or(|at: Instant| at.elapsed() >= TELL_EVERY) {
                    told = Some(Instant::now());
                    let (done, total) = (megabytes(done_bytes), megabytes(total_bytes));
                    log.line(&format!("  {done} of {total} MB"));
                }
            }
            PullState::Waiting | PullState::Running { .. } => {}
            PullState::Done { image } => {
                log.line(&format!("  {}", image.digest.0));
                keep(images, &image.digest, kept).await;
                return Ok(image.digest);
            }
            PullState::Failed { fault } => return Err(fault),
        }
        tokio::select! {
            changed = state.changed() => {
                // The last word is told before the teller goes.
                if changed.is_err() && !state.borrow().is_over() {
                    return Err(PullFault {
                        code: PullFaultCode::Internal,
                        message: "the pull broke off".to_owned(),
                    });
                }
            }
            () = cancel.cancelled() => {
                builds.pulls.give_up(&own);
                return Err(PullFault {
                    code: PullFaultCode::Cancelled,
                    message: "the build was cancelled".to_owned(),
                });
            }
        }
    }
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The next build of the organization need not fetch it again, as long as steps of builds are kept.
async fn keep(images: &std::sync::Arc<ImageStore>, digest: &ImageDigest, name: String) {
    let (images, digest) = (images.clone(), digest.clone());
    let named = blocking(move || images.name_image(&digest, &name)).await;
    if let Ok(Err(error)) = named {
        tracing::warn!(%error, "an image that a build started from is not kept");
    }
}

fn own_name(order: &Build, name: &str) -> String {
    named("own", &[&order.id, name])
}

fn kept_name(order: &Build, reference: &str) -> String {
    named("kept", &[&order.organization, reference])
}

/// Each part of the hashed text with its length before it.
fn named(kind: &str, parts: &[&str]) -> String {
    let texts: Vec<String> = parts
        .iter()
        .map(|part| format!("{}:{part}", part.len()))
        .collect();
    let text = texts.concat();
    let digest = Sha256Digest::of(text.as_bytes());
    format!("{BUILD_PREFIX}base-{kind}-{}", digest.to_hex())
}

fn about(name: &str, fault: &PullFault) -> BuildFault {
    let code = match fault.code {
        PullFaultCode::Cancelled => return fault::cancelled(),
        PullFaultCode::HostDiskFull => BuildFaultCode::HostDiskFull,
        PullFaultCode::Internal => BuildFaultCode::Internal,
        _ => BuildFaultCode::BaseImage,
    };
    let message = format!("the image {name:?} cannot be pulled: {}", fault.message);
    BuildFault::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_megabytes_with_one_digit() {
        for (bytes, text) in [
            (0, "0.0"),
            (149_999, "0.1"),
            (150_000, "0.2"),
            (45_000_000, "45.0"),
        ] {
            assert_eq!(megabytes(bytes), text);
        }
    }

    #[test]
    fn names_of_different_parts_differ() {
        assert_ne!(named("own", &["ab", "c"]), named("own", &["a", "bc"]));
        assert_ne!(named("own", &["a"]), named("kept", &["a"]));
    }
}
