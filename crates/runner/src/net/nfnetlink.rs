//! The messages of the kernel's packet filter: how they are put together and taken apart.

use std::io;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

pub(super) const FLAG_REQUEST: u16 = 0x1;
pub(super) const FLAG_ACK: u16 = 0x4;

/// Length of a message's own header, and of that of its family behind it.
pub(super) const HEADER: usize = 16;
pub(super) const FAMILY_HEADER: usize = 4;
pub(super) const NESTED: u16 = 0x8000;

/// What all messages begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Subsystem in the upper byte, kind of message in the lower one.
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub family: u8,
    pub resource: u16,
}

/// A whole message with these attributes.
pub(super) fn request(head: Head, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + FAMILY_HEADER + attributes.len()).unwrap_or(u32::MAX);
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(head.kind.to_ne_bytes());
    message.extend(head.flags.to_ne_bytes());
    message.extend(head.sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // Family, version, resource id.
    message.extend([head.family, 0]);
    message.extend(head.resource.to_be_bytes());
    message.extend(attributes);
    message
}

/// A type, a length and a value, padded to four bytes.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(value.len().next_multiple_of(4) + 4);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Type, value and the whole of each attribute. What is left of a broken one is passed over.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (number(bytes, 0)?, number(bytes, 2)?);
        let length = usize::from(length);
        let whole = bytes
            .get(..length.next_multiple_of(4))
            .filter(|whole| whole.len() >= 4)?;
        let value = whole.get(4..length)?;
        bytes = bytes.get(whole.len()..)?;
        Some((kind & !NESTED, value, whole))
    })
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// An acknowledgement, or a failure: zero for success.
    Code(i32),
    Done,
    /// The attributes of one object.
    Entry(&'a [u8]),
}

impl<'a> Message<'a> {
    pub fn read(message: &'a [u8]) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let kind = number(message, 4).ok_or_else(invalid)?;
        match kind {
            NLMSG_ERROR => {
                let code = message
                    .get(HEADER..HEADER + 4)
                    .and_then(|b| b.try_into().ok());
                Ok(Self::Code(i32::from_ne_bytes(code.ok_or_else(invalid)?)))
            }
            NLMSG_DONE => Ok(Self::Done),
            _ => message
                .get(HEADER + FAMILY_HEADER..)
                .map(Self::Entry)
                .ok_or_else(invalid),
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The number of the socket whose request a message answers, or whose change it tells of.
pub(super) fn port(message: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(message.get(12..16)?.try_into().ok()?))
}

/// The number of the request that a message answers.
pub(super) fn sequence(message: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(message.get(8..12)?.try_into().ok()?))
}

/// The messages of one packet. What is left of a broken one is passed over.
pub(super) fn messages(mut packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(packet.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length >= HEADER)?;
        let message = packet.get(..length)?;
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &[u8]) -> Vec<u8> {
        let head = Head {
            kind: 0,
            flags: 2,
            sequence: 7,
            family: 2,
            resource: 0,
        };
        request(head, attributes)
    }

    #[test]
    fn a_packet_of_several_messages_is_taken_apart_and_a_broken_one_is_an_error() {
        let (entry, done) = (of(b"abcd"), of(&[]));
        let packet = [entry.clone(), done.clone()].concat();
        assert_eq!(
            messages(&packet).collect::<Vec<_>>(),
            [&entry[..], &done[..]]
        );
        assert_eq!(messages(&[0; 20]).count(), 0);
        assert_eq!(Message::read(&entry).ok(), Some(Message::Entry(b"abcd")));
        assert_eq!((sequence(&entry), port(&entry)), (Some(7), Some(0)));
        assert!(Message::read(&[]).is_err());
        assert!(Message::read(&[16, 0, 0, 0, 2, 0, 0, 0]).is_err());
    }

    #[test]
    fn attributes_are_taken_apart_up_to_a_broken_one() {
        let mut bytes = attribute(1, b"abcde");
        let whole = bytes.clone();
        bytes.extend(attribute(2 | NESTED, b""));
        bytes.extend([200, 0, 1, 0]);
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], (1, &b"abcde"[..], &whole[..]));
        assert_eq!(found[1].0, 2);
        assert_eq!(attributes(&[0, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
        assert_eq!(attributes(&[4, 0]).count(), 0);
    }
}
