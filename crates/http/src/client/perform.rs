//! One perform: at as many nodes, and as often, as it takes.

use std::time::{Duration, Instant};

use conflux::Index;
use rand::RngExt;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::StatusCode;

use super::address::Address;
use super::{
    Answer, Backoff, Client, ClientError, MARGIN, Miss, PerformOptions, Performed, SHARE_MIN, answer_of, may_go_on,
    parse, read_good, share,
};

/// The deadline of a perform where none is told: the node's own default.
const PERFORM_TIME: Duration = Duration::from_secs(10);
/// The longest that is waited for anything: the clock has an end.
const TIME_MAX: Duration = Duration::from_secs(365 * 86_400);

/// How long one try may take.
struct Try {
    /// What the node is told.
    told: Duration,
    /// How long its answer may take to begin.
    head: Duration,
    /// How long all of it may take.
    whole: Duration,
}

impl Try {
    /// One of a perform that has so much time left, at one of so many addresses. Where there are several, none is given
    /// all of the time: it may hang. And a node that is told less than it is given still says what became of the call.
    fn new(left: Duration, addresses: usize) -> Try {
        let whole = left + MARGIN;
        match addresses {
            1 => Try { told: left, head: whole, whole },
            several => {
                let head = share(left, several);
                Try { told: head * 4 / 5, head, whole }
            }
        }
    }
}

impl Client {
    /// Performs a method, and waits until it is committed and visible on the node that was asked.
    ///
    /// A node that cannot be reached is passed over, and so is one of several that does not answer within its share of
    /// the time. Where an answer got lost, or a node does not know what became of the call, it is sent again, with the
    /// same request id, for as long as its time lasts, and for four minutes at most: by then a node may have forgotten it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `rejected` when the method refused, and others; all but
    /// [`Unknown`](ClientError::Unknown) and [`NotVisible`](ClientError::NotVisible) mean that it took no effect.
    pub fn perform(&self, method: &str, args: Vec<Value>, options: &PerformOptions) -> Result<Performed, ClientError> {
        let time = options.timeout.unwrap_or(PERFORM_TIME).min(TIME_MAX);
        let request_id = options.request_id.clone().unwrap_or_else(random_id);
        let deadline = Instant::now() + time;
        let mut backoff = Backoff::default();
        // Why it is not known what became of a try that may have arrived.
        let mut lost = None;
        // By then everything that is under way is decided.
        let mut end = deadline.min(Instant::now() + self.under_way);
        loop {
            let mut tried = Vec::new();
            let mut refused = None;
            // Whether a node found no leader for as long as it was told to look for one.
            let mut waited = false;
            for address in &self.addresses {
                let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                if refused.is_some() && lost.is_none() && self.is_too_late(left) {
                    break;
                }
                let Try { told, head, whole } = Try::new(left, self.addresses.len());
                let body = json!({
                    "method": method, "args": args, "request_id": request_id,
                    "timeout_ms": u64::try_from(told.as_millis()).unwrap_or(u64::MAX).max(1),
                });
                let request = self.agent.post(address.join("/perform")).config();
                let request = request.timeout_global(Some(whole)).timeout_recv_response(Some(head)).build();
                let request = self.with_token(request).content_type("application/json");
                let bytes = serde_json::to_vec(&body).expect("a JSON value is written to memory");
                let begun = Instant::now();
                match answer_of(request.send(&bytes[..])) {
                    Ok(answer) => match self.performed(address, &answer) {
                        // A success that cannot be read is one; and what stands between here and the node may have
                        // passed the call on.
                        Err(error @ ClientError::BadAnswer { .. })
                            if answer.status.is_success() || answer.status.is_server_error() =>
                        {
                            lost = Some(error.to_string());
                        }
                        // The node heard nothing of the call in time, and another one may, or the same one later.
                        Err(ClientError::Unknown { why, .. }) => lost = Some(why),
                        Err(error) if may_go_on(&error) || (lost.is_some() && !is_final(&error)) => {
                            waited |= error.code() == Some("never_proposed") && begun.elapsed() >= told;
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
                // Nothing is under way, and there is time to begin again.
                (Some(_), None) if waited && !left.is_zero() && !self.is_too_late(left) => {}
                (Some(_), None) if waited && end < deadline => end = deadline.min(Instant::now() + self.under_way),
                // A node that is being opened is soon another one.
                (Some(error), None) if error.code() == Some("not_ready") && !left.is_zero() => {
                    std::thread::sleep(backoff.next().min(left));
                }
                // A refusal says nothing of a try that may have arrived elsewhere, unless it knows the call.
                (Some(error @ ClientError::NotVisible { .. }), _) | (Some(error), None) => return Err(error),
                (None, None) => return Err(ClientError::Unreachable { tried }),
                (_, Some(why)) if left.is_zero() => return Err(ClientError::Unknown { request_id, why: why.clone() }),
                (_, Some(_)) => std::thread::sleep(backoff.next().min(left)),
            }
        }
    }

    /// Whether one of several addresses would have so little time to answer that it may well be cut off: then it would not
    /// be known any more that nothing took effect.
    fn is_too_late(&self, left: Duration) -> bool {
        self.addresses.len() > 1 && left < SHARE_MIN
    }

    /// What an answer says became of a call.
    pub(super) fn performed(&self, address: &Address, answer: &Answer) -> Result<Performed, ClientError> {
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

/// Whether an error tells what became of the call, wherever else it was sent.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { refusal, .. } => {
            matches!(refusal.code.as_str(), "rejected" | "failed" | "conflict" | "forgotten")
        }
        _ => false,
    }
}

/// An id that nobody else draws.
fn random_id() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn several_addresses_share_the_time() {
        let seconds = Duration::from_secs;
        let one = Try::new(seconds(9), 1);
        assert_eq!((one.told, one.head), (seconds(9), seconds(9) + MARGIN));
        let one_of_three = Try::new(seconds(9), 3);
        assert_eq!((one_of_three.told, one_of_three.head), (Duration::from_millis(2400), seconds(3)));
        // As much as makes sense, but never more than there is.
        assert_eq!(Try::new(seconds(2), 9).head, seconds(1));
        assert_eq!(Try::new(Duration::from_millis(300), 9).head, Duration::from_millis(300));
    }

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
