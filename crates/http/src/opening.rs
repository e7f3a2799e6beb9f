//! Answering for a node that is not open yet.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use conflux::JsonNode;
use serde_json::json;
use tower_service::Service;

use crate::answer::{self, Refused};
use crate::guard::{Door, door, may_read};
use crate::options::Options;
use crate::routes::router;

/// Stands in for a node that is being opened, which may take long: its data are read, and the server by which the nodes
/// talk may be away. Until then [`Opening::router`] answers `/healthz`, as the process should go on, and tells everybody
/// else that the node is not ready, and why; then it is the one of [`router`].
///
/// ```
/// # use std::sync::Arc;
/// # use conflux::{MemoryChannel, Node};
/// # use conflux_http::{Opening, Options, serve};
/// # async fn example<C: conflux::Container>(container: C, listener: tokio::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
/// let options = Options::default();
/// let opening = Opening::new(&options);
/// let router = opening.router();
/// tokio::spawn(async move { serve(listener, router, &options, std::future::pending()).await });
/// let node = Node::builder(container, "a").cluster_size(1).channel(MemoryChannel::new()).open().await?;
/// opening.opened(Arc::new(node.clone()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Opening {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    /// Why the node is not ready.
    reason: Mutex<String>,
    /// The routes of the node, once it is open.
    node: OnceLock<Router>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("opened", &self.shared.node.get().is_some()).finish_non_exhaustive()
    }
}

impl Opening {
    /// For a node that will be served with these options.
    #[must_use]
    pub fn new(options: &Options) -> Opening {
        let reason = Mutex::new("the node is being opened".to_owned());
        Opening { shared: Arc::new(Shared { options: options.clone(), reason, node: OnceLock::new() }) }
    }

    /// The routes, before and after; to be mounted or served as those of [`router`].
    pub fn router(&self) -> Router {
        let waiting = self.waiting();
        let shared = self.shared.clone();
        Router::new().fallback(move |request: Request| {
            let mut routes = shared.node.get().unwrap_or(&waiting).clone();
            async move {
                let answered: Result<Response<Body>, Infallible> = routes.call(request).await;
                let Ok(response) = answered;
                response
            }
        })
    }

    /// Says what is being waited for.
    pub fn waits_for(&self, reason: impl Into<String>) {
        *self.shared.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason.into();
    }

    /// From now on the node answers. The first one does, if this is called again.
    pub fn opened(&self, node: Arc<dyn JsonNode>) {
        self.shared.node.get_or_init(|| router(node, &self.shared.options));
    }

    /// What answers until then.
    fn waiting(&self) -> Router {
        let shared = self.shared.clone();
        let door_state = Door::new(&self.shared.options);
        Router::new()
            .fallback(move |request: Request| std::future::ready(shared.not_yet(&request)))
            .layer(from_fn(move |request, next| door(door_state.clone(), request, next)))
    }
}

impl Shared {
    fn not_yet(&self, request: &Request) -> Response<Body> {
        let asks = request.method() == Method::GET || request.method() == Method::HEAD;
        if asks && request.uri().path() == "/healthz" {
            return answer::value(StatusCode::OK, &json!({"status": "ok"}));
        }
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", self.reason(request.headers())).into_response()
    }

    /// What is waited for names servers and files: that is for those who may read.
    fn reason(&self, headers: &HeaderMap) -> String {
        if may_read(&self.options, headers) {
            return self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        "the node is not open yet; a token for reading is told why".into()
    }
}
