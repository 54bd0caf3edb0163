//! State of the server, and the processing of a caption request.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::future::join_all;
use pictures::{PictureFile, RgbPixels};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::answers::{PictureCaptions, RunCaptions, Timings};
use crate::backend::{PreparedImage, ServedModels, Task};
use crate::body::RequestBody;
use crate::error::HttpError;
use crate::guard::Guard;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::request::CaptionRequest;
use crate::worker::{Captioned, Queue, QueueSlot};

/// State shared by all requests.
pub(crate) struct App {
    pub served: ServedModels,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub guard: Guard,
    /// Sample pictures of the web page.
    pub samples: Vec<PictureFile>,
    /// Start of the server, in seconds since 1970.
    pub started: u64,
    /// One permit per byte that all request bodies may take.
    pub memory: Arc<Semaphore>,
    queue: Queue,
    /// One permit per image that may be decoded concurrently.
    decoders: Arc<Semaphore>,
}

impl App {
    pub fn new(
        served: ServedModels,
        queue: Queue,
        limits: Limits,
        metrics: Arc<Metrics>,
        guard: Guard,
        samples: Vec<PictureFile>,
    ) -> Self {
        let decoders = Arc::new(Semaphore::new(limits.decoders));
        let memory = Arc::new(Semaphore::new(limits.bodies));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { served, limits, metrics, guard, samples, started, memory, queue, decoders }
    }

    /// Captions the pictures of a request.
    ///
    /// A picture that fails does not affect the others. `body` is the memory that they take.
    pub async fn caption_pictures(
        &self,
        mut request: CaptionRequest,
        body: RequestBody,
        start: Instant,
    ) -> Result<Vec<Result<PictureCaptions, HttpError>>, HttpError> {
        let deadline = (start + self.limits.request_time).into();
        request.check_pictures(&self.limits)?;
        let tasks = request.tasks(&self.served, &self.limits)?;
        let readable = request.pictures.iter().filter(|picture| picture.is_ok()).count();
        let mut slots = self.queue.reserve(readable)?;
        let body = Arc::new(body);
        let captioned = request.pictures.into_iter().map(|picture| {
            let picture = picture.and_then(|picture| {
                let slot = slots.pop().ok_or_else(HttpError::busy)?;
                Ok((picture, slot))
            });
            let (body, tasks) = (body.clone(), tasks.clone());
            async move {
                let (picture, slot) = picture?;
                let captioned = self.caption_picture(picture, body, tasks, slot);
                timeout_at(deadline, captioned).await.map_err(|_| HttpError::timed_out())?
            }
        });
        let captioned: Vec<_> = captioned.collect();
        // Each picture has its own share; the last one to be decoded frees the body.
        drop(body);
        Ok(join_all(captioned).await)
    }

    async fn caption_picture(
        &self,
        picture: Bytes,
        body: Arc<RequestBody>,
        tasks: Vec<Task>,
        slot: QueueSlot,
    ) -> Result<PictureCaptions, HttpError> {
        let start = Instant::now();
        let (image, width, height) = self.prepare(picture, body, tasks.clone()).await?;
        let prepared = start.elapsed();
        let Captioned { outputs, queue_time, model_time, batch_size } =
            self.queue.caption(slot, image).await?;
        let runs = tasks
            .iter()
            .zip(outputs)
            .map(|(task, output)| RunCaptions::new(&self.served.runs[task.run], task, output));
        Ok(PictureCaptions {
            width,
            height,
            runs: runs.collect(),
            milliseconds: Timings {
                picture: to_milliseconds(prepared),
                queue: to_milliseconds(queue_time),
                models: to_milliseconds(model_time),
            },
            batch_size,
        })
    }

    /// Decodes and preprocesses an image for the encoders that its tasks need, on a blocking
    /// thread.
    ///
    /// Returns the image with its width and height.
    async fn prepare(
        &self,
        picture: Bytes,
        body: Arc<RequestBody>,
        tasks: Vec<Task>,
    ) -> Result<(PreparedImage, u32, u32), HttpError> {
        let panicked =
            |_| HttpError::internal("the picture cannot be decoded: the decoder panicked");
        let permit = self.decoders.clone().acquire_owned().await;
        let permit = permit.map_err(|_| HttpError::timed_out())?;
        let pixels = self.limits.pixels;
        let needed: Vec<_> = self
            .served
            .preprocessings
            .iter()
            .enumerate()
            .map(|(encoder, preprocessing)| {
                let is_needed = self.served.similarity == Some(encoder)
                    || tasks.iter().any(|task| self.served.runs[task.run].encoder == encoder);
                is_needed.then(|| preprocessing.clone())
            })
            .collect();
        let prepared = spawn_blocking(move || {
            let decoded =
                pictures::decode_within(&picture, pixels).map(|decoded| decoded.upright(&picture));
            drop((picture, body));
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
}

fn to_milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
