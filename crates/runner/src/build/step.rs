//! One step: known already, or done in a sandbox of its own.

use std::collections::{BTreeMap, HashMap};

use alcove_agent_api::{BuildCopyRequest, BuildInlineFile, BuildRunRequest};
use alcove_build::{Action, Copy, MountKind, Run, Source, Step, StepKey};
use alcove_domain::SandboxId;
use alcove_runner_api::{Build, BuildFault, BuildFaultCode, DiskOrigin, Resources, SandboxSpec};
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, AgentError};
use super::bases::Bases;
use super::caches::{Held, Wanted};
use super::log::LogWriter;
use super::run::{compose, name_of};
use super::{Builds, SANDBOX_PREFIX, fault, fetched};
use crate::cancel::Cancel;
use crate::driver::Driver;
use crate::faults::Step as FaultStep;
use crate::host::is_full;
use crate::image::{BUILD_PREFIX, ImageConfig, Layer, Sha256Digest};
use crate::making::Extras;
use crate::mounts::{ExtraMount, ExtraTree};

/// What a step may use. Four cores and 8 GiB are what such builds have had elsewhere.
const RESOURCES: Resources = Resources {
    cpu_millis: 4000,
    memory_bytes: 8 << 30,
    disk_bytes: 10 << 30,
    pids: 4096,
};

/// Where the source of a copy is mounted.
const SOURCE_POINT: &str = "/.alcove-build-source";

/// Where a program is that stands in the Dockerfile, and the memory for it.
const SCRIPT_POINT: &str = "/.alcove-build-script";
const SCRIPT_BYTES: u64 = 16 << 20;

/// Memory of a mount that names no size.
const TMPFS_BYTES: u64 = 1 << 30;

/// Root of the image, whatever it is called there.
const ROOT: &str = "0";

/// Longest line of the log that tells of a step.
const TITLE_MAX_CHARS: usize = 200;

/// All that the steps of a build share.
pub struct Steps<'a> {
    pub builds: &'a Builds,
    pub order: &'a Build,
    pub bases: &'a Bases,
    pub log: &'a LogWriter,
    pub cancel: &'a CancellationToken,
    pub context: Vec<Sha256Digest>,
    /// What finished stages have made.
    pub stages: BTreeMap<usize, Vec<Sha256Digest>>,
    pub total: usize,
    pub done: usize,
}

impl Steps<'_> {
    /// The layers of an image that the order names.
    pub fn layers_of(&self, name: &str) -> Result<Vec<Sha256Digest>, BuildFault> {
        let digest = self.bases.images.get(name);
        let digest =
            digest.ok_or_else(|| fault::step(0, &format!("there is no image {name:?}")))?;
        let layers = self.builds.host.images.layers_of(digest);
        layers.map_err(|error| fault::image(&error))
    }

    fn layers_of_source(&self, source: &Source) -> Result<Vec<Sha256Digest>, BuildFault> {
        match source {
            Source::Context => Ok(self.context.clone()),
            Source::Stage(index) => Ok(self.stages.get(index).cloned().unwrap_or_default()),
            Source::Image(name) => self.layers_of(name),
        }
    }

    /// The layers after a step, given those before it.
    pub async fn run(
        &mut self,
        layers: Vec<Sha256Digest>,
        step: &Step,
    ) -> Result<Vec<Sha256Digest>, BuildFault> {
        self.done += 1;
        if self.cancel.is_cancelled() {
            return Err(fault::cancelled());
        }
        let title: String = step.text.chars().take(TITLE_MAX_CHARS).collect();
        self.log
            .line(&format!("Step {}/{}: {title}", self.done, self.total));
        let mut work = Work {
            steps: self,
            step,
            layers,
        };
        match &step.action {
            Action::Run(run) => work.command(run).await,
            Action::Copy(copy) => work.copy(copy).await,
            Action::Folder { path } => work.folder(path).await,
        }
    }
}

struct Work<'a, 'b> {
    steps: &'a Steps<'b>,
    step: &'a Step,
    layers: Vec<Sha256Digest>,
}

