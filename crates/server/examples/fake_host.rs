//! The HTTP face over a fake host, to try clients against: sandboxes are made in memory only.
//!
//! `cargo run -p alcove-server --example fake_host -- 127.0.0.1:3000` prints address and key and serves
//! until it is interrupted.
#![expect(clippy::unwrap_used, reason = "a program to try things with may panic")]

use std::time::Duration;

use alcove_control::{AgentConnection, DialError};
use alcove_server::{App, Options};
use alcove_testkit::TestControl;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

fn dial(socket: &str, token: &str) -> Result<AgentConnection, DialError> {
    let connect = || {
        let stream = std::os::unix::net::UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(stream)
    };
    Ok(AgentConnection {
        stream: Box::new(connect().map_err(|_| DialError::Unavailable)?),
        token: token.to_owned(),
    })
}

#[tokio::main]
async fn main() {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let kit = TestControl::open().await;
    if let (Some(socket), Some(token)) = (std::env::args().nth(2), std::env::args().nth(3)) {
        kit.runner.on_dial(move |_| dial(&socket, &token));
    }
    let listener = TcpListener::bind(&address).await.unwrap();
    let public_url = format!("http://{}", listener.local_addr().unwrap());
    println!("export DAYTONA_API_URL={public_url}/api");
    println!("export DAYTONA_API_KEY={}", kit.key);
    let app = App::new(
        kit.control.clone(),
        &Options {
            public_url,
            ..Options::default()
        },
    );
    alcove_server::serve(
        listener,
        app,
        CancellationToken::new(),
        Duration::from_secs(1),
    )
    .await;
}
