//! Three processes of etcd on loopback, as Debian's package `etcd-server` has it: every write is synced by a quorum before
//! it is answered. Callers put 16 bytes at keys of their own, at the leader.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::Client;
use tempfile::TempDir;

use crate::load::{Length, Row, load};
use crate::usage::Processes;

/// How long the cluster may take until it serves.
const START_WAIT: Duration = Duration::from_secs(30);

/// Before a cluster that does not serve yet is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How many callers share a connection.
const CALLERS_A_CONNECTION: usize = 64;

/// Runs a row on a cluster of its own.
pub(crate) async fn measure(callers: usize, length: Length) -> Result<Row, String> {
    let cluster = Cluster::start()?;
    let leader = cluster.leader().await?;
    let mut clients = Vec::new();
    for _ in 0..callers.div_ceil(CALLERS_A_CONNECTION) {
        clients.push(Client::connect([leader.as_str()], None).await.map_err(|error| error.to_string())?);
    }
    let processes = Processes::and(cluster.servers.iter().map(|server| server.0.id()));
    let row = load(callers, length, processes, |caller| {
        let client = clients[caller % clients.len()].kv_client();
        let key = format!("caller-{caller:08}");
        move || {
            let (mut client, key) = (client.clone(), key.clone());
            async move { client.put(key, [0x5a; 16], None).await.is_ok() }
        }
    });
    Ok(row.await)
}

struct Cluster {
    servers: Vec<Server>,
    /// Where clients reach them.
    addresses: Vec<String>,
    /// Goes when the servers have ended.
    _data: TempDir,
}

/// Ends with its handle.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // No harm where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    fn start() -> Result<Cluster, String> {
        let data = tempfile::Builder::new().prefix("etcd-").tempdir().map_err(|error| error.to_string())?;
        let [peers, clients] = [ports()?, ports()?];
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let all: Vec<String> = peers.iter().enumerate().map(|(nth, port)| format!("n{nth}={}", url(port))).collect();
        let mut servers = Vec::new();
        for (nth, (peer, client)) in peers.iter().zip(&clients).enumerate() {
            let directory = data.path().join(format!("n{nth}"));
            servers.push(server(nth, &url(peer), &url(client), &all.join(","), &directory)?);
        }
        Ok(Cluster { servers, addresses: clients.iter().map(url).collect(), _data: data })
    }

    /// Waits for the leader. The address of it.
    async fn leader(&self) -> Result<String, String> {
        let begun = Instant::now();
        loop {
            for address in &self.addresses {
                if let Ok(mut client) = Client::connect([address], None).await
                    && let Ok(status) = client.status().await
                    && status.leader() != 0
                    && status.header().is_some_and(|header| header.member_id() == status.leader())
                {
                    return Ok(address.clone());
                }
            }
            if begun.elapsed() > START_WAIT {
                return Err(format!("etcd has no leader after {} s", START_WAIT.as_secs()));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

fn server(nth: usize, peer: &str, client: &str, all: &str, directory: &Path) -> Result<Server, String> {
    let command = Command::new("etcd")
        .args(["--name", &format!("n{nth}"), "--initial-cluster", all, "--initial-cluster-state", "new"])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--logger", "zap", "--log-level", "error", "--data-dir"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    command.map(Server).map_err(|error| format!("etcd cannot be run ({error}): `sudo apt-get install etcd-server`"))
}

/// Three that nobody listens at.
fn ports() -> Result<Vec<u16>, String> {
    // All at once: else one could be given twice.
    let taken: Result<Vec<TcpListener>, _> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let ports = taken.and_then(|all| all.iter().map(|one| one.local_addr().map(|address| address.port())).collect());
    ports.map_err(|error: std::io::Error| error.to_string())
}
