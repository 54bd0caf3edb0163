//! HTTP server with a web page that captions images with trained runs.
//!
//! [`serve`] listens, loads a [`Backend`] on its own thread (tensors stay on that thread), and
//! answers until it is stopped. [`Models`] is the backend of trained runs.
//!
//! Processing of a request: read the body within limits of size and time; check its options against
//! the served runs; reserve a queue slot, or reject the request at once; decode the image on a
//! blocking thread; caption all waiting images together, up to the batch size. The captions of an
//! image do not depend on the rest of its batch, except where rounding decides a choice.
//!
//! ```text
//! GET  /                        the page, with /style.css, /app.js and /samples/NUMBER
//! POST /v1/caption              a form, JSON with pictures in base64, or the bytes of a picture
//! POST /v1/image-to-text/RUN    a picture; Hugging Face's answer
//! GET  /v1/runs                 what is served, and how it decodes
//! GET  /v1/models               the runs as OpenAI lists models
//! GET  /openapi.json, /docs     description of these
//! GET  /healthz                 ok
//! GET  /metrics                 for Prometheus
//! ```

mod answers;
mod app;
mod backend;
mod body;
mod connections;
mod embeddings;
mod error;
mod guard;
mod halves;
mod handlers;
mod limits;
mod listen;
mod metrics;
mod models;
mod openapi;
mod request;
mod router;
mod samples;
mod schemas;
mod upload;
mod worker;
mod write_timeout;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pictures::PictureFile;

pub use backend::{
    Backend, BackendError, Candidate, PreparedImage, ServedModels, ServedRun, Task, TaskOutput,
};
pub use error::Error;
pub use guard::{Host, InvalidHost, InvalidOrigin, Origin};
pub use limits::Limits;
pub use models::{Models, RunSource};
pub use samples::sample_pictures;

use app::App;
use guard::Guard;
use metrics::Metrics;
use worker::Worker;

/// Time to wait for decoder threads at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Settings of a server besides its models.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Limits of its load.
    pub limits: Limits,
    /// Hosts by which requests may address it, besides its IP address and the usual names of the
    /// local machine.
    pub hosts: Vec<Host>,
    /// Other origins whose pages may use it.
    pub origins: Vec<Origin>,
    /// Sample pictures of its page.
    pub samples: Vec<PictureFile>,
}

/// Serves requests until `stop` is set, then finishes those in flight.
///
/// `load` runs on the models' own thread; `ready` is called once it has succeeded and the server
/// accepts requests. Returns true if all requests in flight finished in time.
///
/// # Errors
/// Fails if the backend cannot be loaded, or a thread or the runtime cannot be started.
pub fn serve<B: Backend>(
    listener: TcpListener,
    load: impl FnOnce() -> Result<B, Error> + Send + 'static,
    settings: Settings,
    stop: &AtomicBool,
    ready: impl FnOnce(),
) -> Result<bool, Error> {
    let Settings { limits, hosts, origins, samples } = settings;
    let guard = Guard::new(listener.local_addr()?.ip(), hosts, origins);
    let metrics = Arc::new(Metrics::new());
    let Worker { queue, served, thread } = Worker::start(load, &limits, &metrics)?;
    let app = App::new(served, queue, limits.clone(), metrics, guard, samples);
    let router = router::router(app);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    ready();
    let finished = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok::<_, Error>(listen::serve(listener, router, &limits, stop).await)
    });
    runtime.shutdown_timeout(LAST_WAIT);
    let finished = finished?;
    if finished {
        // The last request has dropped the last queue, so the thread ends.
        let _ = thread.join();
    }
    Ok(finished)
}
