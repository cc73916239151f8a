//! Starts a program the way `posix_spawn` does, with the steps that it lacks.
//!
//! The child runs in the agent's memory, on a stack of its own, until it execs; the calling thread sleeps
//! until then. Nothing is copied, so the cost does not grow with the agent, and a failing step reports its
//! error number by plain assignment.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::{io, ptr};

/// Step of the child's way to its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnStage {
    Clone,
    Session,
    Descriptors,
    Terminal,
    WorkDir,
    Exec,
}

/// Why a program did not start.
#[derive(Debug)]
pub struct SpawnFailure {
    pub stage: SpawnStage,
    pub error: io::Error,
}

/// What the child has to set up. All of it is made before the clone: the child must not allocate.
#[derive(Debug)]
pub struct ChildPlan<'a> {
    pub program: &'a CStr,
    /// Pointers to the arguments, closed by a null pointer.
    pub argv: &'a [*const c_char],
    /// Pointers to `NAME=value` strings, closed by a null pointer.
    pub envp: &'a [*const c_char],
    pub cwd: &'a CStr,
    /// Become descriptors 0, 1 and 2. None of them may be below 3.
    pub stdio: [RawFd; 3],
    /// Become descriptors 3, 4 and so on. None of them may be below the number after the last of these.
    pub passed: &'a [RawFd],
    /// Whether standard input is a terminal that becomes the one by which the child is controlled.
    pub is_terminal: bool,
    /// Soft limit of file locks, see `process::job`.
    pub lock_limit: u64,
    /// Soft limit of descriptors; the agent's own is higher than is good for old programs.
    pub descriptor_limit: u64,
    /// All signals that have another action than their default, from [`signals_with_an_action`].
    pub signals: &'a [c_int],
}

/// The signals that are caught or ignored in this process now.
///
/// By the bare call: the C library keeps two signals to itself, and an agent may have been started with those ignored
/// too.
pub fn signals_with_an_action() -> Vec<c_int> {
    let has_one = |signal: &c_int| {
        let mut action = [0_u64; 4];
        // SAFETY: the kernel writes its form of an action, which is four words long, and changes nothing.
        // JUSTIFICATION: there is no safe way to look at signals.
        let looked = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                *signal,
                ptr::null::<c_void>(),
                action.as_mut_ptr(),
                size_of::<u64>(),
            )
        };
        looked == 0 && action[0] != 0
    };
    (1..=64).filter(has_one).collect()
}

/// Memory for the child between clone and exec.
#[derive(Debug)]
pub struct VforkStack {
    memory: Box<[u128]>,
}

impl VforkStack {
    // The child calls a dozen system calls and no library code that needs room; 32 KiB is ten times what it
    // touches.
    const WORDS: usize = 2048;

    pub fn new() -> Self {
        Self {
            memory: vec![0; Self::WORDS].into_boxed_slice(),
        }
    }
}

struct Shared<'a> {
    plan: &'a ChildPlan<'a>,
    failure: Option<(SpawnStage, c_int)>,
}

