//! What one node is told, by flags and by a file; flags win.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::exit::Refusal;
use crate::values::duration;

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
    /// Talk by a server that all nodes dial: redis://HOST/?channel=NAME, or ws://HOST:PORT/ROOM of `conflux relay`
    #[arg(long, value_name = "URL", conflicts_with_all = ["listen", "advertise", "peers"])]
    pub(crate) channel: Option<String>,
    /// The secret by which nodes know each other there: `openssl rand -hex 32` makes one
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_key_file: Option<PathBuf>,
    /// What the relay wants to see before it lets a node into the room
    #[arg(long, value_name = "FILE")]
    pub(crate) room_token_file: Option<PathBuf>,
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
    /// The authority that signs the certificates of all nodes; with wss://, the relay's [those of the web]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Go beyond this machine without certificates or a cluster key: anybody who gets there may then command the cluster
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
    channel: Option<String>,
    cluster_key_file: Option<PathBuf>,
    room_token_file: Option<PathBuf>,
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
    pub(crate) medium: Medium,
    pub(crate) founders: Founders,
    pub(crate) http: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    /// On purpose without certificates or a key.
    pub(crate) insecure: bool,
    pub(crate) moved: bool,
    pub(crate) election_timeout_min: Option<Duration>,
    pub(crate) election_timeout_max: Option<Duration>,
    pub(crate) heartbeat_interval: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
}

/// By what the nodes talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// They dial each other.
    Tcp {
        /// `HOST:PORT`.
        listen: String,
        advertise: Option<String>,
        /// Without this node.
        peers: BTreeMap<String, String>,
        tls: Option<Tls>,
    },
    /// A channel of a Redis server.
    Redis { url: String, key_file: Option<PathBuf> },
    /// A room of a relay.
    Relay { url: String, key_file: Option<PathBuf>, token_file: Option<PathBuf>, ca: Option<PathBuf> },
}

impl Medium {
    /// The other nodes that are dialed, and where.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (&String, &String)> {
        let peers = match self {
            Medium::Tcp { peers, .. } => Some(peers),
            Medium::Redis { .. } | Medium::Relay { .. } => None,
        };
        peers.into_iter().flatten()
    }
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
            Some(path) => (Some(path.clone()), File::read(path).map_err(|error| error.of_option("--config"))?),
            None if Path::new(FILE).exists() => (Some(FILE.into()), File::read(Path::new(FILE))?),
            None => (None, File::default()),
        };
        merge(app, arguments, path, file)
    }
}

/// What a node is told by the text of a file alone, in words: for fuzzing.
pub(crate) fn of_text(text: &str) -> Result<String, String> {
    let file = File::parse(text)?;
    let settings = merge(None, NodeArguments::default(), None, file).map_err(|refusal| refusal.to_string())?;
    Ok(format!("{settings:?}"))
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
            &mut file.cluster_key_file,
            &mut file.room_token_file,
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
            let before =
                |span: std::ops::Range<usize>| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
            let line = error.span().map(|span| before(span) + 1);
            let what = plain(error.message());
            line.map_or_else(|| what.clone(), |line| format!("line {line}: {what}"))
        })
    }
}

/// What is wrong with a value, without the types of the program.
fn plain(message: &str) -> String {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((came, expected)) = rest.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let wanted = match expected {
        "usize" => "a whole number",
        "a string" | "path string" => "a text in quotes",
        "a boolean" => "true or false",
        "a map" => "a table",
        expected => expected,
    };
    format!("{wanted} is wanted, and {} came", came.replace('`', ""))
}

