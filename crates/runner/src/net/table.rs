//! The firewall: one nftables table that stands before the first sandbox does and needs no entry a
//! sandbox.
//!
//! ```text
//!  from a sandbox ──> guard ────────> door ───────> forward ──────────> translation ─> internet
//!                     IPv4 only,      to the host:  not to a neighbour,
//!                     own source      DNS and ping  not to a private
//!                     address,        of gateway    network
//!                     number of
//!                     connections
//!  to a sandbox   ──────────────────────────────── forward: answers only
//! ```
//!
//! A per-sandbox policy has its place at the top of `from_sandbox`: the interface's name tells which
//! sandbox a packet comes from, so a set of `iifname . ip daddr` can hold the rules of all of them.
//!
//! Another table can still drop what this one accepts; `probe` tells of such tables.

use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::config::NetworkConfig;

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

/// The whole table as a script that replaces an older one in a single transaction.
pub(super) fn script(config: &NetworkConfig) -> String {
    let table = &config.table;
    let pool = config.pool;
    let gateway: Ipv4Addr = pool.gateway();
    let ours = format!("\"{}*\"", config.prefix);
    let closed = CLOSED_NETWORKS.join(", ");
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
    set flows {{
        type ifname
        size 65535
        flags dynamic
    }}
    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        iifname {ours} meta nfproto != ipv4 drop
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
        ip daddr {gateway} udp dport 53 accept
        ip daddr {gateway} tcp dport 53 accept
        ip daddr {gateway} icmp type echo-request accept
        drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname {ours} jump from_sandbox
        oifname {ours} jump to_sandbox
        ip daddr {pool} drop
    }}
    chain from_sandbox {{
        ct state established,related accept
        ct state invalid drop
        oifname {ours} drop
        ip daddr {pool} drop
        ip daddr @closed drop
        accept
    }}
    chain to_sandbox {{
        ct state established,related accept
        drop
    }}
    chain translation {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {pool} oifname != "lo" oifname != {ours} masquerade
    }}
}}
"#
    );
    script
}

/// Puts the table in place, whatever stood there before.
pub(super) async fn apply(config: &NetworkConfig) -> Result<(), TableError> {
    run(&config.table, &["-f", "-"], &script(config))
        .await
        .map(drop)
}

/// What the kernel holds of the table now, but for the counts; `None` if it is not there.
pub(super) async fn current(config: &NetworkConfig) -> Result<Option<String>, TableError> {
    match run(&config.table, &["list", "table", "inet", &config.table], "").await {
        Ok(text) => Ok(Some(without_counts(&text))),
        Err(TableError::Refused { message, .. }) if message.contains("No such file") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel itself adds to this set as connections come; that is no change of the rules.
fn without_counts(table: &str) -> String {
    let Some((before, set)) = table.split_once("\tset flows {") else {
        return table.to_owned();
    };
    // Only the end of the set is indented like this.
    let after = set.split_once("\n\t}\n").map_or("", |(_, after)| after);
    format!("{before}{after}")
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
        let script = script(&config);
        let head = format!(
            "table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n",
            config.table
        );
        assert!(script.starts_with(&head));
        assert!(script.contains(&format!("oifname \"{}*\" drop", config.prefix)));
        assert!(script.contains("ip daddr 10.200.0.1 udp dport 53 accept"));
        assert!(!script.contains("flush ruleset"));
    }

    #[test]
    fn counts_of_connections_are_no_change_of_the_table() {
        let with = |elements: &str| {
            format!(
                "table inet t {{\n\tset closed {{\n\t\telements = {{ 10.0.0.0/8 }}\n\t}}\n\n\tset flows {{\n\
                 \t\tflags dynamic\n{elements}\t}}\n\n\tchain c {{\n\t}}\n}}\n"
            )
        };
        let two =
            "\t\telements = { \"a1\" ct count over 9 ,\n\t\t\t     \"a2\" ct count over 9 }\n";
        assert_eq!(without_counts(&with(two)), without_counts(&with("")));
        let other = with("").replace("10.0.0.0/8", "");
        assert_ne!(without_counts(&other), without_counts(&with("")));
        let other = with("").replace("chain c", "chain d");
        assert_ne!(without_counts(&other), without_counts(&with("")));
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
