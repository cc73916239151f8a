//! The host's own loopback, in the place of a sandbox's.

use std::io;
use std::net::SocketAddr;

use alcove_control::{AgentStream, DialError, PortListener};
use alcove_domain::Port;
use async_trait::async_trait;
use tokio::net::TcpListener;

struct Listener(TcpListener);

pub(super) async fn listen(port: Option<Port>) -> Result<(Box<dyn PortListener>, u16), DialError> {
    let unavailable = |_| DialError::Unavailable;
    let port = port.map_or(0, Port::get);
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.map_err(unavailable)?;
    let bound = listener.local_addr().map_err(unavailable)?;
    Ok((Box::new(Listener(listener)), bound.port()))
}

#[async_trait]
impl PortListener for Listener {
    async fn accept(&mut self) -> io::Result<(Box<dyn AgentStream>, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Box::new(stream), peer))
    }
}
