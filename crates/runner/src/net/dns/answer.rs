//! What a server answered when it was asked for the addresses of a name: read strictly, and no more than that.
//!
//! Input is hostile: every length and pointer is checked, every loop has a bound, and a message in which anything is
//! out of order yields an error and no address. What is not an address on the way from the question to its end (a run
//! of aliases) is passed over.

use std::net::Ipv4Addr;

use super::wire::{self, HEADER, MAX_NAME};

/// Records of an answer that are looked at. Real ones have a handful.
const MAX_RECORDS: u16 = 64;
/// Aliases from the question to its end, as resolvers hold it.
const MAX_ALIASES: usize = 8;
/// Pointers within one name. Each leads further back, so a name with more of them would be a trick.
const MAX_POINTERS: usize = 32;
/// Addresses of one answer: as many as always fit into 512 bytes behind the longest question, so that our own answer
/// never has to be cut short.
pub(super) const MAX_ADDRESSES: usize = 15;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const CLASS_INTERNET: u16 = 1;
const RCODE_NO_SUCH_NAME: u8 = 3;
/// A lifetime with the highest bit set counts as none (RFC 2181).
const TTL_MAX: u32 = 0x7fff_ffff;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The addresses and for how many seconds all that led to them is valid. There may be none.
    Addresses {
        addresses: Vec<Ipv4Addr>,
        ttl_secs: u32,
    },
    NoSuchName,
    /// To be asked for again over a stream.
    Truncated,
    /// The server did not want to answer or could not.
    Failure,
}

/// Something is out of order in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Reads the addresses of the message's own question. That it is the question that was asked is for the caller to
/// know.
pub fn read(message: &[u8]) -> Result<Answer, Malformed> {
    let header = message.first_chunk::<HEADER>().ok_or(Malformed)?;
    if wire::is_truncated(header) {
        return Ok(Answer::Truncated);
    }
    match wire::rcode(message) {
        Some(0) => {}
        Some(RCODE_NO_SUCH_NAME) => return Ok(Answer::NoSuchName),
        _ => return Ok(Answer::Failure),
    }
    if u16::from_be_bytes([header[4], header[5]]) != 1 {
        return Err(Malformed);
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    if count > MAX_RECORDS {
        return Err(Malformed);
    }
    let mut reader = Reader {
        message,
        position: HEADER,
    };
    let question = reader.name()?;
    reader.take(4)?;
    let mut records = Vec::new();
    for _ in 0..count {
        records.extend(reader.record()?);
    }
    follow(&question, &records)
}

/// From the question by its aliases to the addresses at their end.
fn follow(question: &Name, records: &[Record]) -> Result<Answer, Malformed> {
    let mut name = question;
    let mut ttl_secs = TTL_MAX;
    for _ in 0..=MAX_ALIASES {
        let mut aliases = records.iter().filter_map(|record| match &record.data {
            RecordData::Alias(target) if record.owner == *name => Some((target, record.ttl_secs)),
            _ => None,
        });
        let alias = aliases.next();
        if aliases.next().is_some() {
            return Err(Malformed);
        }
        match alias {
            Some((target, ttl)) => {
                ttl_secs = ttl_secs.min(ttl);
                name = target;
            }
            None => return Ok(addresses_of(name, records, ttl_secs)),
        }
    }
    Err(Malformed)
}

fn addresses_of(name: &Name, records: &[Record], mut ttl_secs: u32) -> Answer {
    let mut addresses = Vec::new();
    for record in records {
        if let RecordData::Address(address) = record.data
            && record.owner == *name
            && !addresses.contains(&address)
            && addresses.len() < MAX_ADDRESSES
        {
            addresses.push(address);
            ttl_secs = ttl_secs.min(record.ttl_secs);
        }
    }
    if addresses.is_empty() {
        ttl_secs = 0;
    }
    Answer::Addresses {
        addresses,
        ttl_secs,
    }
}

/// Labels with their lengths, in small letters, up to the root.
type Name = Vec<u8>;

#[derive(Debug)]
struct Record {
    owner: Name,
    ttl_secs: u32,
    data: RecordData,
}

#[derive(Debug)]
enum RecordData {
    Address(Ipv4Addr),
    Alias(Name),
}

struct Reader<'a> {
    message: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.position.checked_add(length).ok_or(Malformed)?;
        let taken = self.message.get(self.position..end).ok_or(Malformed)?;
        self.position = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The next record; `None` for one of a kind that nothing is known of.
    fn record(&mut self) -> Result<Option<Record>, Malformed> {
        let owner = self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        let ttl = self.take(4)?;
        let ttl_secs = u32::from_be_bytes([ttl[0], ttl[1], ttl[2], ttl[3]]);
        let length = self.number()?;
        let start = self.position;
        let bytes = self.take(usize::from(length))?;
        if class != CLASS_INTERNET {
            return Ok(None);
        }
        let data = match kind {
            TYPE_A => {
                let octets: [u8; 4] = bytes.try_into().map_err(|_| Malformed)?;
                RecordData::Address(Ipv4Addr::from(octets))
            }
            TYPE_CNAME => {
                let end = self.position;
                let mut inner = Reader {
                    message: self.message,
                    position: start,
                };
                let target = inner.name()?;
                if inner.position != end {
                    return Err(Malformed);
                }
                RecordData::Alias(target)
            }
            _ => return Ok(None),
        };
        Ok(Some(Record {
            owner,
            ttl_secs: if ttl_secs > TTL_MAX { 0 } else { ttl_secs },
            data,
        }))
    }

    /// The name at the position, wherever its parts stand. The position moves behind what stands here of it.
    fn name(&mut self) -> Result<Name, Malformed> {
        let mut name = Name::new();
        let mut position = self.position;
        let mut end = None;
        let mut pointers = 0;
        // Where the part of the name begins that is being read.
        let mut start = position;
        loop {
            let length = *self.message.get(position).ok_or(Malformed)?;
            match length >> 6 {
                0b00 => {
                    let next = position + 1 + usize::from(length);
                    let label = self.message.get(position..next).ok_or(Malformed)?;
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    if name.len() > MAX_NAME {
                        return Err(Malformed);
                    }
                    position = next;
                    if length == 0 {
                        break;
                    }
                }
                0b11 => {
                    let low = *self.message.get(position + 1).ok_or(Malformed)?;
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    end.get_or_insert(position + 2);
                    pointers += 1;
                    // Before the part that it is in, so that there is no way round in circles, and not into the header.
                    if target >= start || target < HEADER || pointers > MAX_POINTERS {
                        return Err(Malformed);
                    }
                    position = target;
                    start = target;
                }
                _ => return Err(Malformed),
            }
        }
        self.position = end.unwrap_or(position);
        Ok(name)
    }
}

#[cfg(test)]
mod tests;
