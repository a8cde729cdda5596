//! Which request is answered by whom, and the description of all that.

use std::sync::Arc;

use axum::http::{Method, StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{Api, events, metrics, phase, policy, sessions, status};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "guard's control API",
        description = "What a running `guard daemon` says of itself, and what it can be told. HTTP over a unix socket: \
            `curl --unix-socket /run/guard/guard.sock http://guard/v1/status`. The kernel says who asks: root may change, \
            members of a group may read everything, others see their own sessions. Every answer of status 400 or more says why.",
    ),
    tags(
        (name = "status", description = "The daemon and the machine"),
        (name = "sessions", description = "Who is guarded"),
        (name = "events", description = "What happens"),
        (name = "policy", description = "What is allowed"),
        (name = "phase", description = "Where sessions are"),
    )
)]
struct Description;

fn described() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(status::status))
        .routes(routes!(status::doctor))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::show))
        .routes(routes!(sessions::kill))
        .routes(routes!(sessions::switch))
        .routes(routes!(events::follow))
        .routes(routes!(policy::get, policy::check, policy::put))
        .routes(routes!(policy::reload))
        .routes(routes!(phase::get, phase::post))
        .routes(routes!(metrics::metrics))
}

/// The API's description in the `OpenAPI` format, made from the code.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    described().to_openapi()
}

/// Everything, for clients whom the kernel has named.
pub fn all(api: Arc<Api>) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .route("/v1/openapi.json", get(async || Json(description())))
        .fallback(nothing)
        .method_not_allowed_fallback(otherwise)
        .with_state(api)
}

/// Metrics alone.
pub fn only_metrics(api: Arc<Api>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "here are /metrics only"))
        .method_not_allowed_fallback(otherwise)
        .with_state(api)
}

async fn nothing(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {}", path.escape_debug()))
        .help("/v1/openapi.json describes what there is")
}

async fn otherwise(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", path.escape_debug()))
        .help("/v1/openapi.json describes what it takes")
}