fn merge(
    app: Option<PathBuf>,
    arguments: NodeArguments,
    path: Option<PathBuf>,
    file: File,
) -> Result<Settings, Refusal> {
    let id = arguments.id.clone().or_else(|| file.id.clone());
    let id = id.ok_or_else(|| missing("id", "name this node, as in --id a"))?;
    let size = arguments.cluster_size.or(file.cluster_size);
    let (medium, named) = medium(&id, &arguments, &file)?;
    let founders = match (size, named) {
        (Some(size), _) => Founders::Size(size),
        (None, Some(named)) if named.len() > 1 => Founders::Named(named),
        (None, Some(_)) => {
            let how = "name the other nodes by --peers, or say --cluster-size 1 for a node of its own";
            return Err(Refusal::new(format!("nobody else is named to found a cluster with: {how}")));
        }
        (None, None) => {
            return Err(missing("cluster-size", "say how many nodes found the cluster, as in --cluster-size 3"));
        }
    };
    let data = arguments.data.or(file.data);
    let http = arguments.http.or(file.http);
    let token_file = arguments.token_file.or(file.token_file);
    if token_file.is_some() && http.is_none() {
        let told = "--token-file says who may do what over HTTP, and none is served: say where by --http HOST:PORT";
        return Err(Refusal::new(told));
    }
    if arguments.moved && data.is_none() {
        return Err(Refusal::new("--moved is about a data directory, and none is named: say which by --data DIR"));
    }
    Ok(Settings {
        file: path,
        app: app.or(file.app),
        id,
        data,
        medium,
        founders,
        http,
        token_file,
        insecure: arguments.insecure || file.insecure,
        moved: arguments.moved,
        election_timeout_min: arguments.election_timeout_min.or(file.election_timeout_min.map(|span| span.0)),
        election_timeout_max: arguments.election_timeout_max.or(file.election_timeout_max.map(|span| span.0)),
        heartbeat_interval: arguments.heartbeat_interval.or(file.heartbeat_interval.map(|span| span.0)),
        deadline: arguments.deadline.or(file.deadline.map(|span| span.0)),
    })
}

/// By what the nodes talk, and who is named to be one of them, this one included.
fn medium(id: &str, arguments: &NodeArguments, file: &File) -> Result<(Medium, Option<Vec<String>>), Refusal> {
    let dials = arguments.listen.is_some() || arguments.advertise.is_some() || !arguments.peers.is_empty();
    let of_file = if dials { None } else { file.channel.as_ref() };
    if of_file.is_some() && arguments.channel.is_none() {
        let both = [
            ("listen", file.listen.is_some()),
            ("advertise", file.advertise.is_some()),
            ("peers", !file.peers.is_empty()),
        ];
        if let Some((name, _)) = both.iter().find(|(_, given)| *given) {
            let told = "either all nodes dial the channel, or they dial each other";
            return Err(Refusal::new(format!("the file has both channel and {name}: {told}")));
        }
    }
    match arguments.channel.as_ref().or(of_file) {
        Some(url) => Ok((shared(url, arguments, file)?, None)),
        None => tcp(id, arguments, file).map(|(medium, named)| (medium, Some(named))),
    }
}

fn shared(url: &str, arguments: &NodeArguments, file: &File) -> Result<Medium, Refusal> {
    let or = |flag: &Option<PathBuf>, file: &Option<PathBuf>| flag.clone().or_else(|| file.clone());
    let key_file = or(&arguments.cluster_key_file, &file.cluster_key_file);
    let token_file = or(&arguments.room_token_file, &file.room_token_file);
    let ca = or(&arguments.tls_ca, &file.tls_ca);
    if or(&arguments.tls_cert, &file.tls_cert).is_some() || or(&arguments.tls_key, &file.tls_key).is_some() {
        let told = "--tls-cert and --tls-key are for nodes that dial each other; on a channel that is shared, nodes know each \
                    other by --cluster-key-file";
        return Err(Refusal::new(told));
    }
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("redis") if token_file.is_some() => {
            Err(Refusal::new("--room-token-file is for a relay; Redis takes redis://USER:PASSWORD@HOST/?channel=NAME"))
        }
        Some("redis") if ca.is_some() => Err(Refusal::new("--tls-ca is for wss://; redis:// goes without TLS")),
        Some("redis") => Ok(Medium::Redis { url: url.into(), key_file }),
        Some("ws") if ca.is_some() => Err(Refusal::new("--tls-ca is for wss://; ws:// goes without TLS")),
        Some("ws" | "wss") => Ok(Medium::Relay { url: url.into(), key_file, token_file, ca }),
        Some("tcp") => Err(Refusal::new("nodes that dial each other take --listen tcp://HOST:PORT and --peers")),
        // Not as it came: there may be a password in it.
        _ => Err(Refusal::new(
            "--channel takes redis://HOST/?channel=NAME, ws://HOST:PORT/ROOM or wss://HOST/ROOM, and it is none of these",
        )),
    }
}

