//! The application: its own routes, and those of conflux beside them.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use conflux::{Node, PerformError};
use conflux_http::{Options, Role, ServeError};
use tokio::net::TcpListener;

use crate::flags::{Flags, Method, is_on};

/// Serves until `shutdown` is ready; then answers what is under way, and closes the node.
pub(crate) async fn serve(
    listener: TcpListener,
    node: Node<Flags>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    // Without tokens, what changes a flag is for programs of this machine only, and not for pages that its browser shows.
    // `Access::Tokens` lets others in, and `Access::Application` leaves it to a layer of the application's own.
    let options = Options::default();
    let operators = Router::new().route("/launch/{flag}", post(launch));
    let application = Router::new()
        .route("/checkout/{customer}", get(checkout))
        .merge(conflux_http::guard(operators, Role::Perform, &options))
        .with_state(node.clone())
        .nest("/flags", conflux_http::router(Arc::new(node.clone()), &options));
    let served = conflux_http::serve(listener, application, &options, shutdown).await;
    // Only now: the last requests may have performed.
    node.close().await;
    served
}

/// A page of the shop. The flags are in memory, on every instance: asking them costs nothing.
async fn checkout(State(node): State<Node<Flags>>, Path(customer): Path<String>) -> &'static str {
    if is_on(&node.state(), "new-checkout", &customer) { "the new checkout" } else { "the old checkout" }
}

/// A route of the shop that changes a flag, for its operators: by the node itself, with types.
async fn launch(State(node): State<Node<Flags>>, Path(flag): Path<String>) -> (StatusCode, String) {
    match node.perform(Method::Set(flag.clone(), 100)).await {
        Ok(done) if done.action.is_some() => (StatusCode::OK, format!("{flag} is on for everybody")),
        Ok(_) => (StatusCode::OK, format!("{flag} was on for everybody before")),
        Err(PerformError::Rejected { rejection, .. }) => (StatusCode::CONFLICT, rejection.to_string()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
