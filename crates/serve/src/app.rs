//! The addresses that the server answers, and the way from a request to captions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use pictures::RgbPixels;
use recipes::{Decoding, System};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::backend::{Candidate, Picture, Served, ServedRun, Task, Written};
use crate::body::{self, Received};
use crate::connections::Activity;
use crate::error::Refusal;
use crate::guard::{self, Hosts};
use crate::limits::Limits;
use crate::metrics::{self, Metrics};
use crate::request::CaptionRequest;
use crate::worker::{Done, Queue};

/// What all requests share.
pub(crate) struct App {
    served: Served,
    queue: Queue,
    limits: Limits,
    metrics: Arc<Metrics>,
    hosts: Hosts,
    /// One for each picture that may be decoded at a time.
    decoders: Arc<Semaphore>,
    /// One for each byte that all bodies may take.
    memory: Arc<Semaphore>,
}

/// The answer to a request for captions.
#[derive(Serialize)]
struct Answer<'a> {
    width: u32,
    height: u32,
    runs: Vec<RunAnswer<'a>>,
    milliseconds: Times,
    /// Pictures that were captioned together with this one, itself among them.
    together: usize,
}

#[derive(Serialize)]
struct RunAnswer<'a> {
    run: &'a str,
    system: &'static str,
    caption: &'a str,
    score: Option<f64>,
    similarity: Option<f64>,
    keywords: Option<&'a [String]>,
    candidates: &'a [Candidate],
    decoding: Value,
}

#[derive(Serialize)]
struct Times {
    /// Decoding the picture and making it ready, and waiting to.
    picture: f64,
    /// Waiting for the models.
    queue: f64,
    models: f64,
}

impl App {
    pub fn new(
        served: Served,
        queue: Queue,
        limits: Limits,
        metrics: Arc<Metrics>,
        hosts: Hosts,
    ) -> Self {
        let decoders = Arc::new(Semaphore::new(limits.decoders));
        let memory = Arc::new(Semaphore::new(limits.bodies));
        Self { served, queue, limits, metrics, hosts, decoders, memory }
    }

    /// All addresses.
    pub fn router(self) -> Router {
        let app = Arc::new(self);
        let file = |content_type: &'static str, text: &'static str| {
            get(move || async move { ([(header::CONTENT_TYPE, content_type)], text) })
        };
        Router::new()
            .route("/", file("text/html; charset=utf-8", include_str!("page/page.html")))
            .route("/style.css", file("text/css; charset=utf-8", include_str!("page/style.css")))
            .route("/app.js", file("text/javascript; charset=utf-8", include_str!("page/app.js")))
            .route("/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
            .route("/v1/runs", get(runs))
            .route("/v1/caption", post(caption))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/metrics", get(metrics_text))
            .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, ADDRESSES) })
            .method_not_allowed_fallback(|| async {
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ADDRESSES)
            })
            .layer(middleware::from_fn_with_state(app.clone(), around))
            .with_state(app)
    }
}

const ADDRESSES: &str =
    "there is GET / for people, POST /v1/caption, GET /v1/runs, GET /healthz and GET /metrics";

/// Refuses who may not ask, counts, and adds the headers of every answer.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match app.hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    app.metrics.count(response.status());
    guard::secure(response.headers_mut());
    response
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], app.metrics.text()).into_response()
}

/// What the page needs to know.
async fn runs(State(app): State<Arc<App>>) -> Json<Value> {
    let (limits, served) = (&app.limits, &app.served);
    let runs: Vec<Value> = served.runs.iter().map(|run| described(run, limits)).collect();
    Json(json!({
        "runs": runs,
        "similarity": served.similarity.is_some(),
        "bytes": limits.body,
        "pixels": limits.pixels,
    }))
}

fn described(run: &ServedRun, limits: &Limits) -> Value {
    let (strategies, score) = match run.config.system {
        System::ClipPrefix(_) => (&["greedy", "beam", "sampling"][..], "mean log-probability"),
        System::Sbg(_) => (&["sampling"][..], "cosine with the picture"),
        System::MergeRnn(_) => (&["beam"][..], "log-probability"),
    };
    json!({
        "name": run.name,
        "system": run.config.system.name(),
        "strategies": strategies,
        "score": score,
        "decoding": shown(&run.config.decoding),
        "most_tokens": run.longest(limits),
        "most_captions": run.most_captions(limits),
    })
}

