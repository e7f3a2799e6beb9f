//! A perform is followed through the nodes by its request id.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::{append, open, serving};
use conflux::MemoryChannel;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<&'static str, String>;

/// Keeps what is said of performs, in order: the name, and the fields, those of the span around it included.
#[derive(Clone, Default)]
struct Recorder {
    said: Arc<Mutex<Vec<(String, Fields)>>>,
    spans: Arc<Mutex<BTreeMap<u64, Fields>>>,
    entered: Arc<Mutex<Vec<u64>>>,
    next: Arc<AtomicU64>,
}

struct Reading<'a>(&'a mut Fields);

impl Visit for Reading<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.into());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "conflux::perform"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        attributes.record(&mut Reading(&mut fields));
        self.said.lock().unwrap().push((attributes.metadata().name().into(), fields.clone()));
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.spans.lock().unwrap().insert(id, fields);
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        // One test, one thread: what is entered is this event's.
        if let Some(span) = self.entered.lock().unwrap().last() {
            fields.extend(self.spans.lock().unwrap()[span].clone());
        }
        event.record(&mut Reading(&mut fields));
        let name = fields.remove("message").expect("an event says what it is");
        self.said.lock().unwrap().push((name, fields));
    }

    fn enter(&self, span: &Id) {
        self.entered.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.entered.lock().unwrap().pop();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn one_id_goes_through_all_of_them() {
    let recorder = Recorder::default();
    let _here = tracing::subscriber::set_default(recorder.clone());
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    let leader = nodes[0].status().leader.expect("one leads");
    let origin = nodes.iter().find(|node| *node.id() != leader).expect("two follow");
    for id in [None, Some("order-17")] {
        let perform = origin.perform(append("one"));
        let perform = match id {
            Some(id) => perform.request_id(id),
            None => perform,
        };
        let started = perform.start();
        let request_id = started.request_id().expect("it has its place").to_string();
        assert!(id.is_none_or(|id| id == request_id));
        let done = started.await.expect("they serve");
        for node in &nodes {
            node.linearizable_state().await.expect("they serve");
        }

        let said = recorder.said.lock().unwrap();
        let of_it: Vec<_> = said.iter().filter(|(_, fields)| fields.get("request_id") == Some(&request_id)).collect();
        let at = |name: &str, node: &str| {
            let found = of_it.iter().position(|(said, fields)| said == name && fields["node"] == node);
            found.unwrap_or_else(|| panic!("{name} at {node} is not among {of_it:#?}"))
        };
        let way = [
            at("perform", origin.id()),
            at("sent", origin.id()),
            at("decide", &leader),
            at("through", &leader),
            at("answered", origin.id()),
        ];
        assert!(way[..3].is_sorted() && way[2] < way[3] && way[2] < way[4], "{of_it:#?}");
        for node in &nodes {
            let applied = &of_it[at("applied", node.id())].1;
            assert_eq!((&applied["verdict"], &applied["index"]), (&"action".to_owned(), &done.index.to_string()));
        }
        assert_eq!(of_it[way[1]].1["leader"], *leader);
        let decided = &of_it[way[2]].1;
        assert!(decided["term"].parse::<u64>().is_ok() && decided["batch"].parse::<u64>().is_ok());
        assert_eq!((&*decided["verdict"], &*of_it[way[4]].1["outcome"]), ("action", "committed"));
    }
    for node in nodes {
        node.close().await;
    }
}
