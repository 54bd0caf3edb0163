//! HTTP routes, and the processing of a caption request.

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

use crate::backend::{Candidate, PreparedImage, ServedModels, ServedRun, Task, TaskOutput};
use crate::body::{self, RequestBody};
use crate::connections::Activity;
use crate::error::HttpError;
use crate::guard::{self, Hosts};
use crate::limits::Limits;
use crate::metrics::{self, Metrics};
use crate::request::CaptionRequest;
use crate::worker::{Captioned, Queue};

/// State shared by all requests.
pub(crate) struct App {
    served: ServedModels,
    queue: Queue,
    limits: Limits,
    metrics: Arc<Metrics>,
    hosts: Hosts,
    /// One permit per image that may be decoded concurrently.
    decoders: Arc<Semaphore>,
    /// One permit per byte that all request bodies may take.
    memory: Arc<Semaphore>,
}

/// Response to a caption request.
#[derive(Serialize)]
struct Answer<'a> {
    width: u32,
    height: u32,
    runs: Vec<RunAnswer<'a>>,
    milliseconds: Timings,
    /// Number of images in the batch, including this one.
    #[serde(rename = "together")]
    batch_size: usize,
}

#[derive(Serialize)]
struct RunAnswer<'a> {
    run: &'a str,
    system: &'static str,
    caption: &'a str,
    text: &'a str,
    score: Option<f64>,
    similarity: Option<f64>,
    clip_score: Option<f64>,
    keywords: Option<&'a [String]>,
    candidates: &'a [Candidate],
    decoding: Value,
}

#[derive(Serialize)]
struct Timings {
    /// Waiting for a decoder, decoding and preprocessing the image.
    picture: f64,
    /// Waiting for the models.
    queue: f64,
    models: f64,
}

impl App {
    pub fn new(
        served: ServedModels,
        queue: Queue,
        limits: Limits,
        metrics: Arc<Metrics>,
        hosts: Hosts,
    ) -> Self {
        let decoders = Arc::new(Semaphore::new(limits.decoders));
        let memory = Arc::new(Semaphore::new(limits.bodies));
        Self { served, queue, limits, metrics, hosts, decoders, memory }
    }

    /// Returns the router of all routes.
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
            .route("/v1/runs", get(list_runs))
            .route("/v1/caption", post(caption))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/metrics", get(metrics_text))
            .fallback(|| async { HttpError::new(StatusCode::NOT_FOUND, ROUTES) })
            .method_not_allowed_fallback(|| async {
                HttpError::new(StatusCode::METHOD_NOT_ALLOWED, ROUTES)
            })
            .layer(middleware::from_fn_with_state(app.clone(), check_and_count))
            .with_state(app)
    }
}

const ROUTES: &str = "no such route; the routes are GET / (web page), POST /v1/caption, GET /v1/runs, GET /healthz and GET /metrics";

/// Checks host and origin, counts the response, and adds security headers to it.
async fn check_and_count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match app.hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    app.metrics.count(response.status());
    guard::add_security_headers(response.headers_mut());
    response
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], app.metrics.text()).into_response()
}

/// Returns the runs and limits as JSON, for the web page.
async fn list_runs(State(app): State<Arc<App>>) -> Json<Value> {
    let (limits, served) = (&app.limits, &app.served);
    let runs: Vec<Value> = served.runs.iter().map(|run| run_json(run, limits)).collect();
    Json(json!({
        "runs": runs,
        "similarity": served.similarity.is_some(),
        "bytes": limits.body,
        "pixels": limits.pixels,
    }))
}

fn run_json(run: &ServedRun, limits: &Limits) -> Value {
    let (strategies, score) = match run.config.system {
        System::ClipPrefix(_) => (&["greedy", "beam", "sampling"][..], "mean log-probability"),
        System::Sbg(_) => (&["sampling"][..], "cosine with the picture"),
        System::MergeRnn(_) => (&["beam"][..], "log-probability"),
    };
    json!({
        "name": run.name,
        "system": run.config.system.name(),
        "learned_from": run.learned_from,
        "strategies": strategies,
        "score": score,
        "decoding": decoding_json(&run.config.decoding),
        "most_tokens": run.max_request_tokens(limits),
        "most_captions": run.max_request_captions(limits),
    })
}

/// Returns decoding settings as JSON, with the keys of requests.
fn decoding_json(decoding: &Decoding) -> Value {
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
) -> Result<Response, HttpError> {
    let deadline = (start + app.limits.request_time).into();
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let received = body::read(request, &app.limits, &app.memory).await?;
    let _work = activity.start_work();
    let request = CaptionRequest::read(content_type.as_deref(), received.bytes.clone()).await?;
    let tasks = request.tasks(&app.served, &app.limits)?;
    let slot = app.queue.reserve()?;
    let decoding = Instant::now();
    let prepared = prepare(app, request, received, tasks.clone());
    let (image, width, height) =
        timeout_at(deadline, prepared).await.map_err(|_| HttpError::timed_out())??;
    let prepared = decoding.elapsed();
    let captioned = app.queue.caption(slot, image);
    let done = timeout_at(deadline, captioned).await.map_err(|_| HttpError::timed_out())??;
    let runs = tasks
        .iter()
        .zip(&done.outputs)
        .map(|(task, output)| run_answer(&app.served.runs[task.run], task, output));
    let Captioned { queue_time, model_time, batch_size, .. } = done;
    let answer = Answer {
        width,
        height,
        runs: runs.collect(),
        milliseconds: Timings {
            picture: to_milliseconds(prepared),
            queue: to_milliseconds(queue_time),
            models: to_milliseconds(model_time),
        },
        batch_size,
    };
    Ok(Json(answer).into_response())
}

fn run_answer<'a>(run: &'a ServedRun, task: &Task, output: &'a TaskOutput) -> RunAnswer<'a> {
    let best = output.captions.first();
    RunAnswer {
        run: &run.name,
        system: run.config.system.name(),
        caption: best.map_or("", |best| &best.caption),
        text: best.map_or("", |best| &best.text),
        score: best.map(|best| best.score),
        similarity: best.and_then(|best| best.similarity),
        clip_score: best.and_then(|best| best.clip_score),
        keywords: output.keywords.as_deref(),
        candidates: &output.captions,
        decoding: decoding_json(&task.decoding),
    }
}

/// Decodes and preprocesses the image for the encoders that its tasks need, on a blocking thread.
///
/// Returns the image with its width and height.
async fn prepare(
    app: &App,
    request: CaptionRequest,
    received: RequestBody,
    tasks: Vec<Task>,
) -> Result<(PreparedImage, u32, u32), HttpError> {
    let panicked = |_| HttpError::internal("the picture cannot be decoded: the decoder panicked");
    let permit = app.decoders.clone().acquire_owned().await.map_err(|_| HttpError::timed_out())?;
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
        let decoded = pictures::decode_within(&request.picture, pixels)
            .map(|decoded| decoded.upright(&request.picture));
        drop((request, received));
        let decoded = decoded.map_err(|problem| {
            HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the picture {problem}"))
        })?;
        let ready = |preprocessing: pictures::Preprocessing| preprocessing.planes(&decoded);
        let pixels = needed.into_iter().map(|preprocessing| preprocessing.map(ready)).collect();
        let RgbPixels { width, height, .. } = decoded;
        drop(permit);
        Ok((PreparedImage { pixels, tasks }, width, height))
    });
    prepared.await.map_err(panicked)?
}

fn to_milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
