//! Ports there and here.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;

const SERVE: &str =
    "mkdir -p www && echo inside > www/x && httpd -p 127.0.0.1:3456 -h www && echo started";

#[tokio::test]
async fn a_port_of_the_sandbox_is_reached_from_here_and_no_other_host() {
    let (server, access) = start().await;
    crate::support::run(&server.client(), "box", SERVE).await;
    let request = b"GET /x HTTP/1.0\r\n\r\n".to_vec();
    let direct = output_of(
        access.ssh_with(&["-W", "localhost:3456"], &[]),
        request.clone(),
    )
    .await;
    assert!(text(&direct.stdout).ends_with("inside\n"), "{direct:?}");
    for (place, reason) in [
        ("localhost:1", "connect failed"),
        ("10.0.0.1:80", "prohibited"),
    ] {
        let refused = output(access.ssh_with(&["-W", place], &[])).await;
        assert!(
            text(&refused.stderr).contains(reason),
            "{place}: {refused:?}"
        );
    }

    let socket = access.path("there");
    let forward = format!("{}:127.0.0.1:3456", socket.display());
    let mut child = access
        .ssh_with(&["-L", &forward], &["echo ready; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    within("the forward", IN_TIME, lines.next_line())
        .await
        .unwrap();
    // Several at once on one connection.
    let ask = async || {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut answer = String::new();
        within("an answer", IN_TIME, stream.read_to_string(&mut answer))
            .await
            .unwrap();
        answer
    };
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for answer in [one, two, three] {
        assert!(answer.ends_with("inside\n"), "{answer}");
    }
    drop(child.stdin.take());
    assert!(ended(child).await.status.success());
}

/// Somebody else may take a port between the choice and the start.
const PORTS_TRIED: usize = 5;

#[tokio::test]
async fn programs_here_choose_ports_of_the_sandbox_by_socks() {
    let (server, access) = start().await;
    crate::support::run(&server.client(), "box", SERVE).await;
    let mut begun = None;
    for _ in 0..PORTS_TRIED {
        begun = dynamic(&access).await;
        if begun.is_some() {
            break;
        }
    }
    let (mut child, port) = begun.expect("a port that is free");

    let by_name = |host: &str, port: u16| {
        let mut address = vec![3, u8::try_from(host.len()).unwrap()];
        address.extend(host.bytes());
        address.extend(port.to_be_bytes());
        address
    };
    let by_address = |port: u16| [&[1, 127, 0, 0, 1], &port.to_be_bytes()[..]].concat();
    for address in [by_name("localhost", 3456), by_address(3456)] {
        let answer = ask_by_socks(port, &address).await;
        assert!(answer.ends_with("inside\n"), "{answer}");
    }
    // Where nothing listens, and hosts beyond the sandbox.
    for address in [
        by_address(1),
        by_name("10.0.0.1", 80),
        by_name("example.com", 80),
    ] {
        assert_eq!(ask_by_socks(port, &address).await, "", "{address:?}");
    }
    drop(child.stdin.take());
    assert!(ended(child).await.status.success());
}

/// `ssh -D` at a port that was free a moment ago; none if it is not any more.
async fn dynamic(access: &Access) -> Option<(Child, u16)> {
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        free.local_addr().unwrap().port()
    };
    let forward = format!("127.0.0.1:{port}");
    let options = ["-o", "ExitOnForwardFailure=yes", "-D", &forward];
    let mut child = access
        .ssh_with(&options, &["echo ready; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = within("the forward", IN_TIME, lines.next_line()).await;
    ready.unwrap().map(|_| (child, port))
}

/// What a web server at this address answers by SOCKS 5; nothing where there is none.
async fn ask_by_socks(port: u16, address: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // One way to say who one is: none.
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut chosen = [0; 2];
    let read = stream.read_exact(&mut chosen);
    within("the greeting", IN_TIME, read).await.unwrap();
    assert_eq!(chosen, [5, 0]);
    let connect = [&[5, 1, 0], address].concat();
    stream.write_all(&connect).await.unwrap();
    // OpenSSH says that it is done before it asks, and closes where it is refused, maybe before that was read.
    let mut done = [0; 10];
    let read = stream.read_exact(&mut done);
    if within("an answer", IN_TIME, read).await.is_err() {
        return String::new();
    }
    assert_eq!(done[..2], [5, 0]);
    let mut answer = String::new();
    let ask = async {
        stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").await?;
        stream.read_to_string(&mut answer).await
    };
    // A connection that is closed over what was sent is reset.
    let _ = within("an answer", IN_TIME, ask).await;
    answer
}

#[tokio::test]
async fn a_port_here_is_reached_from_the_sandbox() {
    let (server, access) = start().await;
    let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forward = format!("0:127.0.0.1:{}", here.local_addr().unwrap().port());
    let mut child = access
        .ssh_with(&["-R", &forward], &["cat"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let port = loop {
        let line = within("a port", IN_TIME, lines.next_line()).await;
        let line = line.unwrap().expect("a port is told");
        if let Some(rest) = line.strip_prefix("Allocated port ") {
            break rest.split(' ').next().unwrap().to_owned();
        }
    };
    let serve = async {
        let (mut stream, _) = here.accept().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        // Only then: the program there goes when it is told that no more comes, whatever it has to say still. What is said
        // here is followed at once by the end of the connection.
        stream.write_all(b"from here\n").await.unwrap();
        stream.shutdown().await.unwrap();
        said
    };
    let client = server.client();
    let command = format!("echo from there | nc 127.0.0.1 {port}");
    let both = async { tokio::join!(serve, crate::support::run(&client, "box", &command)) };
    let (there, answer) = within("both", IN_TIME, both).await;
    assert_eq!(
        (there.as_str(), answer.as_str()),
        ("from there\n", "from here\n")
    );
    // It goes with the connection.
    drop(child.stdin.take());
    within("the end", IN_TIME, child.wait()).await.unwrap();
    alcove_e2e::wait::until("the listener to go", async || {
        let command = format!("nc 127.0.0.1 {port} < /dev/null");
        match crate::support::execute(&client, "box", &command).await {
            Ok(answer) if answer.exit_code != 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Ports of the system are not listened on.
    let low = access.ssh_with(
        &["-o", "ExitOnForwardFailure=yes", "-R", "80:127.0.0.1:1"],
        &["true"],
    );
    let low = output(low).await;
    assert!(
        text(&low.stderr).contains("remote port forwarding failed"),
        "{low:?}"
    );
}
