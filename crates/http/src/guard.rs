//! Who may come in, and how many at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, FORWARDED, HOST, ORIGIN, VARY, VIA,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use tokio::sync::Semaphore;

use crate::answer::Refused;
use crate::options::{Access, Cors, Options};
use crate::routes::Front;
use crate::tokens::Role;

/// What a route asks of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The least role; `None` where everybody may.
    role: Option<Role>,
    /// Where it counts among the requests in flight.
    place: Option<Place>,
}

/// Performs wait where there is no leader, and so do reads that ask for one. Neither must keep out who looks why.
#[derive(Clone, Copy, Debug)]
enum Place {
    Performs,
    Reads,
    Operating,
}

/// The requests in flight: a permit for each that has not been answered.
#[derive(Debug)]
pub(crate) struct Places {
    performs: Semaphore,
    reads: Semaphore,
    operating: Semaphore,
    total: usize,
}

/// How many reads there may be at once, and how many requests of operators; no more than performs.
const READS_MAX: usize = 256;
const OPERATING_MAX: usize = 32;

impl Places {
    pub(crate) fn new(in_flight_max: usize) -> Places {
        let (reads, operating) = (in_flight_max.min(READS_MAX), in_flight_max.min(OPERATING_MAX));
        Places {
            performs: Semaphore::new(in_flight_max),
            reads: Semaphore::new(reads),
            operating: Semaphore::new(operating),
            total: in_flight_max.saturating_add(reads + operating),
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        let free = [&self.performs, &self.reads, &self.operating].map(Semaphore::available_permits);
        self.total.saturating_sub(free.iter().sum())
    }

    fn of(&self, place: Place) -> &Semaphore {
        match place {
            Place::Performs => &self.performs,
            Place::Reads => &self.reads,
            Place::Operating => &self.operating,
        }
    }
}

impl Need {
    /// Probes and what is public anyhow.
    pub(crate) const NOTHING: Need = Need { role: None, place: None };
    pub(crate) const READ: Need = Need { role: Some(Role::Read), place: Some(Place::Reads) };
    /// Reading how the node and the cluster are.
    pub(crate) const LOOK: Need = Need { role: Some(Role::Read), place: Some(Place::Operating) };
    /// Like reading, but without an end: subscribers are counted by themselves.
    pub(crate) const FOLLOW: Need = Need { role: Some(Role::Read), place: None };
    pub(crate) const ADMIN: Need = Need { role: Some(Role::Admin), place: Some(Place::Operating) };
    pub(crate) const PERFORM: Need = Need { role: Some(Role::Perform), place: Some(Place::Performs) };
}

/// What stands before every path, known or not.
#[derive(Clone)]
pub(crate) struct Door {
    loopback: bool,
    cors: Arc<Cors>,
}

impl Door {
    pub(crate) fn new(options: &Options) -> Door {
        Door { loopback: matches!(options.access, Access::Loopback), cors: Arc::new(options.cors.clone()) }
    }

    /// Whether pages of this origin may ask.
    fn admits(&self, origin: &HeaderValue) -> bool {
        match &*self.cors {
            Cors::Off => false,
            Cors::Any => true,
            Cors::Origins(origins) => origins.iter().any(|known| known.as_bytes() == origin.as_bytes()),
        }
    }

    /// Without tokens, only programs of this machine: the connection has to come from it, and nothing may say that somebody
    /// else is behind it. What a browser on this machine sends comes from here, too, so its pages are told by what they
    /// cannot forge: a name that was bent to 127.0.0.1 is still in `Host`, a page of another origin is named in `Origin`,
    /// and where it is not (an image, a link), `Sec-Fetch-Site` says that it is elsewhere.
    fn check(&self, request: &Request) -> Result<(), Refused> {
        if !self.loopback {
            return Ok(());
        }
        check_peer(request)?;
        let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
        let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        if host.is_none() && target.is_none() {
            return Err(refused_host("the request names no host"));
        }
        if [host, target].into_iter().flatten().any(|host| !is_loopback(host)) {
            return Err(refused_host("the request names another host"));
        }
        let is_admitted = match (request.headers().get(ORIGIN), request.headers().get(SEC_FETCH_SITE)) {
            (Some(origin), _) => self.admits(origin) || is_loopback_origin(origin),
            // The host is this machine, and has no other site than itself. Whose page is elsewhere, is not told.
            (None, Some(site)) => {
                matches!(site.as_bytes(), b"none" | b"same-origin" | b"same-site") || matches!(*self.cors, Cors::Any)
            }
            (None, None) => true,
        };
        if is_admitted {
            return Ok(());
        }
        let message =
            "without tokens, pages of other origins may not ask: start the server with tokens, or allow the origin";
        Err(Refused::new(StatusCode::FORBIDDEN, "origin_refused", message))
    }
}

/// What browsers say of the page that a request comes from, whether or not there is an `Origin`.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What proxies add: behind one, the connection says nothing about who asks.
const OF_PROXIES: [HeaderName; 5] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
];

/// Whether the connection comes from this machine, and from nowhere beyond.
fn check_peer(request: &Request) -> Result<(), Refused> {
    let refused = |message: String| Err(Refused::new(StatusCode::FORBIDDEN, "peer_refused", message));
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() else {
        return refused(
            "without tokens, only programs of this machine are answered, and the server does not say where a request \
             comes from: serve the router with conflux_http::serve, or by axum with \
             into_make_service_with_connect_info::<SocketAddr>(); or choose Access::Tokens, or Access::Application and \
             guard it yourself"
                .into(),
        );
    };
    if !peer.ip().to_canonical().is_loopback() {
        return refused(format!(
            "without tokens, only programs of this machine are answered, and the request comes from {}; start the server \
             with tokens",
            peer.ip()
        ));
    }
    if let Some(header) = OF_PROXIES.iter().find(|header| request.headers().contains_key(*header)) {
        return refused(format!(
            "without tokens, only programs of this machine are answered, and the header {header} says that the request \
             comes through a proxy; start the server with tokens"
        ));
    }
    Ok(())
}

