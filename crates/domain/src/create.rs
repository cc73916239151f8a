//! From what a caller asks for to what is made: every field checked, every problem named.

use std::collections::BTreeMap;

use crate::build::{AskedSizes, BuildInfo, check_info};
use crate::link::{self, LinkFacts};
use crate::{
    Intervals, MountRequest, NetworkPolicy, NetworkSettings, OutboundProxy, Reason, Resources,
    SandboxClass, Snapshot, SnapshotState, bounds, interval, network, text, volume,
};

/// A create request as the caller wrote it. Absent fields are None; nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewSandbox {
    pub name: Option<String>,
    /// Id or name of a snapshot.
    pub snapshot: Option<String>,
    /// Name of a snapshot or reference of an image, as clients up to 0.20 have it. Who plans the sandbox has found or
    /// made the snapshot.
    pub image: Option<String>,
    pub user: Option<String>,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub is_public: Option<bool>,
    pub target: Option<String>,
    pub class: Option<String>,
    /// A size by a word, as clients up to 0.20 have it.
    pub size_class: Option<String>,
    pub auto_stop_interval: Option<i64>,
    pub auto_pause_interval: Option<i64>,
    pub auto_archive_interval: Option<i64>,
    pub auto_delete_interval: Option<i64>,
    pub ttl_minutes: Option<i64>,
    /// When its first run is to end, however busy it is.
    pub stop_at: Option<jiff::Timestamp>,
    /// Whether more is to be put into it before it is anybody's.
    pub is_unfinished: bool,
    pub queue_timeout: Option<i64>,
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
    pub disk: Option<i64>,
    pub gpu: Option<i64>,
    pub gpu_types: Vec<String>,
    pub spot: Option<bool>,
    pub kvm: Option<bool>,
    pub network: NetworkSettings,
    /// Of the sandbox alone; empty for none. May hold a password.
    pub outbound_proxy_url: Option<String>,
    pub otel_endpoint_override: Option<String>,
    /// Id or name of a sandbox.
    pub linked_sandbox: Option<String>,
    pub volumes: Vec<MountRequest>,
    /// How many secrets were asked for.
    pub secret_count: usize,
    /// In place of a snapshot: what its image is to be built from.
    pub build_info: Option<BuildInfo>,
}

/// What the check needs to know about the world.
#[derive(Debug, Clone, Copy)]
pub struct CreateFacts<'a> {
    /// The id that the sandbox will get.
    pub id: &'a str,
    /// The snapshot that the request resolves to; None where there is none.
    pub snapshot: Option<&'a Snapshot>,
    /// The snapshot's name or id as asked for, or the default one's name.
    pub snapshot_asked: &'a str,
    /// Of the sandbox that it is to be linked with.
    pub link: Option<LinkFacts<'a>>,
}

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatePlan {
    pub name: String,
    pub user: String,
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub is_public: bool,
    pub intervals: Intervals,
    pub network: NetworkPolicy,
    pub outbound_proxy: Option<OutboundProxy>,
    /// Their paths are checked; which volumes they mean is not.
    pub volumes: Vec<MountRequest>,
}

/// A checked request for a sandbox whose image is to be built.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildCreatePlan {
    /// The user is empty where the image decides.
    pub sandbox: CreatePlan,
    pub info: BuildInfo,
    pub resources: Resources,
}

/// The user of images that name none: the first of every Linux system.
const USER_OF_PLAIN_IMAGES: &str = "root";

/// The user of a sandbox that nobody has named one for.
pub fn user_of_image(named: &str) -> &str {
    if named.is_empty() {
        USER_OF_PLAIN_IMAGES
    } else {
        named
    }
}

