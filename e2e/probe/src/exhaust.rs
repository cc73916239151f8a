//! Attempts at using up what is limited. Each stops when it is refused, or at a bound far above any limit.
#![expect(
    unsafe_code,
    reason = "counting what the kernel hands out takes its own calls"
)]

use std::io;
use std::time::{Duration, Instant};

use crate::attempts::{number, open_terminal, wait_for_end};

type Outcome = io::Result<String>;

/// More than any sandbox may have of anything; where this is reached, there is no limit.
const BOUND: u32 = 20_000;

/// Prints the count and keeps everything until standard input ends.
fn hold(count: u32) -> Outcome {
    println!("ok {count}");
    wait_for_end()?;
    Ok("released".to_owned())
}

fn count(text: &str) -> io::Result<u32> {
    u32::try_from(number(text)?).map_err(io::Error::other)
}

/// Touches this much memory, mebibyte by mebibyte.
pub fn memory(mebibytes: &str) -> Outcome {
    let mut held = Vec::new();
    for _ in 0..count(mebibytes)? {
        let mut piece = vec![0_u8; 1 << 20];
        piece.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        held.push(piece);
    }
    // Without a look at it, the optimizer would not fill it.
    Ok(std::hint::black_box(held).len().to_string())
}

/// Opens queues of file events until it is refused.
pub fn inotify(holds: bool) -> Outcome {
    let mut opened = 0;
    // SAFETY: no pointers. Nothing closes the descriptors before the process ends, which is the point.
    while opened < BOUND && unsafe { libc::inotify_init1(libc::IN_CLOEXEC) } >= 0 {
        opened += 1;
    }
    if holds {
        hold(opened)
    } else {
        Ok(opened.to_string())
    }
}

/// Opens terminals until it is refused.
pub fn terminals(holds: bool) -> Outcome {
    let mut held = Vec::new();
    // Each takes two descriptors.
    while held.len() < 450 {
        match open_terminal() {
            Ok(pair) => held.push(pair),
            Err(_) => break,
        }
    }
    let opened = u32::try_from(held.len()).map_err(io::Error::other)?;
    if holds {
        hold(opened)
    } else {
        Ok(opened.to_string())
    }
}

/// Puts signals into this process's own queue until it is refused.
pub fn signals(holds: bool) -> Outcome {
    let mut queued = 0;
    // SAFETY: the set is plain memory that the calls fill in; the signal is blocked, so nothing handles it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGRTMIN());
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let value = libc::sigval {
            sival_ptr: std::ptr::null_mut(),
        };
        while queued < 1_000_000 && libc::sigqueue(libc::getpid(), libc::SIGRTMIN(), value) == 0 {
            queued += 1;
        }
    }
    if holds {
        hold(queued)
    } else {
        Ok(queued.to_string())
    }
}

/// Makes children that wait, until it is refused or has this many.
pub fn children(wanted: &str) -> Outcome {
    let wanted = count(wanted)?;
    let mut made = Vec::new();
    while u32::try_from(made.len()).is_ok_and(|made| made < wanted) {
        // SAFETY: one thread; a child only waits for its end.
        match unsafe { libc::fork() } {
            0 => unsafe {
                // SAFETY: both calls take numbers. A child that loses its parent goes too.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::pause();
                libc::_exit(0)
            },
            pid if pid > 0 => made.push(pid),
            _ => break,
        }
    }
    for pid in &made {
        // SAFETY: children of ours that nobody has reaped yet.
        unsafe {
            libc::kill(*pid, libc::SIGKILL);
            libc::waitpid(*pid, std::ptr::null_mut(), 0);
        }
    }
    Ok(made.len().to_string())
}

/// Makes children that do the same, all of them without a pause and whether or not they are refused, for this long.
pub fn bomb(milliseconds: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_millis(count(milliseconds)?.into());
    while Instant::now() < deadline {
        // SAFETY: one thread; parent and child both go on in this loop and end by its deadline.
        unsafe { libc::fork() };
    }
    Ok(String::new())
}

/// Uses the processors without a pause, and tells how many milliseconds of their time it got.
pub fn processors(threads: &str, milliseconds: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_millis(count(milliseconds)?.into());
    let workers: Vec<_> = (0..count(threads)?)
        .map(|_| {
            std::thread::spawn(move || {
                while Instant::now() < deadline {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    for worker in workers {
        worker
            .join()
            .map_err(|_| io::Error::other("a worker panicked"))?;
    }
    // SAFETY: the structure is plain memory that the call fills in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let milliseconds = |time: libc::timeval| time.tv_sec * 1000 + time.tv_usec / 1000;
    Ok((milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime)).to_string())
}

/// Makes empty files until it is refused, and tells how many, and why no more.
pub fn files(folder: &str, bound: &str) -> Outcome {
    for number in 0..count(bound)? {
        if let Err(error) = std::fs::File::create(format!("{folder}/{number}")) {
            return Ok(format!("{number} {}", crate::errno::name_of(&error)));
        }
    }
    Ok("no end".to_owned())
}
