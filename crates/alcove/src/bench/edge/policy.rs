//! What a create spends on its network: a slot out of the pool, and the policy that stands before the first process.
//!
//! Measured on the code that the runner calls for it, in this process, before there is a server: a whole create takes
//! ten times as long and varies by more than this takes.

use std::time::{Duration, Instant};

use alcove_domain::NetworkPolicy;
use alcove_runner::net::{Ipv4Pool, Network, NetworkConfig};
use alcove_runner_api::NetworkSpec;
use anyhow::{Context, ensure};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::WARM_UP;
use super::super::stats::Summary;

/// More would tell no more, and each takes the kernel some 50 ms to clear away.
pub const ROUNDS_MAX: usize = 100;

/// How many entries a policy may have at most.
const ENTRIES: u8 = 10;

const QUIET_WITHIN: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// By what the policy lets through.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub everything: Option<Summary>,
    pub networks: Option<Summary>,
    pub names: Option<Summary>,
}

pub async fn measure(
    pool: Ipv4Pool,
    rounds: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Policy> {
    let key = format!("bench-{}", std::process::id());
    let mut config = NetworkConfig::for_instance(key.as_bytes(), pool);
    // Nobody is left who could take another's address for an earlier one's.
    config.quarantine = Duration::ZERO;
    let ready = config.ready_slots;
    let network = Network::open(config, &[])
        .await
        .context("cannot set up a network of one's own")?;
    let measured = turns(&network, ready, rounds.min(ROUNDS_MAX), stop).await;
    let closed = network.close().await;
    let measured = measured?;
    closed.context("cannot take the network down")?;
    Ok(measured)
}

async fn turns(
    network: &Network,
    ready: usize,
    rounds: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Policy> {
    let kinds = [
        NetworkPolicy::default(),
        NetworkPolicy {
            allow_networks: (0..ENTRIES)
                .map(|number| format!("203.0.113.{number}/32").parse())
                .collect::<Result<_, _>>()?,
            ..NetworkPolicy::default()
        },
        NetworkPolicy {
            allow_domains: (0..ENTRIES)
                .map(|number| format!("name-{number}.example").parse())
                .collect::<Result<_, _>>()?,
            ..NetworkPolicy::default()
        },
    ];
    let mut samples = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..WARM_UP + rounds {
        for (policy, samples) in kinds.iter().zip(&mut samples) {
            until_quiet(network, ready).await?;
            let spec = NetworkSpec {
                version: 1,
                policy: policy.clone(),
                ..NetworkSpec::default()
            };
            let took = one(network, &spec).await?;
            if round >= WARM_UP {
                samples.push(took);
            }
        }
        if stop.is_cancelled() {
            break;
        }
    }
    let [everything, networks, names] = samples.map(|samples| Summary::of(&samples));
    Ok(Policy {
        everything,
        networks,
        names,
    })
}

async fn one(network: &Network, spec: &NetworkSpec) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let slot = network.take().await.context("there is no slot")?;
    let set = network.set_policy(slot.index, spec).await;
    let took = began.elapsed();
    let index = slot.index;
    // Its namespace is to be held by nobody.
    drop(slot);
    network.release(index);
    set.context("a policy is not taken")?;
    Ok(took)
}

/// Waits until all slots are ready that are made ahead, and none is being cleared away.
async fn until_quiet(network: &Network, ready: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + QUIET_WITHIN;
    loop {
        let counts = network.counts();
        if counts.ready >= ready && counts.departing == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no slots get ready: {counts:?}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
