//! The firewall: one nftables table that stands before the first sandbox does.
//!
//! ```text
//!  from a sandbox ──> guard ────────> door ───────> forward ──────────> translation ─> internet
//!                     IPv4 only,      to the host:  not to a neighbour
//!                     own source      DNS and ping  but those it is linked
//!                     address,        of gateway    with, not to a private
//!                     number of                     network, and to what
//!                     connections                   its policy allows
//!  to a sandbox   ──────────────────────────────── forward: answers only
//! ```
//!
//! The rules do not change with sandboxes. A policy is entries of sets beside the name of the sandbox's interface
//! ([`super::policy`]); one without an entry reaches nothing. Networks are looked up by the bits of each length in turn
//! rather than in one set of ranges: a change costs the same however many there are, and only a packet that begins a
//! connection pays for the lookups.
//!
//! Another table can still drop what this one accepts; `probe` tells of such tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;

use alcove_domain::Ipv4Network;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::config::{NetworkConfig, Rate};
use super::elements::networks_set;
use super::gate;

/// The mark on what sandboxes of organizations with limited egress send, for the host's own shaping.
pub const LIMITED_MARK: u32 = 999;

/// Networks that no sandbox may reach: this host's own neighbourhood, and what is never the internet.
/// The three networks for documentation are not among them: some sites use them for real machines, and
/// elsewhere they lead nowhere.
const CLOSED_NETWORKS: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
];

/// What stays closed whatever the operator opens: where clouds tell machines their secrets.
const ALWAYS_CLOSED: [&str; 3] = ["169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32"];

/// Connections of one sandbox that the host keeps track of at once, and a thirty-second of the kernel's usual table.
/// That table is one for the whole host: when it is full, nobody on it gets through any more. A connection that is
/// over counts for two minutes, so this is room for 68 new ones a second without end.
const FLOWS_MAX: u32 = 8192;

/// Why the rules are not in place.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("cannot run the program `nft` (Debian package nftables)")]
    Run(#[source] io::Error),
    #[error("cannot listen for changes of the firewall")]
    Watch(#[source] io::Error),
    #[error("nft refused the rules of table {table}: {message}")]
    Refused { table: String, message: String },
}

/// Whether sandboxes may not reach the address, whoever has it: what the rules of the table say, for what the runner
/// sends in their place.
pub(super) fn is_closed(config: &NetworkConfig, address: Ipv4Addr) -> bool {
    let is_in = |network: &str| {
        let network = network.parse::<Ipv4Network>();
        network.is_ok_and(|network| network.contains(address))
    };
    let is_excepted = config
        .allow_private
        .iter()
        .any(|network| network.contains(address));
    config.pool.contains(address)
        || ALWAYS_CLOSED.into_iter().any(is_in)
        || (!is_excepted && CLOSED_NETWORKS.into_iter().any(is_in))
}

/// The whole table with these entries, as a script that replaces an older one in a single transaction.
pub(super) fn script(config: &NetworkConfig, entries: &str) -> String {
    let table = &config.table;
    let pool = config.pool;
    let gateway: Ipv4Addr = pool.gateway();
    let ours = format!("\"{}*\"", config.prefix);
    let closed = CLOSED_NETWORKS.join(", ");
    let always_closed = ALWAYS_CLOSED.join(", ");
    let excepted = excepted(config);
    let (network_sets, network_rules) = networks("accept");
    // What is open as a network needs no name.
    let (_, by_name) = networks("return");
    let (shaping_sets, upload, download) = shaping(config);
    let proxy = proxy(config);
    let gate = gate::PORT;
    let gate_ports = gate::OPEN_PORTS.map(|port| port.to_string()).join(", ");
    let mut script = String::new();
    // Creating it first makes the deletion succeed on a fresh host.
    let _ = writeln!(script, "table inet {table}\ndelete table inet {table}");
    let _ = write!(
        script,
        r#"table inet {table} {{
    set closed {{
        type ipv4_addr
        flags interval
        auto-merge
        elements = {{ {closed} }}
    }}
    set excepted {{
        type ipv4_addr
        flags interval
        auto-merge
{excepted}    }}
    set flows {{
        type ifname
        size 65535
        flags dynamic
    }}
    set open {{
        type ifname
    }}
    set resolving {{
        type ifname
    }}
    set limited {{
        type ifname
    }}
    set addresses {{
        type ifname . ipv4_addr
        flags timeout
    }}
    set peers {{
        type ifname . ipv4_addr
    }}
{network_sets}{shaping_sets}    chain guard {{
        type filter hook prerouting priority raw; policy accept;
{upload}        iifname {ours} meta nfproto != ipv4 drop
        iifname {ours} fib saddr . iif oif missing drop
        ip daddr {gateway} iifname != "lo" iifname != {ours} drop
    }}
    chain before_translation {{
        type filter hook prerouting priority mangle; policy accept;
        iifname {ours} ct state new add @flows {{ iifname ct count over {FLOWS_MAX} }} drop
        iifname {ours} fib daddr type != unicast jump door
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname {ours} jump door
    }}
    chain door {{
        ct state established accept
        ip daddr {gateway} udp dport 53 jump resolver
        ip daddr {gateway} tcp dport 53 jump resolver
        ip daddr {gateway} icmp type echo-request accept
        ip daddr {gateway} tcp dport {gate} ct status dnat accept
{proxy}        drop
    }}
    chain resolver {{
        iifname @open accept
        iifname @resolving accept
        jump refuse
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname {ours} jump from_sandbox
        oifname {ours} jump to_sandbox
        ip daddr {pool} drop
    }}
    chain from_sandbox {{
        iifname @limited meta mark set {LIMITED_MARK}
        ct state established,related accept
        ct state invalid drop
        oifname {ours} iifname . ip daddr @peers accept
        oifname {ours} drop
{proxy}        ip daddr {pool} drop
        ip daddr {{ {always_closed} }} drop
        ip daddr != @excepted ip daddr @closed drop
        iifname @open accept
{network_rules}        jump refuse
    }}
    chain refuse {{
        meta l4proto tcp reject with tcp reset
        reject with icmpx type admin-prohibited
    }}
    chain to_sandbox {{
        ct state established,related accept
        drop
    }}
    chain to_gate {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname . ip daddr @addresses tcp dport {{ {gate_ports} }} jump by_name
    }}
    chain by_name {{
        iifname @open return
{by_name}        meta l4proto tcp dnat ip to {gateway}:{gate}
    }}
    chain shaped {{
        type filter hook postrouting priority mangle; policy accept;
{download}    }}
    chain translation {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {pool} oifname != "lo" oifname != {ours} masquerade
    }}
}}
{entries}"#
    );
    script
}

