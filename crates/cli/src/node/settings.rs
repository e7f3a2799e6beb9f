//! What one node is told, by flags and by a file; flags win.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::arguments::duration;
use crate::exit::Refusal;

/// The file that is read unless another is named.
const FILE: &str = "conflux.toml";

/// The most bytes of such a file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Options of `node`, as they stand on the command line.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NodeArguments {
    /// The node's id: any name that no other node of the cluster has
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The directory for the log, the snapshots and the identity; without one, a restart begins as a new node
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where other nodes reach this one: tcp://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) listen: Option<String>,
    /// What other nodes are told to dial, where that is not the address listened at
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
    /// Nodes to dial; this one may be among them
    #[arg(long, value_name = "ID=HOST:PORT,...", value_delimiter = ',', value_parser = peer)]
    pub(crate) peers: Vec<(String, String)>,
    /// How many nodes found the cluster [those named by --peers, and this one]
    #[arg(long, value_name = "N")]
    pub(crate) cluster_size: Option<usize>,
    /// Where commands and browsers reach this node [nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) http: Option<String>,
    /// Who may do what over HTTP: a file of lines, ROLE TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// This node's certificate, whose name is its id
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The authority that signs the certificates of all nodes
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Listen elsewhere than on this machine without certificates: anybody who reaches it may then command the cluster
    #[arg(long)]
    pub(crate) insecure: bool,
    /// The data directory was moved or copied here on purpose: join as a new node with what it holds
    #[arg(long)]
    pub(crate) moved: bool,
    /// The shortest silence of a leader before another takes over [300ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) election_timeout_min: Option<Duration>,
    /// The longest such silence [500ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) election_timeout_max: Option<Duration>,
    /// How often a leader is heard of [50ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) heartbeat_interval: Option<Duration>,
    /// How long a perform is tried before it is given up [10s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// A file with the same options, as in: id = "a" [conflux.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Say what would be run, and whether it can be, without running it
    #[arg(long)]
    pub(crate) check: bool,
}

/// The same in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    app: Option<PathBuf>,
    id: Option<String>,
    data: Option<PathBuf>,
    listen: Option<String>,
    advertise: Option<String>,
    #[serde(default)]
    peers: BTreeMap<String, String>,
    cluster_size: Option<usize>,
    http: Option<String>,
    token_file: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    #[serde(default)]
    insecure: bool,
    election_timeout_min: Option<Span>,
    election_timeout_max: Option<Span>,
    heartbeat_interval: Option<Span>,
    deadline: Option<Span>,
}

/// A time, written as on the command line.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        duration(&text).map(Span).map_err(|allowed| format!("{text:?} is no time: {allowed}"))
    }
}

/// What a node is told in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// The container, where that is a file.
    pub(crate) app: Option<PathBuf>,
    pub(crate) id: String,
    pub(crate) data: Option<PathBuf>,
    /// `HOST:PORT`.
    pub(crate) listen: String,
    pub(crate) advertise: Option<String>,
    /// Without this node.
    pub(crate) peers: BTreeMap<String, String>,
    pub(crate) founders: Founders,
    pub(crate) http: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) tls: Option<Tls>,
    pub(crate) insecure: bool,
    pub(crate) moved: bool,
    pub(crate) election_timeout_min: Option<Duration>,
    pub(crate) election_timeout_max: Option<Duration>,
    pub(crate) heartbeat_interval: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
}

/// Who founds the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Founders {
    Size(usize),
    Named(Vec<String>),
}

/// The files of a node's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

impl Settings {
    /// Puts flags and file together. `app` is the container's file, if one was named.
    pub(crate) fn of(app: Option<PathBuf>, arguments: NodeArguments) -> Result<Settings, Refusal> {
        let (path, file) = match &arguments.config {
            Some(path) => (Some(path.clone()), File::read(path)?),
            None if Path::new(FILE).exists() => (Some(FILE.into()), File::read(Path::new(FILE))?),
            None => (None, File::default()),
        };
        merge(app, arguments, path, file)
    }
}

