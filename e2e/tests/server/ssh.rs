//! OpenSSH's own programs against the gateway, into real sandboxes.

mod ends;
mod files;
mod forwards;
mod keys;
mod programs;
mod refused;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use alcove_e2e::server::TestServer;
use http::StatusCode;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::support::{make, within};

const IN_TIME: Duration = Duration::from_mins(1);

/// A way into a sandbox.
struct Access {
    folder: TempDir,
    token: String,
    port: u16,
}

/// Makes a sandbox called `box`, and a token for it.
async fn start() -> (TestServer, Access) {
    let server = TestServer::start().await;
    make(&server.client(), "box").await;
    let access = grant(&server, "").await;
    (server, access)
}

async fn grant(server: &TestServer, query: &str) -> Access {
    let path = format!("/api/sandbox/box/ssh-access{query}");
    let answer = server.raw().ask("POST", &path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let access = answer.json();
    let token = access["token"].as_str().unwrap().to_owned();
    let command = access["sshCommand"].as_str().unwrap();
    let words: Vec<_> = command.split(' ').collect();
    let ["ssh", "-p", port, login] = words[..] else {
        panic!("{command}");
    };
    assert_eq!(login, format!("{token}@127.0.0.1"));
    Access {
        folder: tempfile::tempdir().unwrap(),
        token,
        port: port.parse().unwrap(),
    }
}

impl Access {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Nothing of the machine's own configuration, and no question to anybody.
    fn options(&self) -> Vec<String> {
        let known = self.path("known_hosts").display().to_string();
        let options = [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            format!("UserKnownHostsFile={known}"),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "IdentityFile=/dev/null".to_owned(),
            "IdentityAgent=none".to_owned(),
            format!("Port={}", self.port),
        ];
        let options = options
            .into_iter()
            .flat_map(|option| ["-o".to_owned(), option]);
        ["-F", "/dev/null"]
            .map(str::to_owned)
            .into_iter()
            .chain(options)
            .collect()
    }

    fn login(&self) -> String {
        format!("{}@127.0.0.1", self.token)
    }

    fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(self.options())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn ssh<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.program("ssh");
        command.arg(self.login()).args(arguments);
        command
    }

    /// `ssh` with options in front of the login.
    fn ssh_with(&self, options: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.program("ssh");
        command.args(options).arg(self.login()).args(arguments);
        command
    }
}

async fn output(mut command: Command) -> Output {
    let output = within("a program to end", IN_TIME, command.output()).await;
    output.unwrap()
}

/// Runs it with so much input.
async fn output_of(mut command: Command, input: Vec<u8>) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let write = async move {
        // A program that has ended takes no more.
        let _ = stdin.write_all(&input).await;
    };
    let both = async { tokio::join!(write, child.wait_with_output()).1 };
    within("a program to end", IN_TIME, both).await.unwrap()
}

async fn ended(child: Child) -> Output {
    within("a program to end", IN_TIME, child.wait_with_output())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program printed that must have succeeded.
async fn said(command: Command) -> String {
    let output = output(command).await;
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Bytes that do not compress and are the same each time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