/// The line with the operator's exceptions, if there are any.
fn excepted(config: &NetworkConfig) -> String {
    let networks: Vec<String> = config
        .allow_private
        .iter()
        .map(ToString::to_string)
        .collect();
    if networks.is_empty() {
        return String::new();
    }
    format!("        elements = {{ {} }}\n", networks.join(", "))
}

/// The way to the outbound proxy, for those that nothing narrows: through it everything is reached.
fn proxy(config: &NetworkConfig) -> String {
    let mut rules = String::new();
    for address in &config.proxy {
        let (ip, port) = (address.ip(), address.port());
        let _ = writeln!(
            rules,
            "        iifname @open ip daddr {ip} tcp dport {port} accept"
        );
    }
    rules
}

/// Sets and rules that hold each sandbox to its part of the line: what it sends, and what is sent to it. The kernel adds
/// a sandbox to the set with its first packet.
fn shaping(config: &NetworkConfig) -> (String, String, String) {
    let ours = format!("\"{}*\"", config.prefix);
    let mut sets = String::new();
    let mut rule = |limit: Option<Rate>, set: &str, side: &str| {
        let Some(rate) = limit else {
            return String::new();
        };
        let _ = writeln!(
            sets,
            "    set {set} {{\n        type ifname\n        size 65535\n        flags dynamic\n    }}"
        );
        // The kernel lets a second's worth through at once, and TCP finds its pace below that.
        let bytes = rate.bytes_per_second();
        format!(
            "        {side} {ours} update @{set} {{ {side} limit rate over {bytes} bytes/second }} drop\n"
        )
    };
    let upload = rule(config.upload_limit, "uploads", "iifname");
    let download = rule(config.download_limit, "downloads", "oifname");
    (sets, upload, download)
}

/// Sets of the networks of each length, and rules that come to a verdict on what is in one. A network of no bits at all
/// is an open policy.
fn networks(verdict: &str) -> (String, String) {
    let (mut sets, mut rules) = (String::new(), String::new());
    for prefix_len in (1..=32).rev() {
        let set = networks_set(prefix_len);
        let mask = Ipv4Network::mask(prefix_len);
        let _ = writeln!(
            sets,
            "    set {set} {{\n        type ifname . ipv4_addr\n    }}"
        );
        let _ = writeln!(
            rules,
            "        iifname . ip daddr & {mask} @{set} {verdict}"
        );
    }
    (sets, rules)
}

/// Puts the table in place, whatever stood there before.
pub(super) async fn apply(config: &NetworkConfig, entries: &str) -> Result<(), TableError> {
    run(&config.table, &["-f", "-"], &script(config, entries))
        .await
        .map(drop)
}

/// What the kernel holds of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// Sets and chains, without what is in the sets.
    pub rules: String,
    /// What is in each set that has something in it.
    pub elements: BTreeMap<String, BTreeSet<String>>,
}

