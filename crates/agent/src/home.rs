//! Where commands live: home, work dir, environment, shell.

use std::ffi::NulError;
use std::path::{Path, PathBuf};

use alcove_agent_api::AgentConfig;

use crate::passwd::User;
use crate::process::environment::Environment;
use crate::process::shell::Shells;
use crate::process::spawn::EnvBlock;

/// For images that say nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every command inherits.
#[derive(Debug)]
pub struct Home {
    pub dir: PathBuf,
    pub work_dir: PathBuf,
    pub env: Environment,
    pub shells: Shells,
}

impl Home {
    /// Puts it together. Nothing of the agent's own environment is passed on.
    ///
    /// # Errors
    /// A configured variable holds a NUL byte.
    pub fn new(config: &AgentConfig, user: &User) -> Result<Self, NulError> {
        let mut env = EnvBlock::new(&config.env)?;
        let mut default = |name: &str, value: &str| {
            if env.get(name).is_none() {
                env.set(name, value)
            } else {
                Ok(())
            }
        };
        let home = config.env.get("HOME").filter(|home| !home.is_empty());
        let home = home.map(PathBuf::from).or_else(|| user.home.clone());
        let home = home.unwrap_or_else(|| if user.uid == 0 { "/root" } else { "/tmp" }.into());
        default("PATH", DEFAULT_PATH)?;
        default("HOME", &home.to_string_lossy())?;
        if let Some(name) = &user.name {
            default("USER", name)?;
            default("LOGNAME", name)?;
        }
        if let Some(shell) = &user.shell {
            default("SHELL", shell)?;
        }
        if let Some(hostname) = &config.hostname {
            default("HOSTNAME", hostname)?;
        }
        default("ALCOVE_SANDBOX_ID", &config.sandbox_id)?;
        default("DAYTONA_SANDBOX_ID", &config.sandbox_id)?;
        let search_path = env.get("PATH").unwrap_or(DEFAULT_PATH).to_owned();
        let of_env = config.env.get("SHELL").cloned();
        Ok(Self {
            // A step of a build must not make folders that nobody asked for.
            work_dir: if config.build {
                PathBuf::from("/")
            } else {
                pick_work_dir(config.workdir.as_deref(), &home)
            },
            dir: home,
            env: Environment::new(env),
            shells: Shells::new("/etc/shells".into(), of_env, search_path),
        })
    }

    /// Where programs are looked for.
    pub fn search_path(&self) -> String {
        self.env
            .get("PATH")
            .unwrap_or_else(|| DEFAULT_PATH.to_owned())
    }

    /// A path of a request: relative ones start at the work dir, an empty one is the work dir.
    ///
    /// By name, not by our own current folder: a work dir that was deleted and made again must work.
    pub fn resolve(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            return self.work_dir.clone();
        }
        self.work_dir.join(path)
    }
}

/// The image's working directory, which is made if it is missing; else the home; else the root.
fn pick_work_dir(wanted: Option<&str>, home: &Path) -> PathBuf {
    let wanted = wanted.map(Path::new).filter(|path| path.is_absolute());
    if let Some(wanted) = wanted
        && (wanted.is_dir() || std::fs::create_dir_all(wanted).is_ok())
    {
        return wanted.to_path_buf();
    }
    if home.is_dir() || std::fs::create_dir_all(home).is_ok() {
        return home.to_path_buf();
    }
    PathBuf::from("/")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn home(env: &[(&str, &str)], workdir: Option<&str>) -> Home {
        let config = AgentConfig {
            sandbox_id: "s".into(),
            token: "t".into(),
            user: "root".into(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            hostname: None,
            workdir: workdir.map(Into::into),
            limits: false,
            git: false,
            entrypoint: Vec::new(),
            execute_timeout_seconds: None,
            session_log_max_bytes: None,
            build: false,
        };
        let user = crate::passwd::resolve("root", "root:x:0:0::/root:/bin/sh\n", "").unwrap();
        Home::new(&config, &user).unwrap()
    }

    #[test]
    fn without_a_home_variable_the_passwd_entry_counts() {
        let home = home(&[], None);
        assert_eq!(home.env.get("HOME").as_deref(), Some("/root"));
        assert_eq!(home.work_dir, home.dir);
    }

    #[test]
    fn configured_variables_win_over_defaults() {
        let home = home(&[("PATH", "/x"), ("HOME", "/tmp")], Some("/usr"));
        assert_eq!(home.search_path(), "/x");
        assert_eq!(home.dir, Path::new("/tmp"));
        assert_eq!(home.work_dir, Path::new("/usr"));
    }

    #[test]
    fn relative_paths_start_at_the_work_dir() {
        let home = home(&[], Some("/usr"));
        assert_eq!(home.resolve("bin/x"), Path::new("/usr/bin/x"));
        assert_eq!(home.resolve("/bin"), Path::new("/bin"));
        assert_eq!(home.resolve(""), Path::new("/usr"));
    }
}
