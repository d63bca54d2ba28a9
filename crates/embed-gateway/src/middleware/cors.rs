//! CORS: which origins of web pages may call, and which preflights are refused.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::answer;
use crate::host::host_of;
use crate::state::State;

/// The router with CORS for the origins of the settings.
pub(crate) fn with_cors(router: Router, state: &Arc<State>) -> Router {
    let pages = Pages { router: router.clone().layer(cors(state)), state: Arc::clone(state) };
    router.layer(middleware::from_fn_with_state(pages, of_pages))
}

/// The CORS layer. It is outside of the other middleware, because browsers send preflights without a key.
fn cors(state: &Arc<State>) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        // A `*` wouldn't include `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([answer::SPACE, answer::TRUNCATED, answer::NORMALISED, header::RETRY_AFTER]);
    if state.origins(false).is_any() {
        return layer.allow_origin(Any);
    }
    let state = Arc::clone(state);
    layer.allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, _| {
        origin.to_str().is_ok_and(|origin| state.origins(state.keys().is_empty()).holds(origin))
    }))
}

/// The state of [`of_pages`].
#[derive(Debug, Clone)]
struct Pages {
    /// With the CORS layer.
    router: Router,
    state: Arc<State>,
}

/// Handles requests of web pages; refuses preflights of origins that aren't allowed, as Ollama does. Other clients get no
/// CORS headers as long as no origin is listed.
async fn of_pages(
    axum::extract::State(Pages { router, state }): axum::extract::State<Pages>,
    request: Request,
    next: Next,
) -> Response {
    if !request.headers().contains_key(header::ORIGIN) && state.config.cors_origins.is_empty() {
        return next.run(request).await;
    }
    if is_strange_preflight(&state, &request) {
        state.refused("origin");
        return StatusCode::FORBIDDEN.into_response();
    }
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn is_strange_preflight(state: &State, request: &Request) -> bool {
    let asks = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let host = host_of(request).unwrap_or_default();
    let strange = || state.origins(true).refuse(request.method(), request.headers(), host);
    asks && state.keys().is_empty() && strange()
}
