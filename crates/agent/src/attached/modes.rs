//! Modes of a terminal as SSH names them: RFC 4254, section 8.

use std::io;
use std::os::fd::AsFd;

use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex,
    tcgetattr, tcsetattr,
};

/// A character that is not set.
const NONE: u32 = 255;

/// Sets what is known of the modes; the rest stays as the kernel has it.
///
/// # Errors
/// The system's reason.
pub fn apply(terminal: impl AsFd, modes: &[(u8, u32)]) -> io::Result<()> {
    let mut attributes = tcgetattr(&terminal)?;
    for &(mode, value) in modes {
        let is_on = value != 0;
        if let Some(index) = character(mode) {
            let character = if value == NONE { 0 } else { value };
            if let Ok(character) = u8::try_from(character) {
                attributes.special_codes[index] = character;
            }
        } else if let Some(flag) = input(mode) {
            attributes.input_modes.set(flag, is_on);
        } else if let Some(flag) = local(mode) {
            attributes.local_modes.set(flag, is_on);
        } else if let Some(flag) = output(mode) {
            attributes.output_modes.set(flag, is_on);
        } else if mode == 92 || mode == 93 {
            let flag = if mode == 92 {
                ControlModes::PARENB
            } else {
                ControlModes::PARODD
            };
            attributes.control_modes.set(flag, is_on);
        }
    }
    Ok(tcsetattr(&terminal, OptionalActions::Now, &attributes)?)
}

fn character(mode: u8) -> Option<SpecialCodeIndex> {
    Some(match mode {
        1 => SpecialCodeIndex::VINTR,
        2 => SpecialCodeIndex::VQUIT,
        3 => SpecialCodeIndex::VERASE,
        4 => SpecialCodeIndex::VKILL,
        5 => SpecialCodeIndex::VEOF,
        6 => SpecialCodeIndex::VEOL,
        7 => SpecialCodeIndex::VEOL2,
        8 => SpecialCodeIndex::VSTART,
        9 => SpecialCodeIndex::VSTOP,
        10 => SpecialCodeIndex::VSUSP,
        12 => SpecialCodeIndex::VREPRINT,
        13 => SpecialCodeIndex::VWERASE,
        14 => SpecialCodeIndex::VLNEXT,
        18 => SpecialCodeIndex::VDISCARD,
        _ => return None,
    })
}

fn input(mode: u8) -> Option<InputModes> {
    Some(match mode {
        30 => InputModes::IGNPAR,
        31 => InputModes::PARMRK,
        32 => InputModes::INPCK,
        33 => InputModes::ISTRIP,
        34 => InputModes::INLCR,
        35 => InputModes::IGNCR,
        36 => InputModes::ICRNL,
        37 => InputModes::IUCLC,
        38 => InputModes::IXON,
        39 => InputModes::IXANY,
        40 => InputModes::IXOFF,
        41 => InputModes::IMAXBEL,
        42 => InputModes::IUTF8,
        _ => return None,
    })
}

fn local(mode: u8) -> Option<LocalModes> {
    Some(match mode {
        50 => LocalModes::ISIG,
        51 => LocalModes::ICANON,
        52 => LocalModes::XCASE,
        53 => LocalModes::ECHO,
        54 => LocalModes::ECHOE,
        55 => LocalModes::ECHOK,
        56 => LocalModes::ECHONL,
        57 => LocalModes::NOFLSH,
        58 => LocalModes::TOSTOP,
        59 => LocalModes::IEXTEN,
        60 => LocalModes::ECHOCTL,
        61 => LocalModes::ECHOKE,
        62 => LocalModes::PENDIN,
        _ => return None,
    })
}

fn output(mode: u8) -> Option<OutputModes> {
    Some(match mode {
        70 => OutputModes::OPOST,
        71 => OutputModes::OLCUC,
        72 => OutputModes::ONLCR,
        73 => OutputModes::OCRNL,
        74 => OutputModes::ONOCR,
        75 => OutputModes::ONLRET,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use alcove_agent_api::PtySize;

    use super::*;

    #[tokio::test]
    async fn known_modes_are_set_and_others_left() {
        let (_master, terminal) = crate::pty::device::open(PtySize::DEFAULT).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO), "the control");
        apply(
            &terminal,
            &[
                (53, 0),
                (1, 7),
                (2, 255),
                (200, 1),
                (128, 9600),
                (3, 70_000),
            ],
        )
        .unwrap();
        let after = tcgetattr(&terminal).unwrap();
        assert!(!after.local_modes.contains(LocalModes::ECHO));
        assert_eq!(after.special_codes[SpecialCodeIndex::VINTR], 7);
        assert_eq!(after.special_codes[SpecialCodeIndex::VQUIT], 0);
        let erase = |attributes: &rustix::termios::Termios| {
            attributes.special_codes[SpecialCodeIndex::VERASE]
        };
        assert_eq!(erase(&after), erase(&before));
        assert_eq!(after.output_modes, before.output_modes);
    }
}
