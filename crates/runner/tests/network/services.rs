//! What the internet of the world offers beside its web server: names, and several of them on one address.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::world::{INTERNET, PATIENCE, SILENCE};

const TYPE_A: u16 = 1;

/// A name server with names of its own. It keeps every name that it is asked for.
#[derive(Clone)]
pub struct Zone {
    names: Arc<Vec<(&'static str, Vec<Ipv4Addr>)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Zone {
    /// Serves on the address, in this thread's network.
    pub fn serve(address: Ipv4Addr, names: Vec<(&'static str, Vec<Ipv4Addr>)>) -> Self {
        let zone = Self {
            names: Arc::new(names),
            asked: Arc::default(),
        };
        let datagrams = UdpSocket::bind((address, 53)).unwrap();
        let server = zone.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = datagrams.recv_from(&mut buffer) {
                let _ = datagrams.send_to(&server.answer(&buffer[..length]), client);
            }
        });
        zone
    }

    pub fn was_asked(&self, part: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.iter().any(|name| name.contains(part))
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let mut labels = Vec::new();
        let mut at = 12;
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
            at = end;
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let name = labels.join(".");
        self.asked.lock().unwrap().push(name.clone());
        let mut answer = query[..at + 5].to_vec();
        answer[2] |= 0x80;
        answer[6..12].fill(0);
        match self.names.iter().find(|(known, _)| *known == name) {
            Some((_, addresses)) if kind == TYPE_A => {
                answer[7] = u8::try_from(addresses.len()).unwrap();
                for address in addresses {
                    answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                    answer.extend(address.octets());
                }
            }
            Some(_) => {}
            None => answer[3] |= 3,
        }
        answer
    }
}

/// What a resolver says: the code, and the addresses behind the question.
pub fn read_answer(query: &[u8], answer: &[u8]) -> (u8, Vec<Ipv4Addr>) {
    let count = usize::from(u16::from_be_bytes([answer[6], answer[7]]));
    let records = answer[query.len()..].chunks_exact(16).take(count);
    let addresses = records.map(|record| <[u8; 4]>::try_from(&record[12..]).unwrap().into());
    (answer[3] & 0x0f, addresses.collect())
}

/// Servers of these names, on every address of this thread's network: TLS on 443, requests on 80; datagrams on 443 of one.
/// Each greets with the name that it was called by.
pub struct Shared {
    certificate: CertificateDer<'static>,
}

impl Shared {
    pub fn serve(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let config = Arc::new(config);
        each_stream(443, move |stream| {
            let connection =
                ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            greet(StreamOwned::new(connection, stream))
        });
        each_stream(80, answer_requests);
        let datagrams = UdpSocket::bind((INTERNET, 443)).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, client)) = datagrams.recv_from(&mut buffer) {
                let _ = datagrams.send_to(&buffer[..length], client);
            }
        });
        Self { certificate }
    }

    /// A connection to `name` at an address, after its greeting.
    pub fn call(&self, address: Ipv4Addr, name: &str) -> io::Result<(String, Call)> {
        let stream = connect(address, 443)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let client = ClientConnection::new(Arc::new(config), server).unwrap();
        let mut call = Call(StreamOwned::new(client, stream));
        let greeting = call.line()?;
        Ok((greeting, call))
    }
}

pub struct Call(StreamOwned<ClientConnection, TcpStream>);

impl Call {
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.0.read(&mut byte)? == 1 && byte != *b"\n" {
            line.extend(byte);
        }
        String::from_utf8(line).map_err(io::Error::other)
    }

    /// Whether what is sent comes back.
    pub fn echoes(&mut self) -> bool {
        self.0.write_all(b"x\n").is_ok() && self.line().is_ok_and(|line| line == "x")
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn each_stream(port: u16, serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
}

fn greet(mut stream: StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let name = stream.conn.server_name().unwrap_or("nobody").to_owned();
    stream.write_all(format!("hello from {name}\n").as_bytes())?;
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn answer_requests(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut host = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("host:") {
                value.trim().clone_into(&mut host);
            }
            if line == "\r\n" {
                break;
            }
        }
        let body = format!("hello from {host}");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes())?;
    }
}

fn connect(address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Whether a connection is taken at all. Silence is a no.
pub fn connects(address: Ipv4Addr, port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((address, port)), SILENCE).is_ok()
}

/// Asks for `/` of each host in turn over one connection, and returns all that comes back.
pub fn request(address: Ipv4Addr, hosts: &[&str]) -> io::Result<String> {
    let mut stream = connect(address, 80)?;
    for (index, host) in hosts.iter().enumerate() {
        let is_last = index + 1 == hosts.len();
        let connection = if is_last { "close" } else { "keep-alive" };
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n"
        )?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether a datagram to the port comes back.
pub fn datagram_returns(address: Ipv4Addr, port: u16, bytes: &[u8]) -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let sent = socket
        .connect((address, port))
        .and_then(|()| socket.send(bytes));
    sent.is_ok() && socket.recv(&mut [0; 512]).is_ok()
}
