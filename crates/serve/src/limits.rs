//! How much a server takes on at a time.

use std::time::Duration;

/// How much a server takes on at a time, so that nobody can make it run out of memory or time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of all bodies that are held at a time.
    pub bodies: usize,
    /// Pixels of a picture, by its header.
    pub pixels: u64,
    /// Pictures decoded at a time.
    pub decoders: usize,
    /// Connections open at a time; for one more, the one that waits longest for its client is closed.
    pub connections: usize,
    /// Time that a client may keep a connection waiting before it gives way to another one.
    pub patience: Duration,
    /// Pictures that are decoded or wait for the models; more are refused.
    pub queue: usize,
    /// Pictures that the models take together.
    pub batch: usize,
    /// Tokens that a request may ask for, beyond what a run is configured to.
    pub max_tokens: usize,
    /// Beams or samples that a request may ask for, beyond what a run is configured to.
    pub continuations: usize,
    /// Time for a request's headers, and for which an idle connection is kept.
    pub header_time: Duration,
    /// Time for a request's body.
    pub body_time: Duration,
    /// Time for a client to take an answer.
    pub answer_time: Duration,
    /// Time for a request as a whole.
    pub request_time: Duration,
    /// Time for what is in flight when the server is stopped.
    pub shutdown_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 20 << 20,
            bodies: 256 << 20,
            // Above what cameras commonly make; such a picture takes 150 MB while it is decoded.
            pixels: 50_000_000,
            decoders: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            connections: 512,
            patience: Duration::from_millis(500),
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
