//! Which shell runs the users' commands.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::process::spawn::{c_path, find_program, is_executable};

/// In this order, as the original has it.
const WANTED: [&str; 4] = ["/usr/bin/zsh", "/bin/zsh", "/usr/bin/bash", "/bin/bash"];

/// A shell that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    pub path: PathBuf,
    pub c_path: CString,
    /// Its own name for itself, the last part of the path.
    pub name: String,
}

impl Shell {
    fn new(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_owned();
        let c_path = c_path(&path).ok()?;
        Some(Self { path, c_path, name })
    }

    /// Whether it reads the language of the Bourne shell.
    pub fn is_bourne(&self) -> bool {
        matches!(
            self.name.as_str(),
            "sh" | "bash" | "zsh" | "dash" | "ash" | "ksh" | "mksh" | "busybox"
        )
    }

    /// How a builtin is called so that neither alias nor function of that name is.
    pub fn builtin_prefix(&self) -> &'static str {
        match self.name.as_str() {
            "bash" | "zsh" => "\\builtin",
            _ => "\\command",
        }
    }
}

/// Picks the shell; the answer is kept until `/etc/shells` changes.
#[derive(Debug)]
pub struct Shells {
    list: PathBuf,
    of_env: Option<String>,
    search_path: String,
    cached: Mutex<Option<(Option<SystemTime>, Shell)>>,
}

impl Shells {
    pub fn new(list: PathBuf, of_env: Option<String>, search_path: String) -> Self {
        Self {
            list,
            of_env,
            search_path,
            cached: Mutex::new(None),
        }
    }

    pub fn choose(&self) -> Shell {
        let modified = std::fs::metadata(&self.list)
            .and_then(|metadata| metadata.modified())
            .ok();
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, shell)) = &*cached
            && *seen == modified
            && is_executable(&shell.path)
        {
            return shell.clone();
        }
        let list = std::fs::read_to_string(&self.list).unwrap_or_default();
        let shell = self.look_up(&list);
        *cached = Some((modified, shell.clone()));
        shell
    }

    fn look_up(&self, list: &str) -> Shell {
        let listed = listed_shells(list)
            .map(Path::new)
            .find(|path| is_executable(path));
        let of_env = self.of_env.as_deref().map(Path::new);
        let of_env = of_env.filter(|path| path.is_absolute() && is_executable(path));
        listed
            .or(of_env)
            .map(Path::to_path_buf)
            .or_else(|| find_program("sh", &self.search_path))
            .and_then(Shell::new)
            .unwrap_or_else(|| Shell {
                // Its start will fail, and the failure says more than we could.
                path: PathBuf::from("/bin/sh"),
                c_path: c"/bin/sh".to_owned(),
                name: "sh".to_owned(),
            })
    }
}

/// The wanted shells that the list has, best first.
fn listed_shells(list: &str) -> impl Iterator<Item = &'static str> {
    WANTED.into_iter().filter(|wanted| {
        list.lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .any(|line| line == *wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zsh_comes_before_bash_and_comments_do_not_count() {
        let list = "# /usr/bin/zsh\n/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/zsh\n";
        let found: Vec<_> = listed_shells(list).collect();
        assert_eq!(found, ["/bin/zsh", "/usr/bin/bash", "/bin/bash"]);
    }

    #[test]
    fn without_a_listed_shell_the_environment_decides_and_then_sh() {
        let with_env = Shells::new(
            "/nonexistent".into(),
            Some("/bin/dash".into()),
            "/bin".into(),
        );
        assert_eq!(with_env.choose().path, Path::new("/bin/dash"));
        let without = Shells::new(
            "/nonexistent".into(),
            Some("/no/such".into()),
            "/bin".into(),
        );
        assert_eq!(without.choose().path, Path::new("/bin/sh"));
    }
}
