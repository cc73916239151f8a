//! Pulls of images: a few at once, not all of them of one owner, each known by the name that its image gets.
//!
//! A pull goes on when nobody listens any more. What ends with the process is begun again by whoever ordered it, and
//! finds what has come so far on the disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use alcove_runner_api::{OrderError, Pull, PullFault, PullFaultCode, PullState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cancel::Cancel;
use crate::image::{ImageStore, Progress, PullParts};
use crate::registry::RegistrySettings;

/// Pulls that work at once; each holds one of the threads for work that blocks.
const AT_ONCE: usize = 5;

/// Of these, how many are of one owner at most: a registry that takes its time holds its owner's pulls up, not all.
const AT_ONCE_OF_OWNER: usize = 3;

/// Pulls that may work or wait. Who orders more is told to come back.
const MAX: usize = 256;

#[derive(Debug)]
struct Running {
    /// Tells it from one that has its name later.
    number: u64,
    state: watch::Receiver<PullState>,
    cancel: Cancel,
    /// For one that waits for its turn.
    given_up: CancellationToken,
}

/// The right to work. A pull waits for one of its owner's slots first, so those that it waits with for one of all are few.
#[derive(Debug)]
struct Slots {
    all: Arc<Semaphore>,
    /// Those of owners who have pulls that work or wait.
    of_owners: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// Dropped, the next pull may work.
type Slot = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Slots {
    fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(AT_ONCE)),
            of_owners: Mutex::default(),
        }
    }

    fn of(&self, owner: &str) -> Arc<Semaphore> {
        let mut of_owners = self.lock();
        if let Some(known) = of_owners.get(owner).and_then(Weak::upgrade) {
            return known;
        }
        // Each pull holds its owner's, so there are never more than pulls.
        of_owners.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(AT_ONCE_OF_OWNER));
        of_owners.insert(owner.to_owned(), Arc::downgrade(&slots));
        slots
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Semaphore>>> {
        let of_owners = self.of_owners.lock();
        of_owners.unwrap_or_else(PoisonError::into_inner)
    }

    /// None once the runner closes.
    async fn turn(&self, owner: Arc<Semaphore>) -> Option<Slot> {
        let of_owner = owner.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some((of_owner, of_all))
    }
}

/// All pulls of this runner.
#[derive(Debug)]
pub struct Pulls {
    images: Arc<ImageStore>,
    settings: Arc<RegistrySettings>,
    slots: Arc<Slots>,
    running: Arc<Mutex<HashMap<String, Running>>>,
    next: AtomicU64,
    tasks: TaskTracker,
}

