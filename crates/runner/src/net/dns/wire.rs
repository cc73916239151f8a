//! As much of the DNS message format as a forwarder must understand: the header and one question.
//!
//! What follows the question is passed on unread. Input is hostile on both sides: every function here
//! takes any bytes and neither panics nor trusts a length.

/// The largest message: the stream form has two bytes for the length.
pub(super) const MAX_MESSAGE: usize = 65_535;

const HEADER: usize = 12;
const MAX_NAME: usize = 255;
const MAX_LABEL: u8 = 63;

const FLAG_RESPONSE: u8 = 0x80;
const FLAG_TRUNCATED: u8 = 0x02;
const FLAG_RECURSION_DESIRED: u8 = 0x01;
const FLAG_RECURSION_AVAILABLE: u8 = 0x80;
const OPCODE_MASK: u8 = 0x78;

// Zone transfers: answered by many messages, which no one-question-one-answer relay can carry.
const TYPE_IXFR: u16 = 251;
const TYPE_AXFR: u16 = 252;

/// The answers that the forwarder gives itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rcode {
    FormatError = 1,
    ServerFailure = 2,
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

fn rcode(response: &[u8]) -> Option<u8> {
    response.get(3).map(|byte| byte & 0x0f)
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
