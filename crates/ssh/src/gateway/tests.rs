//! What strangers get: silence, garbage, numbers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicUsize, Ordering};

use alcove_testkit::TestControl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

/// Far more than anything here takes.
const IN_TIME: Duration = Duration::from_mins(1);

struct Bench {
    _kit: TestControl,
    _folder: tempfile::TempDir,
    gateway: Gateway,
    shutdown: CancellationToken,
}

impl Bench {
    async fn open(limits: Limits) -> Self {
        let kit = TestControl::open().await;
        let folder = tempfile::tempdir().unwrap();
        let key = HostKey::ensure(&folder.path().join("key")).unwrap();
        Self {
            gateway: Gateway::new(kit.control.clone(), &key, limits),
            _kit: kit,
            _folder: folder,
            shutdown: CancellationToken::new(),
        }
    }

    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 20);
        let address = SocketAddr::from(([192, 0, 2, 1], 1234));
        self.gateway.take(theirs, address, &self.shutdown);
        ours
    }

    /// Waits until no connection is left.
    async fn drained(&self) {
        self.gateway.shared.tasks.close();
        timeout(IN_TIME, self.gateway.shared.tasks.wait())
            .await
            .unwrap();
    }
}

async fn all(mut stream: DuplexStream) -> Vec<u8> {
    let mut said = Vec::new();
    timeout(IN_TIME, stream.read_to_end(&mut said))
        .await
        .unwrap()
        .unwrap();
    said
}

/// A different number each time, and the same ones in each run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let count = self.below(most);
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// Something that begins like a client and does not go on like one.
    fn garbage(&mut self) -> Vec<u8> {
        let mut bytes = match self.below(4) {
            0 => return self.bytes(2000),
            1 => b"GET / HTTP/1.1\r\n".to_vec(),
            2 => b"SSH-1.5-old\r\n".to_vec(),
            _ => b"SSH-2.0-client\r\n".to_vec(),
        };
        for _ in 0..self.below(4) {
            match self.below(5) {
                0 => bytes.extend(self.bytes(4000)),
                // A packet whose length is anything.
                1 => bytes.extend(self.next().to_be_bytes()),
                2 => bytes.extend([0xff; 64]),
                // A packet that is well formed but for what is in it.
                kind => {
                    let mut payload = self.bytes(300);
                    if kind == 3
                        && let Some(first) = payload.first_mut()
                    {
                        // The beginning of a key exchange.
                        *first = 20;
                    }
                    let padding = 16 - (5 + payload.len()) % 8;
                    let length = u32::try_from(1 + payload.len() + padding).unwrap();
                    bytes.extend(length.to_be_bytes());
                    bytes.push(u8::try_from(padding).unwrap());
                    bytes.extend(payload);
                    bytes.extend(vec![0; padding]);
                }
            }
        }
        bytes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_garbage_before_a_login_does_anything_but_end_its_connection() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));
    let limits = Limits {
        strangers: 1000,
        strangers_per_address: 1000,
        ..Limits::default()
    };
    let bench = Bench::open(limits).await;
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for _ in 0..300 {
        let mut client = bench.connect();
        // A server that has had enough takes no more.
        let _ = client.write_all(&dice.garbage()).await;
        let _ = client.shutdown().await;
        let said = all(client).await;
        assert!(said.starts_with(b"SSH-2.0-Alcove\r\n"), "{said:?}");
    }
    bench.drained().await;
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    // Everything that was counted is free again.
    let counts = &bench.gateway.shared.counts;
    let address = [192, 0, 2, 1].into();
    let again: Vec<_> = (0..1000).map(|_| counts.enter(address).unwrap()).collect();
    assert_eq!(again.len(), 1000);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go_when_its_time_is_up() {
    let limits = Limits {
        login: Duration::from_millis(50),
        ..Limits::default()
    };
    let bench = Bench::open(limits).await;
    let silent = bench.connect();
    let mut halfway = bench.connect();
    halfway.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    assert_eq!(all(silent).await, b"SSH-2.0-Alcove\r\n");
    assert!(all(halfway).await.starts_with(b"SSH-2.0-Alcove\r\n"));
    bench.drained().await;
}

#[tokio::test]
async fn one_too_many_is_told_so_before_any_cryptography() {
    let limits = Limits {
        strangers_per_address: 1,
        ..Limits::default()
    };
    let bench = Bench::open(limits).await;
    let first = bench.connect();
    let said = all(bench.connect()).await;
    let text = String::from_utf8_lossy(&said);
    assert!(text.starts_with("SSH-2.0-Alcove\r\n"), "{text}");
    assert!(
        text.contains("too many SSH connections from your address"),
        "{text}"
    );
    bench.shutdown.cancel();
    drop(first);
    bench.drained().await;
}
