//! The contract of all channels, with an endpoint for each name.

use super::secured::Authority;
use super::*;
use crate::channel::contract;

/// The endpoints of all nodes, which know each other's addresses.
struct Network {
    options: Box<dyn Fn(&str) -> TcpOptions + Send + Sync>,
    /// Whether a node that comes again listens anew, as a new process does.
    afresh: bool,
    endpoints: tokio::sync::Mutex<BTreeMap<Name, TcpChannel>>,
}

impl Channel for Network {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        Box::pin(async move {
            let mut endpoints = self.endpoints.lock().await;
            if self.afresh
                && let Some(earlier) = endpoints.get(&name)
                && earlier.peers().is_empty()
            {
                endpoints.remove(&name);
            }
            let channel = match endpoints.get(&name) {
                Some(channel) => channel.clone(),
                None => TcpChannel::bind((self.options)(&name)).await?,
            };
            let attachment = channel.attach(name.clone()).await?;
            for (other, endpoint) in &*endpoints {
                if *other != name {
                    channel.set_peer(other, endpoint.local_address().to_string())?;
                    endpoint.set_peer(&name, channel.local_address().to_string())?;
                }
            }
            endpoints.insert(name, channel);
            Ok(attachment)
        })
    }
}

fn plain() -> Arc<dyn Channel> {
    Arc::new(Network { options: Box::new(|_| loopback()), afresh: false, endpoints: Default::default() })
}

fn secured() -> Arc<dyn Channel> {
    let authority = Authority::new();
    let options = move |name: &str| {
        // A name that cannot be a node's has no certificate either.
        let files = authority.files(if check_name(name).is_ok() { name } else { "nobody" });
        loopback().tls(files)
    };
    Arc::new(Network { options: Box::new(options), afresh: false, endpoints: Default::default() })
}

macro_rules! keep_the_contract {
    ($($check:ident)*) => {
        mod plain_keeps_the_contract {
            $(#[tokio::test]
            async fn $check() {
                super::contract::$check(async || super::plain()).await;
            })*
        }
        mod secured_keeps_the_contract {
            $(#[tokio::test]
            async fn $check() {
                super::contract::$check(async || super::secured()).await;
            })*
        }
    };
}

contract::each_check!(keep_the_contract);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract_on_many_threads() {
    contract::all(async || plain()).await;
    contract::all(async || secured()).await;
}

#[tokio::test]
async fn keeps_the_contract_when_nodes_come_back_elsewhere() {
    let fresh = async || {
        let options = Box::new(|_: &str| loopback());
        Arc::new(Network { options, afresh: true, endpoints: Default::default() }) as Arc<dyn Channel>
    };
    contract::reconnects(fresh).await;
    contract::closes(fresh).await;
}
