//! `alcove serve`: puts the parts together, runs until it is told to stop.

pub mod log;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use alcove_control::{Control, Settings, SystemClock, SystemRng};
use alcove_server::{App, ObjectStorage, Options, SshGateway};
use alcove_ssh::{Gateway, HostKey};
use alcove_storage::ObjectStore;
use alcove_storage::registry::Registry;
use alcove_storage::s3::{self as s3_face, S3Face};
use alcove_store::Store;
use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::AuditArguments;
use crate::check::{self, Outcome};
use crate::contexts::StoredContexts;
use crate::doors::{DoorArguments, Doors};
use crate::host::{self, HostArguments};
use crate::images;
use crate::kill::KillAt;
use crate::limits::LimitArguments;
use crate::local_runner::LocalRunner;
use crate::operator::{self, Operator};
use crate::own_telemetry::OwnTelemetryArguments;
use crate::people::PeopleArguments;
use crate::registries::Registries;
use crate::storage::{self, Gate, StorageArguments};
use crate::telemetry::TelemetryArguments;
use crate::{key, memory, parts, welcome};

/// Where a server of root keeps its data.
pub const DATA_DIR: &str = "/var/lib/alcove";

/// How long open requests may take to end after Ctrl-C.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Threads for work that blocks: steps of a few milliseconds on the host's files and devices. All are made at
/// the start and kept, so that a host without process numbers can still be told from one that hangs, and
/// sandboxes can still be stopped and removed on it.
pub const BLOCKING_THREADS: usize = 16;

/// For good.
pub const BLOCKING_KEPT_FOR: Duration = Duration::from_secs(u32::MAX as u64);

const VOLUME_MIN_MIB: u64 = alcove_domain::volume::BYTES_MIN >> 20;
const VOLUME_MAX_MIB: u64 = 16 << 20;

