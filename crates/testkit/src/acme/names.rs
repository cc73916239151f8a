//! A name server: each name has the address of this machine, and TXT records are files that a program writes.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const A: u16 = 1;
const TXT: u16 = 16;

#[derive(Debug)]
pub struct Names {
    address: SocketAddr,
    state: Arc<State>,
    server: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    /// A file for each value, as NAME=VALUE.
    zone: tempfile::TempDir,
    most: AtomicUsize,
    is_forgetful: AtomicBool,
    ends: AtomicBool,
}

impl Names {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(State {
            zone: tempfile::tempdir().unwrap(),
            most: AtomicUsize::new(0),
            is_forgetful: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        let server = std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !serving.ends.load(Ordering::SeqCst) {
                if let Ok((length, peer)) = socket.recv_from(&mut packet)
                    && let Some(answer) = serving.answer(&packet[..length])
                {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self {
            address,
            state,
            server: Some(server),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A program that changes the zone, and does this after.
    pub fn hook(&self, folder: &Path, then: &str) -> PathBuf {
        let path = folder.join("hook");
        let zone = self.state.zone.path().display();
        let text = format!(
            "#!/bin/sh\ncase $1 in add) : > \"{zone}/$2=$3\" ;; remove) rm -f \"{zone}/$2=$3\" ;; esac\n{then}\n"
        );
        // Written by a program that has ended: one that this process had open for writing could not be started while a child
        // of another test still holds it.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > hook && chmod 755 hook"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = writer.stdin.take().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        drop(input);
        assert!(writer.wait().unwrap().success());
        path
    }

    pub fn is_empty(&self) -> bool {
        self.state.values(None).is_empty()
    }

    /// The most values of one name that were ever said at once.
    pub fn most_values(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }

    /// Whether it says nothing of what is in the zone.
    pub fn forget_all_that_is_added(&self, is_forgetful: bool) {
        self.state
            .is_forgetful
            .store(is_forgetful, Ordering::SeqCst);
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::SeqCst);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl State {
    fn values(&self, of: Option<&str>) -> Vec<String> {
        let files = fs::read_dir(self.zone.path()).unwrap();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        files
            .filter_map(|file| {
                let (name, value) = file.split_once('=')?;
                of.is_none_or(|of| of == name).then(|| value.to_owned())
            })
            .collect()
    }

    /// To one question, as a query of a resolver has it.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = query.get(at..at + length)?;
            labels.push(String::from_utf8(label.to_vec()).ok()?.to_ascii_lowercase());
            at += length;
        }
        let question = query.get(12..at + 4)?;
        let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
        let mut records = Vec::new();
        match kind {
            A => records.push(Ipv4Addr::LOCALHOST.octets().to_vec()),
            TXT if !self.is_forgetful.load(Ordering::SeqCst) => {
                for value in self.values(Some(&labels.join("."))) {
                    let mut text = vec![u8::try_from(value.len()).ok()?];
                    text.extend(value.bytes());
                    records.push(text);
                }
                self.most.fetch_max(records.len(), Ordering::SeqCst);
            }
            _ => {}
        }
        let mut answer = query.get(..2)?.to_vec();
        // An answer with authority, and no error.
        answer.extend([0x84, 0x00, 0, 1]);
        answer.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(question);
        for data in records {
            // Of the name that was asked for, class IN, to be kept for no time.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0]);
            answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}
