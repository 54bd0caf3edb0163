//! The feature step with a stand-in for CLIP, on pictures of a few pixels.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

mod efficientnet;
mod finished;
mod interrupted;
mod pictures;
mod replaced;
mod support;

/// Batches of the data set; the last is not full.
const BATCHES: usize = support::PICTURES.div_ceil(support::BATCH);