/// Far more than any host has sandboxes for.
const WARM_POOL_MAX_MIB: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The one folder for all data.
    #[arg(long, env = "ALCOVE_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// A PostgreSQL database to keep the state in, as postgres://USER:PASSWORD@HOST/NAME, instead of the file
    /// alcove.db in the data folder. The connection is not encrypted.
    #[arg(long, env = "ALCOVE_DATABASE", hide_env_values = true)]
    database: Option<String>,
    #[command(flatten)]
    doors: DoorArguments,
    #[command(flatten)]
    storage: StorageArguments,
    #[command(flatten)]
    host: HostArguments,
    /// Snapshots of one organization, inactive and broken ones not counted. Without it there is no limit.
    #[arg(long, env = "ALCOVE_SNAPSHOT_QUOTA", value_name = "COUNT")]
    snapshot_quota: Option<u64>,
    /// The largest image that is pulled, in GiB: its compressed layers together, and its files together.
    #[arg(
        long,
        env = "ALCOVE_SNAPSHOT_MAX_SIZE",
        value_name = "GIB",
        default_value_t = 20
    )]
    snapshot_max_size: u32,
    /// Days without a new sandbox after which a snapshot of an organization is made inactive; 0 is never.
    #[arg(
        long,
        env = "ALCOVE_SNAPSHOT_UNUSED_DAYS",
        value_name = "DAYS",
        default_value_t = 14
    )]
    snapshot_unused_days: u32,
    /// A host at a private address that sandboxes may be given an archive from as their source, such as files.internal;
    /// may be given several times, or with commas. Hosts at public addresses need not be named.
    #[arg(
        long = "source-host",
        env = "ALCOVE_SOURCE_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    source_hosts: Vec<String>,
    /// A host at a private address, or without TLS, that webhooks may be sent to, such as hooks.internal; may be given
    /// several times, or with commas. Hosts at public addresses need not be named.
    #[arg(
        long = "webhook-host",
        env = "ALCOVE_WEBHOOK_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    webhook_hosts: Vec<String>,
    #[command(flatten)]
    audit: AuditArguments,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    people: PeopleArguments,
    #[command(flatten)]
    telemetry: TelemetryArguments,
    #[command(flatten)]
    own_telemetry: OwnTelemetryArguments,
    /// API key of the administrator. Made at the first start where it is not given.
    #[arg(long, env = "ALCOVE_ADMIN_API_KEY", hide_env_values = true)]
    admin_api_key: Option<String>,
    /// Memory of the host that sandboxes made ahead of need may take while they wait, in MiB; 0 turns warm pools off.
    /// One takes about 4; how many of which snapshot is decided by demand, and by what clients ask for.
    #[arg(long, env = "ALCOVE_WARM_POOL_MEMORY", value_name = "MIB", default_value_t = 128,
        value_parser = clap::value_parser!(u64).range(..=WARM_POOL_MAX_MIB))]
    warm_pool_memory: u64,
    /// The size that volumes made from now on never grow beyond, in MiB. They take what is in them.
    #[arg(long, env = "ALCOVE_VOLUME_SIZE", value_name = "MIB", default_value_t = 10 << 10,
        value_parser = clap::value_parser!(u64).range(VOLUME_MIN_MIB..=VOLUME_MAX_MIB))]
    volume_size: u64,
    /// Volumes that an organization may have that has no number of its own.
    #[arg(long, env = "ALCOVE_VOLUME_QUOTA", default_value_t = 100)]
    volume_quota: u64,
    /// Makes a first sandbox before anybody is told that the server is ready, and stops with an error where that
    /// fails.
    #[arg(long, env = "ALCOVE_CHECK")]
    check: bool,
    /// Log lines as JSON.
    #[arg(long, env = "ALCOVE_LOG_JSON")]
    log_json: bool,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let exporting = arguments.own_telemetry.open()?;
    log::start(arguments.log_json, exporting.as_ref());
    let sent = CancellationToken::new();
    let sending = exporting.map(|exporting| tokio::spawn(exporting.run(sent.clone())));
    start_blocking_threads().await?;
    let data_dir = host::open_data_dir(&arguments.data_dir)?;
    let programs = parts::unpack(&data_dir)?;
    let capabilities =
        host::refuse_unfit(&data_dir, arguments.host.network_pool, &programs).await?;
    let registries = arguments.host.registries()?;
    // Before anything is started: a port that is taken is the commonest mistake.
    let doors = Doors::open(&arguments.doors, &data_dir).await?;
    let Registries {
        settings: reach,
        credentials,
    } = registries;
    let settings = Settings {
        has_ssh: doors.ssh.is_some(),
        ..settings::of(&arguments, credentials, &data_dir, &doors.url)?
    };
    let kill = KillAt::wanted()?;
    let objects = arguments
        .storage
        .open(
            &data_dir,
            arguments.storage.limits(arguments.host.disk_reserve_mib),
            kill.clone(),
        )
        .await?;
    let mut config = arguments.host.runner_config(&data_dir, &programs, reach)?;
    config.source_hosts.clone_from(&arguments.source_hosts);
    config.contexts = Arc::new(StoredContexts::new(Arc::clone(&objects)));
    let runner = host::open_runner(config, kill.clone()).await?;
    let host = Arc::new(LocalRunner::new(runner.clone(), capabilities));
    let result = serve(&arguments, settings, &data_dir, doors, objects, host, kill).await;
    // On every way out: what is pooled goes, what runs stays.
    let running = runner.running_count();
    runner.close().await;
    let _ = fs::remove_file(data_dir.join("server.json"));
    if result.is_ok() && running > 0 {
        eprintln!("alcove: {running} sandboxes keep running; the next start takes them over");
    }
    sent.cancel();
    if let Some(sending) = sending {
        sending.await.context("sending telemetry failed")?;
    }
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    arguments: &Arguments,
    settings: Settings,
    data_dir: &Path,
    doors: Doors,
    objects: Arc<dyn ObjectStore>,
    host: Arc<LocalRunner>,
    kill: Option<Arc<KillAt>>,
) -> anyhow::Result<()> {
    let Doors {
        api,
        s3,
        own_url,
        url,
        s3_url,
        s3_plain_url,
        tls,
        redirect,
        ssh,
        metrics,
    } = doors;
    let runner = host.runner().clone();
    images::import(&runner, data_dir, arguments.host.named_images()).await?;
    if runner.images().is_empty() {
        tracing::warn!("there is no image yet, so no sandbox can be made; give --default-image");
    }

    let store = match &arguments.database {
        Some(url) => Store::connect(url).await,
        None => Store::open(&data_dir.join("alcove.db")).await,
    }
    .context("cannot open the store")?;
    let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SystemRng));
    let control = match kill {
        Some(kill) => Control::open_probed(store.clone(), host, clock, rng, settings, kill).await,
        None => Control::open(store.clone(), host, clock, rng, settings).await,
    }
    .context("cannot start the control plane")?;
    let key_file = data_dir.join("admin.key");
    let key = key::ensure(&key_file, arguments.admin_api_key.as_deref())?;
    let made = control.bootstrap(&key.value).await;
    made.context("cannot make the administrator")?;
    // Each start makes a new one, until somebody has a password.
    let set_up = control.set_up_link().await.context("cannot make a link")?;
    let set_up = set_up.map(|link| welcome::SetUp {
        url: alcove_server::password_url(&url, &link.text),
        username: link.username,
    });

    let ssh_key = HostKey::ensure(&data_dir.join("ssh_host_ed25519_key"))?;
    let gate = Gate::new(control.clone());
    let registry = Registry::new(Arc::clone(&objects), gate.clone(), &url);
    let app = App::new(
        control.clone(),
        &Options {
            public_url: url.clone(),
            preview_host: arguments.doors.preview_host(),
            trusted_proxies: arguments.doors.trusted_proxies(),
            warns_of_previews: arguments.doors.warns_of_previews(),
            ssh_command: ssh
                .as_ref()
                .map(|ssh| ssh.command.clone())
                .unwrap_or_default(),
            ssh_gateway: ssh.as_ref().map(|ssh| SshGateway {
                address: ssh.address.clone(),
                host_key: ssh_key.line(),
                fingerprint: ssh_key.fingerprint(),
            }),
            object_storage: Some(ObjectStorage {
                url: s3_url,
                plain_url: s3_plain_url,
                bucket: s3_face::BUCKET.to_string(),
                region: s3_face::REGION.to_owned(),
            }),
            registry: Some(registry.clone()),
            mcp_origins: arguments.doors.mcp_origins(),
        },
    );
    let stop = stop_signal()?;
    let shutdown = CancellationToken::new();
    let mut served = JoinSet::new();
    if let Some(listener) = metrics {
        served.spawn(alcove_server::serve_with(
            listener.into(),
            app.metrics(),
            shutdown.clone(),
            SHUTDOWN_GRACE,
            std::future::ready(()),
        ));
    }
    served.spawn(alcove_server::serve(
        api,
        app,
        shutdown.clone(),
        SHUTDOWN_GRACE,
    ));
    served.spawn(alcove_server::serve_with(
        s3,
        S3Face::new(Arc::clone(&objects), gate),
        shutdown.clone(),
        SHUTDOWN_GRACE,
        std::future::ready(()),
    ));
    let operator = Operator {
        control: control.clone(),
        store: store.clone(),
        runner,
        has_foreign_objects: arguments.storage.is_foreign(),
        data_dir: data_dir.to_owned(),
    };
    served.spawn(operator::serve(operator, shutdown.clone()));
    served.spawn(storage::sweep(
        objects,
        registry,
        control.clone(),
        shutdown.clone(),
    ));
    if let Some(ssh) = ssh {
        let gateway = Gateway::new(control.clone(), &ssh_key, alcove_ssh::Limits::default());
        tracing::info!("the SSH host key is {}", ssh_key.fingerprint());
        served.spawn(gateway.serve(ssh.listener, shutdown.clone()));
    }
    if let Some((listener, redirect)) = redirect {
        served.spawn(alcove_server::serve_with(
            listener.into(),
            redirect,
            shutdown.clone(),
            SHUTDOWN_GRACE,
            std::future::ready(()),
        ));
    }
    if let Some(tls) = tls {
        served.spawn(tls.keep_fresh(shutdown.clone()));
    }
    write_server_file(data_dir, &url)?;

    let checked = if arguments.check {
        check_first_sandbox(&own_url, &key.value, data_dir, &stop).await
    } else {
        Ok(())
    };
    served.spawn(memory::keep_small(shutdown.clone()));
    if checked.is_ok() && !stop.is_cancelled() {
        // The last thing that is said, so that no log line of the start stands below it.
        print!(
            "{}",
            welcome::text(&url, &key, &key_file.display().to_string(), set_up.as_ref())
        );
        tokio::select! {
            () = stop.cancelled() => {}
            () = store.in_doubt() => {}
        }
    }
    tracing::info!("stopping");
    shutdown.cancel();
    while let Some(ended) = served.join_next().await {
        ended.context("a task of the server failed")?;
    }
    control.shutdown().await;
    checked?;
    if store.is_in_doubt() {
        bail!(
            "the connection to the database ended in the middle of a write, and only the database knows whether it was \
             written; the next start reads what is there and goes on, and sandboxes run meanwhile"
        );
    }
    Ok(())
}

