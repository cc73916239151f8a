//! The network: cables, the firewall, the host's own settings and who else filters on it.

use std::io;

use super::{Check, ProbeRequest, Subject, Trouble};
use crate::net::NetworkConfig;
use crate::net::trial::{self, Trial};

const CABLE: Subject = Subject::required("veth", "virtual network cables");
const FIREWALL: Subject = Subject::required(
    "nft",
    "the program nft (Debian package nftables) and a kernel that takes its rules",
);
const FORWARDING: Subject = Subject::required(
    "forwarding",
    "net.ipv4.ip_forward on, or a way to turn it on",
);
const POOL: Subject = Subject::required(
    "address-pool",
    "a network for sandboxes that this host does not use",
);
const DNS: Subject = Subject::required("dns-port", "port 53 free on the sandboxes' gateway");
const OTHERS: Subject = Subject::wished(
    "other-firewalls",
    "no other firewall that drops what sandboxes send",
);

#[derive(Debug)]
pub(super) struct Network {
    cable: Option<Result<String, Trouble>>,
    rules: Option<Result<String, Trouble>>,
    forwarding: Result<(bool, bool), Trouble>,
    pool: Result<String, Trouble>,
    dns: Result<String, Trouble>,
    /// Chains of others that drop by default; see [`dropping_chains`].
    others: Result<Vec<String>, Trouble>,
}

pub(super) async fn try_out(request: &ProbeRequest) -> Network {
    let key = request.data_dir.as_os_str().as_encoded_bytes();
    let config = NetworkConfig::for_instance(key, request.network_pool);
    let work = move || look(&config);
    match tokio::task::spawn_blocking(work).await {
        Ok(network) => network,
        Err(error) => {
            let trouble = Trouble::of(&error, None);
            Network {
                cable: Some(Err(trouble.clone())),
                rules: None,
                forwarding: Err(trouble.clone()),
                pool: Err(trouble.clone()),
                dns: Err(trouble.clone()),
                others: Err(trouble),
            }
        }
    }
}

fn look(config: &NetworkConfig) -> Network {
    let trial = trial::try_out(config).unwrap_or_else(|error| Trial {
        namespace: Some(Err(error)),
        ..Trial::default()
    });
    let Trial {
        namespace,
        cable,
        rules,
    } = trial;
    let cable = match (namespace, cable) {
        (Some(Err(error)), _) => Some(Err(Trouble::io("make a network namespace", &error))),
        (_, Some(Err(error))) => Some(Err(Trouble::io("make a cable", &error))),
        (_, Some(Ok(()))) => Some(Ok("a cable was made".to_owned())),
        (_, None) => None,
    };
    let errno = |error: &io::Error| error.raw_os_error();
    Network {
        cable,
        rules: rules.map(|result| {
            result
                .map(|()| "took the rules of the sandboxes' firewall".to_owned())
                .map_err(|error| Trouble::of(&error, None))
        }),
        forwarding: trial::forwarding().map_err(|error| Trouble::io("read the setting", &error)),
        pool: trial::check_pool(config)
            .map(|()| format!("{} is free", config.pool))
            .map_err(|error| Trouble::of(&error, None)),
        dns: trial::check_dns_port()
            .map(|()| "free".to_owned())
            .map_err(|error| Trouble {
                text: format!("taken or refused: {error}"),
                errno: errno(&error),
            }),
        others: trial::foreign_rules()
            .map(|(chains, old_form)| dropping_chains(&chains, &old_form))
            .map_err(|error| Trouble::io("list the chains of the firewall", &error)),
    }
}