impl Pulls {
    pub fn new(images: Arc<ImageStore>, settings: RegistrySettings) -> Self {
        Self {
            images,
            settings: Arc::new(settings),
            slots: Arc::new(Slots::new()),
            running: Arc::default(),
            next: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        let running = self.running.lock();
        running.unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a pull, or finds the one that is under way for this name.
    pub fn start(&self, order: Pull) -> Result<watch::Receiver<PullState>, OrderError> {
        let mut running = self.running();
        if let Some(running) = running.get(&order.name) {
            return Ok(running.state.clone());
        }
        // Those that were given up and have not ended are among the tasks only.
        if self.tasks.len() >= MAX || self.tasks.is_closed() {
            return Err(OrderError::Unavailable);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let given_up = CancellationToken::new();
        let (state, receiver) = watch::channel(PullState::Waiting);
        let cancel = Cancel::default();
        let entry = Running {
            number,
            state: receiver.clone(),
            cancel: cancel.clone(),
            given_up: given_up.clone(),
        };
        running.insert(order.name.clone(), entry);
        drop(running);
        let (images, settings) = (Arc::clone(&self.images), Arc::clone(&self.settings));
        let (slots, all) = (Arc::clone(&self.slots), Arc::clone(&self.running));
        let of_owner = slots.of(&order.owner);
        self.tasks.spawn(async move {
            let name = order.name.clone();
            let turn = tokio::select! {
                slot = slots.turn(of_owner) => slot,
                () = given_up.cancelled() => None,
            };
            let end = match turn {
                Some(slot) => work(images, settings, order, cancel, state.clone(), slot).await,
                None => cancelled(),
            };
            // Not known any more before its end is told: who orders again then begins anew.
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            if all.get(&name).is_some_and(|known| known.number == number) {
                all.remove(&name);
            }
            drop(all);
            state.send_replace(end);
        });
        Ok(receiver)
    }

    /// Gives the pull for this name up, if there is one. Its end is not waited for, since a registry that says nothing
    /// can hold it for long: from now on it names no image, and another pull may have the name.
    pub fn give_up(&self, name: &str) {
        if let Some(running) = self.running().remove(name) {
            running.cancel.cancel();
            running.given_up.cancel();
        }
    }

    /// Ends all pulls and waits for them.
    pub async fn close(&self) {
        self.tasks.close();
        self.slots.all.close();
        for running in self.running().values() {
            running.cancel.cancel();
            running.given_up.cancel();
        }
        self.tasks.wait().await;
    }
}

fn cancelled() -> PullState {
    PullState::Failed {
        fault: PullFault {
            code: PullFaultCode::Cancelled,
            message: "nobody wants the image any more".to_owned(),
        },
    }
}

async fn work(
    images: Arc<ImageStore>,
    settings: Arc<RegistrySettings>,
    order: Pull,
    cancel: Cancel,
    state: watch::Sender<PullState>,
    slot: Slot,
) -> PullState {
    let begun = PullState::Running {
        done_bytes: 0,
        total_bytes: None,
    };
    state.send_replace(begun);
    let (name, reference) = (order.name.clone(), order.reference.clone());
    let pulled = tokio::task::spawn_blocking(move || {
        let progress = |progress: Progress| {
            state.send_replace(PullState::Running {
                done_bytes: progress.done_bytes,
                total_bytes: Some(progress.total_bytes),
            });
        };
        let parts = PullParts {
            settings: &settings,
            cancel: &cancel,
            progress: &progress,
        };
        let pulled = images.pull(&order, &parts);
        drop(slot);
        pulled
    });
    match pulled.await {
        Ok(Ok(image)) => {
            tracing::info!(
                image.name = name,
                image.digest = image.digest.0,
                "pulled {reference}"
            );
            PullState::Done { image }
        }
        Ok(Err(error)) => {
            let fault = error.to_fault();
            tracing::warn!(
                image.name = name,
                code = ?fault.code,
                "cannot pull {reference}: {}",
                fault.message
            );
            PullState::Failed { fault }
        }
        Err(error) => {
            tracing::error!(image.name = name, %error, "the pull of {reference} broke off");
            let fault = PullFault {
                code: PullFaultCode::Internal,
                message: "the pull broke off".to_owned(),
            };
            PullState::Failed { fault }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::registry::HostSettings;

    const LIMIT: Duration = Duration::from_secs(30);

    fn order(host: &str, owner: &str, number: usize) -> Pull {
        Pull {
            name: format!("+{owner}-{number}"),
            reference: format!("{host}/a/b:1"),
            owner: owner.to_owned(),
            credentials: None,
            is_plain: true,
            max_bytes: 1 << 30,
        }
    }

    async fn wait_for(
        pull: &mut watch::Receiver<PullState>,
        what: &str,
        is_so: impl FnMut(&PullState) -> bool,
    ) {
        let waited = tokio::time::timeout(LIMIT, pull.wait_for(is_so)).await;
        waited.unwrap_or_else(|_| panic!("{what}")).unwrap();
    }

    fn works(state: &PullState) -> bool {
        matches!(state, PullState::Running { .. })
    }

    fn working(pulls: &[watch::Receiver<PullState>]) -> usize {
        pulls.iter().filter(|pull| works(&pull.borrow())).count()
    }

    #[tokio::test]
    async fn pulls_of_one_owner_leave_slots_to_another() {
        // It takes connections and says nothing.
        let registry = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = registry.local_addr().unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        let images = Arc::new(ImageStore::open(&folder.path().join("store")).unwrap());
        let settings = RegistrySettings {
            hosts: [(host.clone(), HostSettings::default())].into(),
        };
        let pulls = Pulls::new(images, settings);
        let start = |owner: &str, number| pulls.start(order(&host, owner, number)).unwrap();
        let of_a: Vec<_> = (0..6).map(|number| start("a", number)).collect();
        let mut of_b: Vec<_> = (0..3).map(|number| start("b", number)).collect();
        for pull in &mut of_b[..2] {
            wait_for(pull, "the other owner has its turn", works).await;
        }
        assert_eq!(working(&of_a), AT_ONCE_OF_OWNER);
        assert_eq!(working(&of_b), AT_ONCE - AT_ONCE_OF_OWNER);
        // Those that wait go on as soon as the others are over.
        for number in 0..AT_ONCE_OF_OWNER {
            pulls.give_up(&format!("+a-{number}"));
            pulls.give_up(&format!("+b-{number}"));
        }
        drop(registry);
        for mut pull in of_a.into_iter().chain(of_b) {
            wait_for(&mut pull, "every pull ends", PullState::is_over).await;
        }
        // Who has none any more is forgotten.
        eventually(|| pulls.slots.lock().values().all(|it| it.strong_count() == 0)).await;
        let mut of_c = start("c", 0);
        assert_eq!(pulls.slots.lock().keys().collect::<Vec<_>>(), ["c"]);
        wait_for(&mut of_c, "the pull ends", PullState::is_over).await;
        pulls.close().await;
    }

    async fn eventually(is_so: impl Fn() -> bool) {
        let waited = tokio::time::timeout(LIMIT, async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        });
        waited.await.unwrap();
    }
}
