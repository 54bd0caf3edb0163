//! What `/metrics` says, as Prometheus reads it.

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The type of the text that [`Metrics::text`] makes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latency histogram, in seconds.
const SECONDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Upper bounds of the histogram of batch sizes.
const PICTURES: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

type Status = [(&'static str, String); 1];

/// Counts of what the server does.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Status, Counter>,
    /// Pictures that are decoded or wait for the models.
    pub queue_depth: Gauge,
    /// Pictures that the models took together.
    pub batch_sizes: Histogram,
    /// Seconds from a request for captions to its answer, whatever it is.
    pub latency: Histogram,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("capsmith");
        let requests = Family::<Status, Counter>::default();
        let queue_depth = Gauge::default();
        let batch_sizes = Histogram::new(PICTURES);
        let latency = Histogram::new(SECONDS);
        registry.register("requests", "Requests by the status of their answer", requests.clone());
        registry.register(
            "queue_depth",
            "Pictures that are decoded or wait for the models",
            queue_depth.clone(),
        );
        registry.register(
            "batch_pictures",
            "Pictures that the models took together",
            batch_sizes.clone(),
        );
        registry.register(
            "caption_seconds",
            "Seconds from a request for captions to its answer",
            latency.clone(),
        );
        Self { registry, requests, queue_depth, batch_sizes, latency }
    }

    /// Counts a request by its answer.
    pub fn count(&self, status: StatusCode) {
        self.requests.get_or_create(&[("status", status.as_u16().to_string())]).inc();
    }

    /// All of it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
