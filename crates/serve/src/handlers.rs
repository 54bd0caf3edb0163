//! Handlers of the HTTP interface, described for the OpenAPI document.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use tokio::task::spawn_blocking;

use crate::answers::{
    CaptionAnswer, ErrorAnswer, GeneratedText, Model, ModelList, PictureCaptions, PictureList,
    PictureOutcome, RunDescription, RunList,
};
use crate::app::App;
use crate::body;
use crate::connections::Activity;
use crate::error::HttpError;
use crate::metrics;
use crate::request;
use crate::schemas::{FormUpload, PictureBytes};
use crate::upload::{self, ImageToTextUpload, JsonUpload};

/// Caption one picture or several
///
/// A form, JSON, or the bytes of one picture. Several pictures have an outcome each, so a bad one
/// does not lose the others. Pictures are turned upright by their EXIF orientation.
#[utoipa::path(
    post,
    path = "/v1/caption",
    params(
        ("runs" = Option<String>, Query, description = "Names of runs, separated by commas"),
        ("decoding" = Option<String>, Query, description = "Decoding settings by run, as JSON text"),
    ),
    request_body(content(
        (FormUpload = "multipart/form-data"),
        (JsonUpload = "application/json"),
        (PictureBytes = "image/*"),
    )),
    responses(
        (status = 200, description = "The captions", body = CaptionAnswer),
        (status = 400, description = "The request is malformed", body = ErrorAnswer),
        (status = 403, description = "The host or origin is not allowed", body = ErrorAnswer),
        (status = 408, description = "The request did not arrive in time", body = ErrorAnswer),
        (status = 413, description = "The request is too large", body = ErrorAnswer),
        (status = 415, description = "The content type is another", body = ErrorAnswer),
        (status = 422, description = "The picture is unreadable", body = ErrorAnswer),
        (status = 429, description = "Too many requests wait; see Retry-After", body = ErrorAnswer),
        (status = 500, description = "The models failed", body = ErrorAnswer),
        (status = 503, description = "Too late or out of memory; see Retry-After", body = ErrorAnswer),
    ),
)]
pub(crate) async fn caption(
    State(app): State<Arc<App>>,
    Extension(activity): Extension<Activity>,
    request: Request,
) -> Result<Json<CaptionAnswer>, HttpError> {
    let start = Instant::now();
    let query = request.uri().query().map(str::to_owned);
    let content_type = content_type(&request);
    let received = body::read(request, &app.limits, &app.memory).await?;
    let _work = activity.start_work();
    let request =
        upload::read(content_type.as_deref(), query.as_deref(), received.bytes.clone()).await?;
    let is_list = request.is_list;
    let mut captioned = app.caption_pictures(request, received, start).await?;
    Ok(Json(if is_list {
        let pictures = captioned.into_iter().map(PictureOutcome::from).collect();
        CaptionAnswer::Several(PictureList { pictures })
    } else {
        CaptionAnswer::One(captioned.swap_remove(0)?)
    }))
}

/// Caption one picture as Hugging Face's image-to-text task does
///
/// The bytes of a picture, of any content type, or JSON with the picture in base64. Clients of
/// Hugging Face's inference take this address as the model.
#[utoipa::path(
    post,
    path = "/v1/image-to-text/{run}",
    params(("run" = String, Path, description = "Name of the run")),
    request_body(content(
        (PictureBytes = "image/*"),
        (ImageToTextUpload = "application/json"),
    )),
    responses(
        (status = 200, description = "The best caption", body = Vec<GeneratedText>),
        (status = 404, description = "There is no such run", body = ErrorAnswer),
        (status = "4XX", description = "As of /v1/caption", body = ErrorAnswer),
        (status = "5XX", description = "As of /v1/caption", body = ErrorAnswer),
    ),
)]
pub(crate) async fn image_to_text(
    State(app): State<Arc<App>>,
    Extension(activity): Extension<Activity>,
    run: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Vec<GeneratedText>>, HttpError> {
    let start = Instant::now();
    let Path(run) = run?;
    request::find_run(&app.served, &run)
        .map_err(|HttpError { message, .. }| HttpError::new(StatusCode::NOT_FOUND, message))?;
    let content_type = content_type(&request);
    let received = body::read(request, &app.limits, &app.memory).await?;
    let _work = activity.start_work();
    let request =
        upload::read_image_to_text(content_type.as_deref(), &run, received.bytes.clone())?;
    let captioned = app.caption_pictures(request, received, start).await?;
    let texts = captioned.into_iter().map(|captioned| captioned.map(PictureCaptions::into_text));
    texts.collect::<Result<_, _>>().map(Json)
}

/// List the runs, their decoding, and the limits of requests
#[utoipa::path(get, path = "/v1/runs", responses((status = 200, description = "The runs", body = RunList)))]
pub(crate) async fn list_runs(State(app): State<Arc<App>>) -> Json<RunList> {
    let App { served, limits, samples, .. } = &*app;
    Json(RunList {
        runs: served.runs.iter().map(|run| RunDescription::new(run, limits)).collect(),
        similarity: served.similarity.is_some(),
        bytes: limits.body,
        pixels: limits.pixels,
        pictures: limits.pictures.min(limits.queue),
        samples: samples.len(),
    })
}

/// List the runs as OpenAI lists models
#[utoipa::path(get, path = "/v1/models", responses((status = 200, description = "The runs", body = ModelList)))]
pub(crate) async fn list_models(State(app): State<Arc<App>>) -> Json<ModelList> {
    let model = |name: &str| Model {
        id: name.to_owned(),
        object: "model",
        created: app.started,
        owned_by: "capsmith",
    };
    let data = app.served.runs.iter().map(|run| model(&run.name)).collect();
    Json(ModelList { object: "list", data })
}

/// Get a sample picture of a run's data set
#[utoipa::path(
    get,
    path = "/samples/{number}",
    params(("number" = usize, Path, description = "From 0; /v1/runs has their number")),
    responses(
        (status = 200, description = "The picture", body = PictureBytes, content_type = "image/*"),
        (status = 404, description = "There is no such picture", body = ErrorAnswer),
    ),
)]
pub(crate) async fn sample(
    State(app): State<Arc<App>>,
    number: Result<Path<String>, PathRejection>,
) -> Result<Response, HttpError> {
    let missing = || HttpError::new(StatusCode::NOT_FOUND, "there is no such sample picture");
    let Path(number) = number?;
    let number = number.parse::<usize>().map_err(|_| missing())?;
    let sample = app.samples.get(number).cloned().ok_or_else(missing)?;
    let read = spawn_blocking(move || sample.read()).await;
    let (bytes, _) = read.ok().and_then(Result::ok).ok_or_else(missing)?;
    let media_type = pictures::media_type(&bytes).ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, media_type)], bytes).into_response())
}

/// Check that the server answers
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "`ok`", body = String)))]
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// Get counts and latencies for Prometheus
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Metrics", body = String)))]
pub(crate) async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], app.metrics.text()).into_response()
}

/// Returns the content type of a request, if it is text.
fn content_type(request: &Request) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?;
    value.to_str().ok().map(str::to_owned)
}
