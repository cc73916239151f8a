//! Commands and shells.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::*;

/// Has a terminal of its own, runs its arguments on it, sets its size once `ready` is read, and ends as they do.
const ON_A_TERMINAL: &str = "
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
size = lambda rows, cols: fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))
said, is_resized = b'', False
while True:
    try:
        piece = os.read(fd, 4096)
    except OSError:
        break
    if not piece:
        break
    said += piece
    if not is_resized and b'ready' in said:
        is_resized = True
        size(40, 120)
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[tokio::test]
async fn a_command_has_its_streams_apart_its_status_and_its_variables() {
    let (server, access) = start().await;
    let ended = output(access.ssh(["echo out; echo err >&2; exit 5"])).await;
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    assert_eq!(text(&ended.stdout), "out\n");
    assert!(text(&ended.stderr).contains("err\n"), "{ended:?}");

    let killed = output(access.ssh(["kill -9 $$"])).await;
    assert_eq!(killed.status.code(), Some(255), "{killed:?}");

    let with_variable = access.ssh_with(&["-o", "SetEnv=WORD=given"], &["echo $WORD"]);
    assert_eq!(said(with_variable).await, "given\n");
    // The agent's user and working directory, as everything that runs there has them.
    let here = said(access.ssh(["pwd; id -u"])).await;
    let client = server.client();
    assert_eq!(
        here,
        crate::support::run(&client, "box", "pwd; id -u").await
    );
    let missing = output(access.ssh(["no-such-program"])).await;
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
}

#[tokio::test]
async fn input_may_end_before_the_output_does() {
    let (_server, access) = start().await;
    let command = "cat; echo after; exit 3";
    let ended = output_of(access.ssh([command]), b"before\n".to_vec()).await;
    assert_eq!(text(&ended.stdout), "before\nafter\n", "{ended:?}");
    assert_eq!(ended.status.code(), Some(3));
    // Without a command, the shell reads what is to be done.
    let shell = output_of(
        access.ssh_with(&["-T"], &[]),
        b"echo $((6 * 7))\nexit 4\n".to_vec(),
    );
    let shell = shell.await;
    assert_eq!(text(&shell.stdout), "42\n", "{shell:?}");
    assert_eq!(shell.status.code(), Some(4));
    // One that reads none of its input does not hold up its end.
    let deaf = output_of(access.ssh(["exec true"]), noise(8 << 20)).await;
    assert!(deaf.status.success(), "{deaf:?}");
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_comes_back_the_same() {
    let (_server, access) = start().await;
    let sent = noise(48 << 20);
    let back = output_of(access.ssh(["cat"]), sent.clone()).await;
    assert!(back.status.success(), "{:?}", back.status);
    assert!(back.stdout == sent, "{} bytes came back", back.stdout.len());
}

#[tokio::test]
async fn a_program_that_waits_for_its_reader_is_waited_for() {
    let (_server, access) = start().await;
    let sent = noise(16 << 20);
    let mut child = access
        .ssh(["cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let write = async {
        stdin.write_all(&sent).await.unwrap();
        drop(stdin);
    };
    let read = async {
        let mut read = Vec::new();
        let mut piece = vec![0; 1 << 20];
        // Slower than it comes: each side is held up by the other for most of the time.
        loop {
            let count = tokio::io::AsyncReadExt::read(&mut stdout, &mut piece).await;
            match count.unwrap() {
                0 => break read,
                count => read.extend_from_slice(&piece[..count]),
            }
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let both = async { tokio::join!(write, read).1 };
    let read = within("all to come back", IN_TIME, both).await;
    assert!(read == sent, "{} bytes came back", read.len());
}

#[tokio::test]
async fn a_terminal_has_its_size_changes_it_and_reports_the_exit() {
    let (_server, access) = start().await;
    let command = "trap 'stty size; exit 7' WINCH; test -t 0 && echo $TERM ready; while :; do sleep 0.1; done";
    let mut on_terminal = Command::new("python3");
    on_terminal
        .args(["-c", ON_A_TERMINAL, "ssh"])
        .args(access.options())
        .args(["-tt", &access.login(), command])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = output(on_terminal).await;
    let said = text(&ended.stdout);
    assert!(said.contains("xterm-256color ready"), "{ended:?}");
    assert!(said.contains("40 120"), "{ended:?}");
    assert_eq!(ended.status.code(), Some(7), "{said}");
    // A shell on a terminal, whose input ends.
    let shell = output_of(access.ssh_with(&["-tt"], &[]), b"exit 9\n".to_vec()).await;
    assert_eq!(shell.status.code(), Some(9), "{shell:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_hangs_up_on_its_program() {
    let (server, access) = start().await;
    let command = "trap 'echo hung up > trace; exit' HUP; echo ready; while :; do sleep 0.1; done";
    let mut child = access
        .ssh([command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("the program to begin", IN_TIME, lines.next_line()).await;
    assert_eq!(line.unwrap().as_deref(), Some("ready"));
    child.kill().await.unwrap();
    let client = server.client();
    alcove_e2e::wait::until("the program to be hung up on", async || {
        let found = crate::support::execute(&client, "box", "cat trace").await;
        let found = found.map_err(|error| error.to_string())?;
        if found.result.trim() == "hung up" {
            Ok(())
        } else {
            Err(found.result)
        }
    })
    .await;
}
