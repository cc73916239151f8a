//! From what a caller asks for to the snapshot that is made.

use crate::resize::{CPU_MAX_CORES, DISK_MAX_GIB, MEMORY_MAX_GIB};
use crate::{Reason, Resources, SandboxClass, bounds};

/// Longest reference, in bytes.
const IMAGE_NAME_MAX_BYTES: usize = 512;
/// The registry of references that name none.
const PUBLIC_REGISTRY: &str = "docker.io";
const DIGEST_DIGITS: usize = 64;

/// A request as the caller wrote it; nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewSnapshot {
    pub name: String,
    /// A reference of an image in a registry.
    pub image_name: Option<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cpu: Option<i64>,
    /// GiB.
    pub memory: Option<i64>,
    /// GiB.
    pub disk: Option<i64>,
    pub gpu: Option<i64>,
    pub gpu_types: Vec<String>,
    pub has_build_info: bool,
    /// Region id or name.
    pub region: Option<String>,
    pub class: Option<String>,
}

/// A checked request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPlan {
    pub name: String,
    pub image_name: String,
    /// Empty leaves it to the image.
    pub entrypoint: Vec<String>,
    pub resources: Resources,
}

/// Checks a request; sizes that are not named are `defaults`.
///
/// # Errors
/// Every reason against it.
pub fn plan_snapshot(
    request: NewSnapshot,
    defaults: Resources,
) -> Result<SnapshotPlan, Vec<Reason>> {
    let mut reasons = Vec::new();
    check_name(&request.name, &mut reasons);
    let image_name = request.image_name.filter(|name| !name.is_empty());
    match (&image_name, request.has_build_info) {
        (None, false) => reasons.push(Reason::invalid("Must specify an image name")),
        (None, true) => reasons.push(Reason::unsupported(
            "buildInfo is not supported by this server",
        )),
        (Some(_), true) => reasons.push(Reason::invalid(
            "Cannot specify an image name when using a build info entry",
        )),
        (Some(name), false) => check_image_name(name, &mut reasons),
    }
    let entrypoint = request.entrypoint.unwrap_or_default();
    if request.has_build_info && !entrypoint.is_empty() {
        reasons.push(Reason::invalid(
            "Cannot specify an entrypoint when using a build info entry",
        ));
    }
    bounds::check_entrypoint(&entrypoint, &mut reasons);
    let mut size = |field: &str, asked: Option<i64>, default: u32, max: u32| {
        let Some(asked) = asked else { return default };
        match u32::try_from(asked) {
            Ok(size) if (1..=max).contains(&size) => size,
            _ => {
                let message = format!("{field} must be an integer between 1 and {max}");
                reasons.push(Reason::invalid(message));
                default
            }
        }
    };
    let resources = Resources {
        cpu_cores: size("cpu", request.cpu, defaults.cpu_cores, CPU_MAX_CORES),
        memory_gib: size(
            "memory",
            request.memory,
            defaults.memory_gib,
            MEMORY_MAX_GIB,
        ),
        disk_gib: size("disk", request.disk, defaults.disk_gib, DISK_MAX_GIB),
        gpu: 0,
    };
    match request.gpu {
        None | Some(0) => {}
        Some(1..) => reasons.push(Reason::unsupported("gpu is not supported by this server")),
        Some(_) => reasons.push(Reason::invalid("gpu must not be less than 0")),
    }
    if !request.gpu_types.is_empty() {
        reasons.push(Reason::unsupported(
            "gpuType is not supported by this server",
        ));
    }
    check_class(
        request.class.as_deref(),
        request.region.as_deref(),
        &mut reasons,
    );
    match image_name {
        Some(image_name) if reasons.is_empty() => Ok(SnapshotPlan {
            name: request.name,
            image_name,
            entrypoint,
            resources,
        }),
        _ => Err(reasons),
    }
}