/// Checks a request against the facts.
///
/// # Errors
/// Every reason that stands against it, in the order of the fields.
pub fn plan_create(request: NewSandbox, facts: CreateFacts<'_>) -> Result<CreatePlan, Vec<Reason>> {
    let mut reasons = Vec::new();
    let name = check_name(&request, facts.id, &mut reasons);
    let snapshot_user = match facts.snapshot {
        None => {
            reasons.push(Reason::invalid(format!(
                "Snapshot {} not found",
                facts.snapshot_asked
            )));
            ""
        }
        Some(snapshot) => {
            if snapshot.state != SnapshotState::Active {
                reasons.push(Reason::invalid(format!(
                    "Snapshot {} is {}",
                    snapshot.name,
                    snapshot.state.as_str()
                )));
            }
            snapshot.user.as_str()
        }
    };
    let user = match request.user.as_deref() {
        None | Some("") => user_of_image(snapshot_user).to_owned(),
        Some(user) => user.to_owned(),
    };
    let fields = check_fields(&request, &mut reasons);
    if let Some(link) = facts.link {
        link::check(link, fields.intervals, &mut reasons);
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    Ok(CreatePlan {
        name,
        user,
        env: request.env,
        labels: request.labels,
        is_public: request.is_public.unwrap_or(false),
        intervals: fields.intervals,
        network: fields.network,
        outbound_proxy: fields.outbound_proxy,
        volumes: request.volumes,
    })
}

/// Checks a request with something to build. Sizes that it does not name are as `otherwise`.
///
/// # Errors
/// Every reason that stands against it; what the Dockerfile means is not looked at.
pub fn plan_build_create(
    request: NewSandbox,
    id: &str,
    otherwise: Resources,
) -> Result<BuildCreatePlan, Vec<Reason>> {
    let mut reasons = Vec::new();
    let name = check_name(&request, id, &mut reasons);
    let fields = check_fields(&request, &mut reasons);
    let info = request.build_info.unwrap_or_default();
    check_info(&info, &mut reasons);
    let asked = AskedSizes {
        cpu: request.cpu,
        memory: request.memory,
        disk: request.disk,
        gpu: request.gpu,
        has_gpu_types: !request.gpu_types.is_empty(),
    };
    let resources = asked.check(otherwise, &mut reasons);
    if !reasons.is_empty() {
        return Err(reasons);
    }
    Ok(BuildCreatePlan {
        sandbox: CreatePlan {
            name,
            user: request.user.unwrap_or_default(),
            env: request.env,
            labels: request.labels,
            is_public: request.is_public.unwrap_or(false),
            intervals: fields.intervals,
            network: fields.network,
            outbound_proxy: fields.outbound_proxy,
            volumes: request.volumes,
        },
        info,
        resources,
    })
}

/// Checks what can be checked before there is a snapshot.
///
/// # Errors
/// Every reason that stands against the request, whatever the snapshot.
pub fn check_alone(
    request: &NewSandbox,
    id: &str,
    link: Option<LinkFacts<'_>>,
) -> Result<(), Vec<Reason>> {
    let mut reasons = Vec::new();
    check_name(request, id, &mut reasons);
    let fields = check_fields(request, &mut reasons);
    if let Some(link) = link {
        link::check(link, fields.intervals, &mut reasons);
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(reasons)
    }
}

fn check_name(request: &NewSandbox, id: &str, reasons: &mut Vec<Reason>) -> String {
    match request.name.as_deref() {
        None | Some("") => id.to_owned(),
        Some(name) => {
            text::check_sandbox_name(name, id, reasons);
            name.to_owned()
        }
    }
}

/// What fields mean that need no facts.
struct Fields {
    intervals: Intervals,
    network: NetworkPolicy,
    outbound_proxy: Option<OutboundProxy>,
}

fn check_fields(request: &NewSandbox, reasons: &mut Vec<Reason>) -> Fields {
    if let Some(user) = request.user.as_deref().filter(|user| !user.is_empty()) {
        text::check_os_user(user, reasons);
    }
    bounds::check_env(&request.env, reasons);
    bounds::check_labels(&request.labels, reasons);
    let intervals = plan_intervals(request, reasons);
    check_sizes(request, reasons);
    let network = network::plan(&request.network, reasons);
    let outbound_proxy = network::plan_proxy(request.outbound_proxy_url.as_deref(), reasons);
    volume::check_mounts(&request.volumes, reasons);
    refuse_unsupported(request, reasons);
    Fields {
        intervals,
        network,
        outbound_proxy,
    }
}

fn plan_intervals(request: &NewSandbox, reasons: &mut Vec<Reason>) -> Intervals {
    let mut intervals = Intervals::default();
    match request.auto_stop_interval.map(interval::parse_auto_stop) {
        Some(Ok(minutes)) => intervals.auto_stop_minutes = minutes,
        Some(Err(reason)) => reasons.push(reason),
        None => {}
    }
    match request.auto_pause_interval.map(interval::parse_auto_pause) {
        Some(Ok(minutes)) => intervals.auto_pause_minutes = minutes,
        Some(Err(reason)) => reasons.push(reason),
        None => {}
    }
    if intervals.auto_pause_minutes > 0 {
        // Who asks for a pause alone does not mean to be stopped before it.
        if request.auto_stop_interval.is_none() {
            intervals.auto_stop_minutes = 0;
        }
        if intervals.auto_stop_minutes > 0 {
            reasons.push(Reason::invalid(
                "At most one of autoStopInterval and autoPauseInterval can be greater than 0",
            ));
        }
        if request.auto_delete_interval == Some(0) {
            reasons.push(Reason::invalid(
                "A sandbox that is deleted when it stops cannot pause by itself; set autoPauseInterval to 0",
            ));
        }
    }
    match request
        .auto_archive_interval
        .map(interval::parse_auto_archive)
    {
        Some(Ok(minutes)) => intervals.auto_archive_minutes = minutes,
        Some(Err(reason)) => reasons.push(reason),
        None => {}
    }
    match request
        .auto_delete_interval
        .map(interval::parse_auto_delete)
    {
        Some(Ok(minutes)) => intervals.auto_delete_minutes = minutes,
        Some(Err(reason)) => reasons.push(reason),
        None => {}
    }
    match request.ttl_minutes.map(interval::parse_ttl) {
        Some(Ok(minutes)) => intervals.ttl_minutes = minutes,
        Some(Err(reason)) => reasons.push(reason),
        None => {}
    }
    intervals
}

fn check_sizes(request: &NewSandbox, reasons: &mut Vec<Reason>) {
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if is_given(&request.image) && is_given(&request.snapshot) {
        reasons.push(Reason::invalid(
            "Cannot specify an image when using a snapshot",
        ));
    }
    if request.build_info.is_some() {
        for (what, field) in [
            ("a snapshot", &request.snapshot),
            ("an image", &request.image),
            ("a linked sandbox", &request.linked_sandbox),
        ] {
            if is_given(field) {
                reasons.push(Reason::invalid(format!(
                    "Cannot specify {what} when using a build info entry"
                )));
            }
        }
        return;
    }
    let gpu = request.gpu.filter(|gpu| *gpu != 0);
    let sizes = [request.cpu, request.memory, request.disk, gpu];
    if sizes.iter().any(Option::is_some) {
        reasons.push(Reason::invalid(
            "Cannot specify Sandbox resources when using a snapshot",
        ));
    }
    if !request.gpu_types.is_empty() {
        reasons.push(Reason::invalid(
            "Cannot specify gpuType when using a snapshot",
        ));
    }
}

/// Names what this server does not offer. Values that ask for nothing (false, empty) pass, since clients
/// send them always.
fn refuse_unsupported(request: &NewSandbox, reasons: &mut Vec<Reason>) {
    let is_given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let class_is_other = request
        .class
        .as_deref()
        .is_some_and(|class| class != SandboxClass::Container.as_str());
    let asked = [
        ("sandboxClass", class_is_other),
        ("class", is_given(&request.size_class)),
        ("secrets", request.secret_count > 0),
        ("spot", request.spot == Some(true)),
        ("kvm", request.kvm == Some(true)),
        (
            "otelEndpointOverride",
            is_given(&request.otel_endpoint_override),
        ),
        ("queueTimeout", request.queue_timeout.is_some()),
    ];
    for (field, is_asked) in asked {
        if is_asked {
            reasons.push(Reason::unsupported(format!(
                "{field} is not supported by this server"
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::reason::ReasonKind;

    fn snapshot(user: &str, state: SnapshotState) -> Snapshot {
        Snapshot {
            state,
            user: user.to_owned(),
            ..crate::snapshot::sample()
        }
    }

    fn plan(request: NewSandbox) -> Result<CreatePlan, Vec<Reason>> {
        let snapshot = snapshot("daytona", SnapshotState::Active);
        plan_create(
            request,
            CreateFacts {
                id: "0f8fad5b-d9cb-469f-a165-70867728950e",
                snapshot: Some(&snapshot),
                snapshot_asked: "default",
                link: None,
            },
        )
    }

    #[test]
    fn an_empty_request_gets_the_defaults() {
        let plan = plan(NewSandbox::default()).unwrap();
        assert_eq!(plan.name, "0f8fad5b-d9cb-469f-a165-70867728950e");
        assert_eq!(plan.user, "daytona");
        assert_eq!(plan.intervals, Intervals::default());
        assert!(!plan.is_public);
    }

    #[test]
    fn what_clients_send_always_is_taken() {
        let request = NewSandbox {
            name: Some(String::new()),
            class: Some("container".to_owned()),
            gpu: Some(0),
            spot: Some(false),
            kvm: Some(false),
            network: NetworkSettings {
                block_all: Some(false),
                allow_list: Some(String::new()),
                domain_allow_list: None,
            },
            auto_pause_interval: Some(0),
            auto_stop_interval: Some(0),
            auto_delete_interval: Some(-1),
            ..NewSandbox::default()
        };
        assert!(plan(request).is_ok());
    }

    #[test]
    fn everything_not_offered_is_refused_by_name() {
        let text = || Some("x".to_owned());
        let request = NewSandbox {
            class: Some("windows".to_owned()),
            size_class: text(),
            secret_count: 1,
            spot: Some(true),
            kvm: Some(true),
            otel_endpoint_override: text(),
            queue_timeout: Some(1),
            ..NewSandbox::default()
        };
        let reasons = plan(request).unwrap_err();
        assert_eq!(reasons.len(), 7);
        assert!(
            reasons
                .iter()
                .all(|reason| reason.kind == ReasonKind::Unsupported)
        );
    }

    #[test]
    fn sizes_beside_a_snapshot_are_refused_once() {
        let request = NewSandbox {
            cpu: Some(1),
            memory: Some(1),
            disk: Some(3),
            ..NewSandbox::default()
        };
        let reasons = plan(request).unwrap_err();
        let expected = Reason::invalid("Cannot specify Sandbox resources when using a snapshot");
        assert_eq!(reasons, [expected]);
    }

    #[test]
    fn what_is_to_be_built_comes_with_sizes_and_without_a_snapshot() {
        let request = |dockerfile: &str| NewSandbox {
            build_info: Some(BuildInfo {
                dockerfile: dockerfile.to_owned(),
                context_hashes: Vec::new(),
            }),
            cpu: Some(2),
            gpu: Some(0),
            ..NewSandbox::default()
        };
        let plan = |request| plan_build_create(request, "0f8fad5b-x", Resources::DEFAULT);
        let made = plan(request("FROM x")).unwrap();
        assert_eq!(made.resources.cpu_cores, 2);
        assert_eq!(made.resources.memory_gib, Resources::DEFAULT.memory_gib);
        assert_eq!(made.sandbox.user, "");
        let wrong = NewSandbox {
            snapshot: Some("x".to_owned()),
            image: Some("x".to_owned()),
            linked_sandbox: Some("x".to_owned()),
            gpu: Some(1),
            disk: Some(0),
            ..request(" ")
        };
        assert_eq!(plan(wrong).unwrap_err().len(), 7);
    }

    #[test]
    fn every_reason_is_collected() {
        let request = NewSandbox {
            name: Some("<b>x</b>".to_owned()),
            user: Some("a b".to_owned()),
            env: [("DAYTONA_X".to_owned(), String::new())].into(),
            labels: [(String::new(), String::new())].into(),
            auto_stop_interval: Some(-1),
            auto_archive_interval: Some(-1),
            ttl_minutes: Some(-1),
            outbound_proxy_url: Some("proxy.example.com:3128".to_owned()),
            kvm: Some(true),
            ..NewSandbox::default()
        };
        assert_eq!(plan(request).unwrap_err().len(), 9);
    }

    #[test]
    fn a_missing_or_inactive_snapshot_is_refused_with_its_name() {
        let facts = |snapshot| CreateFacts {
            id: "x",
            snapshot,
            snapshot_asked: "nope",
            link: None,
        };
        let reasons = plan_create(NewSandbox::default(), facts(None)).unwrap_err();
        assert_eq!(reasons, [Reason::invalid("Snapshot nope not found")]);
        let pulling = snapshot("", SnapshotState::Pulling);
        let reasons = plan_create(NewSandbox::default(), facts(Some(&pulling))).unwrap_err();
        assert_eq!(reasons, [Reason::invalid("Snapshot default is pulling")]);
    }

    #[test]
    fn an_image_without_a_user_runs_as_root() {
        let plain = snapshot("", SnapshotState::Active);
        let facts = CreateFacts {
            id: "x",
            snapshot: Some(&plain),
            snapshot_asked: "plain",
            link: None,
        };
        assert_eq!(
            plan_create(NewSandbox::default(), facts).unwrap().user,
            "root"
        );
    }
}
