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
//! Several addresses are tried in turn. Every perform carries a request id, so that it takes effect once, however often
//! and wherever it is sent.

mod address;
mod error;
mod events;

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
/// The deadline of a perform where none is told: the node's own default.
const PERFORM_TIME: Duration = Duration::from_secs(10);
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
        Ok(Client { agent: config.new_agent(), addresses, authorization: None, under_way: UNDER_WAY_TIME })
    }

    /// Carries a bearer token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Client {
        self.authorization = Some(format!("Bearer {token}"));
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

    /// Performs a method, and waits until it is committed and visible on the node that was asked.
    ///
    /// A node that cannot be reached is passed over. Where an answer got lost, the call is sent again, with the same
    /// request id, for as long as its time lasts, and for four minutes at most: by then a node may have forgotten it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `rejected` when the method refused, and others; all but
    /// [`Unknown`](ClientError::Unknown) and [`NotVisible`](ClientError::NotVisible) mean that it took no effect.
    pub fn perform(&self, method: &str, args: Vec<Value>, options: &PerformOptions) -> Result<Performed, ClientError> {
        let time = options.timeout.unwrap_or(PERFORM_TIME);
        let request_id = options.request_id.clone().unwrap_or_else(random_id);
        let deadline = Instant::now() + time;
        let mut backoff = Backoff::default();
        // Whether any try may have arrived.
        let mut lost = None;
        // By then everything that is under way is decided.
        let mut end = deadline.min(Instant::now() + self.under_way);
        loop {
            let mut tried = Vec::new();
            let mut refused = None;
            for address in &self.addresses {
                let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                let body = json!({
                    "method": method, "args": args, "request_id": request_id,
                    "timeout_ms": u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1),
                });
                let request =
                    self.agent.post(address.join("/perform")).config().timeout_global(Some(left + MARGIN)).build();
                let request = self.with_token(request).content_type("application/json");
                let bytes = serde_json::to_vec(&body).expect("a JSON value is written to memory");
                match answer_of(request.send(&bytes[..])) {
                    Ok(answer) => match self.performed(address, &answer) {
                        // Of something between here and the node: the call may have gone through.
                        Err(ClientError::BadAnswer { address, problem }) if answer.status.is_server_error() => {
                            lost = Some(format!("{address}: {problem}"));
                        }
                        Err(error) if may_go_on(&error) || (lost.is_some() && !is_final(&error)) => {
                            refused = Some(error);
                        }
                        done => return done,
                    },
                    Err(Miss::Unreachable(cause)) => tried.push((address.to_string(), cause)),
                    Err(Miss::Lost(cause)) => {
                        tried.push((address.to_string(), cause.clone()));
                        lost = Some(format!("{}: {cause}", address.as_str()));
                    }
                }
                if Instant::now() >= end {
                    break;
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            match (refused, &lost) {
                // The nodes waited as long as they were told, nothing is under way, and there is time to begin again.
                (Some(error), None)
                    if error.code() == Some("never_proposed") && left < Duration::from_secs(1) && end < deadline =>
                {
                    end = deadline.min(Instant::now() + self.under_way);
                }
                // A refusal says nothing of a try that may have arrived elsewhere, unless it knows the call.
                (Some(error @ ClientError::NotVisible { .. }), _) | (Some(error), None) => return Err(error),
                (None, None) => return Err(ClientError::Unreachable { tried }),
                (_, Some(why)) if left.is_zero() => return Err(ClientError::Unknown { request_id, why: why.clone() }),
                (_, Some(_)) => std::thread::sleep(backoff.next().min(left)),
            }
        }
    }

    /// Asks again what became of a perform, by its request id.
    ///
    /// # Errors
    /// As [`perform`](Client::perform); with the code `undecided` when the log knows no such call.
    pub fn outcome(&self, request_id: &str) -> Result<Performed, ClientError> {
        let path = format!("/outcome/{}", escaped(request_id));
        self.in_turn(&path, READ_TIME, |address, answer| self.performed(address, answer))
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
        self.in_turn(path, READ_TIME, read_good)
    }

    /// Asks one node after the other, until one can say something.
    fn in_turn<T>(
        &self,
        path: &str,
        time: Duration,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let ask = |address: &Address| {
            let request = self.agent.get(address.join(path)).config().timeout_global(Some(time)).build();
            self.with_token(request).call()
        };
        self.each_in_turn(ask, read)
    }

    /// The same for what may be done twice.
    fn post_in_turn<T>(
        &self,
        path: &str,
        body: &Value,
        time: Duration,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.each_in_turn(self.posting(path, body, time), read)
    }

    /// The same for what may not: who did not hear the answer does not ask another.
    fn post_once<T>(
        &self,
        path: &str,
        body: &Value,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let lost = |address: &Address, why| Err(ClientError::Lost { address: address.to_string(), why });
        self.in_turn_until(self.posting(path, body, READ_TIME), read, lost)
    }

    fn posting<'a>(
        &'a self,
        path: &'a str,
        body: &Value,
        time: Duration,
    ) -> impl Fn(&Address) -> Result<Response<Body>, ureq::Error> + 'a {
        let bytes = serde_json::to_vec(body).expect("a JSON value is written to memory");
        move |address| {
            let request = self.agent.post(address.join(path)).config().timeout_global(Some(time)).build();
            self.with_token(request).content_type("application/json").send(&bytes[..])
        }
    }

    fn each_in_turn<T>(
        &self,
        ask: impl Fn(&Address) -> Result<Response<Body>, ureq::Error>,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.in_turn_until(ask, read, |_, why| Ok(why))
    }

    /// `lost` says what a lost answer means: why the next address is asked, or the end.
    fn in_turn_until<T>(
        &self,
        ask: impl Fn(&Address) -> Result<Response<Body>, ureq::Error>,
        read: impl Fn(&Address, &Answer) -> Result<T, ClientError>,
        lost: impl Fn(&Address, String) -> Result<String, ClientError>,
    ) -> Result<T, ClientError> {
        let mut tried = Vec::new();
        let mut refused = None;
        for address in &self.addresses {
            match answer_of(ask(address)) {
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

    fn performed(&self, address: &Address, answer: &Answer) -> Result<Performed, ClientError> {
        #[derive(Deserialize)]
        struct NotVisible {
            request_id: String,
            index: Index,
        }
        if answer.status == StatusCode::ACCEPTED {
            let NotVisible { request_id, index } = parse(address, &answer.body)?;
            return Err(ClientError::NotVisible { request_id, index });
        }
        read_good(address, answer).map_err(|error| match error {
            ClientError::Refused { refusal, .. }
                if refusal.code == "unknown" && refusal.details.contains_key("request_id") =>
            {
                let request_id = refusal.details["request_id"].as_str().unwrap_or_default().to_owned();
                ClientError::Unknown { request_id, why: format!("{} had no answer in time", address.as_str()) }
            }
            error => error,
        })
    }
}

/// Whether the next address may do better.
fn may_go_on(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { refusal, .. } => refusal.is_of_the_node(),
        ClientError::NotVisible { .. } => true,
        _ => false,
    }
}

/// Whether an error tells what became of the call, wherever else it was sent.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { refusal, .. } => {
            matches!(refusal.code.as_str(), "rejected" | "failed" | "conflict" | "forgotten")
        }
        error => matches!(error, ClientError::Unknown { .. }),
    }
}