fn check_class(class: Option<&str>, region: Option<&str>, reasons: &mut Vec<Reason>) {
    let Some(class) = class.filter(|class| *class != SandboxClass::Container.as_str()) else {
        return;
    };
    let region = region.unwrap_or("the default");
    reasons.push(match SandboxClass::parse(class) {
        None => Reason::invalid(format!("sandboxClass does not take {class:?}")),
        Some(SandboxClass::Windows) => {
            Reason::invalid("Snapshots of class windows cannot be created here")
        }
        Some(_) => Reason::invalid(format!(
            "No runner of class {class} is available in region {region}"
        )),
    });
}

/// Checks the name of a snapshot, wherever it comes from.
pub fn check_name(name: &str, reasons: &mut Vec<Reason>) {
    if name.is_empty() {
        reasons.push(Reason::invalid("name should not be empty"));
    } else if !has_form_of_reference(name) || name.len() > crate::text::NAME_MAX_BYTES {
        reasons.push(Reason::invalid(
            "name must have at most 255 letters, digits, '_', '.', '-', ':' and '/', and may end with a digest",
        ));
    }
}

/// Checks the reference of an image: it must name a tag or a digest, and a tag that means the same tomorrow.
pub fn check_image_name(name: &str, reasons: &mut Vec<Reason>) {
    if name.len() > IMAGE_NAME_MAX_BYTES || !has_form_of_reference(name) {
        reasons.push(Reason::invalid(format!(
            "{:?} is not the name of an image",
            name.chars().take(100).collect::<String>()
        )));
        return;
    }
    if name.contains('@') {
        return;
    }
    match tag(name) {
        None => reasons.push(Reason::invalid(
            "Image must include a tag or a digest, such as ubuntu:22.04",
        )),
        Some("latest") => reasons.push(Reason::invalid(
            "Images with the tag latest are not allowed: name a version",
        )),
        Some(_) => {}
    }
}

/// Whether a text can name an image in a registry. Without a tag it means `latest`.
pub fn is_reference(text: &str) -> bool {
    text.len() <= IMAGE_NAME_MAX_BYTES && has_form_of_reference(text)
}

/// The registry that a reference is of: what stands before the first slash, if it looks like a host.
pub fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "index.docker.io" => PUBLIC_REGISTRY,
            host => host,
        },
        _ => PUBLIC_REGISTRY,
    }
}

/// The repository of a reference: what stands between registry and tag or digest.
pub fn repository_of(reference: &str) -> &str {
    let name = reference
        .split_once('@')
        .map_or(reference, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    }
}

/// What stands after the last colon, if that comes after the last slash.
fn tag(name: &str) -> Option<&str> {
    let (_, tag) = name.rsplit_once(':')?;
    (!tag.contains('/')).then_some(tag)
}

