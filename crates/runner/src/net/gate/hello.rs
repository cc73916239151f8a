//! The first words of a TLS client, read for the name of the server that it wants.
//!
//! They are parsed by the library that would answer them, cut into records and packets as they may be. What it takes for
//! out of order is refused here too: servers might read it in more ways than one.

use alcove_domain::HostName;
use rustls::server::Acceptor;

/// The longest that is waited for. Those of browsers, with keys against quantum computers, have two kilobytes.
pub(super) const MAX: usize = 16 << 10;

/// All that a client sent until its name was known.
#[derive(Debug)]
pub(super) struct Hello {
    pub name: HostName,
    /// To be passed on as it came.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HelloError {
    CutOff,
    TooLong,
    /// Not the first message of a TLS client, or one that breaks the protocol's rules.
    Malformed,
    /// It does not say whom it means, or says so by an address. Where the name is encrypted, the outer one counts.
    NoName,
}

/// Takes bytes as they come.
#[derive(Default)]
pub(super) struct Reader {
    acceptor: Acceptor,
    bytes: Vec<u8>,
}

impl Reader {
    /// The hello once it is whole; `None` while there is more to come.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
        if self.bytes.len() + bytes.len() > MAX {
            return Err(HelloError::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        while !bytes.is_empty() {
            let taken = self.acceptor.read_tls(&mut bytes);
            if taken.map_err(|_| HelloError::Malformed)? == 0 {
                return Err(HelloError::Malformed);
            }
            let accepted = self.acceptor.accept().map_err(|_| HelloError::Malformed)?;
            let Some(accepted) = accepted else { continue };
            let hello = accepted.client_hello();
            let name = hello.server_name().and_then(HostName::parse);
            return Ok(Some(Hello {
                name: name.ok_or(HelloError::NoName)?,
                bytes: std::mem::take(&mut self.bytes),
            }));
        }
        Ok(None)
    }
}

#[cfg(test)]
pub(in crate::net::gate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// The first words of a real client.
    pub fn hello_to(server: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let server = ServerName::try_from(server.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), server).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn read(pieces: &[&[u8]]) -> Result<Option<Hello>, HelloError> {
        let mut reader = Reader::default();
        for piece in pieces {
            if let Some(hello) = reader.push(piece)? {
                return Ok(Some(hello));
            }
        }
        Ok(None)
    }

    fn name_in(pieces: &[&[u8]]) -> Option<String> {
        let hello = read(pieces).ok()??;
        assert_eq!(hello.bytes, pieces.concat());
        Some(hello.name.to_string())
    }

    /// The same handshake message in records of at most so many bytes.
    fn in_records(hello: &[u8], length: usize) -> Vec<u8> {
        let record = |piece: &[u8]| {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&hello[..3], &length, piece].concat()
        };
        hello[5..].chunks(length).flat_map(record).collect()
    }

    #[test]
    fn the_name_is_found_however_the_hello_is_cut_up() {
        let hello = hello_to("Api.Example.com");
        assert_eq!(name_in(&[&hello]).as_deref(), Some("api.example.com"));
        let bytes: Vec<&[u8]> = hello.chunks(1).collect();
        assert_eq!(name_in(&bytes).as_deref(), Some("api.example.com"));
        for length in [1, 7, 100] {
            let records = in_records(&hello, length);
            assert_eq!(
                name_in(&[&records]).as_deref(),
                Some("api.example.com"),
                "{length}"
            );
        }
    }

    #[test]
    fn what_comes_behind_the_hello_is_kept() {
        let hello = [hello_to("a.example"), vec![20, 3, 3, 0, 1, 1]].concat();
        assert_eq!(name_in(&[&hello]).as_deref(), Some("a.example"));
    }

    #[test]
    fn a_hello_without_a_name_is_refused() {
        let outcome = read(&[&hello_to("192.0.2.1")]).map(drop);
        assert_eq!(outcome, Err(HelloError::NoName));
    }

    #[test]
    fn two_names_in_one_hello_are_refused() {
        let mut hello = hello_to("a.example");
        // One name of nine bytes behind list and type becomes two of three: servers differ in which they take.
        let at = hello
            .windows(9)
            .position(|window| window == b"a.example")
            .unwrap();
        hello[at - 2..at + 9].copy_from_slice(b"\x00\x03a.b\x00\x00\x03c.d");
        assert_eq!(read(&[&hello]).map(drop), Err(HelloError::Malformed));
    }

    #[test]
    fn a_hello_that_never_ends_is_refused_at_a_bound() {
        let mut reader = Reader::default();
        // A handshake message of 16 MiB, in records of one byte.
        let mut bytes = vec![22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
        bytes.extend([22, 3, 1, 0, 1, 0].repeat(100_000));
        let outcome = bytes.chunks(100).find_map(|piece| reader.push(piece).err());
        assert!(matches!(
            outcome,
            Some(HelloError::TooLong | HelloError::Malformed)
        ));
        assert!(reader.bytes.len() <= MAX);
    }

    #[test]
    fn other_protocols_are_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"SSH-2.0-x\r\n",
            &[22; 64],
            &[0x80, 46, 1, 3, 1, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(read(&[bytes]).map(drop), Err(HelloError::Malformed));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = read(&pieces);
        }

        #[test]
        fn a_damaged_hello_yields_a_name_that_stands_in_it_or_none(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut hello = hello_to("api.example.com");
            for (at, byte) in changes {
                let at = at.index(hello.len());
                hello[at] = byte;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(hello.len())).collect();
            cuts.extend([0, hello.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &hello[cut[0]..cut[1]]).collect();
            if let Ok(Some(read)) = read(&pieces) {
                let name = read.name.as_str().as_bytes();
                prop_assert!(hello.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name)));
            }
        }
    }
}
