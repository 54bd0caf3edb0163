//! Reading a request's body: within its own size, within what all bodies may take, and in time.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::Refusal;
use crate::limits::Limits;

/// A body that is too large is read on this many times its limit before it is refused: most clients
/// look for an answer only when they have sent everything.
const READ_ON: usize = 4;

/// A body, and its share of the memory for all.
pub(crate) struct Received {
    pub bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads the whole body. `memory` has a permit for each byte that all bodies may take.
pub(crate) async fn read(
    request: Request<Body>,
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<Received, Refusal> {
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request is larger than {} MiB", limits.body >> 20),
        )
    };
    if claimed(request.headers()).is_some_and(|length| length > limits.body * READ_ON) {
        return Err(too_large());
    }
    let whole = timeout(limits.body_time, collect(request.into_body(), limits, memory)).await;
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time");
    whole.map_err(late)??.ok_or_else(too_large)
}

/// The length that the headers claim.
fn claimed(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body, or none where it is too large.
async fn collect(
    mut body: Body,
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<Option<Received>, Refusal> {
    let mut bytes = BytesMut::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::bad_request(format!("the request broke off or is malformed: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        if read > limits.body * READ_ON {
            return Ok(None);
        }
        if read > limits.body {
            bytes = BytesMut::new();
            share = None;
            continue;
        }
        let wanted = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let more = memory.clone().try_acquire_many_owned(wanted).map_err(|_| Refusal::busy())?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    if read > limits.body {
        return Ok(None);
    }
    Ok(Some(Received { bytes: bytes.freeze(), _share: share }))
}