/// Parts of letters, digits and a few signs between slashes, and perhaps a digest at the end.
fn has_form_of_reference(text: &str) -> bool {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let is_digest = |digest: &str| {
        digest.strip_prefix("sha256:").is_some_and(|digits| {
            digits.len() == DIGEST_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
        })
    };
    let is_part = |part: &str| {
        let is_sign = |byte: u8| matches!(byte, b'_' | b'.' | b'-' | b':');
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.iter()
            .all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte))
    };
    digest.is_none_or(is_digest) && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;
    use crate::reason::ReasonKind;

    fn request(image_name: &str) -> NewSnapshot {
        NewSnapshot {
            name: "mine".to_owned(),
            image_name: Some(image_name.to_owned()),
            ..NewSnapshot::default()
        }
    }

    fn plan(request: NewSnapshot) -> Result<SnapshotPlan, Vec<Reason>> {
        plan_snapshot(request, Resources::DEFAULT)
    }

    #[test]
    fn sizes_that_are_not_named_are_the_defaults() {
        let plan = plan(NewSnapshot {
            memory: Some(4),
            gpu: Some(0),
            class: Some("container".to_owned()),
            ..request("python:3.12")
        });
        let plan = plan.unwrap();
        assert_eq!(plan.image_name, "python:3.12");
        assert_eq!(
            (
                plan.resources.cpu_cores,
                plan.resources.memory_gib,
                plan.resources.disk_gib
            ),
            (1, 4, 3)
        );
    }

    #[test]
    fn images_must_have_a_tag_or_a_digest_and_not_the_latest() {
        let digest = "a".repeat(64);
        for name in [
            "python:3.12",
            "host:5000/a/b:1",
            "A-b_c.d/e:f",
            &format!("python@sha256:{digest}"),
            &format!("host:5000/python:3@sha256:{digest}"),
        ] {
            assert!(plan(request(name)).is_ok(), "{name}");
        }
        for (name, part) in [
            ("python", "must include a tag"),
            ("host:5000/python", "must include a tag"),
            ("python:latest", "latest"),
            ("host:5000/python:latest", "latest"),
            ("", "Must specify an image name"),
            ("python:", "not the name"),
            ("a b:1", "not the name"),
            ("https://host/a:1", "not the name"),
            ("/python:1", "not the name"),
            ("a//b:1", "not the name"),
            ("python@sha256:abc", "not the name"),
            ("python@sha512:x:1", "not the name"),
        ] {
            let reasons = plan(request(name)).unwrap_err();
            assert!(reasons[0].message.contains(part), "{name}: {reasons:?}");
            assert_eq!(reasons.len(), 1, "{name}: {reasons:?}");
        }
    }

    #[test]
    fn every_reason_is_named() {
        let refused = NewSnapshot {
            name: "a b".to_owned(),
            image_name: Some("python".to_owned()),
            entrypoint: Some(vec![String::new()]),
            cpu: Some(0),
            memory: Some(-1),
            disk: Some(i64::MAX),
            gpu: Some(1),
            gpu_types: vec!["H100".to_owned()],
            has_build_info: false,
            region: None,
            class: Some("windows".to_owned()),
        };
        assert_eq!(plan(refused).unwrap_err().len(), 9);
    }

    #[test]
    fn either_an_image_or_a_build_is_asked_for() {
        let neither = NewSnapshot {
            image_name: None,
            ..request("")
        };
        let reasons = plan(neither).unwrap_err();
        assert_eq!(reasons[0].message, "Must specify an image name");
        let both = NewSnapshot {
            has_build_info: true,
            ..request("python:3.12")
        };
        assert_eq!(plan(both).unwrap_err()[0].kind, ReasonKind::Invalid);
    }

    #[test]
    fn the_registry_stands_before_the_first_slash() {
        for (reference, registry) in [
            ("python:3.12", "docker.io"),
            ("team/python:3.12", "docker.io"),
            ("index.docker.io/library/python:3", "docker.io"),
            ("ghcr.io/a/b:1", "ghcr.io"),
            ("localhost/a:1", "localhost"),
            ("host:5000/a:1", "host:5000"),
        ] {
            assert_eq!(registry_of(reference), registry);
            assert!(
                !repository_of(reference).contains([':', '.']),
                "{reference}"
            );
        }
    }

    #[test]
    fn the_repository_stands_between_registry_and_tag() {
        for (reference, repository) in [
            ("python:3.12", "python"),
            ("team/python", "team/python"),
            ("host:5000/a/b:1", "a/b"),
            ("host:5000/a/b", "a/b"),
            ("localhost/a@sha256:0", "a"),
            ("host.example/a/b:1@sha256:0", "a/b"),
        ] {
            assert_eq!(repository_of(reference), repository);
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_the_check_panic(name in ".*") {
            let _ = plan(request(&name));
        }

        #[test]
        fn what_is_taken_has_only_the_signs_of_a_reference(name in "[a-z0-9:/@._ -]{0,40}") {
            if plan(request(&name)).is_ok() {
                prop_assert!(!name.contains(' ') && !name.contains("//"));
                prop_assert!(name.contains(':'));
            }
        }
    }
}