impl File {
    fn read(path: &Path) -> Result<File, Refusal> {
        let of_file = |error| Refusal::of_file(path, &error);
        let bytes = std::fs::metadata(path).map_err(of_file)?.len();
        if bytes > FILE_BYTES_MAX {
            let told = format!("{} has {bytes} bytes, and at most {FILE_BYTES_MAX} are read", path.display());
            return Err(Refusal::new(told));
        }
        let text = std::fs::read_to_string(path).map_err(of_file)?;
        let mut file = File::parse(&text).map_err(|why| Refusal::new(format!("{}: {why}", path.display())))?;
        // Paths in a file are meant from where the file is.
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let paths = [
            &mut file.app,
            &mut file.data,
            &mut file.token_file,
            &mut file.tls_cert,
            &mut file.tls_key,
            &mut file.tls_ca,
        ];
        for path in paths.into_iter().flatten() {
            *path = base.join(&path);
        }
        Ok(file)
    }

    fn parse(text: &str) -> Result<File, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let what = error.message();
            line.map_or_else(|| what.to_owned(), |line| format!("line {line}: {what}"))
        })
    }
}

fn merge(
    app: Option<PathBuf>,
    arguments: NodeArguments,
    path: Option<PathBuf>,
    file: File,
) -> Result<Settings, Refusal> {
    let missing = |option: &str, what: &str| Refusal::new(format!("--{option} is not given: {what}"));
    let id = arguments.id.or(file.id).ok_or_else(|| missing("id", "name this node, as in --id a"))?;
    let mut peers: BTreeMap<String, String> = file.peers;
    // Named on the command line, they are all that is meant.
    if !arguments.peers.is_empty() {
        peers.clear();
    }
    for (name, address) in arguments.peers {
        if peers.insert(name.clone(), address).is_some() {
            return Err(Refusal::new(format!("--peers names {name:?} twice")));
        }
    }
    let own = peers.remove(&id);
    let listen = match arguments.listen.or(file.listen) {
        Some(url) => address_of(&url)?,
        // One list of peers serves all nodes.
        None => own.ok_or_else(|| missing("listen", "say where others reach this node, as in tcp://127.0.0.1:7001"))?,
    };
    let size = arguments.cluster_size.or(file.cluster_size);
    let founders = match size {
        Some(size) => Founders::Size(size),
        None if peers.is_empty() => {
            let how = "name the other nodes by --peers, or say --cluster-size 1 for a node of its own";
            return Err(Refusal::new(format!("nobody else is named to found a cluster with: {how}")));
        }
        None => Founders::Named(peers.keys().chain([&id]).cloned().collect()),
    };
    let tls = match (
        arguments.tls_cert.or(file.tls_cert),
        arguments.tls_key.or(file.tls_key),
        arguments.tls_ca.or(file.tls_ca),
    ) {
        (Some(cert), Some(key), Some(ca)) => Some(Tls { cert, key, ca }),
        (None, None, None) => None,
        (cert, key, ca) => {
            let parts = [("tls-cert", cert), ("tls-key", key), ("tls-ca", ca)];
            let lacking: Vec<_> = parts.iter().filter(|(_, part)| part.is_none()).map(|(name, _)| *name).collect();
            let lacking = lacking.join(", --");
            return Err(Refusal::new(format!(
                "a certificate goes with its key and its authority: --{lacking} is missing"
            )));
        }
    };
    Ok(Settings {
        file: path,
        app: app.or(file.app),
        id,
        data: arguments.data.or(file.data),
        listen,
        advertise: arguments.advertise.or(file.advertise),
        peers,
        founders,
        http: arguments.http.or(file.http),
        token_file: arguments.token_file.or(file.token_file),
        tls,
        insecure: arguments.insecure || file.insecure,
        moved: arguments.moved,
        election_timeout_min: arguments.election_timeout_min.or(file.election_timeout_min.map(|span| span.0)),
        election_timeout_max: arguments.election_timeout_max.or(file.election_timeout_max.map(|span| span.0)),
        heartbeat_interval: arguments.heartbeat_interval.or(file.heartbeat_interval.map(|span| span.0)),
        deadline: arguments.deadline.or(file.deadline.map(|span| span.0)),
    })
}

