//! OpenAPI description of the HTTP interface.

use utoipa::OpenApi;
use utoipa::openapi;

use crate::handlers;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "capsmith serve",
        description = "Captions of pictures by trained runs.",
        license(name = "MIT OR Apache-2.0"),
    ),
    paths(
        handlers::caption,
        handlers::image_to_text,
        handlers::list_runs,
        handlers::list_models,
        handlers::sample,
        handlers::health,
        handlers::metrics_text,
    )
)]
struct Interface;

/// Returns the OpenAPI document.
pub(crate) fn document() -> openapi::OpenApi {
    Interface::openapi()
}
