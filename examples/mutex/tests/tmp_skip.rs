//! tmp
use conflux::*;
use serde::{Deserialize, Serialize};
#[derive(Clone, Serialize, Deserialize)]
enum M { Add(u64) }
#[derive(Debug, Serialize, Deserialize)]
struct A { n: u64, #[serde(skip)] hidden: u64 }
struct C;
impl Container for C {
    type State = u64; type Method = M; type Action = A; type Rejection = Never;
    fn initial(&self) -> u64 { 0 }
    fn decide(&self, _: &u64, M::Add(n): M, _: &Context<'_>) -> Result<Option<A>, Never> { Ok(Some(A { n, hidden: 7 })) }
    fn reduce(&self, s: &mut u64, a: &A, _: &Context<'_>) { *s += a.n + a.hidden }
}
#[tokio::test(flavor = "multi_thread")]
async fn skip() {
    let channel = MemoryChannel::new();
    let mut nodes = Vec::new();
    for id in ["a", "b", "c"] { nodes.push(Node::builder(C, id).cluster_size(3).channel(channel.clone()).open().await.unwrap()); }
    nodes[0].perform(M::Add(1)).await.unwrap();
    for node in &nodes { eprintln!("{} {:?} {:?}", node.id(), *node.linearizable_state().await.unwrap(), node.status().stopped); }
    // a chosen id that is in flight while there is no majority
    channel.partition(&[&["a"], &["b"], &["c"]]);
    let s = nodes[0].perform(M::Add(2)).request_id("x").start();
    eprintln!("id {:?}", s.request_id());
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    channel.heal();
    let o = nodes[1].outcome(&RequestId::Chosen("x".into())).await;
    eprintln!("asked: {:?}", o.map(|o| match o { Asked::Decided(_) => "decided", Asked::Undecided => "undecided", Asked::Forgotten => "forgotten" }));
    eprintln!("then: {:?}", s.await.map(|d| d.index));
}
