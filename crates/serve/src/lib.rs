//! HTTP server with a web page that captions images with trained runs.
//!
//! [`serve`] listens, loads a [`Backend`] on its own thread (tensors stay on that thread), and
//! answers until it is stopped. [`Models`] is the backend of trained runs.
//!
//! Processing of a request: read the body within limits of size and time; check its options against
//! the served runs; reserve a queue slot, or reject the request at once; decode the image on a
//! blocking thread; caption all waiting images together, up to the batch size. The captions of an
//! image do not depend on the rest of its batch, except where rounding decides a choice.
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
mod request;
mod worker;
mod write_timeout;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use backend::{
    Backend, BackendError, Candidate, PreparedImage, ServedModels, ServedRun, Task, TaskOutput,
};
pub use error::Error;
pub use guard::{Host, InvalidHost};
pub use limits::Limits;
pub use models::{Models, RunSource};

use app::App;
use guard::Hosts;
use metrics::Metrics;
use worker::Worker;

/// Time to wait for decoder threads at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Serves requests until `stop` is set, then finishes those in flight.
///
/// `load` runs on the models' own thread; `ready` is called once it has succeeded and the server
/// accepts requests. Requests may address the server by IP address, by the local machine's usual
/// names, and by `allowed`. Returns true if all requests in flight finished in time.
///
/// # Errors
/// Fails if the backend cannot be loaded, or a thread or the runtime cannot be started.
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
        // The last request has dropped the last queue, so the thread ends.
        let _ = thread.join();
    }
    Ok(finished)
}
