//! One step: known already, or done in a sandbox of its own.

use std::collections::BTreeMap;

use alcove_agent_api::{BuildCopyRequest, BuildInlineFile, BuildRunRequest};
use alcove_build::{Action, Copy, MountKind, Run, Source, Step, StepKey};
use alcove_domain::SandboxId;
use alcove_runner_api::{Build, BuildFault, DiskOrigin, Resources, SandboxSpec};
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, AgentError};
use super::log::LogWriter;
use super::run::{compose, name_of};
use super::{Builds, SANDBOX_PREFIX, fault};
use crate::cancel::Cancel;
use crate::driver::Driver;
use crate::image::{BUILD_PREFIX, ImageConfig, Sha256Digest};
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
        let digest = self.order.images.get(name);
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
        fault::step(self.step.line, &error.to_string())
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
        let mut mounts = Vec::new();
        for mount in &run.mounts {
            let tree = match &mount.kind {
                MountKind::Bind { source, path } => ExtraTree::Layers {
                    layers: self.folders(&self.steps.layers_of_source(source)?),
                    path: path.clone(),
                },
                MountKind::Cache {
                    mode,
                    uid,
                    gid,
                    is_read_only,
                    ..
                } => ExtraTree::OnDisk {
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
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
        let user = if run.user.is_empty() { ROOT } else { &run.user };
        let request = BuildRunRequest {
            argv: run.argv.clone(),
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
        self.in_sandbox(&key, user, run.env.clone(), extras, async |agent| {
            let end = agent
                .run(&request, log)
                .await
                .map_err(|error| self.fault(&error))?;
            match (end.exit_code, end.reason) {
                (0, None) => Ok(None),
                (_, Some(reason)) => Err(fault::step(self.step.line, &reason)),
                (code, None) => {
                    let reason = format!("the command returned the exit code {code}");
                    Err(fault::step(self.step.line, &reason))
                }
            }
        })
        .await
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
                    layers: self.folders(&layers),
                    path: "/".to_owned(),
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
            is_dry: true,
        };
        let extras = Extras {
            is_build: true,
            mounts,
            ..Extras::default()
        };
        self.in_sandbox("", ROOT, BTreeMap::new(), extras, async |agent| {
            let digest = agent
                .copy(&request)
                .await
                .map_err(|error| self.fault(&error))?;
            let key = self.key(&[digest]);
            if let Some(layers) = self.known(&key)? {
                return Ok(Some(Found::Known(layers)));
            }
            let wet = BuildCopyRequest {
                is_dry: false,
                ..request.clone()
            };
            agent.copy(&wet).await.map_err(|error| self.fault(&error))?;
            Ok(Some(Found::Key(key)))
        })
        .await
    }

    fn folders(&self, layers: &[Sha256Digest]) -> Vec<std::path::PathBuf> {
        let images = &self.steps.builds.host.images;
        layers
            .iter()
            .map(|layer| images.folder_of(*layer))
            .collect()
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
        };
        let line = self.step.line;
        let mut driver = Driver::absent(host.clone(), sandbox.clone());
        let ended = async {
            let token = driver
                .step_start(&spec, extras)
                .await
                .map_err(|error| fault::host(line, &error))?;
            let agent = Agent {
                sockets: &host.sockets,
                sandbox: sandbox.as_str(),
                token: &token,
            };
            let found = tokio::select! {
                found = work(&agent) => found?,
                () = cancel.cancelled() => return Err(fault::cancelled()),
            };
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
        let ended = ended.await;
        driver.step_remove().await;
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
