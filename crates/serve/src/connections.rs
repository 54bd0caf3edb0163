//! Limit on open connections, and eviction of idle ones when it is reached.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Interval between attempts to evict a connection.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Locks a mutex, ignoring poisoning: a panic cannot leave this module's data inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time since which a connection waits for its client to send a request or read a response; `None`
/// while the client waits for the server.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<Option<Instant>>>);

impl Activity {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    /// Records that the server waits for the client from now on.
    pub fn wait_for_client(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    /// Records that the client waits for the server until the guard is dropped.
    pub fn start_work(&self) -> WorkGuard {
        *lock(&self.0) = None;
        WorkGuard(self.clone())
    }
}

/// Guard that marks a connection as busy with a request.
pub(crate) struct WorkGuard(Activity);

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.0.wait_for_client();
    }
}

/// Open connections.
pub(crate) struct Connections {
    slots: Arc<Semaphore>,
    /// Time that a connection must wait for its client before it may be evicted.
    idle_before_eviction: Duration,
    open: Mutex<HashMap<u64, (Activity, AbortHandle)>>,
}

/// Slot of an open connection.
pub(crate) struct Slot {
    connections: Arc<Connections>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub fn new(limit: usize, idle_before_eviction: Duration) -> Arc<Self> {
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(limit)),
            idle_before_eviction,
            open: Mutex::default(),
        })
    }

    /// Waits for a slot, evicting the longest idle connection while all are taken.
    pub async fn slot(self: &Arc<Self>, number: u64) -> Slot {
        let permit = loop {
            if let Ok(permit) = self.slots.clone().try_acquire_owned() {
                break permit;
            }
            self.evict_longest_idle();
            // The semaphore is never closed, so this eventually succeeds.
            if let Ok(Ok(permit)) =
                timeout(RETRY_INTERVAL, self.slots.clone().acquire_owned()).await
            {
                break permit;
            }
        };
        Slot { connections: self.clone(), number, _permit: permit }
    }

    /// Closes the connection that has waited longest for its client, if past the limit.
    pub fn evict_longest_idle(&self) {
        let mut open = lock(&self.open);
        let since = |(activity, _): &(Activity, AbortHandle)| *lock(&activity.0);
        let waiting =
            open.iter().filter_map(|(&number, one)| since(one).map(|since| (since, number)));
        let longest_idle =
            waiting.min().filter(|(since, _)| since.elapsed() >= self.idle_before_eviction);
        if let Some((_, task)) = longest_idle.and_then(|(_, number)| open.remove(&number)) {
            task.abort();
        }
    }

    /// Closes all connections that have waited for their clients past the limit.
    pub fn close_idle(&self) {
        lock(&self.open).retain(|_, (activity, task)| {
            let is_idle =
                lock(&activity.0).is_some_and(|since| since.elapsed() >= self.idle_before_eviction);
            if is_idle {
                task.abort();
            }
            !is_idle
        });
    }
}

impl Slot {
    /// Spawns the task that serves a connection, made by `serve`.
    pub fn spawn<F>(self, serve: impl FnOnce(Activity) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let activity = Activity::new();
        let (connections, number) = (self.connections.clone(), self.number);
        let serving = serve(activity.clone());
        // Insert before the task can end and remove itself.
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
