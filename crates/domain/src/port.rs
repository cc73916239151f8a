//! Ports of sandboxes, as they stand in addresses.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A TCP port.
///
/// It has one spelling. What decides about a port and what connects to it must mean the same one: `02280` is no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

/// Why a text is no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("port must be a number of 1 to 65535")]
pub struct PortError;

impl Port {
    /// By this port clients mean the toolbox: the original's agent listens there inside of sandboxes.
    pub const TOOLBOX: u16 = 2280;
    /// The terminal for browsers.
    pub const TERMINAL: u16 = 22222;
    /// The recordings of a sandbox's screen.
    pub const RECORDINGS: u16 = 33333;

    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// Whether who reaches it can run programs in the sandbox or see its screen. Such a port is never public.
    pub fn is_reserved(self) -> bool {
        matches!(
            self.get(),
            Self::TOOLBOX | Self::TERMINAL | Self::RECORDINGS
        )
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|_| is_canonical);
        number.and_then(Self::new).ok_or(PortError)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_port_has_one_spelling() {
        for text in [
            "", "0", "02280", "+80", "-1", " 80", "80 ", "8_0", "65536", "８０", "0x50", "1e3",
        ] {
            assert_eq!(text.parse::<Port>(), Err(PortError), "{text:?}");
        }
        assert_eq!("1".parse::<Port>().unwrap().get(), 1);
        assert!("2280".parse::<Port>().unwrap().is_reserved());
        assert!(!"2281".parse::<Port>().unwrap().is_reserved());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_written_as_it_came(text in "[0-9+ ]{0,6}") {
            if let Ok(port) = text.parse::<Port>() {
                prop_assert_eq!(port.to_string(), text);
            }
        }

        #[test]
        fn every_number_but_zero_is_one(number in 1..=u16::MAX) {
            prop_assert_eq!(number.to_string().parse::<Port>().map(Port::get), Ok(number));
        }
    }
}