fn tcp(id: &str, arguments: &NodeArguments, file: &File) -> Result<(Medium, Vec<String>), Refusal> {
    let of_channel = [
        ("cluster-key-file", arguments.cluster_key_file.as_ref().or(file.cluster_key_file.as_ref())),
        ("room-token-file", arguments.room_token_file.as_ref().or(file.room_token_file.as_ref())),
    ];
    if let Some((name, _)) = of_channel.iter().find(|(_, given)| given.is_some()) {
        let told =
            "goes with --channel; nodes that dial each other know each other by --tls-cert, --tls-key and --tls-ca";
        return Err(Refusal::new(format!("--{name} {told}")));
    }
    let mut peers: BTreeMap<String, String> = BTreeMap::new();
    // Named on the command line, they are all that is meant.
    if arguments.peers.is_empty() {
        peers.clone_from(&file.peers);
    }
    for (name, address) in &arguments.peers {
        if peers.insert(name.clone(), address.clone()).is_some() {
            return Err(Refusal::new(format!("--peers names {name:?} twice")));
        }
    }
    let own = peers.remove(id);
    let listen = match arguments.listen.as_ref().or(file.listen.as_ref()) {
        Some(url) => address_of(url)?,
        // One list of peers serves all nodes.
        None => own.ok_or_else(|| {
            let what = "say where others reach this node, as in tcp://127.0.0.1:7001, or give --channel URL";
            missing("listen", what)
        })?,
    };
    let or = |flag: &Option<PathBuf>, file: &Option<PathBuf>| flag.clone().or_else(|| file.clone());
    let parts = (
        or(&arguments.tls_cert, &file.tls_cert),
        or(&arguments.tls_key, &file.tls_key),
        or(&arguments.tls_ca, &file.tls_ca),
    );
    let tls = match parts {
        (Some(cert), Some(key), Some(ca)) => Some(Tls { cert, key, ca }),
        (None, None, None) => None,
        (cert, key, ca) => {
            let parts = [("tls-cert", cert), ("tls-key", key), ("tls-ca", ca)];
            let lacking: Vec<_> = parts.iter().filter(|(_, part)| part.is_none()).map(|(name, _)| *name).collect();
            let are = if lacking.len() == 1 { "is" } else { "are" };
            let lacking = lacking.join(" and --");
            return Err(Refusal::new(format!(
                "a certificate goes with its key and its authority: --{lacking} {are} missing"
            )));
        }
    };
    let named = peers.keys().map(String::as_str).chain([id]).map(str::to_owned).collect();
    let advertise = arguments.advertise.clone().or_else(|| file.advertise.clone());
    Ok((Medium::Tcp { listen, advertise, peers, tls }, named))
}