/// What the kernel holds of the table now; `None` if it is not there.
pub(super) async fn current(config: &NetworkConfig) -> Result<Option<Found>, TableError> {
    match run(&config.table, &["list", "table", "inet", &config.table], "").await {
        Ok(text) => Ok(Some(read(&text))),
        Err(TableError::Refused { message, .. }) if message.contains("No such file") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets whose content is no matter of ours: the kernel adds to them as packets come, and takes from `addresses` as time
/// goes.
const MOVING_SETS: [&str; 4] = ["flows", "addresses", "uploads", "downloads"];

/// Takes nft's list of a table apart.
fn read(text: &str) -> Found {
    let mut found = Found::default();
    let mut set = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("\tset ") {
            set = name.strip_suffix(" {");
        }
        let Some(first) = line.strip_prefix("\t\telements = {") else {
            found.rules.push_str(line);
            found.rules.push('\n');
            continue;
        };
        let mut elements = first.to_owned();
        while !elements.ends_with('}') {
            let Some(line) = lines.next() else { break };
            elements.push_str(line);
        }
        let name = set.unwrap_or_default();
        if !MOVING_SETS.contains(&name) {
            let each = elements.trim_end_matches('}').split(',');
            let each = each.map(|element| element.trim().to_owned());
            found.elements.insert(name.to_owned(), each.collect());
        }
    }
    found
}

/// Removes the table if it is there.
pub(super) async fn remove(config: &NetworkConfig) -> Result<(), TableError> {
    let table = &config.table;
    let script = format!("table inet {table}\ndelete table inet {table}\n");
    run(table, &["-f", "-"], &script).await.map(drop)
}

async fn run(table: &str, arguments: &[&str], input: &str) -> Result<String, TableError> {
    let mut child = Command::new("nft")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(TableError::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A broken pipe means that nft gave up early; its own words below say why.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(TableError::Run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(TableError::Refused {
        table: table.to_owned(),
        message: String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; "),
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::{Ipv4Pool, NetworkConfig};
    use super::*;

    #[test]
    fn the_script_replaces_the_table_and_names_only_our_own_interfaces() {
        let config = NetworkConfig::for_instance(b"x", Ipv4Pool::default());
        let script = script(&config, "add element x\n");
        assert!(script.ends_with("}\nadd element x\n"));
        let head = format!(
            "table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n",
            config.table
        );
        assert!(script.starts_with(&head));
        assert!(script.contains(&format!("oifname \"{}*\" drop", config.prefix)));
        assert!(script.contains("ip daddr 10.200.0.1 udp dport 53 jump resolver"));
        assert!(script.contains("iifname . ip daddr & 255.255.255.254 @networks_31 accept"));
        assert!(!script.contains("flush ruleset"));
    }

    #[test]
    fn counts_of_connections_are_no_change_of_the_table_and_entries_are() {
        let with = |flows: &str, open: &str| {
            read(&format!(
                "table inet t {{\n\tset closed {{\n\t\ttype ipv4_addr\n\t\telements = {{ 10.0.0.0/8, 11.0.0.0/8 }}\n\t}}\n\n\
                 \tset flows {{\n\t\tflags dynamic\n{flows}\t}}\n\n\tset open {{\n\t\ttype ifname\n{open}\t}}\n\n\
                 \tchain c {{\n\t}}\n}}\n"
            ))
        };
        let two =
            "\t\telements = { \"a1\" ct count over 9 ,\n\t\t\t     \"a2\" ct count over 9 }\n";
        assert_eq!(with(two, ""), with("", ""));
        let open = "\t\telements = { \"a1\",\n\t\t\t     \"a2\" }\n";
        let found = with(two, open);
        assert_ne!(found, with(two, ""));
        assert_eq!(found.rules, with("", "").rules);
        let of = |set: &str| Vec::from_iter(found.elements[set].clone());
        assert_eq!(of("open"), ["\"a1\"", "\"a2\""]);
        assert_eq!(of("closed"), ["10.0.0.0/8", "11.0.0.0/8"]);
    }

    #[test]
    fn closed_addresses_are_those_that_the_table_closes() {
        let mut config = NetworkConfig::for_instance(b"x", Ipv4Pool::default());
        let private = ["10.0.0.0/8", "100.64.0.0/10"].map(|text| text.parse().ok());
        let is = |config: &NetworkConfig, text: &str| {
            text.parse().is_ok_and(|address| is_closed(config, address))
        };
        assert!(is(&config, "10.9.9.9"));
        config.allow_private = private.into_iter().flatten().collect();
        assert!(!is(&config, "10.9.9.9") && !is(&config, "100.127.0.1"));
        assert!(is(&config, "10.200.0.7"), "a sandbox");
        assert!(is(&config, "100.100.100.200") && is(&config, "192.168.0.1"));
        config.allow_private.clear();
        let is = |text| is(&config, text);
        for closed in [
            "10.9.9.9",
            "169.254.169.254",
            "100.127.0.1",
            "172.31.255.255",
            "255.255.255.255",
            "0.0.0.0",
            "127.0.0.1",
        ] {
            assert!(is(closed), "{closed}");
        }
        for open in [
            "9.255.255.255",
            "11.0.0.0",
            "100.128.0.1",
            "172.32.0.0",
            "203.0.113.7",
        ] {
            assert!(!is(open), "{open}");
        }
    }

    #[test]
    fn the_networks_for_documentation_stay_open() {
        for open in ["192.0.2.0", "198.51.100.0", "203.0.113.0"] {
            assert!(
                !CLOSED_NETWORKS
                    .iter()
                    .any(|closed| closed.starts_with(open))
            );
        }
    }
}
