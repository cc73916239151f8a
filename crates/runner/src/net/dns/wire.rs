//! As much of the DNS message format as a forwarder must understand: the header and one question.
//!
//! What follows the question is passed on unread; for sandboxes that may reach only some names it is not passed on at
//! all ([`super::listed`]). Input is hostile on both sides: every function here
//! takes any bytes and neither panics nor trusts a length.

use std::net::Ipv4Addr;

use alcove_domain::HostName;

/// The largest message: the stream form has two bytes for the length.
pub(super) const MAX_MESSAGE: usize = 65_535;

pub(super) const HEADER: usize = 12;
pub(super) const MAX_NAME: usize = 255;
const MAX_LABEL: u8 = 63;

const FLAG_RESPONSE: u8 = 0x80;
const FLAG_TRUNCATED: u8 = 0x02;
const FLAG_RECURSION_DESIRED: u8 = 0x01;
const FLAG_RECURSION_AVAILABLE: u8 = 0x80;
const OPCODE_MASK: u8 = 0x78;

// Zone transfers: answered by many messages, which no one-question-one-answer relay can carry.
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;

const TYPE_A: u16 = 1;
const CLASS_INTERNET: u16 = 1;
/// The name that stands right behind the header, as a pointer to it.
const POINTER_TO_QUESTION: u16 = 0xc00c;

/// The answers that the forwarder gives itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rcode {
    /// There is such a name, and nothing of what was asked for.
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
}

/// Why a message is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Not a query at all. Answering could start two servers talking to each other for ever.
    Ignore,
    Answer(Rcode),
}

/// A query that may be passed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    message: &'a [u8],
    question_end: usize,
}

impl<'a> Query<'a> {
    pub fn parse(message: &'a [u8]) -> Result<Self, Rejection> {
        let Some(header) = message.first_chunk::<HEADER>() else {
            return Err(Rejection::Ignore);
        };
        if header[2] & FLAG_RESPONSE != 0 {
            return Err(Rejection::Ignore);
        }
        if header[2] & OPCODE_MASK != 0 {
            return Err(Rejection::Answer(Rcode::NotImplemented));
        }
        let format_error = Rejection::Answer(Rcode::FormatError);
        if u16::from_be_bytes([header[4], header[5]]) != 1 {
            return Err(format_error);
        }
        let question_end = question_end(message).ok_or(format_error)?;
        let kind = message
            .get(question_end - 4..question_end - 2)
            .ok_or(format_error)?;
        if matches!(
            u16::from_be_bytes([kind[0], kind[1]]),
            TYPE_IXFR | TYPE_AXFR
        ) {
            return Err(Rejection::Answer(Rcode::NotImplemented));
        }
        Ok(Self {
            message,
            question_end,
        })
    }

    /// The name that is asked for; `None` where no host can be called so.
    pub fn name(&self) -> Option<HostName> {
        let mut labels = &self.message[HEADER..self.question_end - 4];
        let mut name = String::new();
        while let Some((&length, rest)) = labels.split_first() {
            let (label, rest) = rest.split_at_checked(usize::from(length))?;
            // A dot within a label would make two of it.
            if label.contains(&b'.') {
                return None;
            }
            name.push_str(str::from_utf8(label).ok()?);
            if !rest.is_empty() {
                name.push('.');
            }
            labels = rest;
        }
        HostName::parse(&name)
    }

    pub fn asks_for_addresses(&self) -> bool {
        self.message[self.question_end - 4..self.question_end]
            == question_tail(TYPE_A, CLASS_INTERNET)
    }

    /// An answer with these addresses for the question's name, which this is about whatever aliases there were.
    pub fn addresses(&self, addresses: &[Ipv4Addr], ttl_secs: u32) -> Vec<u8> {
        let mut answer = self.empty_answer(0, 0);
        let mut count: u16 = 0;
        for address in addresses {
            answer.extend(POINTER_TO_QUESTION.to_be_bytes());
            answer.extend(question_tail(TYPE_A, CLASS_INTERNET));
            answer.extend(ttl_secs.to_be_bytes());
            answer.extend(4_u16.to_be_bytes());
            answer.extend(address.octets());
            count += 1;
        }
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        answer
    }

    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.message[0], self.message[1]])
    }

    /// The same query under another id.
    pub fn with_id(&self, id: u16) -> Vec<u8> {
        let mut message = self.message.to_vec();
        message[..2].copy_from_slice(&id.to_be_bytes());
        message
    }

    /// Whether `response` answers this query, sent under `id`.
    pub fn is_answered_by(&self, response: &[u8], id: u16) -> bool {
        let Some(header) = response.first_chunk::<HEADER>() else {
            return false;
        };
        if header[..2] != id.to_be_bytes() || header[2] & FLAG_RESPONSE == 0 {
            return false;
        }
        match u16::from_be_bytes([header[4], header[5]]) {
            // Some servers leave the question out when they refuse it.
            0 => rcode(response) != Some(0),
            1 => response
                .get(HEADER..self.question_end)
                .is_some_and(|question| question.eq_ignore_ascii_case(self.question())),
            _ => false,
        }
    }

    /// An answer without records.
    pub fn refusal(&self, rcode: Rcode) -> Vec<u8> {
        self.empty_answer(0, rcode as u8)
    }

    /// An answer that tells the client to ask again over a stream.
    pub fn truncation(&self) -> Vec<u8> {
        self.empty_answer(FLAG_TRUNCATED, 0)
    }

    fn question(&self) -> &'a [u8] {
        &self.message[HEADER..self.question_end]
    }

    fn empty_answer(&self, flags: u8, rcode: u8) -> Vec<u8> {
        let mut answer = Vec::with_capacity(self.question_end);
        answer.extend_from_slice(&self.message[..2]);
        answer.push(FLAG_RESPONSE | flags | (self.message[2] & FLAG_RECURSION_DESIRED));
        answer.push(FLAG_RECURSION_AVAILABLE | rcode);
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        answer.extend_from_slice(self.question());
        answer
    }
}