impl Work<'_, '_> {
    fn key(&self, sources: &[String]) -> String {
        let layers: Vec<String> = self.layers.iter().map(ToString::to_string).collect();
        let organization = &self.steps.order.organization;
        let key = StepKey::new(organization, &layers, &self.step.action, sources);
        format!("{BUILD_PREFIX}step-{}", key.as_str())
    }

    fn known(&self, key: &str) -> Result<Option<Vec<Sha256Digest>>, BuildFault> {
        let images = &self.steps.builds.host.images;
        let Some(image) = images.find_built(key) else {
            return Ok(None);
        };
        self.steps.log.line("  known already");
        let layers = images.layers_of(&image.digest);
        layers.map(Some).map_err(|error| fault::image(&error))
    }

    fn fault(&self, error: &AgentError) -> BuildFault {
        self.failed(&error.to_string())
    }

    /// Why the step failed: the host's lack of room, where that is the matter, and else the reason that it has itself.
    fn failed(&self, reason: &str) -> BuildFault {
        if is_full(&self.steps.builds.host.data_dir) {
            fault::full(self.step.line)
        } else {
            fault::step(self.step.line, reason)
        }
    }

    /// A fault of the host has many faces where its disk is full: a step's own disk cannot be read any more, a mount fails.
    fn named(&self, fault: BuildFault) -> BuildFault {
        if fault.code == BuildFaultCode::Internal && is_full(&self.steps.builds.host.data_dir) {
            return fault::full(self.step.line);
        }
        fault
    }

    async fn command(&mut self, run: &Run) -> Result<Vec<Sha256Digest>, BuildFault> {
        let mut sources = Vec::new();
        for source in self.step.action.sources() {
            let layers = self.steps.layers_of_source(source)?;
            let texts: Vec<String> = layers.iter().map(ToString::to_string).collect();
            sources.push(texts.join(" "));
        }
        let key = self.key(&sources);
        if let Some(layers) = self.known(&key)? {
            return Ok(layers);
        }
        let (mut caches, places) = self.caches(run).await?;
        let mut mounts = Vec::new();
        for (index, mount) in run.mounts.iter().enumerate() {
            let tree = match &mount.kind {
                MountKind::Bind {
                    source,
                    path,
                    is_writable,
                } => ExtraTree::Layers {
                    layers: self.places(&self.steps.layers_of_source(source)?),
                    path: path.clone(),
                    is_writable: *is_writable,
                },
                MountKind::Cache { is_read_only, .. } => ExtraTree::Opened {
                    folder: caches[places[&index]].folder.clone(),
                    is_read_only: *is_read_only,
                },
                MountKind::Tmpfs { size_bytes } => ExtraTree::Memory {
                    size_bytes: size_bytes
                        .unwrap_or(TMPFS_BYTES)
                        .min(RESOURCES.memory_bytes),
                },
            };
            mounts.push(ExtraMount {
                point: mount.target.clone(),
                tree,
            });
        }
        if run.script.is_some() {
            mounts.push(ExtraMount {
                point: SCRIPT_POINT.to_owned(),
                tree: ExtraTree::Memory {
                    size_bytes: SCRIPT_BYTES,
                },
            });
        }
        let user = if run.user.is_empty() { ROOT } else { &run.user };
        let request = BuildRunRequest {
            argv: run.argv.clone(),
            script: run.script.as_ref().map(|script| BuildInlineFile {
                name: format!("{SCRIPT_POINT}/{}", script.name),
                content: script.content.clone(),
            }),
            cwd: run.workdir.clone(),
            env: BTreeMap::new(),
        };
        let extras = Extras {
            is_build: true,
            has_no_network: !run.has_network,
            mounts,
            ..Extras::default()
        };
        let log = self.steps.log;
        let ended = self.in_sandbox(&key, user, run.env.clone(), extras, async |agent| {
            self.steps.builds.caches.unmount(&mut caches).await;
            let end = agent
                .run(&request, log)
                .await
                .map_err(|error| self.fault(&error))?;
            match (end.exit_code, end.reason) {
                (0, None) => Ok(None),
                (_, Some(reason)) => Err(self.failed(&reason)),
                (code, None) => {
                    let reason = format!("the command returned the exit code {code}");
                    Err(self.failed(&reason))
                }
            }
        });
        let ended = ended.await;
        // Where no sandbox came about, they are in the scratch still.
        self.steps.builds.caches.unmount(&mut caches).await;
        ended
    }