/// Starts the program; the result is the child's number.
///
/// The caller must keep others from reaping the child until it has noted the number.
///
/// # Errors
/// The step that failed, with the system's reason. The child is already reaped then.
pub fn vfork_exec(stack: &mut VforkStack, plan: &ChildPlan<'_>) -> Result<i32, SpawnFailure> {
    debug_assert!(plan.argv.last().is_some_and(|end| end.is_null()));
    debug_assert!(plan.envp.last().is_some_and(|end| end.is_null()));
    debug_assert!(plan.stdio.iter().all(|fd| *fd >= 3));
    debug_assert!(
        plan.passed
            .iter()
            .all(|fd| usize::try_from(*fd).is_ok_and(|fd| fd >= 3 + plan.passed.len()))
    );
    let mut shared = Shared {
        plan,
        failure: None,
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let stack_top = stack.memory.as_mut_ptr_range().end.cast::<c_void>();

    // SAFETY: the signal sets are plain memory that `sigfillset` and `pthread_sigmask` fill in. `stack_top`
    // is the aligned end of memory that we borrow exclusively, and `shared` outlives the clone because
    // CLONE_VFORK keeps this thread asleep until the child has exec'ed or exited. All signals are
    // blocked meanwhile, so no handler of ours runs in the child. JUSTIFICATION: std's spawn forks as soon
    // as it has a step of its own to run, and can set neither a limit nor a session.
    let (pid, clone_error) = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
        let pid = libc::clone(
            run_child,
            stack_top,
            flags,
            (&raw mut shared).cast::<c_void>(),
        );
        let clone_error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        (pid, clone_error)
    };
    if pid < 0 {
        return Err(SpawnFailure {
            stage: SpawnStage::Clone,
            error: clone_error,
        });
    }
    // SAFETY: the child wrote through the pointer that clone was given, which the compiler cannot see; a
    // volatile read keeps it from assuming the value it wrote itself.
    let failure = unsafe { ptr::read_volatile(&raw const shared.failure) };
    if let Some((stage, errno)) = failure {
        super::wait::reap_child(pid);
        return Err(SpawnFailure {
            stage,
            error: io::Error::from_raw_os_error(errno),
        });
    }
    Ok(pid)
}

extern "C" fn run_child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the `Shared` of the sleeping caller. From here to exec only system calls that are
    // safe after a fork are made, nothing allocates and nothing unwinds. `errno` is the caller's, which does
    // not look at it before the child is gone.
    unsafe {
        let shared = &mut *argument.cast::<Shared<'_>>();
        let plan = shared.plan;
        let stage = prepare_and_exec(plan);
        shared.failure = Some((stage, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Returns only when a step failed, with its name and `errno` set.
// SAFETY: called in the child only, see `run_child`.
unsafe fn prepare_and_exec(plan: &ChildPlan<'_>) -> SpawnStage {
    // SAFETY: all pointers come from the plan, which the caller keeps alive; the calls only change the
    // child, whose descriptors, signal actions and limits are copies.
    unsafe {
        if libc::setsid() < 0 {
            return SpawnStage::Session;
        }
        // Caught signals fall back to their default by exec, ignored ones would stay ignored. The mask is
        // opened below, before exec, so that handlers must be gone as well by then.
        let default = [0_u64; 4];
        for signal in plan.signals {
            // By the bare call, see above, with the kernel's form of "default, no flags".
            libc::syscall(
                libc::SYS_rt_sigaction,
                *signal,
                default.as_ptr(),
                ptr::null_mut::<c_void>(),
                size_of::<u64>(),
            );
        }
        for (target, source) in (0..).zip(plan.stdio) {
            if libc::dup2(source, target) < 0 {
                return SpawnStage::Descriptors;
            }
        }
        for (target, source) in (3..).zip(plan.passed) {
            if libc::dup2(*source, target) < 0 {
                return SpawnStage::Descriptors;
            }
        }
        // The new session has none yet, and standard input is the terminal by now.
        if plan.is_terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
            return SpawnStage::Terminal;
        }
        if libc::chdir(plan.cwd.as_ptr()) < 0 {
            return SpawnStage::WorkDir;
        }
        // Without the mark the child can still be found by its parents and its session.
        set_soft_limit(libc::RLIMIT_LOCKS, plan.lock_limit);
        set_soft_limit(libc::RLIMIT_NOFILE, plan.descriptor_limit);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(
            plan.program.as_ptr(),
            plan.argv.as_ptr(),
            plan.envp.as_ptr(),
        );
        SpawnStage::Exec
    }
}

// SAFETY: called in the child only, see `run_child`.
unsafe fn set_soft_limit(resource: libc::__rlimit_resource_t, soft: u64) {
    // SAFETY: `limit` is plain memory of this frame.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(resource, &raw mut limit) == 0 {
            limit.rlim_cur = soft.min(limit.rlim_max);
            libc::setrlimit(resource, &raw const limit);
        }
    }
}