fn missing(option: &str, what: &str) -> Refusal {
    Refusal::new(format!("--{option} is not given: {what}"))
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
        assert_eq!(settings.id, "b");
        let Medium::Tcp { listen, peers, .. } = &settings.medium else { panic!("nobody named a channel") };
        assert_eq!(listen, "127.0.0.1:7002");
        assert_eq!(peers.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(settings.founders.to_string(), "a, b, c");
        assert_eq!(settings.heartbeat_interval, Some(Duration::from_millis(20)));
        assert_eq!(settings.deadline, Some(Duration::from_secs(3)));
        let named = merged(&["--peers", "x=10.0.0.1:1,y=10.0.0.2:1", "--listen", "tcp://0.0.0.0:9"], file);
        let named = named.expect("it is complete");
        assert_eq!(named.founders.to_string(), "a, x, y");
        assert!(matches!(&named.medium, Medium::Tcp { listen, .. } if listen == "0.0.0.0:9"));
        let sized = merged(&["--cluster-size", "1"], file).expect("it is complete");
        assert_eq!(sized.founders, Founders::Size(1));
    }

    #[test]
    fn a_channel_stands_in_place_of_addresses() {
        let file = "id = \"a\"\nchannel = \"redis://h/?channel=words\"\ncluster-key-file = \"k\"\ncluster-size = 3\n";
        let settings = merged(&[], file).expect("it is complete");
        let redis = Medium::Redis { url: "redis://h/?channel=words".into(), key_file: Some("k".into()) };
        assert_eq!((settings.medium, settings.founders), (redis, Founders::Size(3)));
        let list =
            ["--id", "a", "--channel", "wss://h/r", "--cluster-size", "3", "--room-token-file", "t", "--tls-ca", "c"];
        let settings = merged(&list, "[peers]\nb = \"h:1\"\n").expect("flags win");
        let (token_file, ca) = (Some("t".into()), Some("c".into()));
        assert_eq!(settings.medium, Medium::Relay { url: "wss://h/r".into(), key_file: None, token_file, ca });
        let settings = merged(&["--listen", "h:1", "--peers", "b=h:2"], &file.replace("cluster-key-file", "data"));
        assert!(matches!(settings.expect("flags win").medium, Medium::Tcp { .. }));
    }

    #[test]
    fn what_is_wrong_with_a_channel_is_named() {
        let error =
            |list: &[&str], file: &str| merged(&[&["--id", "a"], list].concat(), file).expect_err("it is wrong");
        assert!(error(&["--channel", "ws://h:1/r"], "").starts_with("--cluster-size is not given"));
        let both = error(&["--cluster-size", "3"], "channel = \"ws://h:1/r\"\n[peers]\nb = \"h:1\"\n");
        assert!(both.starts_with("the file has both channel and peers"), "{both}");
        assert!(error(&["--channel", "tcp://h:1"], "").contains("--listen"));
        let bare = error(&["--channel", "redis:secret"], "");
        assert!(bare.contains("redis://HOST/?channel=NAME") && !bare.contains("secret"), "{bare}");
        assert!(error(&["--channel", "redis://h/?channel=w", "--room-token-file", "t"], "").contains("for a relay"));
        assert!(error(&["--channel", "ws://h:1/r", "--tls-ca", "c"], "").contains("for wss://"));
        let cert = ["--channel", "ws://h:1/r", "--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"];
        assert!(error(&cert, "").contains("--cluster-key-file"));
        let key = error(&["--listen", "h:1", "--cluster-size", "1", "--cluster-key-file", "k"], "");
        assert!(key.starts_with("--cluster-key-file goes with --channel"), "{key}");
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
        assert_eq!(half, "a certificate goes with its key and its authority: --tls-cert and --tls-ca are missing");
        assert!(error(&[], "id = \"a\"\nidd = \"b\"\n").starts_with("line 2: unknown field `idd`"));
        assert!(error(&[], "deadline = \"5d\"").contains("\"5d\" is no time"));
        assert_eq!(error(&[], "id = 7"), "line 1: a text in quotes is wanted, and integer 7 came");
        let size = error(&[], "id = \"a\"\ncluster-size = \"x\"");
        assert_eq!(size, "line 2: a whole number is wanted, and string \"x\" came");
        let whole = ["--id", "a", "--listen", "x:1", "--cluster-size", "1"];
        assert!(error(&[&whole[..], &["--token-file", "t"]].concat(), "").contains("by --http HOST:PORT"));
        assert!(error(&whole, "token-file = \"t\"").contains("by --http HOST:PORT"));
        assert!(error(&[&whole[..], &["--moved"]].concat(), "").contains("by --data DIR"));
        assert!(merged(&[&whole[..], &["--moved"]].concat(), "data = \"d\"").is_ok());
        assert!(peer("b").is_err() && peer("=x:1").is_err() && peer("b=x").is_err());
    }
}
