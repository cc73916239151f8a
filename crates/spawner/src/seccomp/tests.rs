//! The filter against an interpreter of the kernel's instructions, and against another compiler.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::*;

/// What the kernel shows to a filter.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u32,
    arch: u32,
    arguments: [u64; 6],
}

const X86_64: u32 = 0xC000_003E;

fn call(number: u32, arguments: [u64; 6]) -> Call {
    Call {
        number,
        arch: X86_64,
        arguments,
    }
}

/// The answer, and how many instructions it took. Instructions as (code, jump if true, jump if false, k).
fn run(program: &[(u16, u8, u8, u32)], call: Call) -> (u32, usize) {
    let word = |offset: u32| -> u32 {
        match offset {
            0 => call.number,
            4 => call.arch,
            _ => {
                let argument = call.arguments[usize::try_from(offset - 16).expect("small") / 8];
                let half = if offset.is_multiple_of(8) {
                    argument
                } else {
                    argument >> 32
                };
                u32::try_from(half & 0xFFFF_FFFF).expect("masked")
            }
        }
    };
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let (code, if_true, if_false, k) = program[at];
        at += 1;
        steps += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { if_true } else { if_false });
        match u32::from(code) {
            0x20 => accumulator = word(k),
            0x05 => at += usize::try_from(k).expect("small"),
            0x15 => jump(accumulator == k),
            0x25 => jump(accumulator > k),
            0x35 => jump(accumulator >= k),
            0x45 => jump(accumulator & k != 0),
            0x54 => accumulator &= k,
            0x06 => return (k, steps),
            other => panic!("the interpreter does not know {other:#x}"),
        }
    }
}

fn ours() -> Vec<(u16, u8, u8, u32)> {
    let filter = Filter::compile().expect("the lists are constant");
    let parts = filter.program.iter().map(|i| (i.code, i.jt, i.jf, i.k));
    parts.collect()
}

/// The same rules in the words of another compiler, which goes through a list.
fn theirs() -> Vec<(u16, u8, u8, u32)> {
    let one = |index, length, op, value| {
        let condition = SeccompCondition::new(index, length, op, value).expect("a condition");
        SeccompRule::new(vec![condition]).expect("a rule")
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|number| (*number, Vec::new())).collect();
    let flags = u64::from(NAMESPACE_FLAGS);
    rules.insert(
        libc::SYS_clone,
        vec![one(0, Len::Qword, Op::MaskedEq(flags), 0)],
    );
    let families = SOCKET_FAMILIES.map(|f| one(0, Len::Dword, Op::Eq, u64::from(f.unsigned_abs())));
    rules.insert(libc::SYS_socket, families.to_vec());
    let personalities = PERSONALITIES.map(|p| one(0, Len::Dword, Op::Eq, u64::from(p)));
    rules.insert(libc::SYS_personality, personalities.to_vec());
    let not = |value| SeccompCondition::new(1, Len::Dword, Op::Ne, value).expect("a condition");
    let terminal = SeccompRule::new(vec![not(libc::TIOCSTI), not(0x541C)]).expect("a rule");
    rules.insert(libc::SYS_ioctl, vec![terminal]);
    let program: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .and_then(TryInto::try_into)
    .expect("it compiles");
    program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect()
}

/// Numbers that exist, those between and behind them, and those of other calling conventions.
fn numbers() -> impl Iterator<Item = u32> {
    (0..1024).chain([0x3FFF_FFFF, 0x4000_0000, 0x4000_003B, u32::MAX])
}

/// Values near everything that a rule looks at, with and without something in the upper half.
fn values() -> Vec<u64> {
    let named = SOCKET_FAMILIES
        .iter()
        .map(|f| u64::from(f.unsigned_abs()))
        .chain(PERSONALITIES.map(u64::from))
        .chain([0x5412, 0x541C])
        .chain((0..32).map(|bit| 1 << bit));
    named
        .flat_map(|value| [value, value.wrapping_add(1), value.wrapping_sub(1)])
        .flat_map(|value| [value, value | 1 << 32, value | 1 << 63])
        .collect()
}

#[test]
fn the_tree_decides_as_the_list_does_for_every_call() {
    let (ours, theirs) = (ours(), theirs());
    let mut allowed = 0;
    for number in numbers().filter(|number| !ABSENT.contains(&i64::from(*number))) {
        for value in values() {
            for argument in 0..2 {
                let mut arguments = [0; 6];
                arguments[argument] = value;
                let call = call(number, arguments);
                let (answer, _) = run(&ours, call);
                assert_eq!(answer, run(&theirs, call).0, "{call:?}");
                allowed += usize::from(answer == libc::SECCOMP_RET_ALLOW);
            }
        }
    }
    assert!(allowed > 100_000, "the positive control: {allowed}");
}

#[test]
fn calls_that_programs_can_do_without_do_not_exist() {
    for number in ABSENT {
        let number = u32::try_from(number).expect("a small number");
        let (answer, _) = run(&ours(), call(number, [0; 6]));
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
        assert_eq!(answer, absent, "{number}");
    }
}

#[test]
fn a_call_of_another_architecture_kills() {
    let getpid = call(39, [0; 6]);
    assert_eq!(run(&ours(), getpid).0, libc::SECCOMP_RET_ALLOW);
    for arch in [0x4000_0003, 0xC000_00B7, 0] {
        let foreign = Call { arch, ..getpid };
        assert_eq!(run(&ours(), foreign).0, libc::SECCOMP_RET_KILL_PROCESS);
    }
}

/// The kernel asks for every number when the filter is loaded; a list would take 1,600.
#[test]
fn no_decision_takes_more_than_twenty_instructions() {
    let program = ours();
    assert!(program.len() < 4096);
    for number in numbers() {
        let (_, steps) = run(&program, call(number, [u64::MAX; 6]));
        assert!(steps <= 20, "{number}: {steps}");
    }
}

#[test]
fn calls_that_reach_for_the_host_are_not_in_the_list() {
    for number in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_mount_setattr,
        libc::SYS_pivot_root,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_submit,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_open_by_handle_at,
        libc::SYS_swapon,
        libc::SYS_settimeofday,
        libc::SYS_syslog,
        libc::SYS_quotactl,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_acct,
        libc::SYS_kcmp,
    ] {
        assert!(
            !ALLOWED.contains(&number),
            "system call {number} is allowed"
        );
    }
}
