//! nginx as reverse proxy before the same backend, where it is installed.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

use super::way::Way;

const START_LIMIT: Duration = Duration::from_secs(10);
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Ends with its drop, and its folder with it.
pub struct Nginx {
    pub way: Way,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// None where there is no nginx.
    pub async fn start(backend: &Way) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::tempdir().context("cannot make a folder for nginx")?;
        // Given back at once, and taken again by nginx.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(address, backend.address))
            .context("cannot write nginx's configuration")?;
        let started = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&config)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("cannot start nginx"),
        };
        let way = Way::direct(address);
        let deadline = Instant::now() + START_LIMIT;
        while way.connect().await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("nginx ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("nginx does not listen");
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(Some(Self {
            way,
            _child: child,
            _folder: folder,
        }))
    }
}

/// One process, which ends by a kill as a whole, with as many connections to the backend kept as our pool keeps.
fn configuration(listen: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "daemon off; master_process off; worker_processes 1; pid nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           access_log off; keepalive_requests 100000000; client_body_temp_path body; proxy_temp_path proxy;\n\
           fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           upstream backend {{ server {backend}; keepalive 64; keepalive_requests 100000000; }}\n\
           server {{ listen {listen}; location / {{ proxy_pass http://backend; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host; }} }}\n\
         }}\n"
    )
}
