//! The one thread that owns the models, and the bounded queue before it.
//!
//! A place in the queue is reserved before a picture is decoded, so that nothing is decoded in vain and
//! memory is bounded. The thread takes what waits, up to a batch, and captions it together. What fails
//! or panics fails its batch alone.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use networks::memory::try_catch_out_of_memory;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::backend::{Backend, Failure, Picture, Served, Written};
use crate::error::{Error, Refusal};
use crate::limits::Limits;
use crate::metrics::Metrics;

/// Where pictures wait for the models.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A place in the queue; given back when the models take the picture, or nobody waits any more.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

/// What became of a picture.
#[derive(Debug)]
pub(crate) struct Done {
    /// What each of its tasks came to.
    pub written: Vec<Written>,
    /// How long it waited for the models.
    pub waited: Duration,
    /// How long the models took.
    pub computed: Duration,
    /// How many pictures they took together.
    pub together: usize,
}

struct Job {
    picture: Picture,
    place: Place,
    queued: Instant,
    reply: oneshot::Sender<Result<Done, Refusal>>,
}

/// The thread, which ends when no queue is left.
pub(crate) struct Worker {
    pub queue: Queue,
    pub served: Served,
    pub thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread, and waits until what `load` makes on it is ready.
    pub fn start<B: Backend>(
        load: impl FnOnce() -> Result<B, Error> + Send + 'static,
        limits: &Limits,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        // As many as there are places: sending never waits.
        let (jobs, waiting) = bounded(limits.queue);
        let (ready, is_ready) = bounded(1);
        let (batch, told) = (limits.batch, metrics.clone());
        let load = || {
            let no_room = |exhausted| {
                Error::Backend(format!(
                    "the models do not fit: {exhausted}\nhint: serve fewer runs, or use another --device"
                ))
            };
            try_catch_out_of_memory(load).unwrap_or_else(|exhausted| Err(no_room(exhausted)))
        };
        let thread = Builder::new().name("models".to_owned()).spawn(move || match load() {
            Ok(backend) => {
                if ready.send(Ok(backend.served())).is_ok() {
                    work(backend, &waiting, batch, &told);
                }
            }
            // Who started the thread waits for this.
            Err(error) => drop(ready.send(Err(error))),
        })?;
        let served = is_ready
            .recv()
            .map_err(|_| Error::Backend("the models could not be loaded".to_owned()))??;
        let places = Arc::new(Semaphore::new(limits.queue));
        let queue = Queue { jobs, places, metrics: metrics.clone() };
        Ok(Self { queue, served, thread })
    }
}

impl Queue {
    /// A place, unless all are taken.
    pub fn reserve(&self) -> Result<Place, Refusal> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| Refusal::busy())?;
        self.metrics.queue_depth.inc();
        Ok(Place { _permit: permit, metrics: self.metrics.clone() })
    }

    /// Has a picture captioned.
    pub async fn caption(&self, place: Place, picture: Picture) -> Result<Done, Refusal> {
        let gone = || Refusal::failed("the models are gone; start the server again");
        let (reply, answer) = oneshot::channel();
        let job = Job { picture, place, queued: Instant::now(), reply };
        self.jobs.try_send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.queue_depth.dec();
    }
}

fn work(mut backend: impl Backend, waiting: &Receiver<Job>, batch: usize, metrics: &Metrics) {
    while let Ok(first) = waiting.recv() {
        let mut jobs = vec![first];
        jobs.extend(waiting.try_iter().take(batch - 1));
        // Nobody waits for those that are late.
        jobs.retain(|job| !job.reply.is_closed());
        if !jobs.is_empty() {
            caption(&mut backend, jobs, metrics);
        }
    }
}

fn caption(backend: &mut impl Backend, jobs: Vec<Job>, metrics: &Metrics) {
    let start = Instant::now();
    let mut pictures = Vec::with_capacity(jobs.len());
    let mut replies = Vec::with_capacity(jobs.len());
    for Job { picture, place, queued, reply } in jobs {
        drop(place);
        pictures.push(picture);
        replies.push((reply, start - queued));
    }
    let together = pictures.len();
    metrics.batch_sizes.observe(together as f64);
    // The models are read only: a panic leaves nothing half-changed in them.
    let captioned = || {
        try_catch_out_of_memory(|| backend.caption(&pictures))
            .unwrap_or_else(|none| Err(none.into()))
    };
    let written = catch_unwind(AssertUnwindSafe(captioned))
        .unwrap_or_else(|panic| Err(Failure::Other(words(&*panic))));
    let computed = start.elapsed();
    match written {
        Ok(all) => {
            for ((reply, waited), written) in replies.into_iter().zip(all) {
                // Who has gone meanwhile misses nothing.
                let _ = reply.send(Ok(Done { written, waited, computed, together }));
            }
        }
        Err(failure) => {
            for (reply, _) in replies {
                let _ = reply.send(Err(match &failure {
                    Failure::OutOfMemory(_) => Refusal::out_of_memory(),
                    Failure::Other(reason) => Refusal::failed(format!(
                        "the models failed on this batch of pictures: {reason}"
                    )),
                }));
            }
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    // An error of libtorch has C++ frames behind its first line, which `unwrap` writes as one line.
    let first = text.and_then(|text| text.split(['\n']).next()?.split("\\n").next());
    first.unwrap_or("no reason was given").to_owned()
}
