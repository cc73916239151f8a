//! The gate for names: connections of a sandbox with a list of names, against those of one that may reach everything.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alcove_runner::net::Ipv4Pool;
use anyhow::{Context, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::WARM_UP;
use super::super::stats::Summary;
use super::TURNS;
use super::network::Network;
use super::outside::{Outside, question};
use super::report::Speeds;
use crate::bench::table::bytes_in_mib;

/// The one name that the list has.
pub const NAME: &str = "gate.example";
const OTHER_NAME: &str = "other.example";

/// The first byte of a TLS record with an alert.
const TLS_ALERT: u8 = 21;

/// Silence after which a connection has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of one question about a name, and how often it is asked.
const NAME_PATIENCE: Duration = Duration::from_secs(2);
const NAME_TRIES: usize = 5;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// From the connect to the first byte of the answer, through the gate.
    pub through: Option<Summary>,
    pub straight: Option<Summary>,
    pub speed: Option<Speeds>,
}

/// Where the two sandboxes are, and how much is measured.
pub struct Plan {
    /// Of the sandbox with the list.
    pub listed: Network,
    pub open: Network,
    pub pool: Ipv4Pool,
    pub rounds: usize,
    pub bytes: u64,
}

pub async fn measure(
    plan: Plan,
    outside: &Outside,
    stop: &CancellationToken,
) -> anyhow::Result<Gate> {
    let (address, stop) = (outside.address, stop.clone());
    // A thread that ends with it: it goes from one network to the other, and would be of no use in a pool.
    let (done, waits) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nobody waits where this was broken off.
        let _ = done.send(turns(&plan, address, &stop));
    });
    waits
        .await
        .context("the thread that measures the gate has panicked")?
}

fn turns(plan: &Plan, address: SocketAddr, stop: &CancellationToken) -> anyhow::Result<Gate> {
    let hello = hello_to(NAME)?;
    plan.listed.enter()?;
    look_up(plan.pool.gateway(), address)?;
    // The control: it is the gate that is gone through.
    let first = Call::begin(address, &hello_to(OTHER_NAME)?, 1)?.first()?;
    ensure!(
        first == TLS_ALERT,
        "a name that is not listed is not refused"
    );
    let ways = [&plan.listed, &plan.open];
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..WARM_UP + plan.rounds {
        for (network, samples) in ways.iter().zip(&mut samples) {
            network.enter()?;
            let call = Call::begin(address, &hello, 1)?;
            let began = call.began;
            ensure!(
                call.first()? != TLS_ALERT,
                "the name that is listed is refused"
            );
            if round >= WARM_UP {
                samples.push(began.elapsed());
            }
        }
        if stop.is_cancelled() {
            break;
        }
    }
    let [through, straight] = samples.map(|samples| Summary::of(&samples));
    let mut speeds = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        if stop.is_cancelled() {
            break;
        }
        for (network, speeds) in ways.iter().zip(&mut speeds) {
            network.enter()?;
            let call = Call::begin(address, &hello, plan.bytes)?;
            let began = call.began;
            call.all(plan.bytes)?;
            speeds.push(bytes_in_mib(plan.bytes) / began.elapsed().as_secs_f64());
        }
    }
    let [proxied, direct] = speeds.map(super::median);
    Ok(Gate {
        through,
        straight,
        speed: proxied
            .zip(direct)
            .map(|(proxied, direct)| Speeds { proxied, direct }),
    })
}

/// A connection that has said for whom it is and how many bytes it wants.
struct Call {
    stream: TcpStream,
    began: Instant,
}

impl Call {
    fn begin(address: SocketAddr, hello: &[u8], bytes: u64) -> anyhow::Result<Self> {
        let said = [hello, &bytes.to_be_bytes()].concat();
        let began = Instant::now();
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&said)?;
        Ok(Self { stream, began })
    }

    fn first(mut self) -> anyhow::Result<u8> {
        let mut first = [0];
        self.stream
            .read_exact(&mut first)
            .context("a connection to the outside was cut")?;
        Ok(first[0])
    }

    fn all(mut self, bytes: u64) -> anyhow::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut received = 0;
        loop {
            match self.stream.read(&mut buffer)? {
                0 => return super::backend::ensure_whole(received, bytes),
                count => received += count as u64,
            }
        }
    }
}

/// Opens the address for the name, as a program does that looks the name up.
fn look_up(resolver: Ipv4Addr, address: SocketAddr) -> anyhow::Result<()> {
    let SocketAddr::V4(address) = address else {
        bail!("sandboxes have IPv4 alone");
    };
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((resolver, 53))?;
    socket.set_read_timeout(Some(NAME_PATIENCE))?;
    let mut answer = [0; 512];
    for _ in 0..NAME_TRIES {
        socket.send(&question(NAME))?;
        let Ok(length) = socket.recv(&mut answer) else {
            continue;
        };
        let octets = address.ip().octets();
        ensure!(
            answer[..length].windows(4).any(|window| window == octets),
            "the sandbox's name server does not name {}",
            address.ip()
        );
        return Ok(());
    }
    bail!("the sandbox's name server does not answer")
}

/// The first words of a TLS client.
fn hello_to(name: &str) -> anyhow::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned())?;
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_are_one_record_with_the_name_in_it() -> anyhow::Result<()> {
        let hello = hello_to(NAME)?;
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        assert_eq!((hello[0], hello.len()), (22, 5 + length));
        assert!(
            hello
                .windows(NAME.len())
                .any(|part| part == NAME.as_bytes())
        );
        Ok(())
    }
}
