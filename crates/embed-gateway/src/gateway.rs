//! The gateway: its parts and its paths.

use std::fmt;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use embed_core::{Embedder, Result};
use tokio::net::TcpListener;

use crate::api::Dialect;
use crate::api::{native, ollama, openai, tei};
use crate::config::GatewayConfig;
use crate::failure::Failure;
use crate::hooks::{Explainer, Extensions, Observer, Planner, StackStatus};
use crate::middleware::{handle, with_cors, without_slash};
use crate::server::{Drained, Server};
use crate::state::State;
use crate::watch::GatewayWatch;
use crate::{admin, page};

/// An HTTP service over an [`Embedder`], in the dialects of OpenAI, Ollama and TEI.
///
/// It doesn't depend on how the stack is built. Everything else that it shows (routes, plans, metrics, the state of caches)
/// is supplied by the program that builds it.
pub struct Gateway {
    stack: Arc<dyn Embedder>,
    config: GatewayConfig,
    extensions: Extensions,
}

impl Gateway {
    /// A gateway over a stack.
    pub fn new(stack: Arc<dyn Embedder>, config: GatewayConfig) -> Self {
        Self { stack, config, extensions: Extensions::default() }
    }

    /// Supplies the answers of `/route`.
    #[must_use]
    pub fn with_explainer(mut self, explainer: Arc<dyn Explainer>) -> Self {
        self.extensions.explainer = Some(explainer);
        self
    }

    /// Supplies the answers of `/embed/plan`.
    #[must_use]
    pub fn with_planner(mut self, planner: Arc<dyn Planner>) -> Self {
        self.extensions.planner = Some(planner);
        self
    }

    /// Supplies an observer, which is notified of requests as they happen.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.extensions.observer = Some(observer);
        self
    }

    /// Supplies the state of routes and caches for `/status` and the page. It is called for each request, and must not
    /// block.
    #[must_use]
    pub fn with_status(mut self, status: impl Fn() -> StackStatus + Send + Sync + 'static) -> Self {
        self.extensions.status = Some(Arc::new(status));
        self
    }

    /// Supplies the text of `/metrics` in Prometheus's format. It is called for each scrape, and must not block.
    #[must_use]
    pub fn with_metrics(mut self, metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.extensions.metrics = Some(Arc::new(metrics));
        self
    }

    /// The service as a router, to be served by other means. Timeouts of connections, TLS and the refusal of a
    /// public address without a key are part of [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for an invalid setting, which it names.
    pub fn into_router(self) -> Result<Router> {
        self.start().map(|(router, _)| router)
    }

    /// The service as a router, and a view into it.
    ///
    /// # Errors
    ///
    /// As [`into_router`](Self::into_router).
    pub fn start(self) -> Result<(Router, GatewayWatch)> {
        let state = Arc::new(State::new(self.stack, self.config, self.extensions)?);
        let plain = with_middleware(table(), &state).with_state(Arc::clone(&state));
        Ok((with_cors(plain, &state), GatewayWatch(state)))
    }

    /// The gateway with its listener, ready to run. All settings that can fail are checked here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for an invalid setting, which it names; for an address that
    /// other machines can reach without an API key being required; for a certificate that can't be used.
    pub fn bind(self, listener: TcpListener) -> Result<Server> {
        let (router, GatewayWatch(state)) = self.start()?;
        let operators = with_middleware(operators(), &state).with_state(Arc::clone(&state));
        Server::new(router, operators, state, listener)
    }

    /// Serves a listener until `shutdown` is done, then drains: [`bind`](Self::bind) and [`Server::run`] in one.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind) and [`Server::run`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes all connections at once.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Drained> {
        self.bind(listener)?.run(shutdown).await
    }

    /// The methods and paths of a gateway, as in `/openapi.json`.
    #[must_use]
    pub fn routes() -> Vec<(Method, String)> {
        let routes = table().into_iter();
        routes.map(|(path, method, _)| (method, path.replace("{*", "{"))).collect()
    }
}

