//! The connection of one client: bytes both ways, with a brake and an end.
//!
//! The brake: while too much of what the client sent is held, its packets are read at the pace of a clock and not as they
//! come. They are read all the same, since among them may be the word that the client has read our output, and without
//! that word nothing might ever move again.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::inbox::Held;

/// Between two looks at a client that is slowed down and sends little, as one does that has no window.
const SLOW: Duration = Duration::from_millis(200);
/// The same for one that still sends much.
const BRISK: Duration = Duration::from_millis(5);
/// Bytes of one look that are much.
const MUCH: usize = 4 << 10;
/// Most bytes of one look.
const LOOK_BYTES: usize = 64 << 10;

/// What is known of a connection outside of it.
#[derive(Debug, Default)]
pub struct Link {
    pub held: Arc<Held>,
    /// Ends the connection without a word.
    pub cut: CancellationToken,
    is_busy: AtomicBool,
}

impl Link {
    /// Bytes of a channel moved.
    pub fn note_traffic(&self) {
        self.is_busy.store(true, Ordering::Relaxed);
    }

    /// Whether bytes moved since the last time this was asked.
    pub fn take_traffic(&self) -> bool {
        self.is_busy.swap(false, Ordering::Relaxed)
    }
}

pub struct Wire<S> {
    stream: S,
    link: Arc<Link>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    brake: Brake,
}

/// Set while packets are read by the clock.
struct Brake {
    timer: Pin<Box<Sleep>>,
    is_shut: bool,
    /// Bytes of the present look.
    read: usize,
}

impl<S> Wire<S> {
    pub fn new(stream: S, link: Arc<Link>) -> Self {
        Self {
            stream,
            cut: Box::pin(link.cut.clone().cancelled_owned()),
            link,
            brake: Brake {
                timer: Box::pin(sleep_until(Instant::now())),
                is_shut: false,
                read: 0,
            },
        }
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Brake {
    /// Ready when a look may be taken.
    fn poll_open(&mut self, held: &Held, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_shut {
            return Poll::Ready(());
        }
        held.watch(context.waker());
        if held.is_too_much() {
            ready!(self.timer.as_mut().poll(context));
        }
        self.is_shut = false;
        self.read = 0;
        Poll::Ready(())
    }

    /// The look is over.
    fn shut(&mut self) {
        let pace = if self.read >= MUCH { BRISK } else { SLOW };
        self.timer.as_mut().reset(Instant::now() + pace);
        self.is_shut = true;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        wire.poll_cut(context)?;
        ready!(wire.brake.poll_open(&wire.link.held, context));
        let before = buffer.filled().len();
        let polled = Pin::new(&mut wire.stream).poll_read(context, buffer);
        let is_braking = wire.link.held.is_too_much();
        wire.brake.read += buffer.filled().len() - before;
        match &polled {
            Poll::Ready(_) if is_braking && wire.brake.read >= LOOK_BYTES => wire.brake.shut(),
            Poll::Pending if is_braking && wire.brake.read > 0 => {
                wire.brake.shut();
                // Wakes when the next look is due.
                if wire.brake.poll_open(&wire.link.held, context).is_ready() {
                    context.waker().wake_by_ref();
                }
            }
            _ if !is_braking => wire.brake.read = 0,
            _ => {}
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::inbox::{HELD_BYTES, Inbox};

    #[tokio::test(start_paused = true)]
    async fn a_client_is_read_by_the_clock_while_too_much_is_held_and_at_once_after() {
        let (mut client, ours) = duplex(1 << 20);
        let link = Arc::new(Link::default());
        let mut wire = Wire::new(ours, Arc::clone(&link));
        let inbox = Inbox::new(Arc::clone(&link.held));
        let mut byte = [0];
        client.write_all(b"abc").await.unwrap();
        wire.read_exact(&mut byte).await.unwrap();

        inbox.push(&vec![0; HELD_BYTES + 1]).unwrap();
        wire.read_exact(&mut byte).await.unwrap();
        wire.read_exact(&mut byte).await.unwrap();
        // Nothing is there: the look is over.
        let looked = timeout(Duration::from_millis(1), wire.read_exact(&mut byte)).await;
        assert!(looked.is_err());
        client.write_all(b"def").await.unwrap();
        let began = Instant::now();
        wire.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, *b"d");
        // The look before took a millisecond or two of it.
        let least = Duration::from_millis(195);
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());

        let mut rest = [0; 2];
        wire.read_exact(&mut rest).await.unwrap();
        let waiting = timeout(Duration::from_millis(1), wire.read_exact(&mut byte)).await;
        assert!(waiting.is_err());
        client.write_all(b"g").await.unwrap();
        let began = Instant::now();
        let (read, _) = tokio::join!(wire.read_exact(&mut byte), inbox.next(1 << 20));
        read.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "woken by the room");
    }

    #[tokio::test]
    async fn a_cut_ends_reading_and_writing() {
        let (_client, ours) = duplex(16);
        let link = Arc::new(Link::default());
        let mut wire = Wire::new(ours, Arc::clone(&link));
        let mut byte = [0];
        let cut = async { link.cut.cancel() };
        let (read, ()) = tokio::join!(wire.read_exact(&mut byte), cut);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(wire.write_all(b"x").await.is_err());
    }
}
