//! The client in Rust: plain HTTP, one call at a time, on the caller's own thread.
//!
//! ```no_run
//! use conflux_http::client::Client;
//! use serde_json::json;
//!
//! # fn main() -> Result<(), conflux_http::client::ClientError> {
//! let client = Client::new(["127.0.0.1:8001", "127.0.0.1:8002"])?;
//! let done = client.perform("append", vec![json!("foo")], &Default::default())?;
//! println!("{:?} at {}", done.action, done.index);
//! for event in client.subscribe(Some(done.index))? {
//!     println!("{:?}", event?);
//! }
//! # Ok(()) }
//! ```
//!
//! Several addresses are tried in turn, and each is given a part of the time: one that hangs does not keep the others from
//! being asked. Every perform carries a request id, so that it takes effect once, however often and wherever it is sent.

mod address;
mod error;
mod events;
mod json;
mod perform;

use std::time::{Duration, Instant};

use bytes::Bytes;
use conflux::Index;
use rand::RngExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use self::address::{Address, escaped};
use crate::report::{MemberReport, SnapshotReport, StatusReport};

pub use self::error::{ClientError, Refusal};
pub use self::events::Events;

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long an answer may take beyond the time that the node was given.
const MARGIN: Duration = Duration::from_secs(5);
/// How long a read may take: a linearizable one waits for a leader for the node's own deadline.
const READ_TIME: Duration = Duration::from_secs(60);
/// How long the writing of a whole state may take.
const WORK_TIME: Duration = Duration::from_secs(600);
/// The least that one of several addresses is given, where there is so much.
const SHARE_MIN: Duration = Duration::from_secs(1);
/// How long one perform is under way, all its tries together: nodes remember a request id for 300 s after it was decided,
/// and a try that is decided later than that would take effect again.
const UNDER_WAY_TIME: Duration = Duration::from_secs(240);
/// The longest answer that is taken, in bytes: what is no node must not fill the memory.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// The longest error that is taken, in bytes.
const ERROR_BYTES_MAX: u64 = 16 << 20;

/// A client of one cluster.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    addresses: Vec<Address>,
    /// The header that carries the token.
    authorization: Option<String>,
    /// How long a read may take, at all addresses together.
    read_time: Duration,
    /// How long one perform is under way; another in tests.
    under_way: Duration,
}

/// How a perform differs from the plain one.
#[derive(Clone, Debug, Default)]
pub struct PerformOptions {
    /// How long the perform is tried, instead of 10 s.
    pub timeout: Option<Duration>,
    /// A request id of the caller's own: the same id with the same call takes effect once.
    pub request_id: Option<String>,
}

/// A perform that is committed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Performed {
    /// The place of the action; for nothing to do, the place at which that was judged.
    pub index: Index,
    /// The action; `None` when there was nothing to do.
    pub action: Option<Value>,
}

/// A state and its place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct State {
    /// Its place.
    pub index: Index,
    /// The state.
    pub state: Value,
}

/// What is to become of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// It gets a seat: once it has joined and caught up, it votes.
    Add,
    /// The same, for one that is there without a vote.
    Promote,
    /// It stays, without a vote.
    Demote,
    /// It goes, for good.
    Remove,
}

impl MemberChange {
    fn word(self) -> &'static str {
        match self {
            MemberChange::Add => "add",
            MemberChange::Promote => "promote",
            MemberChange::Demote => "demote",
            MemberChange::Remove => "remove",
        }
    }
}

#[derive(Deserialize)]
struct Members {
    members: Vec<MemberReport>,
}

/// How one try at one address ended without an answer.
enum Miss {
    /// The request did not leave.
    Unreachable(String),
    /// It may have arrived.
    Lost(String),
}

/// How long one of several addresses has.
#[derive(Clone, Copy)]
struct Turn {
    /// Until the answer begins.
    head: Duration,
    /// Until its end.
    whole: Duration,
}