fn refused_host(what: &str) -> Refused {
    let message = format!(
        "{what}: without tokens, only requests to localhost, 127.0.0.1 or [::1] are answered; start the server with tokens"
    );
    Refused::new(StatusCode::FORBIDDEN, "host_refused", message)
}

/// Whether `host` or `host:port` is this machine.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => name,
            Some((name, port)) if port.starts_with(':') => name,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_loopback_origin(origin: &HeaderValue) -> bool {
    let scheme = origin.as_bytes().strip_prefix(b"http://").or_else(|| origin.as_bytes().strip_prefix(b"https://"));
    scheme.is_some_and(is_loopback)
}

/// The outermost layer: peers, hosts, origins, and what browsers ask before they ask.
pub(crate) async fn door(door: Door, request: Request, next: Next) -> Response<Body> {
    if let Err(refused) = door.check(&request) {
        return refused.into_response();
    }
    let origin = request.headers().get(ORIGIN).filter(|origin| door.admits(origin)).cloned();
    let Some(origin) = origin else { return next.run(request).await };
    let asks_before =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_before {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        let allowed = HeaderValue::from_static("authorization, content-type, last-event-id");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        response
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    response
}

/// What stands before one path.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) front: Arc<Front>,
    pub(crate) need: Need,
    pub(crate) path: &'static str,
}

/// The layer of a path: tokens, the limit of requests in flight, and counting what was answered.
pub(crate) async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response<Body> {
    let Gate { front, need, path } = gate;
    let response = match pass(&front, need, request.headers()) {
        // Held until the head of the answer is there. A subscriber holds another one, for as long as it lasts.
        Ok(_permit) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    front.counters.answered(path, response.status());
    response
}

fn pass<'a>(
    front: &'a Front,
    need: Need,
    headers: &HeaderMap,
) -> Result<Option<tokio::sync::SemaphorePermit<'a>>, Refused> {
    if let Some(needed) = need.role {
        check_role(&front.options.access, headers, needed)?;
    }
    let Some(place) = need.place else { return Ok(None) };
    let busy = || Refused::busy("too many requests are under way; try again in a moment");
    front.in_flight.of(place).try_acquire().map(Some).map_err(|_| busy())
}

/// Whether a request carries a token of such a role, where there are tokens.
fn check_role(access: &Access, headers: &HeaderMap, needed: Role) -> Result<(), Refused> {
    let Access::Tokens(tokens) = access else { return Ok(()) };
    let role = tokens.role_of(bearer(headers)?);
    let role = role.ok_or_else(|| unauthorized("the token is not one of those that are known here"))?;
    if role < needed {
        let message = format!("the token is for {role}, and this needs {needed}");
        return Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    Ok(())
}

/// Guards an application's own routes as [`router`](crate::router) guards those of a node: what changes a container by
/// another way should not be open to more people. `role` is what they need where there are tokens; without any, only
/// programs of this machine are answered, and no page of another site.
///
/// # Panics
/// When there is no route yet: those that are added later would not be guarded.
pub fn guard<S: Clone + Send + Sync + 'static>(routes: Router<S>, role: Role, options: &Options) -> Router<S> {
    let (door_state, access) = (Door::new(options), options.access.clone());
    let check = move |request: Request, next: Next| {
        let refused = check_role(&access, request.headers(), role).err();
        async move {
            match refused {
                Some(refused) => refused.into_response(),
                None => next.run(request).await,
            }
        }
    };
    routes
        .route_layer(from_fn(check))
        .route_layer(from_fn(move |request, next| door(door_state.clone(), request, next)))
}

/// Whether a request may be told how the node is, at a path that asks for no token.
pub(crate) fn may_read(options: &Options, headers: &HeaderMap) -> bool {
    match &options.access {
        Access::Tokens(tokens) => {
            bearer(headers).ok().and_then(|token| tokens.role_of(token)).is_some_and(|role| role >= Role::Read)
        }
        Access::Loopback | Access::Application => true,
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let header = headers.get(AUTHORIZATION).ok_or_else(|| unauthorized("the header Authorization is missing"))?;
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(|| unauthorized("the header Authorization is not of the form `Bearer TOKEN`"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthorized("the header Authorization is of another scheme than `Bearer TOKEN`"));
    }
    Ok(token.trim_matches(' '))
}

fn unauthorized(message: &str) -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        let yes = ["localhost", "LocalHost:80", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8001"];
        assert!(yes.iter().all(|host| is_loopback(host.as_bytes())), "{yes:?}");
        let no = [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "[::1]x",
            "[::1",
            "::1x",
            "0.0.0.0",
            "10.0.0.1:8001",
            "[::2]",
            "127.0.0.1@evil.example",
        ];
        for host in no {
            assert!(!is_loopback(host.as_bytes()), "{host:?}");
        }
        let origin = |text| is_loopback_origin(&HeaderValue::from_static(text));
        assert!(origin("http://localhost:3000") && origin("https://127.0.0.1"));
        assert!(!origin("null") && !origin("http://evil.example") && !origin("file://"));
    }
}
