#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

/// A message that is put together piece by piece.
struct Message(Vec<u8>);

impl Message {
    fn to(question: &str) -> Self {
        let mut message = Self(vec![0, 7, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.name(question);
        message.0.extend([0, 1, 0, 1]);
        message
    }

    fn name(&mut self, name: &str) {
        for label in name.split('.') {
            self.0.push(u8::try_from(label.len()).unwrap());
            self.0.extend(label.as_bytes());
        }
        self.0.push(0);
    }

    fn record(mut self, owner: &str, kind: u16, ttl_secs: u32, data: &[u8]) -> Self {
        self.0[7] += 1;
        self.name(owner);
        self.0.extend(kind.to_be_bytes());
        self.0.extend(CLASS_INTERNET.to_be_bytes());
        self.0.extend(ttl_secs.to_be_bytes());
        self.0
            .extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        self.0.extend(data);
        self
    }

    fn address(self, owner: &str, ttl_secs: u32, address: [u8; 4]) -> Self {
        self.record(owner, TYPE_A, ttl_secs, &address)
    }

    fn alias(self, owner: &str, ttl_secs: u32, target: &str) -> Self {
        let mut data = Self(Vec::new());
        data.name(target);
        self.record(owner, TYPE_CNAME, ttl_secs, &data.0)
    }

    fn read(&self) -> Result<Answer, Malformed> {
        read(&self.0)
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is compared with what reading yields"
)]
fn found(addresses: &[[u8; 4]], ttl_secs: u32) -> Result<Answer, Malformed> {
    Ok(Answer::Addresses {
        addresses: addresses.iter().copied().map(Ipv4Addr::from).collect(),
        ttl_secs,
    })
}

#[test]
fn addresses_of_the_question_count_and_others_do_not() {
    let message = Message::to("a.example")
        .address("A.Example", 60, [192, 0, 2, 1])
        .address("b.example", 5, [192, 0, 2, 66])
        .address("a.example", 30, [192, 0, 2, 2])
        .address("a.example", 30, [192, 0, 2, 2]);
    assert_eq!(message.read(), found(&[[192, 0, 2, 1], [192, 0, 2, 2]], 30));
}

#[test]
fn aliases_are_followed_in_any_order_and_the_shortest_lifetime_counts() {
    let message = Message::to("a.example")
        .address("c.example", 60, [192, 0, 2, 1])
        .alias("b.example", 9, "C.example")
        .alias("a.example", 70, "b.example");
    assert_eq!(message.read(), found(&[[192, 0, 2, 1]], 9));
    // Beside an alias a name has no addresses of its own.
    let message = Message::to("a.example")
        .alias("a.example", 70, "b.example")
        .address("a.example", 60, [192, 0, 2, 66]);
    assert_eq!(message.read(), found(&[], 0));
}

#[test]
fn a_pointer_that_leads_back_is_followed() {
    let mut message = Message::to("a.example");
    message.0[7] = 2;
    // a.example is an alias of www.example, written as a label and a pointer.
    message.0.extend([
        0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 6, 3, b'w', b'w', b'w', 0xc0, 14,
    ]);
    let target = u8::try_from(message.0.len() - 6).unwrap();
    message
        .0
        .extend([0xc0, target, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
    assert_eq!(message.read(), found(&[[192, 0, 2, 1]], 9));
}

#[test]
fn tricks_with_names_and_aliases_yield_nothing() {
    // Round in circles.
    let circle = Message::to("a.b")
        .alias("a.b", 9, "b.b")
        .alias("b.b", 9, "a.b");
    assert_eq!(circle.read(), Err(Malformed));
    let itself = Message::to("a.b")
        .alias("a.b", 9, "a.b")
        .address("a.b", 9, [192, 0, 2, 1]);
    assert_eq!(itself.read(), Err(Malformed));
    // Two ways on.
    let two = Message::to("a.b")
        .alias("a.b", 9, "b.b")
        .alias("a.b", 9, "c.b");
    assert_eq!(two.read(), Err(Malformed));
    // Too long a way.
    let chain = |length: usize| {
        let mut message = Message::to("n0.b");
        for at in 0..length {
            message = message.alias(&format!("n{at}.b"), 9, &format!("n{}.b", at + 1));
        }
        message
            .address(&format!("n{length}.b"), 9, [192, 0, 2, 1])
            .read()
    };
    assert_eq!(chain(MAX_ALIASES), found(&[[192, 0, 2, 1]], 9));
    assert_eq!(chain(MAX_ALIASES + 1), Err(Malformed));
    // Pointers to themselves, ahead, and into the header.
    for target in [27, 28, 60, 2] {
        let mut message = Message::to("a.example");
        message.0[7] = 1;
        assert_eq!(message.0.len(), 27);
        message
            .0
            .extend([0xc0, target, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        assert_eq!(message.read(), Err(Malformed), "{target}");
    }
    // An address of another length, and a name that ends before its record does.
    assert_eq!(
        Message::to("a.b").record("a.b", TYPE_A, 9, &[1; 5]).read(),
        Err(Malformed)
    );
    let loose = Message::to("a.b").record("a.b", TYPE_CNAME, 9, &[1, b'x', 0, 0]);
    assert_eq!(loose.read(), Err(Malformed));
}

#[test]
fn other_records_are_passed_over() {
    let message = Message::to("a.b")
        .record("a.b", 16, 1, b"\x05hello")
        .record("a.b", 65, 1, &[0xff; 40])
        .address("a.b", 60, [192, 0, 2, 1]);
    assert_eq!(message.read(), found(&[[192, 0, 2, 1]], 60));
    let mut other_class = Message::to("a.b").address("a.b", 60, [192, 0, 2, 1]);
    let class = other_class.0.len() - 4 - 2 - 4 - 1;
    other_class.0[class] = 3;
    assert_eq!(other_class.read(), found(&[], 0));
}

#[test]
fn more_addresses_than_fit_are_left_out_and_more_records_than_is_sane_refused() {
    let many = |count: u8| {
        (0..count).fold(Message::to("a.b"), |message, last| {
            message.address("a.b", 60, [192, 0, 2, last])
        })
    };
    let Ok(Answer::Addresses { addresses, .. }) = many(40).read() else {
        panic!()
    };
    assert_eq!(addresses.len(), MAX_ADDRESSES);
    assert!(many(64).read().is_ok());
    assert_eq!(many(65).read(), Err(Malformed));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let with = |at: usize, bits: u8| {
        let mut message = Message::to("a.b").address("a.b", 60, [192, 0, 2, 1]);
        message.0[at] |= bits;
        message.read()
    };
    assert_eq!(with(2, 0x02), Ok(Answer::Truncated));
    assert_eq!(with(3, 3), Ok(Answer::NoSuchName));
    assert_eq!(with(3, 2), Ok(Answer::Failure));
    assert_eq!(with(5, 2), Err(Malformed));
    assert_eq!(read(&[0; 11]), Err(Malformed));
    let endless = Message::to("a.b").address("a.b", u32::MAX, [192, 0, 2, 1]);
    assert_eq!(endless.read(), found(&[[192, 0, 2, 1]], 0));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(message in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&message);
    }

    #[test]
    fn a_damaged_message_never_yields_an_address_that_is_not_in_it(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut message = Message::to("a.example")
            .alias("a.example", 9, "b.example")
            .address("b.example", 60, [192, 0, 2, 1])
            .address("b.example", 60, [192, 0, 2, 2]).0;
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = byte;
        }
        message.truncate(cut.index(message.len() + 1));
        if let Ok(Answer::Addresses { addresses, .. }) = read(&message) {
            prop_assert!(addresses.len() <= MAX_ADDRESSES);
            for address in addresses {
                prop_assert!(message.windows(4).any(|window| window == address.octets()));
            }
        }
    }
}
