//! A machine of the outside for the gate: a network namespace at the end of a cable, and a name server that knows it.
//!
//! The namespace is that of a program which ends with this one, however that ends; the cable goes with the namespace.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::network::Network;

/// Both ends of the cable, of a network for documents.
const HERE: &str = "198.51.100.77";
const THERE: &str = "198.51.100.78";
const PREFIX: &str = "/30";

/// The kernel looks at changes of links up to a second later and drops what is sent before.
const REACHED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_PAUSE: Duration = Duration::from_millis(20);

static PIECE: [u8; 64 << 10] = [b'z'; 64 << 10];

/// Ends with its drop.
pub struct Outside {
    pub address: SocketAddr,
    interface: String,
    holder: Child,
    serving: JoinSet<()>,
}

impl Outside {
    /// None where a program is missing that this takes.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let is_there = |name: &str| {
            let version = Command::new(name)
                .arg("-V")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            version.is_ok()
        };
        if !["unshare", "nsenter", "ip"].into_iter().all(is_there) {
            return Ok(None);
        }
        let outside = Self::new()?;
        outside.lay_cable()?;
        let network = Network::of(outside.holder.id())?;
        let address = outside.address;
        let listener = network.within(move || {
            let listener = TcpListener::bind(address).context("cannot listen out there")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        let mut outside = outside;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        outside.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Whoever asked hears of a failure.
                connections.spawn(async move { drop(answer(stream).await) });
                while connections.try_join_next().is_some() {}
            }
        });
        outside.until_reached().await?;
        Ok(Some(outside))
    }

    /// The namespace, with nothing in it.
    fn new() -> anyhow::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is ours to handle: measures end before their networks do.
            .process_group(0)
            .spawn()
            .context("cannot start unshare")?;
        let (asks, answers) = (holder.stdin.take(), holder.stdout.take());
        let mut outside = Self {
            address: SocketAddr::from((THERE.parse::<Ipv4Addr>()?, 443)),
            interface: format!("alcb{}", std::process::id()),
            holder,
            serving: JoinSet::new(),
        };
        let (Some(mut asks), Some(mut answers)) = (asks, answers) else {
            bail!("the program that holds a network has no pipes");
        };
        // Once it answers, it is in there.
        let mut echo = [0];
        asks.write_all(b"\n")
            .and_then(|()| answers.read_exact(&mut echo))
            .context("cannot make a network namespace; that takes root")?;
        // It ends with its input.
        outside.holder.stdin = Some(asks);
        Ok(outside)
    }

    fn lay_cable(&self) -> anyhow::Result<()> {
        let (interface, holder) = (&self.interface, self.holder.id());
        let inside = format!("--net=/proc/{holder}/ns/net");
        run(&format!(
            "ip link add {interface} type veth peer name wan netns {holder}"
        ))?;
        run(&format!("ip address add {HERE}{PREFIX} dev {interface}"))?;
        run(&format!("ip link set {interface} up"))?;
        run(&format!(
            "nsenter {inside} ip address add {THERE}{PREFIX} dev wan"
        ))?;
        run(&format!("nsenter {inside} ip link set wan up"))?;
        run(&format!("nsenter {inside} ip route add default via {HERE}"))
    }

    async fn until_reached(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + REACHED_WITHIN;
        loop {
            let connecting = TcpStream::connect(self.address);
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), connecting).await {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the machine at {} is not reached",
                self.address
            );
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // With the namespace it would go some time later, and whoever measures next has the same addresses.
        let _ = Command::new("ip")
            .args(["link", "delete", &self.interface])
            .stderr(Stdio::null())
            .status();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run(words: &str) -> anyhow::Result<()> {
    let mut split = words.split(' ');
    let program = split.next().unwrap_or_default();
    let output = Command::new(program)
        .args(split)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(
        output.status.success(),
        "`{words}`: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Reads the first words of TLS and how many bytes are wanted, and sends as many. Nothing is encrypted: the gate looks at
/// the first words alone, and what it costs is not to be hidden by what encryption costs.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut record).await?;
    let mut left = stream.read_u64().await?;
    while left > 0 {
        let next = usize::try_from(left)
            .unwrap_or(PIECE.len())
            .min(PIECE.len());
        stream.write_all(&PIECE[..next]).await?;
        left -= next as u64;
    }
    stream.shutdown().await
}

/// A name server on the loopback for which every name has one address. Ends with its drop.
pub struct Names {
    pub address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Names {
    pub async fn start() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")
            .await
            .context("cannot listen for questions about names")?;
        let address = socket.local_addr()?;
        let there: Ipv4Addr = THERE.parse()?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                if let Some(answer) = named(&question[..length], there) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Self {
            address,
            _serving: serving,
        })
    }
}

/// Asks for the IPv4 addresses of a name.
pub fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x5a, 0x5a, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The answer that the name in a question has this address, for an hour. None where it is no question.
fn named(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let rest = question.get(12..)?;
    let mut end = 0;
    while let length @ 1.. = *rest.get(end)? {
        end += usize::from(length) + 1;
    }
    // The root label, type and class.
    let asked = rest.get(..end + 5)?;
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(asked);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
    answer.extend(address.octets());
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_with_the_address_and_anything_else_is_not() {
        let asked = question("gate.example");
        let answer = named(&asked, Ipv4Addr::new(192, 0, 2, 7)).unwrap_or_default();
        assert_eq!(answer[..2], asked[..2]);
        assert_eq!(answer[12..asked.len()], asked[12..]);
        assert!(answer.ends_with(&[192, 0, 2, 7]));
        for cut in 0..asked.len() {
            assert_eq!(named(&asked[..cut], Ipv4Addr::LOCALHOST), None, "{cut}");
        }
    }
}
