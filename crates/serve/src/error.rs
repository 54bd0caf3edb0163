//! Errors of the server, and of single requests.

use std::io;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime or a thread cannot be started.
    #[error("cannot start the server: {0}")]
    Io(#[from] io::Error),
    /// A run cannot be loaded or used.
    #[error("run {run}: {source}")]
    Run {
        /// Name of the run.
        run: String,
        /// Reason.
        source: Box<training::Error>,
    },
    /// An image encoder cannot be loaded or used.
    #[error(transparent)]
    Encoder(#[from] precompute::EncoderError),
    /// CLIP's text tower cannot be loaded or used.
    #[error(transparent)]
    Text(#[from] keywords::Error),
    /// libtorch error.
    #[error("libtorch: {}", networks::libtorch::reason(.0))]
    Torch(#[from] tch::TchError),
    /// The backend cannot be loaded.
    #[error("{0}")]
    Backend(String),
}

/// HTTP error response with a JSON body, `{"error": "…"}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HttpError {
    pub status: StatusCode,
    pub message: String,
}

impl HttpError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Creates the response to an invalid request.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Creates the response to a request when the queue or the memory for bodies is full.
    pub fn busy() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests are waiting; try again soon")
    }

    /// Creates the response to a request that takes too long.
    pub fn timed_out() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the caption was not ready in time; try again, or ask for fewer runs or captions",
        )
    }

    /// Creates the response to a request that exceeds the device's memory.
    pub fn out_of_memory() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server's device has no memory left for this request; try again soon, or ask for fewer runs or captions",
        )
    }

    /// Creates the response to an internal error.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Returns true if the same request may succeed soon.
    fn is_temporary(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl From<PathRejection> for HttpError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let is_temporary = self.is_temporary();
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        if is_temporary {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