/// Every path with its method. `GET` includes `HEAD`.
fn table() -> Vec<(&'static str, Method, MethodRouter<Arc<State>>)> {
    vec![
        ("/v1/embeddings", Method::POST, post(openai::embeddings)),
        ("/embeddings", Method::POST, post(openai::embeddings)),
        ("/v1/models", Method::GET, get(openai::models)),
        ("/v1/models/{*id}", Method::GET, get(openai::model)),
        ("/api/embed", Method::POST, post(ollama::embed)),
        ("/api/embeddings", Method::POST, post(ollama::embeddings)),
        ("/api/tags", Method::GET, get(ollama::tags)),
        ("/api/show", Method::POST, post(ollama::show)),
        ("/api/ps", Method::GET, get(ollama::ps)),
        ("/api/version", Method::GET, get(ollama::version)),
        ("/api/pull", Method::POST, post(ollama::pull)),
        ("/api/generate", Method::POST, post(ollama::generate)),
        ("/api/chat", Method::POST, post(ollama::chat)),
        ("/api/create", Method::POST, post(ollama::unmanaged)),
        ("/api/copy", Method::POST, post(ollama::unmanaged)),
        ("/api/push", Method::POST, post(ollama::unmanaged)),
        ("/api/delete", Method::DELETE, delete(ollama::unmanaged)),
        ("/api/blobs/{digest}", Method::POST, post(ollama::unmanaged)),
        ("/embed", Method::POST, post(tei::embed)),
        ("/", Method::POST, post(tei::embed)),
        ("/tokenize", Method::POST, post(tei::tokenize)),
        ("/decode", Method::POST, post(tei::decode)),
        ("/similarity", Method::POST, post(tei::similarity)),
        ("/rerank", Method::POST, post(tei::other_kind)),
        ("/predict", Method::POST, post(tei::other_kind)),
        ("/embed_all", Method::POST, post(tei::other_kind)),
        ("/embed_sparse", Method::POST, post(tei::other_kind)),
        ("/info", Method::GET, get(tei::info)),
        ("/health", Method::GET, get(tei::health)),
        ("/embed/plan", Method::POST, post(native::plan)),
        ("/route", Method::POST, post(native::route)),
        ("/status", Method::GET, get(admin::status)),
        ("/healthz", Method::GET, get(admin::alive)),
        ("/readyz", Method::GET, get(admin::ready)),
        ("/metrics", Method::GET, get(admin::metrics)),
        ("/openapi.json", Method::GET, get(native::openapi)),
        ("/", Method::GET, get(page::root)),
    ]
}

async fn unknown_path(request: Request) -> Response {
    static ROUTES: LazyLock<Vec<(Method, String)>> = LazyLock::new(Gateway::routes);
    if let Some(redirect) = without_slash(request.method(), request.uri(), &ROUTES) {
        return redirect;
    }
    let message = match Dialect::of(request.method(), request.uri().path()) {
        Dialect::Ollama => "404 page not found",
        _ => "there is nothing at this path; GET /openapi.json says what there is",
    };
    Failure::new(StatusCode::NOT_FOUND, "unknown_path", message).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let message = match Dialect::of(request.method(), request.uri().path()) {
        Dialect::Ollama => "405 method not allowed",
        _ => "this path takes another method; GET /openapi.json says which",
    };
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message).into_response()
}

/// The paths of the listener for operators.
fn operators() -> Vec<(&'static str, Method, MethodRouter<Arc<State>>)> {
    let paths = ["/healthz", "/readyz", "/metrics", "/status"];
    table().into_iter().filter(|(path, ..)| paths.contains(path)).collect()
}

fn with_middleware(
    table: Vec<(&'static str, Method, MethodRouter<Arc<State>>)>,
    state: &Arc<State>,
) -> Router<Arc<State>> {
    let routes =
        table.into_iter().fold(Router::new(), |router, (path, _, handler)| router.route(path, handler));
    routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(state), handle))
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("stack", &self.stack)
            .field("config", &self.config)
            .field("extensions", &self.extensions)
            .finish()
    }
}
