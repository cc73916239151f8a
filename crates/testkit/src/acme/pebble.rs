//! Debian's package `pebble`.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// A machine with much to do takes a while.
const PATIENCE: Duration = Duration::from_mins(2);
/// Somebody else may take a port between the choice and the start.
const TRIES: usize = 5;

#[derive(Debug)]
pub struct Pebble {
    folder: tempfile::TempDir,
    port: u16,
    management: u16,
    program: Child,
}

impl Pebble {
    /// It looks for names where `names` says they are, at these ports. With 0 seconds its certificates last for years.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(names: SocketAddr, http: u16, tls: u16, seconds: u64) -> Self {
        for _ in 0..TRIES {
            if let Some(authority) = Self::try_start(names, http, tls, seconds).await {
                return authority;
            }
        }
        panic!("pebble does not start; is the package `pebble` installed?");
    }

    async fn try_start(names: SocketAddr, http: u16, tls: u16, seconds: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("own.pem"), own.cert.pem()).unwrap();
        fs::write(
            folder.path().join("own.key"),
            own.signing_key.serialize_pem(),
        )
        .unwrap();
        let [port, management] = [free_port(), free_port()];
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.path().join("own.pem"),
            "privateKey": folder.path().join("own.key"),
            "httpPort": http,
            "tlsPort": tls,
            "certificateValidityPeriod": seconds,
        }});
        let file = folder.path().join("pebble.json");
        fs::write(&file, config.to_string()).unwrap();
        let mut program = Command::new("pebble")
            .arg("-config")
            .arg(&file)
            .args(["-strict", "-dnsserver", &names.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let end = Instant::now() + PATIENCE;
        for port in [port, management] {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if program.try_wait().unwrap().is_some() || Instant::now() > end {
                    let _ = program.kill();
                    let _ = program.wait();
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Some(Self {
            folder,
            port,
            management,
            program,
        })
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// By what its own server is trusted.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("own.pem")
    }

    /// Where it tells by what its certificates are trusted, as PEM.
    pub fn roots_url(&self) -> String {
        format!("https://localhost:{}/roots/0", self.management)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