    /// The caches that a command mounts, and which of them each mount means.
    async fn caches(&self, run: &Run) -> Result<(Vec<Held>, HashMap<usize, usize>), BuildFault> {
        let Steps {
            builds,
            order,
            cancel,
            ..
        } = self.steps;
        let mut wanted: Vec<(usize, Wanted<'_>)> = Vec::new();
        for (index, mount) in run.mounts.iter().enumerate() {
            if let MountKind::Cache {
                id,
                sharing,
                mode,
                uid,
                gid,
                ..
            } = &mount.kind
            {
                let cache = Wanted {
                    organization: &order.organization,
                    id,
                    sharing: *sharing,
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                };
                wanted.push((index, cache));
            }
        }
        // In one order everywhere, so that no two steps wait for each other.
        wanted.sort_by_key(|(_, cache)| cache.id);
        let (mut held, mut places) = (Vec::new(), HashMap::new());
        for (index, cache) in wanted {
            match builds.caches.take(&cache, &held, cancel).await {
                Ok(taken) => {
                    places.insert(index, held.len());
                    held.push(taken);
                }
                Err(error) => {
                    builds.caches.unmount(&mut held).await;
                    return Err(fault::cache(self.step.line, error));
                }
            }
        }
        Ok((held, places))
    }

    async fn folder(&mut self, path: &str) -> Result<Vec<Sha256Digest>, BuildFault> {
        let key = self.key(&[]);
        if let Some(layers) = self.known(&key)? {
            return Ok(layers);
        }
        let request = BuildCopyRequest {
            target: path.to_owned(),
            is_folder: true,
            ..BuildCopyRequest::default()
        };
        let extras = Extras {
            is_build: true,
            ..Extras::default()
        };
        self.in_sandbox(&key, ROOT, BTreeMap::new(), extras, async |agent| {
            agent
                .copy(&request)
                .await
                .map_err(|error| self.fault(&error))?;
            Ok(None)
        })
        .await
    }

    /// What is copied is known only inside, so the sandbox comes first.
    async fn copy(&mut self, copy: &Copy) -> Result<Vec<Sha256Digest>, BuildFault> {
        let mut mounts = Vec::new();
        if !copy.paths.is_empty() {
            let layers = self.steps.layers_of_source(&copy.source)?;
            mounts.push(ExtraMount {
                point: SOURCE_POINT.to_owned(),
                tree: ExtraTree::Layers {
                    layers: self.places(&layers),
                    path: "/".to_owned(),
                    is_writable: false,
                },
            });
        }
        let request = BuildCopyRequest {
            root: SOURCE_POINT.to_owned(),
            paths: copy.paths.clone(),
            inline: copy
                .inline
                .iter()
                .map(|file| BuildInlineFile {
                    name: file.name.clone(),
                    content: file.content.clone(),
                })
                .collect(),
            target: copy.target.clone(),
            is_folder: copy.is_folder,
            owner: copy.owner.clone(),
            mode: copy.mode,
            keeps_owner: copy.source != Source::Context,
            unpacks: copy.unpacks,
            keeps_path: copy.keeps_path,
            excludes: copy.excludes.clone(),
            is_dry: true,
            removes_root: false,
        };
        let (fetches, copies) = fetched::requests(&copy.fetched, &request);
        let mut requests = Vec::new();
        // Even of nothing it makes the target, if that is all there is.
        if !request.paths.is_empty() || !request.inline.is_empty() || copies.is_empty() {
            requests.push(request);
        }
        requests.extend(copies);
        let extras = Extras {
            is_build: true,
            mounts,
            ..Extras::default()
        };
        self.in_sandbox("", ROOT, BTreeMap::new(), extras, async |agent| {
            let failed = |error: AgentError| self.fault(&error);
            for fetch in &fetches {
                agent.fetch(fetch).await.map_err(failed)?;
            }
            let mut digests = Vec::new();
            for request in &requests {
                digests.push(agent.copy(request).await.map_err(failed)?);
            }
            let key = self.key(&digests);
            if let Some(layers) = self.known(&key)? {
                return Ok(Some(Found::Known(layers)));
            }
            for request in requests {
                let wet = BuildCopyRequest {
                    is_dry: false,
                    ..request
                };
                agent.copy(&wet).await.map_err(failed)?;
            }
            Ok(Some(Found::Key(key)))
        })
        .await
    }

    fn places(&self, layers: &[Sha256Digest]) -> Vec<Layer> {
        let images = &self.steps.builds.host.images;
        layers.iter().map(|layer| images.layer(*layer)).collect()
    }

    /// Does the work in a sandbox on the layers so far, makes a layer of what it wrote, and notes the result under the
    /// key. Whatever comes of it, nothing of the sandbox is left.
    async fn in_sandbox(
        &self,
        key: &str,
        user: &str,
        env: BTreeMap<String, String>,
        extras: Extras,
        work: impl AsyncFnOnce(&Agent<'_, std::os::fd::OwnedFd>) -> Result<Option<Found>, BuildFault>,
    ) -> Result<Vec<Sha256Digest>, BuildFault> {
        let Steps {
            builds,
            order,
            cancel,
            done,
            ..
        } = self.steps;
        let host = &builds.host;
        let base = compose(
            builds,
            &name_of(&self.layers),
            self.layers.clone(),
            ImageConfig::default(),
        )
        .await?;
        let name = Sha256Digest::of(order.id.as_bytes()).to_hex();
        let sandbox: SandboxId = format!("{SANDBOX_PREFIX}{}-{done}", &name[..16])
            .parse()
            .map_err(fault::internal)?;
        let spec = SandboxSpec {
            image: base.digest,
            resources: RESOURCES,
            user: user.to_owned(),
            env,
            disk: DiskOrigin::New,
            entrypoint: Vec::new(),
            volumes: Vec::new(),
            network: order.network(),
        };
        let line = self.step.line;
        let mut driver = Driver::absent(host.clone(), sandbox.clone());
        let ended = async {
            let token = driver
                .step_start(&spec, extras)
                .await
                .map_err(|error| fault::host(line, &error))?;
            builds.hit(FaultStep::StepMade)?;
            let agent = Agent {
                sockets: &host.sockets,
                sandbox: sandbox.as_str(),
                token: &token,
            };
            let found = tokio::select! {
                found = work(&agent) => found?,
                () = cancel.cancelled() => return Err(fault::cancelled()),
            };
            builds.hit(FaultStep::StepRun)?;
            let key = match found {
                Some(Found::Known(layers)) => return Ok(layers),
                Some(Found::Key(key)) => key,
                None => key.to_owned(),
            };
            let flag = Cancel::default();
            let captured = {
                let capture = driver.step_capture(key, self.layers.clone(), &flag);
                tokio::pin!(capture);
                tokio::select! {
                    captured = &mut capture => captured,
                    () = cancel.cancelled() => {
                        flag.cancel();
                        capture.await
                    }
                }
            };
            if cancel.is_cancelled() {
                return Err(fault::cancelled());
            }
            let image = captured.map_err(|error| fault::host(line, &error))?;
            host.images
                .layers_of(&image.digest)
                .map_err(|error| fault::image(&error))
        };
        let ended = ended.await.map_err(|fault| self.named(fault));
        driver.step_remove().await;
        builds.hit(FaultStep::StepRemoved)?;
        ended
    }
}

/// What a step with a source has found out.
enum Found {
    /// It was done before; these are the layers after it.
    Known(Vec<Sha256Digest>),
    /// It is done now; by this it is to be found again.
    Key(String),
}