/// How much of the time that is left one of so many addresses is given to begin its answer: one that hangs must leave some
/// for the others.
fn share(left: Duration, addresses: usize) -> Duration {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    (left / addresses).max(SHARE_MIN).min(left)
}

/// An answer of a node.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Client {
    /// A client of the nodes at these addresses, which are tried in that order.
    ///
    /// # Errors
    /// When an address is none, or there is none.
    pub fn new(addresses: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Client, ClientError> {
        let addresses: Vec<Address> =
            addresses.into_iter().map(|address| Address::parse(address.as_ref())).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(ClientError::Address { address: String::new(), problem: "there is not one".into() });
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy of the environment is for the world outside, not for the nodes.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_resolve(Some(CONNECT_TIME))
            .user_agent(concat!("conflux/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Client {
            agent: config.new_agent(),
            addresses,
            authorization: None,
            read_time: READ_TIME,
            under_way: UNDER_WAY_TIME,
        })
    }

    /// Carries a bearer token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Client {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    /// Gives up a read after so long, at all addresses together, instead of 60 s. A linearizable one may wait for a leader.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Client {
        self.read_time = time;
        self
    }

    /// The addresses, as they are used.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.addresses.iter().map(Address::as_str)
    }

    /// A client like this one of each node alone.
    pub fn each(&self) -> impl Iterator<Item = Client> {
        self.addresses.iter().map(|address| Client { addresses: vec![address.clone()], ..self.clone() })
    }

    /// Asks again what became of a perform, by its request id.
    ///
    /// # Errors
    /// As [`perform`](Client::perform); with the code `undecided` when the log knows no such call.
    pub fn outcome(&self, request_id: &str) -> Result<Performed, ClientError> {
        let path = format!("/outcome/{}", escaped(request_id));
        self.in_turn(&path, self.read_time, |address, answer| self.performed(address, answer))
    }

    /// The names of the methods.
    ///
    /// # Errors
    /// When no node answers, or with something else.
    pub fn methods(&self) -> Result<Vec<String>, ClientError> {
        #[derive(Deserialize)]
        struct Methods {
            methods: Vec<String>,
        }
        self.get("/methods").map(|Methods { methods }| methods)
    }

    /// The committed state of the first node that answers; `linearizable`: at least as new as anything that anybody was
    /// told before.
    ///
    /// # Errors
    /// When no node answers, or none has a leader for a linearizable read.
    pub fn state(&self, linearizable: bool) -> Result<State, ClientError> {
        self.get(if linearizable { "/state?linearizable=true" } else { "/state" })
    }

    /// The state with the uncommitted actions of the node.
    ///
    /// # Errors
    /// When no node answers, or with something else.
    pub fn provisional(&self) -> Result<State, ClientError> {
        self.get("/provisional")
    }

    /// How the first node that answers is.
    ///
    /// # Errors
    /// When no node answers, or with something else.
    pub fn status(&self) -> Result<StatusReport, ClientError> {
        self.get("/status")
    }

    /// The digest of the state at a place, in hexadecimal digits: equal on all nodes that agree.
    ///
    /// # Errors
    /// When no node answers; with the code `not_held` when the node does not hold that state.
    pub fn digest(&self, index: Index) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Digest {
            digest: String,
        }
        self.get(&format!("/digest?index={index}")).map(|Digest { digest }| digest)
    }

    /// The members of the cluster.
    ///
    /// # Errors
    /// When no node answers, or with something else.
    pub fn members(&self) -> Result<Vec<MemberReport>, ClientError> {
        self.get("/members").map(|Members { members }| members)
    }

    /// Changes a member, and gives the members afterwards; `None` when it is written down and not done yet.
    ///
    /// # Errors
    /// With the code `refused` when the leader refuses, `not_taken` when there was none in time.
    pub fn change_member(&self, change: MemberChange, name: &str) -> Result<Option<Vec<MemberReport>>, ClientError> {
        let body = json!({"change": change.word(), "name": name});
        self.post_in_turn("/members", &body, READ_TIME, |address, answer| match answer.status {
            StatusCode::ACCEPTED => Ok(None),
            _ => read_good(address, answer).map(|Members { members }| Some(members)),
        })
    }

    /// Has another voter lead, and says which.
    ///
    /// # Errors
    /// As [`change_member`](Client::change_member), and [`ClientError::Lost`] when no answer came: it is not asked twice, as
    /// leadership would move twice.
    pub fn transfer(&self, to: Option<&str>) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Transferred {
            leader: String,
        }
        let read = |address: &Address, answer: &Answer| read_good(address, answer).map(|Transferred { leader }| leader);
        self.post_once("/transfer", &json!({"to": to}), read)
    }

    /// A copy of everything that is committed, to be kept elsewhere: what `conflux::Backup::decode` reads.
    ///
    /// # Errors
    /// When no node answers, or none has a leader.
    pub fn backup(&self) -> Result<Bytes, ClientError> {
        self.file("/backup")
    }

    /// Has the first node that answers take a snapshot and cut its log down.
    ///
    /// # Errors
    /// When no node answers, or with something else.
    pub fn snapshot(&self) -> Result<SnapshotReport, ClientError> {
        self.post_in_turn("/snapshot", &json!({}), WORK_TIME, read_good)
    }

    /// Everything that the first node that answers holds: what `conflux::Incident::decode` reads.
    ///
    /// # Errors
    /// When no node answers, or its snapshot cannot be read.
    pub fn incident(&self) -> Result<Bytes, ClientError> {
        self.file("/incident")
    }

    fn file(&self, path: &str) -> Result<Bytes, ClientError> {
        self.in_turn(path, WORK_TIME, |address, answer| match answer.status {
            StatusCode::OK => Ok(answer.body.clone()),
            status => Err(refusal(address, status, &answer.body)),
        })
    }

    /// Follows the committed actions after `last`, or from now on. Connects again by itself.
    ///
    /// # Errors
    /// When no node can be reached, or none takes subscribers.
    pub fn subscribe(&self, last: Option<Index>) -> Result<Events, ClientError> {
        Events::open(self.clone(), last)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.in_turn(path, self.read_time, read_good)
    }

    /// Asks one node after the other, until one can say something. All of them together have so much time.
    fn in_turn<T>(
        &self,
        path: &str,
        time: Duration,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let ask = |address: &Address, turn: Turn| {
            let request = self.agent.get(address.join(path)).config();
            let request = request.timeout_global(Some(turn.whole)).timeout_recv_response(Some(turn.head)).build();
            self.with_token(request).call()
        };
        self.each_in_turn(ask, time, read)
    }

    /// The same for what may be done twice.
    fn post_in_turn<T>(
        &self,
        path: &str,
        body: &Value,
        time: Duration,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.each_in_turn(self.posting(path, body), time, read)
    }

    /// The same for what may not: who did not hear the answer does not ask another.
    fn post_once<T>(
        &self,
        path: &str,
        body: &Value,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let lost = |address: &Address, why| Err(ClientError::Lost { address: address.to_string(), why });
        let post = self.posting(path, body);
        // Nobody is asked after one that hangs: each may take all of the time.
        let post = |address: &Address, _: Turn| post(address, Turn { head: READ_TIME, whole: READ_TIME });
        self.in_turn_until(post, READ_TIME, read, lost)
    }

    fn posting<'a>(
        &'a self,
        path: &'a str,
        body: &Value,
    ) -> impl Fn(&Address, Turn) -> Result<Response<Body>, ureq::Error> + 'a {
        let bytes = serde_json::to_vec(body).expect("a JSON value is written to memory");
        move |address, turn| {
            let request = self.agent.post(address.join(path)).config();
            let request = request.timeout_global(Some(turn.whole)).timeout_recv_response(Some(turn.head)).build();
            self.with_token(request).content_type("application/json").send(&bytes[..])
        }
    }

    fn each_in_turn<T>(
        &self,
        ask: impl Fn(&Address, Turn) -> Result<Response<Body>, ureq::Error>,
        time: Duration,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.in_turn_until(ask, time, read, |_, why| Ok(why))
    }

    /// `lost` says what a lost answer means: why the next address is asked, or the end.
    fn in_turn_until<T>(
        &self,
        ask: impl Fn(&Address, Turn) -> Result<Response<Body>, ureq::Error>,
        time: Duration,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
        lost: impl Fn(&Address, String) -> Result<String, ClientError>,
    ) -> Result<T, ClientError> {
        let mut tried = Vec::new();
        let mut refused = None;
        let end = Instant::now() + time;
        for (nth, address) in self.addresses.iter().enumerate() {
            let whole = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let turn = Turn { head: share(whole, self.addresses.len() - nth), whole };
            match answer_of(ask(address, turn)) {
                Ok(answer) => match read(address, &answer) {
                    Err(error) if may_go_on(&error) => refused = Some(error),
                    read => return read,
                },
                Err(Miss::Unreachable(cause)) => tried.push((address.to_string(), cause)),
                Err(Miss::Lost(cause)) => tried.push((address.to_string(), lost(address, cause)?)),
            }
        }
        Err(refused.unwrap_or(ClientError::Unreachable { tried }))
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }
}

