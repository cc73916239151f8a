//! `alcove bench idle`: what an idle sandbox costs in memory, all told.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use alcove_api_types::daytona::Sandbox;
use alcove_runner::limits::Limits;
use alcove_runner::{Programs, RunnerConfig};
use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::own_server::{OwnServer, Place};
use super::proc::{HostMemory, ProcessMemory};
use super::{Printed, Surroundings, crowd, interrupted, rest, table};

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Starts a server of its own on a temporary data folder, lets its pools fill, makes \
    sandboxes, lets them settle, and compares the books before and after.\n\n\
    The sum per sandbox (`all told`) is made of\n  \
    charged: what the kernel charges to the sandboxes' memory control groups: the agent, its kernel memory, and \
    files it read first;\n  \
    kernel: growth of unreclaimable slab, kernel stacks, page tables and per-processor areas of the whole host: \
    mounts, namespaces, interfaces, loop devices;\n  \
    server, spawner: growth of their private pages.\n\
    What is charged and also kernel memory is in the sum twice, so that it errs upwards. The pools hold as much \
    before as after.\n\n\
    `host` is the difference of MemAvailable, which counts everything and therefore also the work of others: \
    trust it only on a quiet machine, and only where making and deleting move it by the same amount."
)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Sandboxes that idle.
    #[arg(long, short = 'n', default_value_t = 50)]
    sandboxes: usize,
    /// Seconds for everything to come to rest, before each look at the books.
    #[arg(long, default_value_t = 5)]
    settle_s: u64,
    #[command(flatten)]
    printed: Printed,
}

/// One look at the books, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Books {
    charged: u64,
    kernel: u64,
    server: u64,
    spawner: u64,
    available: u64,
}

/// Shares of one sandbox, in MiB. What shrank meanwhile counts as nothing, but for the host's, which others move too: a
/// share below zero says that they did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Share {
    charged: f64,
    kernel: f64,
    server: f64,
    spawner: f64,
    all_told: f64,
    host_making: f64,
    host_deleting: f64,
}

impl Share {
    fn of(empty: &Books, full: &Books, emptied: &Books, sandboxes: u32) -> Self {
        let each = |bytes: u64| table::bytes_in_mib(bytes) / f64::from(sandboxes);
        let grown = |of: fn(&Books) -> u64| each(of(full).saturating_sub(of(empty)));
        let charged = grown(|b| b.charged);
        let kernel = grown(|b| b.kernel);
        let server = grown(|b| b.server);
        let spawner = grown(|b| b.spawner);
        let less = |than: &Books| each(than.available) - each(full.available);
        Self {
            charged,
            kernel,
            server,
            spawner,
            all_told: charged + kernel + server + spawner,
            host_making: less(empty),
            host_deleting: less(emptied),
        }
    }
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let sandboxes = u32::try_from(arguments.sandboxes)
        .ok()
        .filter(|count| *count > 0)
        .context("--sandboxes must be a number from 1")?;
    let stop = interrupted()?;
    let host = Surroundings::now();
    let server = OwnServer::start(&arguments.place).await?;
    let measured = measure(&server, &arguments, &stop).await;
    let measured = server.close_after(measured).await?;
    let Some([empty, full, emptied]) = measured else {
        return Ok(super::exit_code(&stop));
    };
    let share = Share::of(&empty, &full, &emptied, sandboxes);
    let parameters = serde_json::json!({ "sandboxes": sandboxes });
    let found = serde_json::json!({
        "mibPerSandbox": share,
        "bytes": { "empty": empty, "full": full, "emptied": emptied },
    });
    super::print(
        "idle",
        arguments.printed,
        &host,
        &stop,
        (parameters, found),
        || {
            let row = |name, mib: f64| (name, format!("{mib:>6.2} MiB"));
            let facts = table::facts(&[
                row("  charged to its control group", share.charged),
                row("  kernel", share.kernel),
                row("  server", share.server),
                row("  spawner", share.spawner),
                row("all told", share.all_told),
                row("host, by making them", share.host_making),
                row("host, by deleting them", share.host_deleting),
                row(
                    "the server itself, empty, private",
                    table::bytes_in_mib(empty.server),
                ),
            ]);
            format!("each of {sandboxes} idle sandboxes:\n{facts}")
        },
    )
}

/// The books of the server empty, with all sandboxes, and empty again. `None` where it was stopped before.
async fn measure(
    server: &OwnServer,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Option<[Books; 3]>> {
    let client = server.client()?;
    let limits = limits_of(&server.data_dir()?, &arguments.place)?;
    let settle = Duration::from_secs(arguments.settle_s);
    // One has been there before: what only the first one costs is not a sandbox's share.
    drop(crowd::make(&client, 1, stop).await?);
    super::target::delete_all(&client, std::collections::BTreeMap::new()).await?;
    rest(settle, stop).await;
    let empty = read(server, &limits, &[])?;
    let sandboxes = crowd::make(&client, arguments.sandboxes, stop).await?;
    if stop.is_cancelled() {
        return Ok(None);
    }
    rest(settle, stop).await;
    let full = read(server, &limits, &sandboxes)?;
    super::target::delete_all(&client, std::collections::BTreeMap::new()).await?;
    rest(settle, stop).await;
    let emptied = read(server, &limits, &[])?;
    Ok((!stop.is_cancelled()).then_some([empty, full, emptied]))
}

/// The control groups that a server on this folder uses.
fn limits_of(data_dir: &Path, place: &Place) -> anyhow::Result<Limits> {
    let key = data_dir.as_os_str().as_encoded_bytes();
    let config = RunnerConfig::new(data_dir, key, place.network_pool, Programs::default());
    Limits::open(&config.cgroup_parent).context("cannot read the control groups")
}

fn read(server: &OwnServer, limits: &Limits, sandboxes: &[Sandbox]) -> anyhow::Result<Books> {
    let mut charged = 0;
    for sandbox in sandboxes {
        let id = sandbox.id.parse()?;
        charged += limits
            .group(&id)
            .memory_bytes()
            .with_context(|| format!("sandbox {id} has no control group"))?;
    }
    let pid = server.pid().context("the server does not run")?;
    let private = |pid| ProcessMemory::read(pid).map(|memory| memory.private_bytes);
    let host = HostMemory::read().context("cannot read the host's memory")?;
    Ok(Books {
        charged,
        kernel: host.kernel_bytes,
        server: private(pid).context("cannot read the server's memory")?,
        spawner: super::proc::child_named(pid, "alcove-spawner")
            .and_then(private)
            .context("cannot read the spawner's memory")?,
        available: host.available_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sandbox_bears_its_share_of_what_grew_and_nothing_of_what_shrank() {
        let books = |mib: [u64; 5]| {
            let [charged, kernel, server, spawner, available] = mib.map(|mib| mib << 20);
            Books {
                charged,
                kernel,
                server,
                spawner,
                available,
            }
        };
        let empty = books([0, 100, 20, 3, 1000]);
        let full = books([40, 120, 30, 2, 900]);
        // Others took memory while the sandboxes were deleted.
        let emptied = books([0, 100, 25, 2, 880]);
        let share = Share::of(&empty, &full, &emptied, 10);
        let expected = Share {
            charged: 4.0,
            kernel: 2.0,
            server: 1.0,
            spawner: 0.0,
            all_told: 7.0,
            host_making: 10.0,
            host_deleting: -2.0,
        };
        assert_eq!(share, expected);
    }
}
