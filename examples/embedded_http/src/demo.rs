//! Two instances of the shop, what customers see, and what an operator does.

use std::error::Error;

use conflux::{MemoryChannel, Node};
use conflux_http::ServeError;
use conflux_http::client::{Client, ClientError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::flags::Flags;
use crate::shop;

/// An instance of the shop.
struct Instance {
    url: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Instance {
    async fn start(id: &str, channel: &MemoryChannel) -> Result<Instance, Box<dyn Error + Send + Sync>> {
        let node = Node::builder(Flags, id).cluster_size(2).channel(channel.clone()).open().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(shop::serve(listener, node, async { drop(stopped.await) }));
        Ok(Instance { url, stop, served })
    }

    /// Ends gracefully.
    async fn end(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        drop(self.stop);
        Ok(self.served.await??)
    }
}

/// Runs to its end in about a second.
pub(crate) async fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    let channel = MemoryChannel::new();
    let (first, second) = (Instance::start("shop-1", &channel).await?, Instance::start("shop-2", &channel).await?);
    let urls = [first.url.clone(), second.url.clone()];
    // The clients are plain ones, that wait.
    spawn_blocking(move || customers_and_operators(&urls)).await??;
    first.end().await?;
    second.end().await?;
    println!("both instances are closed");
    Ok(())
}

fn customers_and_operators([first, second]: &[String; 2]) -> Result<(), Box<dyn Error + Send + Sync>> {
    let seen = |instance: &str| {
        let visit =
            |customer| ureq::get(format!("{instance}/checkout/{customer}")).call()?.into_body().read_to_string();
        let visits = ["anna", "ben", "cleo", "dora"].map(|customer| Ok(format!("{customer} {}", visit(customer)?)));
        let visits: Result<Vec<String>, ureq::Error> = visits.into_iter().collect();
        visits.map(|visits| visits.join(", "))
    };
    let flags = Client::new([format!("{first}/flags")])?;
    let elsewhere = Client::new([format!("{second}/flags")])?;

    println!("at first: {}", seen(first)?);
    let done = flags.perform("set", vec![json!("new-checkout"), json!(50)], &Default::default())?;
    println!("an operator, by the first instance: {} at {}", done.action.unwrap_or_default(), done.index);
    // The second instance may hear of it a moment later; a linearizable read waits for that.
    let state = elsewhere.state(true)?;
    println!("the second instance holds {}", state.state);
    let (here, there) = (seen(first)?, seen(second)?);
    println!("for half of the customers: {here}");
    println!("the same at both instances: {}", here == there);

    match flags.perform("set", vec![json!("new-checkout"), json!(150)], &Default::default()) {
        Err(ClientError::Refused { refusal, .. }) => println!("a mistake is refused: {}", refusal.message),
        other => return Err(format!("150 of a hundred came to {other:?}").into()),
    }
    let said = ureq::post(format!("{second}/launch/new-checkout")).send_empty()?.into_body().read_to_string()?;
    println!("the shop's own route, at the second instance: {said}");
    println!("there: {}", seen(second)?);
    // A page of another site, in a browser on the operator's machine.
    let page = ureq::post(format!("{second}/launch/old-checkout")).header("origin", "http://elsewhere.example");
    let refused = page.config().http_status_as_error(false).build().send_empty()?;
    println!("a page of another site is refused: {}", refused.status() == 403);
    Ok(())
}