/// Base chains of others that packets of sandboxes pass and that drop what they have no rule for, and tables of a
/// firewall that refuses by a last rule instead.
fn dropping_chains(chains: &str, old_form: &str) -> Vec<String> {
    let list: serde_json::Value = serde_json::from_str(chains).unwrap_or_default();
    let entries = list["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let mut found: Vec<String> = entries
        .iter()
        .map(|entry| &entry["chain"])
        .filter_map(|chain| {
            let text = |key: &str| chain[key].as_str();
            let (family, table, name) = (text("family")?, text("table")?, text("name")?);
            let is_on_the_way = matches!(
                text("hook")?,
                "forward" | "input" | "prerouting" | "postrouting"
            ) && matches!(family, "ip" | "inet");
            let is_ours = table.starts_with("alcove_");
            let drops = text("policy") == Some("drop") || table == "firewalld";
            (is_on_the_way && !is_ours && drops).then(|| format!("{family} {table} {name}"))
        })
        .collect();
    found.extend(
        old_form
            .lines()
            .filter_map(|line| line.strip_prefix("-P "))
            .filter(|policy| matches!(*policy, "FORWARD DROP" | "INPUT DROP"))
            .map(|policy| format!("iptables-legacy {}", policy.trim_end_matches(" DROP"))),
    );
    found
}

pub(super) fn judge(network: &Network) -> Vec<Check> {
    let forwarding = match &network.forwarding {
        Ok((true, _)) => FORWARDING.ok("on"),
        Ok((false, true)) => FORWARDING.ok("off; the server turns it on while it runs"),
        Ok((false, false)) => FORWARDING.lacking(
            "off, and it cannot be changed from here",
            "Set net.ipv4.ip_forward to 1 (sysctl) on the host.",
        ),
        Err(trouble) => FORWARDING.judge(
            Some(&Err(trouble.clone())),
            "Mount /proc, with its settings.",
        ),
    };
    let others = match &network.others {
        Ok(chains) if chains.is_empty() => OTHERS.ok("none"),
        Ok(chains) => OTHERS.lacking(
            format!("{} may drop packets of sandboxes", chains.join(", ")),
            "Let them accept what comes from and goes to interfaces whose names begin with alc (under Docker: in \
             the chain DOCKER-USER), and port 53 from there.",
        ),
        Err(_) => OTHERS.not_tried(),
    };
    vec![
        CABLE.judge(
            network.cable.as_ref(),
            "Load the kernel module veth, and run the server with CAP_SYS_ADMIN and CAP_NET_ADMIN.",
        ),
        FIREWALL.judge(
            network.rules.as_ref(),
            "Install it, or run `make setup`; the kernel needs the modules nf_tables, nft_fib_inet, nft_ct and nft_masq.",
        ),
        forwarding,
        POOL.judge(
            Some(&network.pool),
            "Give the server another network with --network-pool.",
        ),
        DNS.judge(
            Some(&network.dns),
            "Bind the other name server to its own addresses (for dnsmasq: bind-interfaces).",
        ),
        others,
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Status::{self, Degraded, Missing, Ok as Fine};
    use super::*;

    fn fine() -> Network {
        Network {
            cable: Some(Ok(String::new())),
            rules: Some(Ok(String::new())),
            forwarding: Ok((true, true)),
            pool: Ok(String::new()),
            dns: Ok(String::new()),
            others: Ok(Vec::new()),
        }
    }

    fn trouble() -> Trouble {
        Trouble::io("try", &io::Error::from_raw_os_error(libc::EPERM))
    }

    type Change = fn(&mut Network);

    #[test]
    fn each_trial_is_judged_under_its_own_name() {
        let cases: [(Change, &[(&str, Status)]); 9] = [
            (|_| {}, &[]),
            (|n| n.cable = Some(Err(trouble())), &[("veth", Missing)]),
            (|n| n.rules = Some(Err(trouble())), &[("nft", Missing)]),
            (|n| n.forwarding = Ok((false, true)), &[]),
            (
                |n| n.forwarding = Ok((false, false)),
                &[("forwarding", Missing)],
            ),
            (|n| n.pool = Err(trouble()), &[("address-pool", Missing)]),
            (|n| n.dns = Err(trouble()), &[("dns-port", Missing)]),
            (
                |n| n.others = Ok(vec!["ip filter FORWARD".to_owned()]),
                &[("other-firewalls", Degraded)],
            ),
            (
                |n| n.others = Err(trouble()),
                &[("other-firewalls", Degraded)],
            ),
        ];
        for (change, expected) in cases {
            let mut network = fine();
            change(&mut network);
            let found: Vec<_> = judge(&network)
                .iter()
                .filter(|check| check.status != Fine)
                .map(|check| (check.name, check.status))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn chains_of_others_that_drop_are_found_and_our_own_are_not() {
        let chain = |family: &str, table: &str, hook: &str, policy: &str| {
            format!(
                r#"{{"chain": {{"family": "{family}", "table": "{table}", "name": "c", "type": "filter", "hook": "{hook}", "prio": 0, "policy": "{policy}"}}}}"#
            )
        };
        let list = |entries: &[String]| format!(r#"{{"nftables": [{}]}}"#, entries.join(","));
        for (entry, expected) in [
            (
                chain("ip", "filter", "forward", "drop"),
                Some("ip filter c"),
            ),
            (chain("inet", "ufw", "input", "drop"), Some("inet ufw c")),
            (
                chain("inet", "firewalld", "forward", "accept"),
                Some("inet firewalld c"),
            ),
            (chain("ip", "filter", "forward", "accept"), None),
            (chain("ip", "filter", "output", "drop"), None),
            (chain("ip6", "filter", "forward", "drop"), None),
            (chain("inet", "alcove_0a1b2c", "forward", "drop"), None),
            // A chain that no hook calls.
            (
                r#"{"chain": {"family": "ip", "table": "filter", "name": "c", "handle": 1}}"#
                    .to_owned(),
                None,
            ),
        ] {
            let found = dropping_chains(&list(std::slice::from_ref(&entry)), "");
            assert_eq!(found.first().map(String::as_str), expected, "{entry}");
        }
        let old_form = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT DROP\n-A FORWARD -j X\n";
        assert_eq!(dropping_chains("", old_form), ["iptables-legacy FORWARD"]);
    }
}