fn read_good<T: DeserializeOwned>(address: &Address, answer: &Answer) -> Result<T, ClientError> {
    if answer.status == StatusCode::OK {
        return parse(address, &answer.body);
    }
    Err(refusal(address, answer.status, &answer.body))
}

fn parse<T: DeserializeOwned>(address: &Address, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::BadAnswer {
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

/// An id that nobody else draws.
fn random_id() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    /// Gives each request to the test, and answers with what it says; `None` ends the connection.
    fn server(answer: impl Fn(usize) -> Option<&'static str> + Send + 'static) -> (String, mpsc::Receiver<Value>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for nth in 0.. {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut text = String::new();
                let mut bytes = [0; 4096];
                while !text.ends_with('}') {
                    match stream.read(&mut bytes) {
                        Ok(read) if read > 0 => text.push_str(&String::from_utf8_lossy(&bytes[..read])),
                        _ => return,
                    }
                }
                let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                if tell.send(serde_json::from_str(body).expect("it is JSON")).is_err() {
                    return;
                }
                if let Some(answer) = answer(nth) {
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        (address, told)
    }

    #[test]
    fn an_id_that_may_be_forgotten_is_not_sent_again() {
        let (address, told) = server(|_| None);
        let mut client = Client::new([address]).expect("the address is good");
        client.under_way = Duration::from_millis(400);
        let begun = Instant::now();
        let options = PerformOptions { timeout: Some(Duration::from_secs(1200)), request_id: Some("x".into()) };
        let error = client.perform("append", vec![], &options).expect_err("no answer comes");
        assert!(matches!(&error, ClientError::Unknown { request_id, .. } if request_id == "x"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let times: Vec<u64> = told.try_iter().map(|body| body["timeout_ms"].as_u64().expect("a number")).collect();
        assert!(times.len() > 1, "it was tried again");
        assert!(times.is_sorted_by(|one, next| one >= next) && times[0] <= 400, "{times:?}");
    }

    #[test]
    fn what_was_never_proposed_is_tried_for_all_of_its_time() {
        const NOT_YET: &str = "HTTP/1.1 503 No\r\ncontent-type: application/json\r\nconnection: close\r\n\
            content-length: 57\r\n\r\n{\"error\":{\"code\":\"never_proposed\",\"message\":\"no leader\"}}";
        const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
            content-length: 25\r\n\r\n{\"index\":1,\"action\":null}";
        let window = Duration::from_millis(50);
        let (address, _told) = server(move |nth| {
            // The node's own deadline.
            std::thread::sleep(window + Duration::from_millis(20));
            Some(if nth < 3 { NOT_YET } else { DONE })
        });
        let mut client = Client::new([address]).expect("the address is good");
        client.under_way = window;
        let options = PerformOptions { timeout: Some(Duration::from_secs(60)), request_id: None };
        assert_eq!(client.perform("append", vec![], &options).expect("the fourth one").index, Index(1));
    }
}
