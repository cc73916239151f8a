#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::super::HostSettings;
use super::*;

/// Between two bytes of a registry that takes its time, and how many there are: a second at least.
const BYTE_EVERY: Duration = Duration::from_millis(5);
const BYTES: usize = 200;
/// Too short for that.
const SHORT: Duration = Duration::from_millis(300);

/// A registry at this address that answers by the path: at once, a byte now and then, or with a challenge.
fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let own = host.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let own = own.clone();
            // A client that has gone ends it.
            std::thread::spawn(move || answer(stream, &own).ok());
        }
    });
    host
}

fn answer(mut stream: TcpStream, own: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    if first.contains("/manifests/challenge ") {
        let challenge = format!("Bearer realm=\"http://{own}/token\",service=\"s\"");
        return write!(
            stream,
            "HTTP/1.1 401 \r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if first.contains("/manifests/away ") {
        write!(stream, "HTTP/1.1 302 \r\nLocation: http://{own}/\r\n")?;
    } else {
        write!(stream, "HTTP/1.1 200 \r\n")?;
    }
    write!(
        stream,
        "Content-Length: {BYTES}\r\nConnection: close\r\n\r\n"
    )?;
    if first.contains("/manifests/quick ") {
        return stream.write_all(&[b' '; BYTES]);
    }
    stream.set_read_timeout(Some(BYTE_EVERY))?;
    for _ in 0..BYTES {
        stream.write_all(b" ")?;
        match stream.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // The client has gone.
            _ => break,
        }
    }
    Ok(())
}

fn client(host: &str, limit: Duration) -> Client {
    let settings = Arc::new(RegistrySettings {
        hosts: [(host.to_owned(), HostSettings::default())].into(),
    });
    let endpoint = settings.endpoints(host, None, true).remove(0);
    let mut client = Client::new(&settings, endpoint, "a/b").unwrap();
    client.description_limit = limit;
    client
}

#[test]
fn a_registry_that_sends_a_byte_now_and_then_is_given_up() {
    let host = registry();
    let client = client(&host, SHORT);
    let manifest = |tag: &str| client.manifest(tag, "*/*", 1 << 20).map(|it| it.bytes);
    for (what, asked) in [
        ("a manifest", manifest("slow")),
        ("a configuration", client.small_blob("sha256:00", 1 << 20)),
        ("a token", manifest("challenge")),
        ("a redirect", manifest("away")),
    ] {
        let error = asked.unwrap_err();
        assert!(
            matches!(error, RegistryError::Unreachable { .. }),
            "{what}: {error:?}"
        );
        assert!(error.to_string().contains("timeout"), "{what}: {error}");
    }
}

#[test]
fn a_registry_that_is_only_slow_has_its_time() {
    let host = registry();
    let client = client(&host, Duration::from_mins(1));
    let began = Instant::now();
    let slow = client.manifest("slow", "*/*", 1 << 20).unwrap();
    assert_eq!(slow.bytes.len(), BYTES);
    assert!(began.elapsed() > SHORT, "it was not slow");
    let quick = client.manifest("quick", "*/*", 1 << 20).unwrap();
    assert_eq!(quick.bytes.len(), BYTES);
}