async fn check_first_sandbox(
    url: &str,
    key: &str,
    data_dir: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    match check::run(url, key, stop).await {
        Ok(Outcome::Passed(passed)) => {
            print!("{passed}");
            Ok(())
        }
        Ok(Outcome::Stopped) => Ok(()),
        Err(error) => Err(error).with_context(|| {
            format!(
                "the first sandbox failed, so the server stops; `alcove doctor --data-dir {}` tells what this \
                 host lacks, and without --check the server starts all the same",
                data_dir.display()
            )
        }),
    }
}

/// Cancelled by Ctrl-C and by SIGTERM.
pub fn stop_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stopper.cancel();
    });
    Ok(stop)
}

/// Makes the runtime start all its threads for blocking work: each waits for all others.
pub async fn start_blocking_threads() -> anyhow::Result<()> {
    let together = Arc::new(Barrier::new(BLOCKING_THREADS));
    let mut waits = JoinSet::new();
    for _ in 0..BLOCKING_THREADS {
        let together = Arc::clone(&together);
        waits.spawn_blocking(move || together.wait());
    }
    while let Some(waited) = waits.join_next().await {
        waited.context("cannot start the threads for blocking work")?;
    }
    Ok(())
}

/// Tells scripts where the server is.
fn write_server_file(data_dir: &Path, url: &str) -> anyhow::Result<()> {
    let path = data_dir.join("server.json");
    let draft = path.with_extension("draft");
    let text = serde_json::json!({ "apiUrl": format!("{url}/api"), "pid": std::process::id() });
    fs::write(&draft, text.to_string())
        .and_then(|()| fs::rename(&draft, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}
