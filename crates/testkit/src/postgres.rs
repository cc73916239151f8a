//! A PostgreSQL server for one test process.
//!
//! It is Debian's, runs on a temporary folder as an unprivileged user, listens on a socket in that folder only, and
//! ends with the process that started it, however that ends. A machine without it fails the tests that want it:
//! `scripts/setup.sh` installs it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Debian keeps each version's programs in a folder of its own, out of the way of the search path.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// `nobody`, whom every system knows: the server refuses to run as root.
const NOBODY: u32 = 65_534;
const START_DEADLINE: Duration = Duration::from_mins(1);

/// Makes a cluster, serves it until the standard input ends, and removes it. Nothing needs to survive, so nothing
/// is synced to the disk.
const SCRIPT: &str = r#"
set -e
"$1/initdb" --pgdata="$2/data" --username=alcove --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$2/log"
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=300 >>"$2/log" 2>&1 &
server=$!
read -r _ || true
kill -QUIT $server
wait $server || true
rm -rf "$2"
"#;

/// The server of this process.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    databases: AtomicU32,
    /// Serves until its standard input is closed, which the end of this process does.
    shell: Child,
}

impl Postgres {
    /// The URL of a new, empty database. Blocks: the first call starts the server.
    pub fn new_database() -> String {
        Self::make(None)
    }

    /// The URL of a new database that is like the one of `url`, to which nobody may be connected.
    pub fn copy_of(url: &str) -> String {
        let name = url.rsplit('/').next().expect("a name");
        Self::make(Some(name))
    }

    fn make(template: Option<&str>) -> String {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        let server = SERVER.get_or_init(Self::start);
        let number = server.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let mut command = server.client("createdb");
        if let Some(template) = template {
            // Files as they are: the other way goes through the log, page by page.
            command.args(["--template", template, "--strategy", "file_copy"]);
        }
        let made = command.arg(&name).status();
        assert!(made.expect("createdb").success(), "cannot make {name}");
        // A host that begins with a slash is the folder of the socket.
        let host = server.folder.display().to_string().replace('/', "%2F");
        format!("postgres://alcove@{host}/{name}")
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.arg("--host").arg(&self.folder);
        command.args(["--username", "alcove"]);
        command
    }

    fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new()
            .prefix("alcove-postgres-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh"])
            .arg(&programs)
            .arg(&folder)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            // The last words of a process that is gone concern nobody.
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if fs::metadata(&folder).expect("the folder").uid() == 0 {
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("a folder to give away");
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut server = Self {
            folder,
            programs,
            databases: AtomicU32::new(0),
            shell: command.spawn().expect("a shell"),
        };
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let ready = server.client("pg_isready").arg("--quiet").status();
            if ready.expect("pg_isready").success() {
                return server;
            }
            let ended = server.shell.try_wait().expect("the shell's state");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "PostgreSQL does not start: {}",
                fs::read_to_string(server.folder.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The programs of the newest version that is installed.
fn programs() -> PathBuf {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    fs::read_dir(PROGRAMS)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").is_file())
        .max_by_key(|path| version(path))
        .map_or_else(
            || panic!("no PostgreSQL in {PROGRAMS}: run scripts/setup.sh"),
            |path| path.join("bin"),
        )
}