/// A query for the addresses of a name that holds nothing else.
pub(super) fn address_query(name: &HostName) -> Vec<u8> {
    let mut message = vec![0, 0, FLAG_RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.as_str().split('.') {
        // A name's labels have 63 bytes at most.
        message.push(u8::try_from(label.len()).unwrap_or_default());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(question_tail(TYPE_A, CLASS_INTERNET));
    message
}

fn question_tail(kind: u16, class: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (kind.to_be_bytes(), class.to_be_bytes());
    [a, b, c, d]
}

/// The answer to a message that [`Query::parse`] rejected; `None` where silence is right.
pub(super) fn rejection_answer(message: &[u8], rejection: Rejection) -> Option<Vec<u8>> {
    let Rejection::Answer(rcode) = rejection else {
        return None;
    };
    let header = message.first_chunk::<HEADER>()?;
    let mut answer = vec![0; HEADER];
    answer[..2].copy_from_slice(&header[..2]);
    answer[2] = FLAG_RESPONSE | (header[2] & (OPCODE_MASK | FLAG_RECURSION_DESIRED));
    answer[3] = FLAG_RECURSION_AVAILABLE | rcode as u8;
    Some(answer)
}

/// Puts the client's id back into a response.
pub(super) fn set_id(response: &mut [u8], id: u16) {
    if let Some(field) = response.first_chunk_mut::<2>() {
        *field = id.to_be_bytes();
    }
}

/// Whether the server could not answer and another one might.
pub(super) fn is_failure(response: &[u8]) -> bool {
    // Server failure, not implemented, refused.
    matches!(rcode(response), Some(2 | 4 | 5))
}

pub(super) fn rcode(response: &[u8]) -> Option<u8> {
    response.get(3).map(|byte| byte & 0x0f)
}

pub(super) fn is_truncated(header: &[u8; HEADER]) -> bool {
    header[2] & FLAG_TRUNCATED != 0
}

/// Where the first question ends: behind its name, type and class.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut position = HEADER;
    loop {
        let length = *message.get(position)?;
        position += 1;
        // A pointer has its two highest bits set: in a first question it has nothing to point to.
        if length > MAX_LABEL {
            return None;
        }
        position += usize::from(length);
        if position - HEADER > MAX_NAME {
            return None;
        }
        if length == 0 {
            break;
        }
    }
    let end = position + 4;
    (end <= message.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.as_bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend(1_u16.to_be_bytes());
        message
    }

    #[test]
    fn a_plain_question_passes_and_its_answer_is_known() {
        let message = query("example.org", 1);
        let query = Query::parse(&message).unwrap();
        assert_eq!(query.id(), 0x1234);
        let mut response = query.with_id(7);
        response[2] |= FLAG_RESPONSE;
        assert!(query.is_answered_by(&response, 7));
        assert!(!query.is_answered_by(&response, 8), "another id");
        response[13] = b'E';
        assert!(query.is_answered_by(&response, 7), "case does not count");
        response[13] = b'x';
        assert!(!query.is_answered_by(&response, 7), "another name");
    }

    #[test]
    fn a_response_is_never_answered() {
        let mut message = query("example.org", 1);
        message[2] |= FLAG_RESPONSE;
        let rejection = Query::parse(&message).unwrap_err();
        assert_eq!(rejection, Rejection::Ignore);
        assert_eq!(rejection_answer(&message, rejection), None);
    }

    #[test]
    fn broken_and_unusual_queries_get_the_matching_code() {
        let code = |message: &[u8]| Query::parse(message).unwrap_err();
        let mut two_questions = query("a.b", 1);
        two_questions[5] = 2;
        assert_eq!(code(&two_questions), Rejection::Answer(Rcode::FormatError));
        let mut update = query("a.b", 1);
        update[2] = 5 << 3;
        assert_eq!(code(&update), Rejection::Answer(Rcode::NotImplemented));
        assert_eq!(
            code(&query("a.b", TYPE_AXFR)),
            Rejection::Answer(Rcode::NotImplemented)
        );
        let mut pointer = query("a.b", 1);
        pointer[HEADER] = 0xc0;
        assert_eq!(code(&pointer), Rejection::Answer(Rcode::FormatError));
        assert_eq!(code(&[0; 5]), Rejection::Ignore);
    }

    #[test]
    fn a_name_longer_than_the_standard_allows_is_refused() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(Query::parse(&query(&longest, 1)).is_ok());
        assert!(Query::parse(&query(&format!("{longest}a"), 1)).is_err());
    }

    #[test]
    fn the_name_of_a_question_is_read_in_its_one_form() {
        let name = |message: &[u8]| Query::parse(message).unwrap().name();
        let is = |text: &str| HostName::parse(text);
        assert_eq!(name(&query("Example.ORG", 1)), is("example.org"));
        assert_eq!(name(&query("a-b._c.example", 28)), is("a-b._c.example"));
        for other in ["a b.example", "1.2.3.4", "\u{fc}.example", "a*.example"] {
            assert_eq!(name(&query(other, 1)), None, "{other}");
        }
        let root = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
        assert_eq!(name(&root), None);
        let mut dotted = query("aXevil.example", 1);
        dotted[HEADER + 2] = b'.';
        assert_eq!(name(&dotted), None, "a dot is no part of a label");
    }

    #[test]
    fn a_query_of_our_own_holds_the_name_and_nothing_else() {
        let asked = HostName::parse("Www.Example.org.").unwrap();
        let message = address_query(&asked);
        assert_eq!(message[2..], query("www.example.org", TYPE_A)[2..]);
        let ours = Query::parse(&message).unwrap();
        assert_eq!(ours.name(), Some(asked));
        assert!(ours.asks_for_addresses());
        assert!(
            !Query::parse(&query("a.b", 28))
                .unwrap()
                .asks_for_addresses()
        );
    }

    #[test]
    fn addresses_fit_into_the_shortest_datagram_and_are_read_back() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        let message = query(&longest, 1);
        let addresses: Vec<Ipv4Addr> = (0..15).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
        assert_eq!(addresses.len(), super::super::answer::MAX_ADDRESSES);
        let answer = Query::parse(&message).unwrap().addresses(&addresses, 77);
        assert!(answer.len() <= 512, "{}", answer.len());
        let read = super::super::answer::read(&answer).unwrap();
        let expected = super::super::answer::Answer::Addresses {
            addresses,
            ttl_secs: 77,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn an_answer_of_our_own_repeats_id_and_question() {
        let message = query("example.org", 28);
        let query = Query::parse(&message).unwrap();
        let failure = query.refusal(Rcode::ServerFailure);
        assert!(query.is_answered_by(&failure, 0x1234));
        assert!(is_failure(&failure));
        assert_eq!(query.truncation()[2] & FLAG_TRUNCATED, FLAG_TRUNCATED);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_and_answered_without_a_panic(message in proptest::collection::vec(any::<u8>(), 0..600)) {
            match Query::parse(&message) {
                Ok(query) => {
                    prop_assert!(query.refusal(Rcode::ServerFailure).len() <= message.len());
                    prop_assert!(query.truncation().len() <= message.len());
                    let _ = query.is_answered_by(&message, 1);
                    if let Some(name) = query.name() {
                        let ours = address_query(&name);
                        prop_assert_eq!(Query::parse(&ours).unwrap().name(), Some(name));
                    }
                }
                Err(rejection) => {
                    if let Some(answer) = rejection_answer(&message, rejection) {
                        prop_assert!(answer.len() <= message.len(), "an answer must not amplify");
                    }
                }
            }
        }

        #[test]
        fn any_tail_behind_a_good_question_is_kept(tail in proptest::collection::vec(any::<u8>(), 0..100), id in any::<u16>()) {
            let mut message = query("example.org", 1);
            message.extend(&tail);
            let query = Query::parse(&message).unwrap();
            let sent = query.with_id(id);
            prop_assert_eq!(&sent[2..], &message[2..]);
        }

        #[test]
        fn any_bytes_are_compared_as_a_response_without_a_panic(response in proptest::collection::vec(any::<u8>(), 0..64), id in any::<u16>()) {
            let message = query("a.example", 1);
            let query = Query::parse(&message).unwrap();
            if query.is_answered_by(&response, id) {
                prop_assert_eq!(&response[..2], &id.to_be_bytes()[..]);
            }
            let _ = is_failure(&response);
        }
    }
}
