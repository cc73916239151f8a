//! Attempts at the kernel, at processes and at files.
#![expect(
    unsafe_code,
    reason = "an attempt is a raw system call with arguments that no safe interface would pass on"
)]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

type Outcome = io::Result<String>;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub fn number(text: &str) -> io::Result<i64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).map(u64::cast_signed),
        None => text.parse(),
    };
    parsed.map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn small(text: &str) -> io::Result<i32> {
    i32::try_from(number(text)?).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Any system call by its number. Callers pass arguments that make the kernel refuse for another reason wherever the
/// call itself is allowed.
pub fn syscall(arguments: &[&str]) -> Outcome {
    let mut values = [0_i64; 7];
    for (value, text) in values.iter_mut().zip(arguments) {
        *value = number(text)?;
    }
    let [call, with @ ..] = values;
    // SAFETY: the tests pass null pointers, sizes of zero and numbers that name nothing; the kernel checks them all.
    let result =
        unsafe { libc::syscall(call, with[0], with[1], with[2], with[3], with[4], with[5]) };
    check(result).map(|value| value.to_string())
}

/// A child by `clone` with these flags; it ends at once.
pub fn clone_with(flags: &str) -> Outcome {
    let flags = number(flags)? | i64::from(libc::SIGCHLD);
    // SAFETY: without a stack and without shared memory the call behaves as fork does; this process has one thread.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    if pid == 0 {
        // SAFETY: ends the child without running anything.
        unsafe { libc::_exit(0) };
    }
    Ok("child".to_owned())
}

/// `getpid` by the door for 32-bit programs. A filter that knows 64-bit numbers only would let others through here.
pub fn other_abi() -> Outcome {
    let result: i64;
    // SAFETY: number 20 is `getpid` there; it takes nothing and changes no register but the answer's and, on old
    // kernels, r8 to r11.
    unsafe {
        std::arch::asm!(
            "int 0x80", inlateout("rax") 20_i64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    check(result).map(|_| "pid".to_owned())
}

/// `getpid` under its x32 number.
pub fn x32() -> Outcome {
    // SAFETY: takes no arguments.
    check(unsafe { libc::syscall(0x4000_0000 | libc::SYS_getpid) }).map(|_| "pid".to_owned())
}

/// Puts a character into the input of a terminal, as if someone had typed it.
pub fn push_input(with_high_bits: bool) -> Outcome {
    let (_main, terminal) = open_terminal()?;
    // The kernel looks at 32 bits of the request; a filter must not look at more.
    let request = if with_high_bits {
        1_u64 << 32 | libc::TIOCSTI
    } else {
        libc::TIOCSTI
    };
    let character = b"x";
    // SAFETY: the request reads one character from the pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            terminal.as_raw_fd(),
            request,
            character.as_ptr(),
        )
    };
    check(result).map(|_| String::new())
}

/// Both ends of a new terminal.
pub fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut main, mut terminal) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: two numbers are written; the other pointers may be null.
    let result = unsafe {
        libc::openpty(
            &raw mut main,
            &raw mut terminal,
            null,
            null.cast(),
            null.cast(),
        )
    };
    check(result.into())?;
    // SAFETY: both were just opened and have no other owner.
    Ok(unsafe { (OwnedFd::from_raw_fd(main), OwnedFd::from_raw_fd(terminal)) })
}

/// Attaches to a process as a debugger does, and lets go of it.
pub fn trace(pid: &str) -> Outcome {
    let pid = small(pid)?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }).map(|_| String::new())
}

/// The permitted twin of [`trace`]: a child of ours.
pub fn trace_child() -> Outcome {
    // SAFETY: one thread; the child only waits.
    let pid = check(unsafe { libc::fork() }.into())?;
    if pid == 0 {
        // SAFETY: waits for the signal below.
        unsafe {
            libc::pause();
            libc::_exit(0)
        };
    }
    let outcome = trace(&pid.to_string());
    let child = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the child is ours and is reaped here.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    outcome
}

