//! The open connections: how many there are, and which one gives way when there is no room for another.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Pause between two looks for room.
const LOOK: Duration = Duration::from_millis(50);

/// A panic elsewhere harms nothing that a mutex here holds.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time since which a connection waits for its client, for a request or to take an answer. None while
/// the client waits for the server.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<Option<Instant>>>);

impl Activity {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    /// Begins to wait for the client.
    pub fn wait(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    /// Lets the client wait for the server as long as the result lives.
    pub fn work(&self) -> Work {
        *lock(&self.0) = None;
        Work(self.clone())
    }
}

/// The server's work on a request.
pub(crate) struct Work(Activity);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// The open connections.
pub(crate) struct Connections {
    slots: Arc<Semaphore>,
    /// A client may keep a connection waiting so long before it gives way to another one.
    patience: Duration,
    open: Mutex<HashMap<u64, (Activity, AbortHandle)>>,
}

/// A slot among the open connections.
pub(crate) struct Slot {
    connections: Arc<Connections>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub fn new(most: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { slots: Arc::new(Semaphore::new(most)), patience, open: Mutex::default() })
    }

    /// Waits for a slot, and closes the connection whose client is slowest where all are taken.
    pub async fn slot(self: &Arc<Self>, number: u64) -> Slot {
        let permit = loop {
            if let Ok(permit) = self.slots.clone().try_acquire_owned() {
                break permit;
            }
            self.close_slowest();
            // Never closed, so it is given in the end.
            if let Ok(Ok(permit)) = timeout(LOOK, self.slots.clone().acquire_owned()).await {
                break permit;
            }
        };
        Slot { connections: self.clone(), number, _permit: permit }
    }

    /// Closes the connection that has waited longest for its client, where that is beyond patience.
    pub fn close_slowest(&self) {
        let mut open = lock(&self.open);
        let since = |(activity, _): &(Activity, AbortHandle)| *lock(&activity.0);
        let waiting =
            open.iter().filter_map(|(&number, one)| since(one).map(|since| (since, number)));
        let slowest = waiting.min().filter(|(since, _)| since.elapsed() >= self.patience);
        if let Some((_, task)) = slowest.and_then(|(_, number)| open.remove(&number)) {
            task.abort();
        }
    }

    /// Closes all connections that have waited for their clients beyond patience.
    pub fn close_slow(&self) {
        lock(&self.open).retain(|_, (activity, task)| {
            let is_slow = lock(&activity.0).is_some_and(|since| since.elapsed() >= self.patience);
            if is_slow {
                task.abort();
            }
            !is_slow
        });
    }
}

impl Slot {
    /// Serves a connection on a task of its own, which `serve` makes.
    pub fn spawn<F>(self, serve: impl FnOnce(Activity) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let activity = Activity::new();
        let (connections, number) = (self.connections.clone(), self.number);
        let serving = serve(activity.clone());
        // Entered before the task can end and leave.
        let mut open = lock(&connections.open);
        let task = tokio::spawn(async move {
            serving.await;
            drop(self);
        });
        open.insert(number, (activity, task.abort_handle()));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.number);
    }
}
