//! Reading of request bodies, with limits on size, total memory and time.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::HttpError;
use crate::limits::Limits;

/// Factor of the size limit up to which a too large body is read before it is rejected: most
/// clients read the response only after they have sent everything.
const DRAIN_FACTOR: usize = 4;

/// Request body, with its permits of the memory shared by all bodies.
pub(crate) struct RequestBody {
    pub bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

/// Reads the whole body. `memory` has one permit per byte that all bodies may take.
pub(crate) async fn read(
    request: Request<Body>,
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<RequestBody, HttpError> {
    let too_large = || {
        HttpError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request is larger than {} MiB", limits.body >> 20),
        )
    };
    if content_length(request.headers()).is_some_and(|length| length > limits.body * DRAIN_FACTOR) {
        return Err(too_large());
    }
    let whole = timeout(limits.body_time, read_frames(request.into_body(), limits, memory)).await;
    let timed_out =
        |_| HttpError::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time");
    whole.map_err(timed_out)??.ok_or_else(too_large)
}

/// Returns the length in the `Content-Length` header.
fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns the body, or `None` if it is longer than `limits.body` bytes.
///
/// # Errors
/// Fails if the request is incomplete or malformed, or `memory` has too few permits left.
async fn read_frames(
    mut body: Body,
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<Option<RequestBody>, HttpError> {
    let mut bytes = BytesMut::new();
    let mut permit: Option<OwnedSemaphorePermit> = None;
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            HttpError::bad_request(format!("the request is incomplete or malformed: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        if read > limits.body * DRAIN_FACTOR {
            return Ok(None);
        }
        if read > limits.body {
            bytes = BytesMut::new();
            permit = None;
            continue;
        }
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let more = memory.clone().try_acquire_many_owned(length).map_err(|_| HttpError::busy())?;
        match &mut permit {
            Some(permit) => permit.merge(more),
            None => permit = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    if read > limits.body {
        return Ok(None);
    }
    Ok(Some(RequestBody { bytes: bytes.freeze(), _memory: permit }))
}
