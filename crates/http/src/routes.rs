//! The routes, and what stands before each of them.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use conflux::JsonNode;
use tokio::sync::Semaphore;

use crate::answer::Refused;
use crate::guard::{Door, Gate, Need, Places, door, gate};
use crate::metrics::{self, Counters};
use crate::options::Options;
use crate::shown::States;
use crate::{cluster, perform, read, subscribe};

/// What all handlers share.
pub(crate) struct Front {
    pub(crate) node: Arc<dyn JsonNode>,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    /// A permit for each request that has not been answered.
    pub(crate) in_flight: Places,
    /// For what takes the container's time: a script's heap is one, and deciding waits for it.
    pub(crate) heavy: Arc<Semaphore>,
    /// What readers and subscribers are shown.
    pub(crate) states: States,
    /// A permit for each subscriber.
    pub(crate) subscribers: Arc<Semaphore>,
}

/// An axum router over a node. Mount it with [`Router::nest`], or serve it alone with [`serve`](crate::serve).
///
/// It answers what [`OPENAPI`](crate::OPENAPI) says, and guards itself as [`Options::access`] says.
pub fn router(node: Arc<dyn JsonNode>, options: &Options) -> Router {
    let front = Arc::new(Front {
        node,
        counters: Counters::default(),
        in_flight: Places::new(options.limits.in_flight_max),
        heavy: Arc::new(Semaphore::new(1)),
        states: States::new(&options.limits),
        subscribers: Arc::new(Semaphore::new(options.limits.subscribers_max)),
        options: options.clone(),
    });
    let mut router = Router::new();
    for (path, need, handlers) in routes() {
        let gate_state = Gate { front: front.clone(), need, path };
        router = router.route(path, handlers.layer(from_fn_with_state(gate_state, gate)));
    }
    let door_state = Door::new(options);
    router
        .fallback(|| async {
            Refused::new(
                StatusCode::NOT_FOUND,
                "no_such_path",
                "there is nothing here; /openapi.json says what there is",
            )
        })
        .method_not_allowed_fallback(|| async {
            let message = "this path takes other methods: see the header Allow, or /openapi.json";
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", message)
        })
        .layer(from_fn(move |request, next| door(door_state.clone(), request, next)))
        .with_state(front)
}

type Route = (&'static str, Need, MethodRouter<Arc<Front>>);

/// Every path. `openapi.json` has the same ones, which a test compares.
fn routes() -> Vec<Route> {
    vec![
        ("/perform", Need::PERFORM, post(perform::perform)),
        ("/outcome/{*request_id}", Need::READ, get(perform::outcome)),
        ("/methods", Need::READ, get(read::methods)),
        ("/state", Need::READ, get(read::state)),
        ("/provisional", Need::READ, get(read::provisional)),
        ("/digest", Need::READ, get(read::digest)),
        ("/members", Need::LOOK, get(cluster::members)),
        ("/members", Need::ADMIN, post(cluster::change)),
        ("/transfer", Need::ADMIN, post(cluster::transfer)),
        ("/backup", Need::ADMIN, get(cluster::backup)),
        ("/snapshot", Need::ADMIN, post(cluster::snapshot)),
        ("/incident", Need::ADMIN, get(cluster::incident)),
        ("/subscribe", Need::FOLLOW, get(subscribe::subscribe)),
        ("/status", Need::LOOK, get(read::status)),
        ("/metrics", Need::LOOK, get(metrics::metrics)),
        ("/healthz", Need::NOTHING, get(read::health)),
        ("/readyz", Need::NOTHING, get(read::readiness)),
        ("/openapi.json", Need::NOTHING, get(|| text("application/json", crate::OPENAPI))),
        ("/client.js", Need::NOTHING, get(|| text("text/javascript; charset=utf-8", crate::CLIENT_JS))),
    ]
}

async fn text(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([("content-type", kind), ("cache-control", "no-cache"), ("x-content-type-options", "nosniff")], text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_every_path_and_no_other() {
        let description: serde_json::Value = serde_json::from_str(crate::OPENAPI).expect("it is JSON");
        let described = description["paths"].as_object().expect("it has paths").keys().cloned();
        let routed = routes().into_iter().map(|(path, ..)| path.replace("{*", "{"));
        assert_eq!(described.collect::<BTreeSet<_>>(), routed.collect::<BTreeSet<_>>());
    }
}
