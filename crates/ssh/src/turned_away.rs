//! A reason for a client that is turned away before any cryptography: the protocol lets each side end a connection in
//! clear once both have said who they are, and clients show the reason.

use russh::Disconnect;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::gateway::SERVER_ID;

/// The number of the message that ends a connection.
const DISCONNECT: u8 = 1;
/// Packets are a whole number of these long before there is a cipher.
const BLOCK: usize = 8;
/// More than a client says before it has read anything.
const DRAINED_BYTES: usize = 16 << 10;
/// Each packet has at least so much padding.
const PADDING_MIN: usize = 4;

/// Says why, and that this is the end.
pub async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    reason: &str,
) -> std::io::Result<()> {
    let mut bytes = format!("{SERVER_ID}\r\n").into_bytes();
    bytes.extend(packet(&disconnect(Disconnect::TooManyConnections, reason)));
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    // What the client said meanwhile is read: a connection that is closed over unread bytes is reset, and the client may
    // learn of that before it has read the reason.
    let mut unread = [0; 1024];
    let mut left = DRAINED_BYTES;
    while left > 0 {
        match stream.read(&mut unread).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

fn disconnect(code: Disconnect, reason: &str) -> Vec<u8> {
    let mut payload = vec![DISCONNECT];
    payload.extend((code as u32).to_be_bytes());
    for text in [reason, ""] {
        payload.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
        payload.extend(text.as_bytes());
    }
    payload
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let unpadded = 4 + 1 + payload.len();
    let mut padding = BLOCK - unpadded % BLOCK;
    if padding < PADDING_MIN {
        padding += BLOCK;
    }
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or_default();
    let mut packet = Vec::with_capacity(unpadded + padding);
    packet.extend(length.to_be_bytes());
    packet.push(u8::try_from(padding).unwrap_or_default());
    packet.extend(payload);
    packet.extend(std::iter::repeat_n(0, padding));
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_padded_to_whole_blocks() {
        for length in 1..40 {
            let packet = packet(&vec![7; length]);
            assert_eq!(packet.len() % BLOCK, 0);
            let told = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
            assert_eq!(told as usize, packet.len() - 4);
            let padding = usize::from(packet[4]);
            assert!(padding >= PADDING_MIN);
            assert_eq!(packet.len(), 5 + length + padding);
        }
    }
}
