//! `alcove-probe ATTEMPT [ARGUMENT…]`: makes one attempt and prints what came of it.
//!
//! The isolation tests run this program inside a sandbox and, as the control, on the host. It is static, so that any
//! image can run it. The first word printed is `ok` or the name of the kernel's error number; an attempt never
//! fails in any other way, so that a test can tell "refused" from "could not even be tried".

mod attempts;
mod errno;
mod exhaust;
mod names;
mod network;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["syscall", rest @ ..] => attempts::syscall(rest),
        ["clone", flags] => attempts::clone_with(flags),
        ["other-abi"] => attempts::other_abi(),
        ["x32"] => attempts::x32(),
        ["tiocsti", rest @ ..] => attempts::push_input(rest.first() == Some(&"high-bits")),
        ["trace", pid] => attempts::trace(pid),
        ["trace-child"] => attempts::trace_child(),
        ["read-memory", pid, address] => attempts::read_memory(pid, address),
        ["take-descriptor", pid, number] => attempts::take_descriptor(pid, number),
        ["open", path, mode] => attempts::open(path, mode),
        ["set-attribute", path, name, value] => attempts::set_attribute(path, name, value),
        ["as", uid, command @ ..] => attempts::run_as(uid, command),
        ["lock", path, hold @ ..] => attempts::lock(path, !hold.is_empty()),
        ["record-lock", path, hold @ ..] => attempts::record_lock(path, !hold.is_empty()),
        ["map", path, text] => attempts::map(path, text),
        ["watch-opens", path, milliseconds] => attempts::watch_opens(path, milliseconds),
        ["shared-memory", key, make @ ..] => attempts::shared_memory(key, !make.is_empty()),
        ["queue", name, make @ ..] => attempts::queue(name, !make.is_empty()),
        ["overwrite-program", name, milliseconds] => {
            attempts::overwrite_program(name, milliseconds)
        }
        ["files", folder, bound] => exhaust::files(folder, bound),
        ["eat", mebibytes] => exhaust::memory(mebibytes),
        ["inotify", hold @ ..] => exhaust::inotify(!hold.is_empty()),
        ["terminals", hold @ ..] => exhaust::terminals(!hold.is_empty()),
        ["signals", hold @ ..] => exhaust::signals(!hold.is_empty()),
        ["children", count] => exhaust::children(count),
        ["bomb", milliseconds] => exhaust::bomb(milliseconds),
        ["spin", threads, milliseconds] => exhaust::processors(threads, milliseconds),
        ["tcp", address] => network::tcp(address),
        ["connect", address] => network::connect(address),
        ["udp", address] => network::udp(address),
        ["flows", address, count] => network::flows(address, count),
        ["ping", address] => network::ping(address),
        ["resolve", server, name] => names::resolve(server, name),
        ["hello", address, name] => names::hello(address, name),
        ["request", address, host] => names::request(address, host),
        ["serve-names", address, names @ ..] => names::serve(address, names),
        ["send-from", source, to] => network::send_from(source, to),
        ["serve", addresses @ ..] => network::serve(addresses),
        ["unix", path] => network::unix(path),
        ["abstract", name] => network::abstract_name(name),
        _ => {
            eprintln!("usage: alcove-probe ATTEMPT [ARGUMENT…]");
            return ExitCode::from(64);
        }
    };
    match outcome {
        Ok(text) => println!("{}", format!("ok {text}").trim_end()),
        Err(error) => println!("{}", errno::name_of(&error)),
    }
    ExitCode::SUCCESS
}
