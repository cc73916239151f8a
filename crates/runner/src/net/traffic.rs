//! What goes through the cables of slots, as the kernel counts it at the host's end.

use std::collections::HashMap;
use std::fs;

use alcove_runner_api::NetworkUsage;

use super::config::SlotIndex;

/// One file has the numbers of every interface of the host. `index_of` tells which are ours.
pub(super) fn read(
    index_of: impl Fn(&str) -> Option<SlotIndex>,
) -> HashMap<SlotIndex, NetworkUsage> {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    parse(&text, index_of)
}

/// The numbers of one interface, which has files of its own.
pub(super) fn of_interface(name: &str) -> Option<NetworkUsage> {
    let number = |direction: &str| {
        let path = format!("/sys/class/net/{name}/statistics/{direction}_bytes");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    Some(NetworkUsage {
        received_bytes: number("tx")?,
        sent_bytes: number("rx")?,
    })
}

fn parse(
    text: &str,
    index_of: impl Fn(&str) -> Option<SlotIndex>,
) -> HashMap<SlotIndex, NetworkUsage> {
    let slots = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let slot = index_of(name.trim())?;
        let mut numbers = numbers.split_whitespace();
        // What the host's end has received came out of the sandbox. Eight numbers tell of either direction, bytes first.
        let sent_bytes = numbers.next()?.parse().ok()?;
        let received_bytes = numbers.nth(7)?.parse().ok()?;
        let usage = NetworkUsage {
            received_bytes,
            sent_bytes,
        };
        Some((slot, usage))
    });
    slots.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_an_interface_are_of_both_directions() {
        assert!(of_interface("lo").is_some());
        assert_eq!(of_interface("no-such"), None);
    }

    #[test]
    fn what_the_host_receives_was_sent_by_the_sandbox() {
        let text = "Inter-|   Receive                            |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes packets\n    \
             lo:  100       1    0    0    0     0          0         0      200       2    0\n  \
             al7: 1500      10    0    0    0     0          0         0     9000      20    0    0    0     0       0          0\n\
             al8:1:\n";
        let index_of = |name: &str| name.strip_prefix("al")?.parse().ok().map(SlotIndex);
        let expected = NetworkUsage {
            received_bytes: 9000,
            sent_bytes: 1500,
        };
        assert_eq!(
            parse(text, index_of),
            HashMap::from([(SlotIndex(7), expected)])
        );
    }
}
