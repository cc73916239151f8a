//! Attempts at reaching others by their names, and a name server for them.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use crate::network::{Outcome, PATIENCE, parse, silence};

/// Asks a name server for the addresses of a name. With the code first, where that is not 0.
pub fn resolve(server: &str, name: &str) -> Outcome {
    let query = query(name)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE * 4))?;
    socket.connect(parse::<SocketAddr>(server)?)?;
    socket.send(&query)?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).map_err(silence)?;
    let answer = buffer.get(..length).unwrap_or_default();
    let code = answer.get(3).map_or(0, |flags| flags & 15);
    if code != 0 {
        return Ok(format!("code {code}"));
    }
    let records = answer.get(query.len()..).unwrap_or_default();
    let addresses = records.chunks_exact(16).filter_map(|record| {
        let octets: [u8; 4] = record.get(12..)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).to_string())
    });
    Ok(addresses.collect::<Vec<_>>().join(" "))
}

fn query(name: &str) -> io::Result<Vec<u8>> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(byte(label.len())?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    Ok(query)
}

fn byte(length: usize) -> io::Result<u8> {
    u8::try_from(length).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn short(length: usize) -> io::Result<[u8; 2]> {
    let length = u16::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(length.to_be_bytes())
}

/// Says the first words of a TLS client that wants this server, and gives back what comes.
pub fn hello(address: &str, name: &str) -> Outcome {
    let extension = |kind: u16, body: &[u8]| -> io::Result<Vec<u8>> {
        Ok([&kind.to_be_bytes()[..], &short(body.len())?, body].concat())
    };
    let host = [&[0][..], &short(name.len())?, name.as_bytes()].concat();
    let server_name = extension(0, &[&short(host.len())?[..], &host].concat())?;
    let groups = extension(10, &[0, 2, 0, 29])?;
    let signatures = extension(13, &[0, 2, 4, 3])?;
    let extensions = [server_name, groups, signatures].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session, one suite, no compression.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(short(extensions.len())?);
    body.extend(extensions);
    let message = [&[1, 0][..], &short(body.len())?, &body].concat();
    let record = [&[22, 3, 1][..], &short(message.len())?, &message].concat();
    say(address, &record)
}

/// Sends a request for a host, and gives back the answer.
pub fn request(address: &str, host: &str) -> Outcome {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    say(address, request.as_bytes())
}

fn say(address: &str, words: &[u8]) -> Outcome {
    let mut stream = TcpStream::connect_timeout(&parse(address)?, PATIENCE).map_err(silence)?;
    stream.set_read_timeout(Some(PATIENCE * 4))?;
    stream.write_all(words)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(silence)?;
    Ok(String::from_utf8_lossy(&answer).escape_debug().to_string())
}

/// A name server on an address: NAME=ADDRESS for each name. Prints each name that it is asked for, until it is ended.
pub fn serve(address: &str, names: &[&str]) -> Outcome {
    let mut known = Vec::new();
    for entry in names {
        let (name, at) = entry.split_once('=').ok_or(io::ErrorKind::InvalidInput)?;
        known.push((name, parse::<Ipv4Addr>(at)?));
    }
    let socket = UdpSocket::bind(parse::<SocketAddr>(address)?)?;
    println!("ready");
    let mut buffer = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        let asked = buffer.get(..length).unwrap_or_default();
        let mut answer = asked.to_vec();
        let found = known
            .iter()
            .find(|(name, _)| query(name).is_ok_and(|query| query.get(12..) == asked.get(12..)));
        let Some(flags) = answer.get_mut(2..8) else {
            continue;
        };
        flags[0] |= 0x80;
        if let Some((_, at)) = found {
            flags[5] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(at.octets());
        } else {
            flags[1] |= 3;
        }
        let name = asked.get(12..).unwrap_or_default();
        println!("{}", String::from_utf8_lossy(name).escape_debug());
        socket.send_to(&answer, client)?;
    }
}
