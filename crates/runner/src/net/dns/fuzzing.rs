//! What must be true of any packet.

use super::answer::{self, Answer, MAX_ADDRESSES};
use super::wire::{self, Query, Rcode};

/// A query gets no longer answers than it is itself, and what is asked outside holds its name and nothing else of it.
pub(in crate::net) fn query(input: &[u8]) {
    let query = match Query::parse(input) {
        Ok(query) => query,
        Err(rejection) => {
            let answer = wire::rejection_answer(input, rejection);
            assert!(answer.is_none_or(|answer| answer.len() <= input.len()));
            return;
        }
    };
    assert!(query.refusal(Rcode::NoSuchName).len() <= input.len());
    let Some(name) = query.name() else {
        return;
    };
    let ours = wire::address_query(&name);
    assert_eq!(ours.len(), 12 + name.as_str().len() + 2 + 4);
    let again = Query::parse(&ours).ok().and_then(|query| query.name());
    assert_eq!(again, Some(name));
}

/// An address stands in the message, and there are no more than fit into our own answer, which is read the same.
pub(in crate::net) fn answer(input: &[u8]) {
    let Ok(Answer::Addresses {
        addresses,
        ttl_secs,
    }) = answer::read(input)
    else {
        return;
    };
    assert!(addresses.len() <= MAX_ADDRESSES);
    for address in &addresses {
        let octets = address.octets();
        assert!(input.windows(4).any(|window| window == octets));
    }
    let mut question = input.to_vec();
    question[2] &= 0x7f;
    if let Ok(query) = Query::parse(&question) {
        let ours = query.addresses(&addresses, ttl_secs);
        assert!(ours.len() <= 512);
        let expected = Answer::Addresses {
            addresses,
            ttl_secs,
        };
        assert_eq!(answer::read(&ours), Ok(expected));
    }
}
