#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::reason::ReasonKind;

fn settings(block_all: Option<bool>, networks: Option<&str>) -> NetworkSettings {
    NetworkSettings {
        block_all,
        allow_list: networks.map(str::to_owned),
        domain_allow_list: None,
    }
}

fn change(current: &NetworkPolicy, settings: &NetworkSettings) -> NetworkPolicy {
    let mut reasons = Vec::new();
    let policy = plan_change(current, settings, &mut reasons);
    assert_eq!(reasons, []);
    policy
}

fn kinds(settings: &NetworkSettings) -> Vec<ReasonKind> {
    let mut reasons = Vec::new();
    plan_change(&NetworkPolicy::default(), settings, &mut reasons);
    reasons.into_iter().map(|reason| reason.kind).collect()
}

fn networks(texts: &[&str]) -> Vec<Ipv4Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn networks_and_domains_are_told_from_other_texts() {
    for (text, is_good) in [
        ("10.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("10.0.0.1", false),
        ("10.0.0.0/33", false),
        ("10.0.0.0/", false),
        ("10.0.0.0/+8", false),
        ("10.0.0/8", false),
        ("::/0", false),
    ] {
        assert_eq!(text.parse::<Ipv4Network>().is_ok(), is_good, "{text}");
    }
    for (text, is_good) in [
        ("example.com", true),
        ("*.example.com", true),
        ("localhost", true),
        ("*", false),
        ("*.*.example.com", false),
        ("a..b", false),
        ("http://x", false),
        ("-a.b", false),
        ("1.2.3.4", false),
        ("a.1", false),
        ("", false),
    ] {
        assert_eq!(text.parse::<DomainPattern>().is_ok(), is_good, "{text}");
    }
}

#[test]
fn entries_have_one_form_and_there_is_none_twice() {
    let list = settings(None, Some("10.1.2.3/8, 1.1.1.1/32,10.0.0.0/8"));
    let policy = change(&NetworkPolicy::default(), &list);
    assert_eq!(policy.networks_text().unwrap(), "10.0.0.0/8,1.1.1.1/32");
    let pattern: DomainPattern = "*.Example.COM".parse().unwrap();
    assert_eq!(pattern.to_string(), "*.example.com");
}

#[test]
fn a_policy_is_written_by_the_rules() {
    let open = NetworkPolicy::default();
    let listed = change(&open, &settings(None, Some("10.0.0.0/8")));
    assert_eq!(listed.allow_networks, networks(&["10.0.0.0/8"]));
    let blocked = change(&listed, &settings(Some(true), None));
    assert_eq!((blocked.block_all, blocked.allow_networks.len()), (true, 0));
    let listed = change(&blocked, &settings(None, Some("1.0.0.0/8")));
    assert!(!listed.block_all, "a list lifts the block");
    assert_eq!(
        change(&listed, &settings(Some(false), None)),
        open,
        "lifting the block alone clears the list"
    );
    assert_eq!(
        change(&listed, &settings(Some(false), Some("2.0.0.0/8"))).allow_networks,
        networks(&["2.0.0.0/8"])
    );
    assert_eq!(change(&listed, &settings(None, Some(""))), open);
    assert!(
        change(&blocked, &settings(None, Some(""))).block_all,
        "an empty list lifts nothing"
    );
}

#[test]
fn what_was_blocked_does_not_come_back_with_another_list() {
    let named = NetworkPolicy {
        allow_domains: vec!["example.com".parse().unwrap()],
        ..NetworkPolicy::default()
    };
    let listed = change(&named, &settings(None, Some("1.0.0.0/8")));
    assert_eq!(
        listed.allow_domains, named.allow_domains,
        "lists stand beside each other"
    );
    let blocked = change(&listed, &settings(Some(true), None));
    let listed = change(&blocked, &settings(None, Some("1.0.0.0/8")));
    assert_eq!((listed.block_all, listed.allow_domains.len()), (false, 0));
    assert_eq!(
        change(&named, &settings(Some(false), None)),
        NetworkPolicy::default()
    );
}

#[test]
fn what_is_wrong_is_called_wrong() {
    let names = |names: &str| NetworkSettings {
        domain_allow_list: Some(names.to_owned()),
        ..NetworkSettings::default()
    };
    assert_eq!(kinds(&settings(Some(false), Some(""))), []);
    assert_eq!(kinds(&settings(Some(true), Some(""))), []);
    assert_eq!(kinds(&NetworkSettings::default()), [ReasonKind::Invalid]);
    assert_eq!(
        kinds(&settings(None, Some("10.0.0.0/8,x"))),
        [ReasonKind::Invalid]
    );
    assert_eq!(
        kinds(&settings(Some(true), Some("10.0.0.0/8"))),
        [ReasonKind::Invalid]
    );
    assert_eq!(kinds(&names("")), []);
    assert_eq!(kinds(&names("example.com, *.bücher.example.")), []);
    for wrong in ["example.com,", "a..b", "*", "https://a.example", "1.2.3.4"] {
        assert_eq!(kinds(&names(wrong)), [ReasonKind::Invalid], "{wrong}");
    }
    let many = ["a.example"; ALLOWED_MAX + 1].join(",");
    assert_eq!(kinds(&names(&many)), [ReasonKind::Invalid]);
    let many = ["10.0.0.0/8"; ALLOWED_MAX + 1].join(",");
    assert_eq!(kinds(&settings(None, Some(&many))), [ReasonKind::Invalid]);
}

#[test]
fn a_list_of_everything_narrows_nothing() {
    let is_open = |block_all, list: &[&str]| {
        let policy = NetworkPolicy {
            block_all,
            allow_networks: networks(list),
            allow_domains: Vec::new(),
        };
        policy.is_open()
    };
    assert!(is_open(false, &[]));
    assert!(is_open(false, &["1.0.0.0/8", "0.0.0.0/0"]));
    assert!(!is_open(false, &["1.0.0.0/8"]));
    assert!(!is_open(true, &[]));
    assert!(!is_open(true, &["0.0.0.0/0"]));
}

#[test]
fn a_version_grows_with_each_change_and_with_nothing_else() {
    let mut network = SandboxNetwork::new(NetworkPolicy::default());
    network.applied = Some(1);
    network.set(NetworkPolicy::default());
    assert!(network.is_applied());
    let blocked = NetworkPolicy {
        block_all: true,
        ..NetworkPolicy::default()
    };
    network.set(blocked.clone());
    assert_eq!((network.version, network.is_applied()), (2, false));
    assert_eq!(network.copied(), SandboxNetwork::new(blocked));
    network.note_applied(2);
    assert!(network.is_applied());
    network.note_applied(7);
    assert_eq!((network.version, network.is_applied()), (8, false));
}

fn any_settings() -> impl Strategy<Value = NetworkSettings> {
    let list = proptest::option::of(proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..4));
    (proptest::option::of(any::<bool>()), list).prop_map(|(block_all, list)| NetworkSettings {
        block_all,
        allow_list: list.map(|list| {
            let entry = |(bits, prefix): &(u32, u8)| format!("{}/{prefix}", Ipv4Addr::from(*bits));
            list.iter().map(entry).collect::<Vec<_>>().join(",")
        }),
        domain_allow_list: None,
    })
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_a_panic_and_comes_back(text in "\\PC{0,40}") {
        if let Ok(network) = text.parse::<Ipv4Network>() {
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }
    }

    #[test]
    fn a_network_holds_what_begins_with_its_bits(bits in any::<u32>(), other in any::<u32>(), prefix in 0_u8..=32) {
        let network = Ipv4Network::new(bits.into(), prefix);
        let begins_so = prefix == 0 || (bits ^ other) >> (32 - u32::from(prefix)) == 0;
        prop_assert_eq!(network.contains(other.into()), begins_so);
        prop_assert!(network.contains(bits.into()));
        prop_assert_eq!(network.address().to_bits() & !Ipv4Network::mask(prefix).to_bits(), 0);
    }

    #[test]
    fn no_run_of_changes_leaves_a_block_beside_entries(changes in proptest::collection::vec(any_settings(), 1..8)) {
        let mut policy = NetworkPolicy::default();
        for settings in changes {
            let mut reasons = Vec::new();
            let next = plan_change(&policy, &settings, &mut reasons);
            if !reasons.is_empty() {
                continue;
            }
            prop_assert!(!next.block_all || next.allow_networks.is_empty());
            prop_assert!(next.allow_networks.len() <= ALLOWED_MAX);
            // Said again it changes nothing.
            prop_assert_eq!(&plan_change(&next, &settings, &mut reasons), &next);
            if settings.block_all == Some(true) {
                prop_assert!(!next.is_open());
            }
            policy = next;
        }
    }
}