/// Decoding as requests name it.
fn shown(decoding: &Decoding) -> Value {
    let Decoding { max_new_tokens, strategy, .. } = decoding;
    json!({ "max_new_tokens": max_new_tokens, "strategy": strategy })
}

async fn caption(
    State(app): State<Arc<App>>,
    Extension(activity): Extension<Activity>,
    request: Request,
) -> Response {
    let start = Instant::now();
    let answer = answer(&app, &activity, request, start).await;
    app.metrics.latency.observe(start.elapsed().as_secs_f64());
    answer.into_response()
}

async fn answer(
    app: &App,
    activity: &Activity,
    request: Request<Body>,
    start: Instant,
) -> Result<Response, Refusal> {
    let deadline = (start + app.limits.request_time).into();
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let received = body::read(request, &app.limits, &app.memory).await?;
    let _work = activity.work();
    let request = CaptionRequest::read(content_type.as_deref(), received.bytes.clone()).await?;
    let tasks = request.tasks(&app.served, &app.limits)?;
    let place = app.queue.reserve()?;
    let decoding = Instant::now();
    let prepared = prepare(app, request, received, tasks.clone());
    let (picture, width, height) =
        timeout_at(deadline, prepared).await.map_err(|_| Refusal::late())??;
    let prepared = decoding.elapsed();
    let captioned = app.queue.caption(place, picture);
    let done = timeout_at(deadline, captioned).await.map_err(|_| Refusal::late())??;
    let runs = tasks
        .iter()
        .zip(&done.written)
        .map(|(task, written)| run_answer(&app.served.runs[task.run], task, written));
    let Done { waited, computed, together, .. } = done;
    let answer = Answer {
        width,
        height,
        runs: runs.collect(),
        milliseconds: Times {
            picture: milliseconds(prepared),
            queue: milliseconds(waited),
            models: milliseconds(computed),
        },
        together,
    };
    Ok(Json(answer).into_response())
}

fn run_answer<'a>(run: &'a ServedRun, task: &Task, written: &'a Written) -> RunAnswer<'a> {
    let best = written.captions.first();
    RunAnswer {
        run: &run.name,
        system: run.config.system.name(),
        caption: best.map_or("", |best| &best.caption),
        score: best.map(|best| best.score),
        similarity: best.and_then(|best| best.similarity),
        keywords: written.keywords.as_deref(),
        candidates: &written.captions,
        decoding: shown(&task.decoding),
    }
}

/// Decodes a picture, on one of few threads, and makes it ready for the encoders that its tasks need.
/// The picture, its width and its height.
async fn prepare(
    app: &App,
    request: CaptionRequest,
    received: Received,
    tasks: Vec<Task>,
) -> Result<(Picture, u32, u32), Refusal> {
    let broken = |_| Refusal::failed("the picture could not be decoded: the decoder broke down");
    let permit = app.decoders.clone().acquire_owned().await.map_err(|_| Refusal::late())?;
    let pixels = app.limits.pixels;
    let needed: Vec<_> = app
        .served
        .preprocessings
        .iter()
        .enumerate()
        .map(|(encoder, preprocessing)| {
            let is_needed = app.served.similarity == Some(encoder)
                || tasks.iter().any(|task| app.served.runs[task.run].encoder == encoder);
            is_needed.then(|| preprocessing.clone())
        })
        .collect();
    let prepared = spawn_blocking(move || {
        let decoded = pictures::decode_within(&request.picture, pixels);
        drop((request, received));
        let decoded = decoded.map_err(|problem| {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the picture {problem}"))
        })?;
        let ready = |preprocessing: pictures::Preprocessing| preprocessing.planes(&decoded);
        let pixels = needed.into_iter().map(|preprocessing| preprocessing.map(ready)).collect();
        let RgbPixels { width, height, .. } = decoded;
        drop(permit);
        Ok((Picture { pixels, tasks }, width, height))
    });
    prepared.await.map_err(broken)?
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
