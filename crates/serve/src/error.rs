//! What can go wrong: with the server, and with one request.

use std::io;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime or a thread cannot be had.
    #[error("cannot start the server: {0}")]
    Io(#[from] io::Error),
    /// A run cannot be loaded or used.
    #[error("the run {run}: {source}")]
    Run {
        /// What the run is called.
        run: String,
        /// What is wrong with it.
        source: Box<training::Error>,
    },
    /// An image encoder cannot be loaded or used.
    #[error(transparent)]
    Encoder(#[from] precompute::EncoderError),
    /// CLIP's text tower cannot be loaded or used.
    #[error(transparent)]
    Text(#[from] keywords::Error),
    /// libtorch refused an operation.
    #[error("libtorch: {}", networks::libtorch::reason(.0))]
    Torch(#[from] tch::TchError),
    /// Whatever captions pictures cannot be made ready.
    #[error("{0}")]
    Backend(String),
}

/// An answer that is no caption: `{"error": "…"}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A request that does not say what is to be done.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// More requests than can wait.
    pub fn busy() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests are waiting; try again soon")
    }

    /// A request that took longer than it may.
    pub fn late() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the caption was not ready in time; try again, or ask for fewer runs or captions",
        )
    }

    /// More memory than the device has left.
    pub fn out_of_memory() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server's device has no memory left for this request; try again soon, or ask for fewer runs or captions",
        )
    }

    /// A fault of the server's own.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Whether the same request may succeed soon.
    fn passes(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let passes = self.passes();
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        if passes {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