/// `tcp://127.0.0.1:7001`, or the same without the scheme.
fn address_of(url: &str) -> Result<String, Refusal> {
    match url.split_once("://") {
        None => Ok(url.to_owned()),
        Some(("tcp", address)) => Ok(address.trim_end_matches('/').to_owned()),
        Some((scheme, _)) => Err(Refusal::new(format!("--listen takes tcp://HOST:PORT, but {scheme}:// came"))),
    }
}

fn peer(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, address)) if !name.is_empty() && address.contains(':') => {
            Ok((name.trim().to_owned(), address.trim().to_owned()))
        }
        _ => Err("peers are written as b=127.0.0.1:7002,c=127.0.0.1:7003".to_owned()),
    }
}

impl fmt::Display for Founders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Founders::Size(size) => write!(f, "the first {size} that meet"),
            Founders::Named(names) => {
                let mut names = names.clone();
                names.sort();
                f.write_str(&names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(list: &[&str]) -> NodeArguments {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: NodeArguments,
        }
        let line = ["node"].iter().chain(list);
        <Line as clap::Parser>::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).arguments
    }

    fn merged(list: &[&str], file: &str) -> Result<Settings, String> {
        let file = File::parse(file)?;
        merge(None, flags(list), None, file).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn flags_win_over_the_file_and_one_list_of_peers_serves_all() {
        let file = "id = \"a\"\ndata = \"./a\"\nheartbeat-interval = \"20ms\"\n\
                    [peers]\na = \"127.0.0.1:7001\"\nb = \"127.0.0.1:7002\"\nc = \"127.0.0.1:7003\"\n";
        let settings = merged(&["--id", "b", "--deadline", "3s"], file).expect("it is complete");
        assert_eq!((&*settings.id, &*settings.listen), ("b", "127.0.0.1:7002"));
        assert_eq!(settings.peers.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(settings.founders.to_string(), "a, b, c");
        assert_eq!(settings.heartbeat_interval, Some(Duration::from_millis(20)));
        assert_eq!(settings.deadline, Some(Duration::from_secs(3)));
        let named = merged(&["--peers", "x=10.0.0.1:1,y=10.0.0.2:1", "--listen", "tcp://0.0.0.0:9"], file);
        let named = named.expect("it is complete");
        assert_eq!(named.founders.to_string(), "a, x, y");
        assert_eq!(named.listen, "0.0.0.0:9");
        let sized = merged(&["--cluster-size", "1"], file).expect("it is complete");
        assert_eq!(sized.founders, Founders::Size(1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |list: &[&str], file: &str| merged(list, file).expect_err("it is wrong");
        assert_eq!(error(&[], ""), "--id is not given: name this node, as in --id a");
        assert!(error(&["--id", "a"], "").starts_with("--listen is not given"));
        assert!(error(&["--id", "a", "--listen", "udp://x:1"], "").contains("udp://"));
        assert!(error(&["--id", "a", "--listen", "x:1"], "").contains("--cluster-size 1"));
        assert_eq!(error(&["--id", "a", "--peers", "b=x:1,b=y:1"], ""), "--peers names \"b\" twice");
        let half = error(&["--id", "a", "--listen", "x:1", "--cluster-size", "1", "--tls-key", "k"], "");
        assert_eq!(half, "a certificate goes with its key and its authority: --tls-cert, --tls-ca is missing");
        assert!(error(&[], "id = \"a\"\nidd = \"b\"\n").starts_with("line 2: unknown field `idd`"));
        assert!(error(&[], "deadline = \"5h\"").contains("\"5h\" is no time"));
        assert!(error(&[], "id = 7").starts_with("line 1: "));
        assert!(peer("b").is_err() && peer("=x:1").is_err() && peer("b=x").is_err());
    }
}