/// Whether the next address may do better.
fn may_go_on(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { refusal, .. } => refusal.is_of_the_node(),
        // It could not ask a leader, or not hear it in time.
        ClientError::NotVisible { .. } | ClientError::Unknown { .. } => true,
        _ => false,
    }
}

fn read_good<T: DeserializeOwned>(address: &Address, answer: &Answer) -> Result<T, ClientError> {
    if answer.status == StatusCode::OK {
        return parse(address, &answer.body);
    }
    Err(refusal(address, answer.status, &answer.body))
}

fn parse<T: DeserializeOwned>(address: &Address, body: &[u8]) -> Result<T, ClientError> {
    json::read(body).map_err(|error| ClientError::BadAnswer {
        address: address.to_string(),
        problem: format!("what it answered is not what was asked for: {error}"),
    })
}

/// The error of an answer that is no success.
fn refusal(address: &Address, status: StatusCode, body: &[u8]) -> ClientError {
    let address = address.to_string();
    match Refusal::parse(status.as_u16(), body) {
        Ok(refusal) => ClientError::Refused { address, refusal: Box::new(refusal) },
        Err(problem) => ClientError::BadAnswer { address, problem },
    }
}

/// Reads an answer to its end.
fn answer_of(response: Result<Response<Body>, ureq::Error>) -> Result<Answer, Miss> {
    let response = response.map_err(miss)?;
    let (head, body) = response.into_parts();
    let bytes_max = if head.status == StatusCode::OK { ANSWER_BYTES_MAX } else { ERROR_BYTES_MAX };
    let body = body.into_with_config().limit(bytes_max).read_to_vec().map_err(|error| Miss::Lost(error.to_string()))?;
    Ok(Answer { status: head.status, body: body.into() })
}

fn miss(error: ureq::Error) -> Miss {
    use std::io::ErrorKind as Kind;
    let text = cause(&error);
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => Miss::Unreachable(text),
        ureq::Error::Io(error)
            if matches!(
                error.kind(),
                Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable
            ) =>
        {
            Miss::Unreachable(text)
        }
        _ => Miss::Lost(text),
    }
}

/// An error in the words of the system, without those of the library around it.
fn cause(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "it did not answer in time".into(),
        error => error.to_string(),
    }
}

/// How long to wait before the next try: twice as long each time, and each time another part of that, so that many
/// clients do not come at once.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { next: Duration::from_millis(100) }
    }
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(Duration::from_secs(3));
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}
