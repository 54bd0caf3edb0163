//! A local web page, and an HTTP interface, that caption pictures with trained runs.
//!
//! [`serve`] listens, has a [`Backend`] made on a thread of its own (tensors stay on that thread), and
//! answers until it is stopped. [`Models`] is the backend that captions with trained runs.
//!
//! A request takes this way: its body is read within bounds of size and time; what it asks for is checked
//! against what is served; a place in the queue is reserved, or the request refused at once; the picture
//! is decoded on one of few threads; the models take all pictures that wait, up to a batch, together. A
//! picture with the same options gets the same captions whatever it is captioned with, except where a
//! choice hangs on rounding.
//!
//! ```text
//! GET  /            the page, with /style.css and /app.js
//! POST /v1/caption  multipart/form-data (picture, runs, decoding) or JSON with the same keys, the picture in base64
//! GET  /v1/runs     what is served, and how it decodes
//! GET  /healthz     ok
//! GET  /metrics     for Prometheus
//! ```

mod app;
mod backend;
mod body;
mod connections;
mod error;
mod guard;
mod limits;
mod listen;
mod metrics;
mod models;
mod patience;
mod request;
mod worker;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use backend::{Backend, Candidate, Failure, Picture, Served, ServedRun, Task, Written};
pub use error::Error;
pub use guard::{Host, NotAHost};
pub use limits::Limits;
pub use models::{Models, RunSource};

use app::App;
use guard::Hosts;
use metrics::Metrics;
use worker::Worker;

/// How long threads that decode a picture are waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Answers requests until `stop` is raised, then finishes those in flight. `load` is called on the models'
/// own thread, `ready` when it is done and requests are answered. Requests may name the server by its
/// address, by this machine's usual names, and by `allowed`. Says whether all requests in flight were
/// finished in the time for it.
///
/// # Errors
/// When the backend cannot be made, or threads cannot be had.
pub fn serve<B: Backend>(
    listener: TcpListener,
    load: impl FnOnce() -> Result<B, Error> + Send + 'static,
    limits: &Limits,
    allowed: Vec<Host>,
    stop: &AtomicBool,
    ready: impl FnOnce(),
) -> Result<bool, Error> {
    let hosts = Hosts::new(listener.local_addr()?.ip(), allowed);
    let metrics = Arc::new(Metrics::new());
    let Worker { queue, served, thread } = Worker::start(load, limits, &metrics)?;
    let router = App::new(served, queue, limits.clone(), metrics, hosts).router();
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    ready();
    let finished = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok::<_, Error>(listen::serve(listener, router, limits, stop).await)
    });
    runtime.shutdown_timeout(LAST_WAIT);
    let finished = finished?;
    if finished {
        // With the last request the last queue has gone, and so the thread ends.
        let _ = thread.join();
    }
    Ok(finished)
}
