//! A machine of the outside: a network namespace at the other end of a cable, with a web server.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::wait;

/// Where such a machine is. Two that are there at the same time differ in all of it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// What the namespace's name begins with.
    pub name: &'static str,
    /// The host's end of the cable.
    pub interface: &'static str,
    /// The host's address on the cable.
    pub here: &'static str,
    /// The machine's, in the same /30.
    pub there: &'static str,
}

/// Goes with its drop.
#[derive(Debug)]
pub struct Web {
    place: Place,
    namespace: String,
    server: Child,
}

impl Web {
    /// A machine that serves a folder on port 80, programs in `cgi-bin` included. It is there when this returns.
    ///
    /// # Panics
    /// Where `ip` or `busybox` fails.
    pub async fn start(place: Place, folder: &Path) -> Self {
        let Place {
            name,
            interface,
            here,
            there,
        } = place;
        let namespace = format!("{name}-{}", std::process::id());
        // One that was killed leaves it.
        unplug(interface);
        ip(&format!("netns add {namespace}"));
        ip(&format!(
            "link add {interface} type veth peer name wan netns {namespace}"
        ));
        ip(&format!("address add {here}/30 dev {interface}"));
        ip(&format!("link set {interface} up"));
        ip(&format!("-n {namespace} address add {there}/30 dev wan"));
        ip(&format!("-n {namespace} link set wan up"));
        ip(&format!("-n {namespace} route add default via {here}"));
        let server = Command::new("ip")
            .args(["netns", "exec", &namespace])
            .args(["busybox", "httpd", "-f", "-p", "80", "-h"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("busybox runs");
        let web = Self {
            place,
            namespace,
            server,
        };
        wait::until("the web server answers", async || {
            tokio::net::TcpStream::connect((there, 80)).await.map(drop)
        })
        .await;
        web
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        unplug(self.place.interface);
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.namespace])
            .status();
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// With the namespace the cable would go some time later, and the next test wants its name.
fn unplug(interface: &str) {
    let _ = Command::new("ip")
        .args(["link", "delete", interface])
        .stderr(Stdio::null())
        .status();
}
