//! One build from beginning to end: its plan, its sources, its stages.

use std::collections::BTreeMap;

use alcove_build::{Base, Config, Dockerfile, Plan, Source, StagePlan};
use alcove_runner_api::{Build, BuildFault, BuildFaultCode, ImageEntry};
use tokio_util::sync::CancellationToken;

use super::bases::Bases;
use super::log::LogWriter;
use super::step::Steps;
use super::{Builds, bases, context, fault};
use crate::cancel::Cancel;
use crate::disk_pool::blocking;
use crate::faults::Step as FaultStep;
use crate::image::{BUILD_PREFIX, BuiltConfig, ImageConfig, Sha256Digest};

/// Most images that one Dockerfile is made from; each is pulled, and kept for a while.
const IMAGES_MAX: usize = 50;

/// What everything that has no base starts from: an image without layers.
const SCRATCH: &str = "scratch";

pub async fn run(
    builds: &Builds,
    order: &Build,
    log: &LogWriter,
    cancel: &CancellationToken,
) -> Result<ImageEntry, BuildFault> {
    let file = Dockerfile::parse(&order.dockerfile).map_err(|refusal| fault::refused(&refusal))?;
    let images = file.images();
    if images.len() > IMAGES_MAX {
        let message = format!("the Dockerfile names more than {IMAGES_MAX} images");
        return Err(BuildFault::new(BuildFaultCode::Refused, message));
    }
    let bases = bases::resolve(builds, order, &images, log, cancel).await?;
    let ended = run_on(builds, order, log, cancel, &file, &bases).await;
    // A build that is cut short by the end of the server goes on with the same images.
    if !builds.stop.is_cancelled() {
        bases.release(builds).await;
        tidy(builds).await;
    }
    ended
}

async fn run_on(
    builds: &Builds,
    order: &Build,
    log: &LogWriter,
    cancel: &CancellationToken,
    file: &Dockerfile,
    bases: &Bases,
) -> Result<ImageEntry, BuildFault> {
    let images = &builds.host.images;
    let plan = file
        .plan(|name| {
            let image = images.get(bases.images.get(name)?)?;
            Some(from_image(&image.config))
        })
        .map_err(|refusal| fault::refused(&refusal))?;
    let context = if uses_context(&plan) {
        let layers = context_layers(builds, order, cancel).await?;
        builds.hit(FaultStep::ContextUnpacked)?;
        layers
    } else {
        Vec::new()
    };
    let mut steps = Steps {
        builds,
        order,
        bases,
        log,
        cancel,
        context,
        stages: BTreeMap::new(),
        total: plan.stages.iter().map(|stage| stage.steps.len()).sum(),
        done: 0,
    };
    let mut last = None;
    for stage in plan.stages {
        let layers = run_stage(&mut steps, &stage).await?;
        steps.stages.insert(stage.index, layers.clone());
        last = Some((layers, stage.config));
    }
    let (layers, config) = last.unwrap_or_default();
    let image = compose(builds, &order.name, layers, to_image(config)).await?;
    builds.hit(FaultStep::Composed)?;
    Ok(image)
}

/// Takes away what earlier builds have left and is too much by now. A build that failed has left as much as one that did not.
async fn tidy(builds: &Builds) {
    let images = builds.host.images.clone();
    let forgotten = blocking(move || images.forget_old_builds()).await;
    if let Ok(Err(error)) = forgotten {
        tracing::warn!(%error, "cannot forget old steps of builds");
    }
    let caches = builds.caches.clone();
    builds.tasks.spawn(async move { caches.tidy().await });
}

async fn run_stage(
    steps: &mut Steps<'_>,
    stage: &StagePlan,
) -> Result<Vec<Sha256Digest>, BuildFault> {
    let mut layers = match &stage.base {
        Base::Scratch => Vec::new(),
        Base::Stage(index) => steps.stages.get(index).cloned().unwrap_or_default(),
        Base::Image(name) => steps.layers_of(name)?,
    };
    for step in &stage.steps {
        layers = steps.run(layers, step).await?;
    }
    Ok(layers)
}

async fn context_layers(
    builds: &Builds,
    order: &Build,
    cancel: &CancellationToken,
) -> Result<Vec<Sha256Digest>, BuildFault> {
    let (images, contexts) = (builds.host.images.clone(), builds.contexts.clone());
    let (order, flag) = (order.clone(), Cancel::default());
    let seen = flag.clone();
    let unpacking = blocking(move || context::layers(&images, &contexts, &order, &seen));
    tokio::pin!(unpacking);
    let unpacked = tokio::select! {
        unpacked = &mut unpacking => unpacked,
        () = cancel.cancelled() => {
            flag.cancel();
            unpacking.await
        }
    };
    if cancel.is_cancelled() {
        return Err(fault::cancelled());
    }
    unpacked.map_err(fault::internal)?
}

fn uses_context(plan: &Plan) -> bool {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    steps
        .flat_map(|step| step.action.sources())
        .any(|source| *source == Source::Context)
}

/// Makes an image of layers and gives it a name.
pub async fn compose(
    builds: &Builds,
    name: &str,
    layers: Vec<Sha256Digest>,
    config: ImageConfig,
) -> Result<ImageEntry, BuildFault> {
    let (images, name) = (builds.host.images.clone(), name.to_owned());
    let composed = blocking(move || images.compose(&name, &layers, config)).await;
    composed
        .map_err(fault::internal)?
        .map_err(|error| fault::image(&error))
}

/// The name of the image that has these layers and nothing else.
pub fn name_of(layers: &[Sha256Digest]) -> String {
    if layers.is_empty() {
        return format!("{BUILD_PREFIX}{SCRATCH}");
    }
    let texts: Vec<String> = layers.iter().map(ToString::to_string).collect();
    let digest = Sha256Digest::of(texts.join(" ").as_bytes());
    format!("{BUILD_PREFIX}layers-{}", digest.to_hex())
}

fn from_image(config: &ImageConfig) -> Config {
    let env = config.env.iter().filter_map(|entry| entry.split_once('='));
    let BuiltConfig {
        labels,
        exposed_ports,
        volumes,
        stop_signal,
        healthcheck,
        shell,
        on_build,
    } = config.build.clone();
    Config {
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        user: config.user.clone(),
        workdir: config.workdir.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        labels,
        exposed_ports,
        volumes,
        stop_signal,
        healthcheck,
        shell,
        on_build,
    }
}

fn to_image(config: Config) -> ImageConfig {
    let env = config
        .env
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    ImageConfig {
        env: env.collect(),
        user: config.user,
        workdir: config.workdir,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        build: BuiltConfig {
            labels: config.labels,
            exposed_ports: config.exposed_ports,
            volumes: config.volumes,
            stop_signal: config.stop_signal,
            healthcheck: config.healthcheck,
            shell: config.shell,
            on_build: config.on_build,
        },
    }
}
