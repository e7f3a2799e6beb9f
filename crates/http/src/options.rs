//! What a server over HTTP can be told.

use std::sync::Arc;
use std::time::Duration;

use crate::tokens::Tokens;

/// Appends metrics to a page, in Prometheus' text format.
pub type MoreMetrics = Arc<dyn Fn(&mut String) + Send + Sync>;

/// Options of [`router`](crate::router) and [`serve`](crate::serve).
#[derive(Clone, Default)]
pub struct Options {
    /// Who may ask.
    pub access: Access,
    /// Which pages of other origins may ask.
    pub cors: Cors,
    /// How much is taken at once, and how long is waited for it.
    pub limits: Limits,
    /// Appends more metrics to `/metrics`, in Prometheus' text format: what the application's own recorder renders, say.
    pub metrics: Option<MoreMetrics>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Options { access, cors, limits, metrics: _ } = self;
        f.debug_struct("Options")
            .field("access", access)
            .field("cors", cors)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Programs of this machine: whose connection comes from a loopback address, by no proxy that says so, as long as
    /// `Host` names this machine and `Origin`, if there is one, does so too. [`serve`](crate::serve) listens on loopback
    /// addresses only. Another server has to say where a request comes from (`ConnectInfo<SocketAddr>`: axum's does with
    /// `into_make_service_with_connect_info`), or nothing is answered. A proxy on this machine that says nothing of
    /// itself is a program of this machine, whoever is behind it: use tokens there.
    #[default]
    Loopback,
    /// Who carries one of these tokens.
    Tokens(Arc<Tokens>),
    /// The application around the router decides: nothing is checked here.
    Application,
}

/// Which pages of other origins a browser lets ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// None.
    #[default]
    Off,
    /// Pages of these origins, each as the header `Origin` says it: `https://app.example`.
    Origins(Vec<String>),
    /// All pages there are. Without tokens this lets every site that a browser on this machine shows perform.
    Any,
}

/// How much is taken at once, and how long is waited for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of a request, in bytes. 1 MiB.
    pub body_bytes_max: usize,
    /// Connections at once; more wait to be accepted. 4,096. For [`serve`](crate::serve).
    pub connections_max: usize,
    /// Performs at once that have not been answered; more are told `busy`. 1,024. Reads have 256 places of their own, and
    /// status, metrics, members and what is for administrators 32, or as many as this where that is less.
    pub in_flight_max: usize,
    /// Subscribers at once; more are told `busy`. 1,024.
    pub subscribers_max: usize,
    /// Bytes of states that are on their way to readers and subscribers at once; more wait for [`Limits::stall_time`], and
    /// are told `busy` then. Those who are shown the same state share it. A larger state goes alone. 256 MiB.
    pub states_bytes_max: usize,
    /// How long the head of a request may take, counted from the connection or the last answer on it. 15 s. For
    /// [`serve`](crate::serve).
    pub head_time: Duration,
    /// How long the body of a request may take. 30 s.
    pub body_time: Duration,
    /// How long a client may take nothing of an answer before its connection is cut. 30 s. For [`serve`](crate::serve).
    pub stall_time: Duration,
    /// How long a subscriber hears nothing before it is sent a comment. 15 s.
    pub keep_alive: Duration,
    /// How long requests that are under way are waited for at the end. 10 s. For [`serve`](crate::serve).
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: 1 << 20,
            connections_max: 4_096,
            in_flight_max: 1_024,
            subscribers_max: 1_024,
            states_bytes_max: 256 << 20,
            head_time: Duration::from_secs(15),
            body_time: Duration::from_secs(30),
            stall_time: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            grace: Duration::from_secs(10),
        }
    }
}
