//! Prometheus metrics at `/metrics`.

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Content type of [`Metrics::text`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latency histogram, in seconds.
const LATENCY_BOUNDS: [f64; 12] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Upper bounds of the histogram of batch sizes.
const BATCH_SIZE_BOUNDS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

type Status = [(&'static str, String); 1];

/// Counters and histograms of the server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Status, Counter>,
    /// Images being decoded or waiting for the models.
    pub queue_depth: Gauge,
    /// Images per batch.
    pub batch_sizes: Histogram,
    /// Seconds from a caption request to its response, of any status.
    pub latency: Histogram,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("capsmith");
        let requests = Family::<Status, Counter>::default();
        let queue_depth = Gauge::default();
        let batch_sizes = Histogram::new(BATCH_SIZE_BOUNDS);
        let latency = Histogram::new(LATENCY_BOUNDS);
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

    /// Counts a response.
    pub fn count(&self, status: StatusCode) {
        self.requests.get_or_create(&[("status", status.as_u16().to_string())]).inc();
    }

    /// Returns all metrics in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
