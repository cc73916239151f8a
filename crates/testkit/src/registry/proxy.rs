//! A way to a registry that breaks: it lets so many bytes of answers through, and then cuts or holds.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug)]
struct Shared {
    /// Bytes of answers that may still pass.
    left: AtomicU64,
    /// Whether a connection is closed when they are used up, or just says no more.
    cuts: AtomicBool,
    /// First lines and ranges of all requests.
    requests: Mutex<Vec<String>>,
    /// A word of a request; with it the answers end.
    hold_at: Mutex<Option<String>>,
    connections: AtomicUsize,
}

/// The proxy. Its threads end with the process.
#[derive(Debug, Clone)]
pub struct CuttingProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl CuttingProxy {
    /// To a registry without TLS on this port. Everything passes at first.
    ///
    /// # Panics
    /// Without a free port.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            left: AtomicU64::new(u64::MAX),
            cuts: AtomicBool::new(true),
            requests: Mutex::default(),
            hold_at: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let proxy = Self {
            address,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || pass(stream, port, &shared));
            }
        });
        proxy
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// After so many bytes of answers, headers included, connections break, new ones too.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cuts.store(true, Ordering::Relaxed);
        self.shared.left.store(bytes, Ordering::Relaxed);
    }

    /// After so many bytes of answers, nothing more comes, and nothing ends.
    pub fn hold_after(&self, bytes: u64) {
        self.shared.cuts.store(false, Ordering::Relaxed);
        self.shared.left.store(bytes, Ordering::Relaxed);
    }

    /// From the next request with this word in its first line on, nothing is answered, and nothing ends. Who is known
    /// to have asked so is known to wait.
    pub fn hold_at(&self, word: &str) {
        let hold_at = self.shared.hold_at.lock();
        *hold_at.unwrap_or_else(PoisonError::into_inner) = Some(word.to_owned());
    }

    /// Everything passes from now on, what was held too.
    pub fn mend(&self) {
        self.shared.left.store(u64::MAX, Ordering::Relaxed);
    }

    /// Whether all that may pass has passed.
    pub fn is_used_up(&self) -> bool {
        self.shared.left.load(Ordering::Relaxed) == 0
    }

    /// First lines of requests, each with its range where it has one.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the blob was asked for, in part or whole.
    pub fn requests_for(&self, digest: &str) -> Vec<String> {
        let all = self.requests().into_iter();
        all.filter(|request| request.contains(digest)).collect()
    }
}

fn pass(client: TcpStream, port: u16, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
        return;
    };
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let asked = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(count) = from_client.read(&mut buffer)
            && count > 0
        {
            note(&asked, &buffer[..count]);
            if to_server.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut server, mut client) = (server, client);
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = server.read(&mut buffer)
        && count > 0
    {
        if !let_through(&buffer[..count], &mut client, shared) {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// False when the connection is to be cut.
fn let_through(mut bytes: &[u8], client: &mut TcpStream, shared: &Shared) -> bool {
    while !bytes.is_empty() {
        let left = shared.left.load(Ordering::Relaxed);
        if left == 0 {
            if shared.cuts.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if client.write_all(&bytes[..most]).is_err() {
            return false;
        }
        if left != u64::MAX {
            let taken = shared.left.fetch_sub(most as u64, Ordering::Relaxed);
            // Mended in between: that is not a number to count from.
            if taken == u64::MAX {
                shared.left.store(u64::MAX, Ordering::Relaxed);
            }
        }
        bytes = &bytes[most..];
    }
    true
}

/// Clients send a request without a body in one piece.
fn note(shared: &Shared, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let Some(first) = lines.next().filter(|line| line.contains(" HTTP/1.1")) else {
        return;
    };
    let mut hold_at = shared
        .hold_at
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if hold_at.as_ref().is_some_and(|word| first.contains(word)) {
        *hold_at = None;
        shared.cuts.store(false, Ordering::Relaxed);
        shared.left.store(0, Ordering::Relaxed);
    }
    drop(hold_at);
    let range = lines.find(|line| line.to_ascii_lowercase().starts_with("range:"));
    let request = format!("{first} {}", range.unwrap_or_default());
    let requests = shared.requests.lock();
    requests
        .unwrap_or_else(PoisonError::into_inner)
        .push(request.trim_end().to_owned());
}
