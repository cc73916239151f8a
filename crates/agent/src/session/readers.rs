//! Who reads a log, and how far. A writer that is about to drop what is not read yet waits for those who move on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// A reader that takes nothing for so long has stopped reading, and nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The readers of one log.
#[derive(Debug)]
pub struct Readers {
    places: Mutex<Vec<Weak<Place>>>,
    /// Changes whenever one moves on or goes.
    moved: watch::Sender<()>,
}

/// How far one reader is. It counts until it is dropped.
#[derive(Debug)]
pub struct Place {
    at: AtomicU64,
    /// Nobody waits for it until it moves again.
    is_left: AtomicBool,
    moved: watch::Sender<()>,
}

impl Default for Readers {
    fn default() -> Self {
        Self {
            places: Mutex::default(),
            moved: watch::Sender::new(()),
        }
    }
}

impl Readers {
    /// One more, at the beginning.
    pub fn enter(&self) -> Arc<Place> {
        let place = Arc::new(Place {
            at: AtomicU64::new(0),
            is_left: AtomicBool::new(false),
            moved: self.moved.clone(),
        });
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| place.strong_count() > 0);
        places.push(Arc::downgrade(&place));
        place
    }

    /// Waits until all who read have read up to `end`, but not for those who do not move.
    pub async fn wait(&self, end: u64) {
        let mut moved = self.moved.subscribe();
        while let before @ Some(_) = self.behind(end) {
            let any_moves = async {
                while self.behind(end) == before {
                    // The sender lives in `self`.
                    let _ = moved.changed().await;
                }
            };
            if timeout(PATIENCE, any_moves).await.is_err() {
                self.leave_behind(end);
            }
        }
    }

    /// How many are before `end`, and the sum of their places; none if nobody is.
    fn behind(&self, end: u64) -> Option<(usize, u64)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = places
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|place| place.is_behind(end));
        let (count, sum) = behind.fold((0, 0), |(count, sum), place| (count + 1, sum + place.at()));
        (count > 0).then_some((count, sum))
    }

    fn leave_behind(&self, end: u64) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for place in places.iter().filter_map(Weak::upgrade) {
            if place.is_behind(end) {
                place.is_left.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Place {
    pub fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    fn is_behind(&self, end: u64) -> bool {
        self.at() < end && !self.is_left.load(Ordering::Relaxed)
    }

    pub fn move_to(&self, at: u64) {
        self.at.store(at, Ordering::Relaxed);
        self.is_left.store(false, Ordering::Relaxed);
        self.moved.send_replace(());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.moved.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_where_nobody_is_behind() {
        let readers = Readers::default();
        readers.wait(10).await;
        let place = readers.enter();
        place.move_to(10);
        readers.wait(10).await;
        drop(place);
        assert_eq!(readers.behind(u64::MAX), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_moves_is_waited_for_however_slow() {
        let readers = Arc::new(Readers::default());
        let place = readers.enter();
        let moves = tokio::spawn(async move {
            for at in 1..=10 {
                tokio::time::sleep(PATIENCE * 9 / 10).await;
                place.move_to(at);
            }
            place
        });
        let began = Instant::now();
        readers.wait(10).await;
        assert_eq!(began.elapsed(), PATIENCE * 9);
        drop(moves.await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_does_not_move_holds_up_once_until_it_moves_again() {
        let readers = Readers::default();
        let place = readers.enter();
        let began = Instant::now();
        readers.wait(10).await;
        assert_eq!(began.elapsed(), PATIENCE);
        readers.wait(20).await;
        assert_eq!(began.elapsed(), PATIENCE);
        place.move_to(1);
        readers.wait(20).await;
        assert_eq!(began.elapsed(), PATIENCE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_goes_is_waited_for_no_longer() {
        let readers = Arc::new(Readers::default());
        let place = readers.enter();
        let waits = tokio::spawn({
            let readers = readers.clone();
            async move { readers.wait(10).await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        let began = Instant::now();
        drop(place);
        assert!(waits.await.is_ok());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
