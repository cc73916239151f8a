#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::*;

/// The head of a request, to its end: what is left unread when a host hangs up takes back what the host has said.
fn head(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        said.push(byte[0]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// A host that says this to whoever asks, and hangs up; with `is_silent`, it stays there.
fn host(said: Vec<u8>, is_silent: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            head(&mut stream);
            let _ = stream.write_all(&said);
            if is_silent {
                // Until the other side goes.
                let _ = stream.read(&mut [0]);
            }
        }
    });
    port
}

fn file(bytes: usize) -> Vec<u8> {
    let mut said = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
    said.extend(vec![b'x'; bytes]);
    said
}

fn order(url: String) -> Fetch {
    Fetch {
        url,
        max_bytes: 1000,
        within: Duration::from_secs(20),
    }
}

/// A proxy that says this to whoever asks through it, and which hosts were asked for.
fn proxy(answers: Vec<(&'static str, Vec<u8>)>) -> (Proxy, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, hosts) = std::sync::mpsc::sync_channel(16);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let said = head(&mut stream);
            let host = said.strip_prefix("CONNECT ").unwrap();
            let host = host.split(' ').next().unwrap().to_owned();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            head(&mut stream);
            let answer = answers.iter().find(|(at, _)| *at == host);
            let _ = asked.send(host);
            if let Some((_, answer)) = answer {
                let _ = stream.write_all(answer);
            }
        }
    });
    (Proxy::new(&format!("http://{address}")).unwrap(), hosts)
}

fn sends_to(place: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

async fn fetched(sources: &Sources, order: Fetch) -> Result<Vec<u8>, FetchError> {
    let mut pieces = sources.fetch(order).await?;
    let mut all = Vec::new();
    while let Some(piece) = pieces.recv().await {
        all.extend(piece?);
    }
    Ok(all)
}

fn local() -> Sources {
    Sources::new(&["127.0.0.1".to_owned()])
}

#[tokio::test]
async fn private_addresses_are_asked_only_where_the_operator_has_named_them() {
    let port = host(file(3), false);
    let url = || order(format!("http://127.0.0.1:{port}/a.tgz"));
    assert_eq!(fetched(&local(), url()).await.unwrap(), b"xxx");
    let refused = fetched(&Sources::new(&[]), url()).await.unwrap_err();
    let host = "127.0.0.1".to_owned();
    assert_eq!(refused, FetchError::NotPublic { host });
}

#[tokio::test]
async fn a_host_that_sends_its_clients_to_a_private_address_is_not_followed() {
    let inner = host(file(3), false);
    let outer = host(sends_to(&format!("http://127.0.0.2:{inner}/")), false);
    let url = format!("http://127.0.0.1:{outer}/");
    let refused = fetched(&local(), order(url)).await.unwrap_err();
    assert!(
        matches!(refused, FetchError::NotPublic { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_host_behind_the_proxy_may_send_its_clients_to_another_one_and_not_to_a_private_address()
{
    let (inner, patient) = (host(file(3), false), Duration::from_mins(1));
    let (proxy, asked) = proxy(vec![
        ("a.invalid:80", sends_to("http://b.invalid/file")),
        ("b.invalid:80", file(5)),
        (
            "c.invalid:80",
            sends_to(&format!("http://127.0.0.1:{inner}/")),
        ),
        ("d.invalid:80", sends_to("file:///etc/passwd")),
        ("e.invalid:80", sends_to("/again")),
    ]);
    let order = |name: &str| Fetch {
        within: patient,
        ..order(format!("http://{name}.invalid/"))
    };
    let closed = Sources::by(&[], Some(proxy.clone()));
    assert_eq!(fetched(&closed, order("a")).await.unwrap(), b"xxxxx");
    let refused = fetched(&closed, order("c")).await.unwrap_err();
    let local = "127.0.0.1".to_owned();
    assert_eq!(refused, FetchError::NotPublic { host: local });
    // The control: where the operator has named it, it is asked, and not through the proxy.
    let open = Sources::by(&["127.0.0.1".to_owned()], Some(proxy));
    assert_eq!(fetched(&open, order("c")).await.unwrap(), b"xxx");
    for (name, reason) in [("d", "no address of http"), ("e", "more than 5 times")] {
        let refused = fetched(&closed, order(name)).await.unwrap_err();
        let FetchError::Unreachable { reason: said, .. } = refused else {
            panic!("{name}: {refused:?}");
        };
        assert!(said.contains(reason), "{name}: {said}");
    }
    drop((closed, open));
    let asked: String = asked.try_iter().map(|host| host[..1].to_owned()).collect();
    assert_eq!(asked, "abccdeeeeee");
}

#[tokio::test]
async fn what_is_too_long_or_breaks_off_ends_with_its_reason() {
    let url = |port| order(format!("http://127.0.0.1:{port}/"));
    let long = fetched(&local(), url(host(file(1001), false))).await;
    assert_eq!(long, Err(FetchError::TooLong { max_bytes: 1000 }));
    let all = fetched(&local(), url(host(file(1000), false))).await;
    assert_eq!(all.unwrap().len(), 1000);
    let mut half = file(900);
    half.truncate(500);
    let broken = fetched(&local(), url(host(half, false))).await;
    assert!(
        matches!(broken, Err(FetchError::Broken { .. })),
        "{broken:?}"
    );
    let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
    let missing = fetched(&local(), url(host(missing, false))).await;
    let host = "127.0.0.1".to_owned();
    assert_eq!(missing, Err(FetchError::Refused { host, status: 404 }));
}

#[tokio::test]
async fn a_host_that_says_nothing_more_is_given_up_when_its_time_is_over() {
    let mut half = file(900);
    half.truncate(500);
    let slow = Fetch {
        within: Duration::from_millis(300),
        ..order(format!("http://127.0.0.1:{}/", host(half, true)))
    };
    let broken = fetched(&local(), slow).await;
    assert!(
        matches!(broken, Err(FetchError::Broken { .. })),
        "{broken:?}"
    );
}

#[tokio::test]
async fn what_is_no_address_of_the_web_is_not_fetched() {
    for url in ["", "x", "file:///etc/passwd", "ftp://a/b", "http://"] {
        let refused = fetched(&local(), order(url.to_owned())).await;
        assert_eq!(refused, Err(FetchError::Address), "{url}");
    }
}
