//! The process that does one operation.
//!
//! It reads one line from its standard input, answers on its standard output, and ends. The input stays open as long
//! as somebody waits for the answer: its end means that nobody does.

use std::io::{BufRead, BufReader, Read};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alcove_agent_api::GitOrder;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::answer::Output;
use crate::credentials::Secrets;
use crate::libgit2;
use crate::{Fault, branches, clone, commit, config, credentials, download, push, remotes};
use crate::{reset, restore, stage, status, sync};

/// Memory of its own that the process may have. Packs are mapped in windows and do not count.
const MAX_MEMORY: u64 = 768 << 20;

/// Whether the one who asked has left.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs the program to its end.
pub fn main() -> ExitCode {
    // Before the secrets are here: what is debugged by another process of the user must not hold them.
    if rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        return ExitCode::FAILURE;
    }
    let limit = Rlimit {
        current: Some(MAX_MEMORY),
        maximum: Some(MAX_MEMORY),
    };
    // Without it the sandbox's own limit holds.
    let _ = rustix::process::setrlimit(Resource::Data, limit);
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);

    let mut input = BufReader::new(std::io::stdin());
    let mut line = Vec::new();
    let order = input
        .read_until(b'\n', &mut line)
        .ok()
        .and_then(|_| serde_json::from_slice::<GitOrder>(&line).ok());
    let Some(order) = order else {
        return ExitCode::FAILURE;
    };
    let cancel = Cancel::default();
    let watched = cancel.clone();
    let watch = move || {
        let mut rest = Vec::new();
        let _ = input.read_to_end(&mut rest);
        watched.0.store(true, Ordering::Relaxed);
    };
    if std::thread::Builder::new().spawn(watch).is_err() {
        return ExitCode::FAILURE;
    }

    let secrets = Secrets::of(&order);
    let mut output = Output::new();
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
        libgit2::configure()?;
        carry_out(&order, &mut output, &cancel)
    }));
    let outcome = done.unwrap_or_else(|_| Err(Fault::internal("the operation failed")));
    let outcome = outcome.map_err(|fault| Fault {
        message: secrets.redact(fault.message),
        ..fault
    });
    if output.finish(outcome) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn carry_out(order: &GitOrder, output: &mut Output, cancel: &Cancel) -> Result<(), Fault> {
    match order {
        GitOrder::Clone(order) => clone::clone(order, output, cancel),
        GitOrder::Status { path, is_strict } => output.json(&status::status(path, *is_strict)?),
        GitOrder::Branches { path, is_strict } => output.json(&branches::list(path, *is_strict)?),
        GitOrder::CreateBranch(order) => branches::create(&order.path, &order.name),
        GitOrder::DeleteBranch(order) => branches::delete(&order.path, &order.name),
        GitOrder::Checkout(order) => branches::check_out(&order.path, &order.branch),
        GitOrder::Add(order) => stage::add(order),
        GitOrder::Commit(order) => output.json(&commit::commit(order)?),
        GitOrder::History { path } => commit::history(path, output),
        GitOrder::Push(order) => push::push(order, cancel),
        GitOrder::Pull(order) => sync::pull(order, cancel),
        GitOrder::Init(order) => clone::init(order),
        GitOrder::Reset(order) => reset::reset(order),
        GitOrder::Restore(order) => restore::restore(order),
        GitOrder::Remotes { path } => output.json(&remotes::list(path)?),
        GitOrder::AddRemote(order) => remotes::add(order, cancel),
        GitOrder::GetConfig { key, scope, path } => {
            output.json(&config::get(key, *scope, path.as_ref())?)
        }
        GitOrder::SetConfig(order) => config::set(order),
        GitOrder::ConfigureUser(order) => config::configure_user(order),
        GitOrder::Authenticate(order) => credentials::store(order),
        GitOrder::Download { address, path } => download::download(address, path, cancel),
    }
}
