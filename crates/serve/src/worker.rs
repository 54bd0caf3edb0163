//! The thread that owns the models, and its bounded queue.
//!
//! A request reserves a queue slot before its image is decoded, which bounds memory and avoids
//! useless work. The thread captions all waiting images as one batch, up to the batch size. An
//! error or panic fails only that batch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use networks::memory::try_catch_out_of_memory;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::backend::{Backend, BackendError, PreparedImage, ServedModels, TaskOutput};
use crate::error::{Error, HttpError};
use crate::limits::Limits;
use crate::metrics::Metrics;

/// Queue of images for the models.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: Sender<Job>,
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Reserved queue slot; released when the models take the image, or on drop.
pub(crate) struct QueueSlot {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

/// Result of captioning an image.
#[derive(Debug)]
pub(crate) struct Captioned {
    /// Output of each task.
    pub outputs: Vec<TaskOutput>,
    /// Time in the queue.
    pub queue_time: Duration,
    /// Time that the models took for the batch.
    pub model_time: Duration,
    /// Number of images in the batch.
    pub batch_size: usize,
}

struct Job {
    image: PreparedImage,
    slot: QueueSlot,
    queued: Instant,
    reply: oneshot::Sender<Result<Captioned, HttpError>>,
}

/// Thread that owns the models; it ends when all queues are dropped.
pub(crate) struct Worker {
    pub queue: Queue,
    pub served: ServedModels,
    pub thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread, and waits until `load` has loaded the backend on it.
    pub fn start<B: Backend>(
        load: impl FnOnce() -> Result<B, Error> + Send + 'static,
        limits: &Limits,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        // One message per slot, so that sending never blocks.
        let (jobs, waiting) = bounded(limits.queue);
        let (ready, loaded) = bounded(1);
        let (batch, thread_metrics) = (limits.batch, metrics.clone());
        let load = || {
            let does_not_fit = |exhausted| {
                Error::Backend(format!(
                    "the models do not fit: {exhausted}\nhint: serve fewer runs, or use another --device"
                ))
            };
            try_catch_out_of_memory(load).unwrap_or_else(|exhausted| Err(does_not_fit(exhausted)))
        };
        let thread = Builder::new().name("models".to_owned()).spawn(move || match load() {
            Ok(backend) => {
                if ready.send(Ok(backend.served())).is_ok() {
                    run_batches(backend, &waiting, batch, &thread_metrics);
                }
            }
            // `start` waits for this message.
            Err(error) => drop(ready.send(Err(error))),
        })?;
        let served = loaded.recv().map_err(|_| {
            Error::Backend("the thread of the models ended before they were loaded".to_owned())
        })??;
        let slots = Arc::new(Semaphore::new(limits.queue));
        let queue = Queue { jobs, slots, metrics: metrics.clone() };
        Ok(Self { queue, served, thread })
    }
}

impl Queue {
    /// Reserves a slot for each of `count` images, or fails if there are too few.
    pub fn reserve(&self, count: usize) -> Result<Vec<QueueSlot>, HttpError> {
        let permits = u32::try_from(count).map_err(|_| HttpError::busy())?;
        let slots = self.slots.clone().try_acquire_many_owned(permits);
        let mut slots = slots.map_err(|_| HttpError::busy())?;
        let one = |permit| {
            self.metrics.queue_depth.inc();
            QueueSlot { _permit: permit, metrics: self.metrics.clone() }
        };
        Ok(std::iter::from_fn(|| slots.split(1)).map(one).collect())
    }

    /// Captions an image.
    pub async fn caption(
        &self,
        slot: QueueSlot,
        image: PreparedImage,
    ) -> Result<Captioned, HttpError> {
        let disconnected = || HttpError::internal("the models have stopped; restart the server");
        let (reply, answer) = oneshot::channel();
        let job = Job { image, slot, queued: Instant::now(), reply };
        self.jobs.try_send(job).map_err(|_| disconnected())?;
        answer.await.map_err(|_| disconnected())?
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.metrics.queue_depth.dec();
    }
}

fn run_batches(
    mut backend: impl Backend,
    waiting: &Receiver<Job>,
    batch: usize,
    metrics: &Metrics,
) {
    while let Ok(first) = waiting.recv() {
        let mut jobs = vec![first];
        jobs.extend(waiting.try_iter().take(batch - 1));
        // Skip requests that have timed out.
        jobs.retain(|job| !job.reply.is_closed());
        if !jobs.is_empty() {
            caption_batch(&mut backend, jobs, metrics);
        }
    }
}

fn caption_batch(backend: &mut impl Backend, jobs: Vec<Job>, metrics: &Metrics) {
    let start = Instant::now();
    let mut images = Vec::with_capacity(jobs.len());
    let mut replies = Vec::with_capacity(jobs.len());
    for Job { image, slot, queued, reply } in jobs {
        drop(slot);
        images.push(image);
        replies.push((reply, start - queued));
    }
    let batch_size = images.len();
    metrics.batch_sizes.observe(batch_size as f64);
    // The models are read-only, so a panic leaves them consistent.
    let captioned = || {
        try_catch_out_of_memory(|| backend.caption(&images))
            .unwrap_or_else(|exhausted| Err(exhausted.into()))
    };
    let captioned_batch = catch_unwind(AssertUnwindSafe(captioned))
        .unwrap_or_else(|panic| Err(BackendError::Other(panic_message(&*panic))));
    let model_time = start.elapsed();
    match captioned_batch {
        Ok(all) => {
            for ((reply, queue_time), outputs) in replies.into_iter().zip(all) {
                // Sending fails if the client has disconnected, which is fine.
                let _ = reply.send(Ok(Captioned { outputs, queue_time, model_time, batch_size }));
            }
        }
        Err(failure) => {
            for (reply, _) in replies {
                let _ = reply.send(Err(match &failure {
                    BackendError::OutOfMemory(_) => HttpError::out_of_memory(),
                    BackendError::Other(reason) => HttpError::internal(format!(
                        "the models failed on this batch of pictures: {reason}"
                    )),
                }));
            }
        }
    }
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    // A libtorch error has a C++ stack trace after its first line; `unwrap` escapes its line
    // breaks.
    let first = text.and_then(|text| text.split(['\n']).next()?.split("\\n").next());
    first.unwrap_or("no reason given").to_owned()
}
