//! A conflux node over HTTP.
//!
//! [`router`] makes an axum router of any node, whatever its container: methods are performed, the state is read, and
//! committed actions are followed as server-sent events, all in JSON. An application mounts it beside its own routes;
//! [`serve`] runs it by itself, with limits. [`client`] is the other end in Rust, and `/client.js` the one for browsers
//! and Node.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::Router;
//! use axum::routing::get;
//! use conflux::{Container, Context, MemoryChannel, Never, Node};
//! use conflux_http::client::Client;
//! use conflux_http::{Options, router, serve};
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//! use tokio::net::TcpListener;
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! #[serde(rename_all = "snake_case")]
//! enum Method { Add(u64) }
//! struct Counter;
//! impl Container for Counter {
//!     type State = u64;
//!     type Method = Method;
//!     type Action = u64;
//!     type Rejection = Never;
//!     fn initial(&self) -> u64 { 0 }
//!     fn decide(&self, _: &u64, Method::Add(n): Method, _: &Context<'_>) -> Result<Option<u64>, Never> { Ok(Some(n)) }
//!     fn reduce(&self, count: &mut u64, n: &u64, _: &Context<'_>) { *count += n }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder(Counter, "a").cluster_size(1).channel(MemoryChannel::new()).open().await?;
//! let options = Options::default();               // no tokens: for this machine only
//! let application = Router::new()
//!     .route("/", get(|| async { "the application's own page" }))
//!     .nest("/conflux", router(Arc::new(node.clone()), &options));
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let address = format!("http://{}/conflux", listener.local_addr()?);
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let server = tokio::spawn(async move {
//!     serve(listener, application, &options, async { drop(stopped.await) }).await
//! });
//!
//! let performed = tokio::task::spawn_blocking(move || {
//!     let client = Client::new([address])?;
//!     client.perform("add", vec![json!(5)], &Default::default())
//! });
//! let performed = performed.await??;
//! assert_eq!((performed.index.0, performed.action), (1, Some(json!(5))));
//! assert_eq!(*node.state(), 5);
//!
//! stop.send(()).expect("the server runs");
//! server.await??;
//! node.close().await;
//! # Ok(()) }
//! ```
//!
//! # Who may
//! Without tokens ([`Access::Loopback`], the default) a router answers only requests that come from this machine and name
//! it in their `Host`, and [`serve`] refuses to listen anywhere else. Where axum serves it, that has to be with
//! `into_make_service_with_connect_info::<SocketAddr>()`: without, nobody knows who asks, and all is refused. A page that
//! some site shows in a browser here can neither read nor perform. With [`Access::Tokens`] every request carries a bearer token of a [`Role`].
//! An application that has users of its own says [`Access::Application`] and guards the router itself. Its own routes are its
//! own affair; [`guard`](fn@guard) guards those that need it in the same way.
//!
//! # Costs
//! Performs that wait at the same time travel in one batch, as ever; a request is one task. A state is turned into JSON
//! whole, on a thread for blocking work, and shared by those who read it at the same time. A subscriber holds a connection, and the node runs the reducer once more for
//! each of them.

mod answer;
mod body;
pub mod client;
mod cluster;
mod guard;
mod metrics;
mod opening;
mod options;
mod perform;
mod read;
mod report;
mod routes;
mod serve;
mod shown;
mod stall;
mod subscribe;
mod tokens;

pub use guard::guard;
pub use opening::Opening;
pub use options::{Access, Cors, Limits, MoreMetrics, Options};
pub use report::{MemberReport, SnapshotReport, StatusReport};
pub use routes::router;
pub use serve::{ServeError, serve};
pub use tokens::{Role, TokenError, Tokens};

/// The OpenAPI 3.1 description of what [`router`] serves.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The client for browsers and Node: an ES module without dependencies.
pub const CLIENT_JS: &str = include_str!("../client.js");
