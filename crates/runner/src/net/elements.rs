//! The entries of the table's sets, put in and taken out by messages of our own: no process is started for them.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use alcove_domain::Ipv4Network;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::nfnetlink::{
    FLAG_ACK, FLAG_REQUEST, Head, Message, NESTED, attribute, messages, request, sequence,
};

const SUBSYSTEM_NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
const FLAG_CREATE: u16 = 0x400;
/// Tables for both address families.
const FAMILY_INET: u8 = 1;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const DATA_VALUE: u16 = 1;

/// Length of an interface's name as the kernel compares it.
const INTERFACE_BYTES: usize = 16;

/// What a sandbox may do, as an entry of one of the table's sets beside its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// Reach all that is not closed to everybody.
    Open,
    /// Ask the resolver, although it is not open.
    Resolving,
    /// Not a right: what it sends is marked.
    Limited,
    Network(Ipv4Network),
    Address(Ipv4Addr),
    /// Reach a sandbox that it is linked with.
    Peer(Ipv4Addr),
}

impl Entry {
    /// The name of the set.
    pub fn set(self) -> String {
        match self {
            Self::Open => "open".to_owned(),
            Self::Resolving => "resolving".to_owned(),
            Self::Limited => "limited".to_owned(),
            Self::Network(network) => networks_set(network.prefix_len()),
            Self::Address(_) => "addresses".to_owned(),
            Self::Peer(_) => "peers".to_owned(),
        }
    }

    /// As nft writes it.
    pub fn text(self, interface: &str) -> String {
        match self {
            Self::Open | Self::Resolving | Self::Limited => format!("\"{interface}\""),
            Self::Network(network) => format!("\"{interface}\" . {}", network.address()),
            Self::Address(address) | Self::Peer(address) => {
                format!("\"{interface}\" . {address}")
            }
        }
    }

    fn key(self, interface: &str) -> Vec<u8> {
        let mut key = interface.as_bytes().to_vec();
        key.resize(INTERFACE_BYTES, 0);
        match self {
            Self::Open | Self::Resolving | Self::Limited => {}
            Self::Network(network) => key.extend(network.address().octets()),
            Self::Address(address) | Self::Peer(address) => key.extend(address.octets()),
        }
        key
    }
}

/// The set of the networks with this many bits.
pub(super) fn networks_set(prefix_len: u8) -> String {
    format!("networks_{prefix_len}")
}

/// Changes of one sandbox's entries that the kernel makes all at once or not at all.
#[derive(Debug, Default)]
pub(super) struct Batch {
    messages: Vec<(u16, Vec<u8>)>,
}

impl Batch {
    /// Puts an entry in. One that is there already stays, with the time that it had.
    pub fn add(&mut self, table: &str, interface: &str, entry: Entry, time: Option<Duration>) {
        self.push(NEW_ELEMENT, table, interface, entry, time);
    }

    /// Takes an entry out, whether it is there or not.
    pub fn remove(&mut self, table: &str, interface: &str, entry: Entry) {
        // Removing what is not there would be an error, and adding what is there is none.
        self.push(NEW_ELEMENT, table, interface, entry, None);
        self.push(DELETE_ELEMENT, table, interface, entry, None);
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn push(
        &mut self,
        kind: u16,
        table: &str,
        interface: &str,
        entry: Entry,
        time: Option<Duration>,
    ) {
        let text = |kind, text: &str| attribute(kind, &[text.as_bytes(), &[0]].concat());
        let value = attribute(DATA_VALUE, &entry.key(interface));
        let mut element = attribute(ELEMENT_KEY | NESTED, &value);
        if let Some(time) = time {
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            element.extend(attribute(ELEMENT_TIMEOUT, &milliseconds.to_be_bytes()));
        }
        let elements = attribute(LIST_ELEMENT | NESTED, &element);
        let attributes = [
            text(LIST_TABLE, table),
            text(LIST_SET, &entry.set()),
            attribute(LIST_ELEMENTS | NESTED, &elements),
        ];
        self.messages.push((kind, attributes.concat()));
    }
}

/// A socket over which entries are changed.
#[derive(Debug)]
pub(super) struct ElementSocket {
    socket: Socket,
    port: u32,
    sequence: u32,
}

impl ElementSocket {
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
        })
    }

    /// The number under which the kernel tells others of our changes.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Makes the changes. After an error the socket is not to be used again: answers may be left in it.
    pub fn commit(&mut self, batch: &Batch) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut packet = self.frame(BATCH_BEGIN);
        for (kind, attributes) in &batch.messages {
            let create = if *kind == NEW_ELEMENT { FLAG_CREATE } else { 0 };
            let head = Head {
                kind: (SUBSYSTEM_NFTABLES << 8) | kind,
                flags: FLAG_REQUEST | FLAG_ACK | create,
                sequence: self.next(),
                family: FAMILY_INET,
                resource: 0,
            };
            packet.extend(request(head, attributes));
        }
        packet.extend(self.frame(BATCH_END));
        self.socket.send(&packet, 0)?;
        // The kernel has answered all of them before the send returns.
        let mut awaited = batch.messages.len();
        while awaited > 0 {
            let (answer, _) = self.socket.recv_from_full()?;
            for message in messages(&answer) {
                let sequence = sequence(message).unwrap_or_default();
                if sequence.wrapping_sub(first) > self.sequence.wrapping_sub(first) {
                    continue;
                }
                match Message::read(message)? {
                    Message::Code(0) => awaited = awaited.saturating_sub(1),
                    Message::Code(code) => return Err(io::Error::from_raw_os_error(-code)),
                    Message::Entry(_) | Message::Done => {}
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, kind: u16) -> Vec<u8> {
        let head = Head {
            kind,
            flags: FLAG_REQUEST,
            sequence: self.next(),
            family: 0,
            resource: SUBSYSTEM_NFTABLES,
        };
        request(head, &[])
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_key_is_the_padded_interface_and_the_address_behind_it() {
        let network = Entry::Network("10.1.0.0/16".parse().unwrap());
        let key = network.key("alc1a2b3c-17");
        assert_eq!(key.len(), 20);
        assert!(key.starts_with(b"alc1a2b3c-17\0\0\0\0"));
        assert!(key.ends_with(&[10, 1, 0, 0]));
        assert_eq!(network.set(), "networks_16");
        assert_eq!(network.text("a-1"), "\"a-1\" . 10.1.0.0");
        assert_eq!(Entry::Open.key("a-1").len(), INTERFACE_BYTES);
    }

    #[test]
    fn what_is_taken_out_is_put_in_first() {
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.remove("t", "a-1", Entry::Open);
        let kinds: Vec<u16> = batch.messages.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [NEW_ELEMENT, DELETE_ELEMENT]);
    }
}
