//! Routes of the server.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::app::App;
use crate::error::HttpError;
use crate::guard;
use crate::handlers;
use crate::openapi;

const ROUTES: &str = "no such route or method; the routes are GET / (web page), POST /v1/caption, POST /v1/image-to-text/RUN, GET /v1/runs, GET /v1/models, GET /healthz, GET /metrics, GET /openapi.json and GET /docs (their description)";

/// Returns the router of all routes.
pub(crate) fn router(app: App) -> Router {
    let app = Arc::new(app);
    let file = |content_type: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, content_type)], text) })
    };
    let captions = Router::new()
        .route("/v1/caption", post(handlers::caption))
        .route("/v1/image-to-text/{run}", post(handlers::image_to_text))
        .route_layer(middleware::from_fn_with_state(app.clone(), observe_latency));
    captions
        .route("/", file("text/html; charset=utf-8", include_str!("page/page.html")))
        .route("/palette.css", file("text/css; charset=utf-8", report::PALETTE))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("page/style.css")))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("page/app.js")))
        .route("/docs", file("text/html; charset=utf-8", include_str!("page/docs.html")))
        .route("/docs.js", file("text/javascript; charset=utf-8", include_str!("page/docs.js")))
        .route("/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
        .route("/v1/runs", get(handlers::list_runs))
        .route("/v1/models", get(handlers::list_models))
        .route("/samples/{number}", get(handlers::sample))
        .route("/openapi.json", get(|| async { Json(openapi::document()) }))
        .route("/healthz", get(handlers::health))
        .route("/metrics", get(handlers::metrics_text))
        .fallback(|| async { HttpError::new(StatusCode::NOT_FOUND, ROUTES) })
        .method_not_allowed_fallback(|| async {
            HttpError::new(StatusCode::METHOD_NOT_ALLOWED, ROUTES)
        })
        .layer(middleware::from_fn_with_state(app.clone(), check_and_count))
        .with_state(app)
}

/// Checks host and origin, counts the response, and adds security headers to it.
async fn check_and_count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut response, origin) = match app.guard.check(&request) {
        Ok(Some(origin)) if guard::is_preflight(&request) => {
            (StatusCode::NO_CONTENT.into_response(), Some(origin))
        }
        Ok(origin) => (next.run(request).await, origin),
        Err(refusal) => (refusal.into_response(), None),
    };
    app.metrics.count(response.status());
    guard::add_security_headers(response.headers_mut());
    if let Some(origin) = origin {
        guard::add_cors_headers(response.headers_mut(), origin);
    }
    response
}

/// Records the time from a caption request to its response.
async fn observe_latency(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    app.metrics.latency.observe(start.elapsed().as_secs_f64());
    response
}