/// Reads eight bytes of another process's memory.
pub fn read_memory(pid: &str, address: &str) -> Outcome {
    let mut buffer = [0_u8; 8];
    let here = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let address = usize::try_from(number(address)?).map_err(io::Error::other)?;
    let there = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: buffer.len(),
    };
    let pid = small(pid)?;
    // SAFETY: the kernel writes at most eight bytes into the buffer; it checks the other address itself.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    check(i64::try_from(read).map_err(io::Error::other)?).map(|_| String::new())
}

/// Copies a descriptor out of another process.
pub fn take_descriptor(pid: &str, descriptor: &str) -> Outcome {
    // SAFETY: numbers only.
    let process = check(unsafe { libc::syscall(libc::SYS_pidfd_open, number(pid)?, 0) })?;
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, number(descriptor)?, 0) })
        .map(|_| String::new())
}

/// Opens a file, and for `read` also reads a little of it.
pub fn open(path: &str, mode: &str) -> Outcome {
    let mut options = OpenOptions::new();
    match mode {
        "read" => options.read(true),
        "write" => options.write(true),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut file = options.open(path)?;
    if mode == "write" {
        return Ok(String::new());
    }
    let mut buffer = [0_u8; 256];
    let length = file.read(&mut buffer)?;
    Ok(format!("{length} bytes"))
}

/// Sets an extended attribute of a file.
pub fn set_attribute(path: &str, name: &str, value: &str) -> Outcome {
    let (path, name) = (CString::new(path)?, CString::new(name)?);
    // SAFETY: two strings that end in a zero byte, and a value of the length that is named.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    check(result.into()).map(|_| String::new())
}

/// Becomes a user, with that user's group and no other, and runs a program.
pub fn run_as(uid: &str, command: &[&str]) -> Outcome {
    let uid = u32::try_from(number(uid)?).map_err(io::Error::other)?;
    let [program, arguments @ ..] = command else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: numbers only; there is one thread.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()).into())?;
        check(libc::setresgid(uid, uid, uid).into())?;
        check(libc::setresuid(uid, uid, uid).into())?;
    }
    Err(Command::new(program).args(arguments).exec())
}

/// Takes the lock of a whole file, if nobody has it; with `hold`, keeps it until standard input ends.
pub fn lock(path: &str, holds: bool) -> Outcome {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) if holds => wait_for_end().map(|()| String::new()),
        Ok(()) => Ok(String::new()),
        Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The older kind of lock, which belongs to a process and a range of bytes.
pub fn record_lock(path: &str, holds: bool) -> Outcome {
    use std::os::fd::AsRawFd;
    let file = File::options().read(true).write(true).open(path)?;
    // SAFETY: numbers only; zero is a value of each.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(libc::F_WRLCK).map_err(io::Error::other)?;
    lock.l_len = 1;
    // SAFETY: an open descriptor and a structure that lives until the call returns.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
    check(result.into())?;
    if holds {
        return wait_for_end().map(|()| String::new());
    }
    Ok(String::new())
}

/// Writes the text into the beginning of a file by way of memory that is shared with it.
pub fn map(path: &str, text: &str) -> Outcome {
    use std::os::fd::AsRawFd;
    let file = File::options().read(true).write(true).open(path)?;
    let length = text.len();
    // SAFETY: a new mapping at a place of the kernel's choice, as long as the text, of a file that is at least as long;
    // it is taken away again before anybody else knows of it.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED;
        let fd = file.as_raw_fd();
        let place = libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0);
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        std::ptr::copy_nonoverlapping(text.as_ptr(), place.cast::<u8>(), length);
        check(libc::munmap(place, length).into())?;
    }
    Ok(String::new())
}

