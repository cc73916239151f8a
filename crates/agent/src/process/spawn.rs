//! A program to start, put together before the child exists.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, NulError, OsStr, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::process::environment::Environment;
use crate::process::job::JobTag;
use crate::sys::{ChildPlan, SpawnFailure, SpawnStage, VforkStack, vfork_exec};

/// Environment of a child, ready for exec.
#[derive(Debug, Clone, Default)]
pub struct EnvBlock {
    entries: BTreeMap<String, CString>,
}

impl EnvBlock {
    /// Reads the block from pairs.
    ///
    /// # Errors
    /// A name or a value holds a NUL byte.
    pub fn new<'a>(
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, NulError> {
        let mut block = Self::default();
        for (name, value) in pairs {
            block.set(name, value)?;
        }
        Ok(block)
    }

    /// Sets one variable.
    ///
    /// # Errors
    /// The name or the value holds a NUL byte.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), NulError> {
        let entry = CString::new(format!("{name}={value}"))?;
        self.entries.insert(name.to_owned(), entry);
        Ok(())
    }

    pub fn unset(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// Keeps the variables for which `is_kept` says so, given name and value.
    pub fn retain(&mut self, is_kept: impl Fn(&str, &str) -> bool) {
        self.entries.retain(|name, entry| {
            let value = entry.to_str().unwrap_or_default();
            is_kept(name, value.get(name.len() + 1..).unwrap_or_default())
        });
    }

    /// What a program's share of memory for it is, pointers left out.
    pub fn total_bytes(&self) -> usize {
        self.entries
            .values()
            .map(|entry| entry.count_bytes() + 1)
            .sum()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries.get(name)?.to_str().ok()?;
        entry.get(name.len() + 1..)
    }
}

/// A program with all that belongs to its start. Descriptors are borrowed: the child gets copies.
#[derive(Debug)]
pub struct Program<'a> {
    pub path: CString,
    pub argv: Vec<CString>,
    pub env: &'a Environment,
    /// Win over `env`.
    pub extra_env: EnvBlock,
    pub cwd: CString,
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
    /// Become descriptors 3, 4 and so on.
    pub passed: &'a [BorrowedFd<'a>],
    /// Whether standard input is a terminal that is to control the program, as a shell's window does.
    pub is_terminal: bool,
    pub tag: JobTag,
}

impl Program<'_> {
    /// Starts the program. Only the owner of the table of children may call this.
    pub(super) fn start(
        &self,
        stack: &mut VforkStack,
        descriptor_limit: u64,
        signals: &[c_int],
    ) -> Result<i32, SpawnFailure> {
        let argv = pointers(self.argv.iter().map(CString::as_c_str));
        let inherited = self.env.current();
        let inherited = inherited
            .entries
            .iter()
            .filter(|(name, _)| !self.extra_env.entries.contains_key(*name));
        let envp = pointers(
            inherited
                .chain(&self.extra_env.entries)
                .map(|(_, entry)| entry.as_c_str()),
        );
        let high = self.copies_out_of_the_way()?;
        let passed: Vec<RawFd> = high.iter().map(AsRawFd::as_raw_fd).collect();
        vfork_exec(
            stack,
            &ChildPlan {
                program: &self.path,
                argv: &argv,
                envp: &envp,
                cwd: &self.cwd,
                stdio: [
                    self.stdin.as_raw_fd(),
                    self.stdout.as_raw_fd(),
                    self.stderr.as_raw_fd(),
                ],
                passed: &passed,
                is_terminal: self.is_terminal,
                lock_limit: self.tag.lock_limit(),
                descriptor_limit,
                signals,
            },
        )
    }

    /// Copies of the descriptors to pass on, with numbers that none of them is to become: put into place one by one,
    /// none may overwrite one that is still to come.
    fn copies_out_of_the_way(&self) -> Result<Vec<OwnedFd>, SpawnFailure> {
        let first_free = RawFd::try_from(3 + self.passed.len()).unwrap_or(RawFd::MAX);
        self.passed
            .iter()
            .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, first_free))
            .collect::<Result<_, _>>()
            .map_err(|error| SpawnFailure {
                stage: SpawnStage::Descriptors,
                error: error.into(),
            })
    }
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const c_char> {
    strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
}

/// A path for a system call.
///
/// # Errors
/// The path holds a NUL byte.
pub fn c_path(path: &Path) -> Result<CString, NulError> {
    CString::new(path.as_os_str().as_bytes())
}

/// The program of that name on a search path, as `execvp` would find it.
pub fn find_program(name: &str, search_path: &str) -> Option<PathBuf> {
    search_path
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| Path::new(folder).join(OsStr::new(name)))
        .find(|path| is_executable(path))
}

/// Whether the path is a file that we may execute.
pub fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_variable_can_be_read_back_and_replaced() {
        let mut block = EnvBlock::default();
        block.set("A", "1").unwrap();
        block.set("A", "2=3").unwrap();
        assert_eq!(block.get("A"), Some("2=3"));
        assert_eq!(block.get("B"), None);
    }

    #[test]
    fn a_value_with_a_nul_byte_is_refused() {
        assert!(EnvBlock::default().set("A", "a\0b").is_err());
    }
}
