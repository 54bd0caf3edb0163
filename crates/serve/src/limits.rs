//! Limits of a server's load.

use std::time::Duration;

/// Limits of a server's load, so that no client can exhaust memory or time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum size of a request body in bytes.
    pub body: usize,
    /// Maximum size of all request bodies in memory, in bytes.
    pub bodies: usize,
    /// Maximum number of images of a request.
    pub pictures: usize,
    /// Maximum number of pixels of an image.
    pub pixels: u64,
    /// Maximum number of images decoded concurrently.
    pub decoders: usize,
    /// Maximum number of open connections; the longest idle one is closed for a new one.
    pub connections: usize,
    /// Time that a connection must wait for its client before it may be closed for a new one.
    pub idle_before_eviction: Duration,
    /// Maximum number of images being decoded or waiting for the models.
    pub queue: usize,
    /// Maximum number of images in a batch of the models.
    pub batch: usize,
    /// Maximum `max_new_tokens` of a request, unless the run's config allows more.
    pub max_tokens: usize,
    /// Maximum number of beams or samples of a request, unless the run's config allows more.
    pub continuations: usize,
    /// Time limit for a request's headers, and for an idle connection.
    pub header_time: Duration,
    /// Time limit for a request's body.
    pub body_time: Duration,
    /// Time limit for a client to read a response.
    pub answer_time: Duration,
    /// Time limit for a whole request.
    pub request_time: Duration,
    /// Time limit for requests in flight when the server is stopped.
    pub shutdown_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 20 << 20,
            bodies: 256 << 20,
            pictures: 16,
            // More than common cameras have; decoding such an image takes 150 MB.
            pixels: 50_000_000,
            decoders: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            connections: 512,
            idle_before_eviction: Duration::from_millis(500),
            queue: 64,
            batch: 16,
            max_tokens: 100,
            continuations: 20,
            header_time: Duration::from_secs(15),
            body_time: Duration::from_secs(30),
            answer_time: Duration::from_secs(15),
            request_time: Duration::from_mins(2),
            shutdown_time: Duration::from_secs(30),
        }
    }
}