/// Counts how often a file is opened by others, from the moment that `ready` is printed.
pub fn watch_opens(path: &str, milliseconds: &str) -> Outcome {
    let path = CString::new(path)?;
    // SAFETY: numbers and a string that lives until the call returns.
    let watch = unsafe {
        let watch = check(libc::inotify_init1(libc::IN_NONBLOCK).into())?;
        let watch = i32::try_from(watch).map_err(io::Error::other)?;
        check(libc::inotify_add_watch(watch, path.as_ptr(), libc::IN_OPEN).into())?;
        File::from(OwnedFd::from_raw_fd(watch))
    };
    println!("ready");
    io::stdout().flush()?;
    let patience =
        Duration::from_millis(u64::try_from(number(milliseconds)?).map_err(io::Error::other)?);
    let deadline = Instant::now() + patience;
    let mut events = 0;
    let mut buffer = [0_u8; 4096];
    while Instant::now() < deadline {
        match (&watch).read(&mut buffer) {
            // An event without a name has 16 bytes.
            Ok(length) => events += length / 16,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(events.to_string())
}

/// Looks for a segment of shared memory that exists; with `make`, makes it and keeps it until standard input ends.
pub fn shared_memory(key: &str, makes: bool) -> Outcome {
    let key = small(key)?;
    let flags = if makes {
        libc::IPC_CREAT | libc::IPC_EXCL | 0o666
    } else {
        0
    };
    // SAFETY: numbers only.
    let segment = check(unsafe { libc::shmget(key, usize::from(makes), flags) }.into())?;
    if makes {
        wait_for_end()?;
        let segment = i32::try_from(segment).map_err(io::Error::other)?;
        // SAFETY: this command takes no structure.
        check(unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) }.into())?;
    }
    Ok(String::new())
}

/// Looks for a message queue that exists; with `make`, makes it and keeps it until standard input ends.
pub fn queue(name: &str, makes: bool) -> Outcome {
    let name = CString::new(name)?;
    let flags = if makes {
        libc::O_CREAT | libc::O_EXCL
    } else {
        0
    };
    let attributes = std::ptr::null::<libc::mq_attr>();
    // SAFETY: the string lives until the call returns; without attributes the kernel uses its own.
    let result = unsafe { libc::mq_open(name.as_ptr(), libc::O_RDONLY | flags, 0o666, attributes) };
    check(result.into())?;
    if makes {
        wait_for_end()?;
        // SAFETY: the string lives until the call returns.
        check(unsafe { libc::mq_unlink(name.as_ptr()) }.into())?;
    }
    Ok(String::new())
}

/// Says that something is in place, and waits until standard input ends.
pub fn wait_for_end() -> io::Result<()> {
    println!("ready");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Waits for a process other than 1 that runs the program of this name, gets hold of the program's file through it,
/// and tries to open that file for writing as soon as nobody runs it. This is how CVE-2019-5736 overwrote the
/// runtime of a container engine.
pub fn overwrite_program(name: &str, milliseconds: &str) -> Outcome {
    let patience =
        Duration::from_millis(u64::try_from(number(milliseconds)?).map_err(io::Error::other)?);
    let deadline = Instant::now() + patience;
    println!("ready");
    io::stdout().flush()?;
    let own = std::process::id();
    while Instant::now() < deadline {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<u32>().ok())
            else {
                continue;
            };
            let link = format!("/proc/{pid}/exe");
            if pid == 1
                || pid == own
                || !std::fs::read_link(&link).is_ok_and(|to| to.ends_with(name))
            {
                continue;
            }
            // The process may have gone on to another program meanwhile.
            let Ok(file) = File::open(&link) else {
                continue;
            };
            let again = format!("/proc/self/fd/{}", file.as_raw_fd());
            if !std::fs::read_link(&again).is_ok_and(|to| to.ends_with(name)) {
                continue;
            }
            loop {
                match OpenOptions::new().write(true).open(&again) {
                    Ok(_) => return Ok("open for writing".to_owned()),
                    Err(error)
                        if error.raw_os_error() == Some(libc::ETXTBSY)
                            && Instant::now() < deadline => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
}
