use futures_util::future;
use tokio::sync::broadcast;

use super::*;

/// A medium in memory: everybody hears everybody.
struct Air(broadcast::Sender<Bytes>);

impl Air {
    fn new() -> Arc<Air> {
        Arc::new(Air(broadcast::Sender::new(1_024)))
    }
}

impl Medium for Air {
    fn connect(&self, _: &Name) -> BoxFuture<'_, Result<Link, String>> {
        let link = Link { sender: Box::new(Mouth(self.0.clone())), receiver: Box::new(Ear(self.0.subscribe())) };
        Box::pin(async { Ok(link) })
    }
}

struct Mouth(broadcast::Sender<Bytes>);

impl LinkSender for Mouth {
    fn send(&mut self, batch: Vec<(Option<Name>, Bytes)>) -> BoxFuture<'_, Result<(), String>> {
        for (_, bytes) in batch {
            // An error says that nobody listens.
            let _ = self.0.send(bytes);
        }
        Box::pin(async { Ok(()) })
    }

    fn beat(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

struct Ear(broadcast::Receiver<Bytes>);

impl LinkReceiver for Ear {
    fn recv(&mut self) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async { self.0.recv().await.map_err(|error| error.to_string()) })
    }
}

fn signer() -> Signer {
    Signer::new(&[7; 32], "a room")
}

#[tokio::test(start_paused = true)]
async fn of_two_that_come_together_one_goes_on() {
    for apart in [0, 1, 100, 200, 240, 260, 400, 490, 510, 600] {
        let (air, stations) = (Air::new(), [Stations::default(), Stations::default()]);
        let come = |nth: usize, after| {
            let (air, station) = (air.clone(), &stations[nth]);
            async move {
                sleep(Duration::from_millis(after)).await;
                station.attach(air, signer(), "a".into()).await
            }
        };
        let (one, other) = future::join(come(0, 0), come(1, apart)).await;
        assert_eq!([&one, &other].iter().filter(|came| came.is_ok()).count(), 1, "{apart} ms apart");
        let refused = one.err().or(other.err()).expect("one of them is refused");
        assert!(matches!(refused, ChannelError::NameTaken { .. }), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_claim_that_is_sent_again_keeps_nobody_out() {
    let air = Air::new();
    let mut ear = air.0.subscribe();
    let first = Stations::default();
    first.attach(air.clone(), signer(), "a".into()).await.expect("nobody has the name");
    first.close().await;
    let claim = ear.recv().await.expect("it claimed its name");
    // Its life is as likely to be the smaller one as not.
    for _ in 0..16 {
        let stations = Stations::default();
        let again = async {
            loop {
                let _ = air.0.send(claim.clone());
                sleep(Duration::from_millis(10)).await;
            }
        };
        let attached = tokio::select! {
            biased;
            attached = stations.attach(air.clone(), signer(), "a".into()) => attached,
            () = again => unreachable!("it goes on for ever"),
        };
        attached.expect("the one that claimed is gone");
        stations.close().await;
    }
}

#[test]
fn who_forges_many_things_does_not_fill_the_log() {
    let mut state = State::default();
    let begun = Instant::now();
    let told: Vec<_> = (0..2_000)
        .filter_map(|n| state.refuse(&format!("{n} is not signed"), begun + Duration::from_millis(n * 10)))
        .collect();
    assert_eq!(told, [0, 999]);
    assert_eq!((state.refused, state.refusal.as_deref()), (2_000, Some("1999 is not signed")));
}
