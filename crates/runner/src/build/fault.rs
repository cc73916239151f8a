//! Causes of failed builds, in words for whoever wrote the Dockerfile.

use std::error::Error;

use alcove_build::Refusal;
use alcove_runner_api::{BuildFault, BuildFaultCode};

use super::caches::CacheError;
use crate::host::HostError;
use crate::image::ImageError;

pub fn cancelled() -> BuildFault {
    BuildFault::new(BuildFaultCode::Cancelled, "the build was cancelled")
}

pub fn refused(refusal: &Refusal) -> BuildFault {
    BuildFault::new(BuildFaultCode::Refused, refusal.to_string())
}

/// The log gets the chain; the user is told that it is not their doing.
pub fn internal(error: impl Error) -> BuildFault {
    tracing::error!(error = chain(&error), "a build failed on the host");
    BuildFault::new(
        BuildFaultCode::Internal,
        "the host could not carry out a step of the build",
    )
}

pub fn host(line: usize, error: &HostError) -> BuildFault {
    use alcove_runner_api::FaultCode;
    let fault = error.to_fault();
    match fault.code {
        FaultCode::UserMissing => step(line, &fault.message),
        FaultCode::HostDiskFull => BuildFault::new(BuildFaultCode::HostDiskFull, fault.message),
        _ if matches!(error, HostError::Capture(ImageError::CaptureLayer(_))) => {
            step(line, &chain(error))
        }
        _ => internal(error),
    }
}

pub fn cache(line: usize, error: CacheError) -> BuildFault {
    match error {
        CacheError::Cancelled => cancelled(),
        CacheError::TooMany { .. } => step(line, &error.to_string()),
        CacheError::Dress(_) => internal(error),
        CacheError::Volume(error) => host(line, &HostError::Volume(error)),
    }
}

pub fn step(line: usize, reason: &str) -> BuildFault {
    let message = format!("Dockerfile line {line}: {reason}");
    BuildFault::new(BuildFaultCode::StepFailed, message)
}

/// While the step ran, and other than its own disk.
pub fn full(line: usize) -> BuildFault {
    let message = format!("Dockerfile line {line}: the host has no disk space left");
    BuildFault::new(BuildFaultCode::HostDiskFull, message)
}

pub fn image(error: &ImageError) -> BuildFault {
    if error.is_disk_full() {
        return BuildFault::new(
            BuildFaultCode::HostDiskFull,
            "the host has no disk space left",
        );
    }
    match error {
        ImageError::Context(_) => BuildFault::new(BuildFaultCode::Context, chain(error)),
        ImageError::TooLarge { .. } => {
            BuildFault::new(BuildFaultCode::StepFailed, error.to_string())
        }
        _ => internal(error),
    }
}

/// The log gets the chain; the user is told that coming again may help.
pub fn unreadable_context(key: &str, error: impl Error) -> BuildFault {
    tracing::error!(error = chain(&error), "a part of a context cannot be read");
    context(format!(
        "the part {key} of the context cannot be read now: the object storage of the server failed"
    ))
}

pub fn context(message: impl Into<String>) -> BuildFault {
    BuildFault::new(BuildFaultCode::Context, message)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
