//! `conflux node`: one node of a cluster, in a process of its own.

mod channel;
mod settings;
mod signals;

use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use conflux::channel::ChannelError;
use conflux::status::{NOTICES, Role, Status};
use conflux::{FileDisk, JsonNode, Node, NodeBuilder, OpenError};
use conflux_core::Container;
use conflux_http::{Access, Opening, Options, ServeError, Tokens};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::channel::NodeChannel;
use self::settings::Founders;
pub(crate) use self::settings::{NodeArguments, Settings, of_text};
use self::signals::{Signals, Told};
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::output::{say, tell};

/// How long a leader that is told to end waits for another one to lead.
const HAND_OVER_WAIT: Duration = Duration::from_secs(3);

/// How long a channel that cannot be reached at the start is left alone.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Says what would be run; everything that can be tried without running it is tried.
pub(crate) async fn check<F: Factory>(factory: F, settings: &Settings) -> Result<Exit, Refusal> {
    let container = factory.make()?;
    let _ = describe(container, settings)?;
    // What listens here is let go again at once.
    let channel = NodeChannel::open(settings).await?;
    let http = http(settings).await?;
    if let Some(data) = settings.data.as_deref().filter(|data| data.exists()) {
        // Reads all of it, so damage shows now.
        let disk = FileDisk::new(data).moved(settings.moved);
        let other = conflux::other_code(&factory.make()?, &settings.id, &disk).map_err(Refusal::in_flags)?;
        if let Some(halt) = other {
            return Err(other_code(&factory, settings, &halt));
        }
    }
    let Settings { id, founders, .. } = settings;
    if let Some(file) = &settings.file {
        say!("{} is read", file.display())?;
    }
    say!("{id} runs {}", factory.name())?;
    say!("founded by {founders}")?;
    say!("{channel}")?;
    for (name, address) in settings.medium.peers() {
        say!("dials {name} at {address}")?;
    }
    match &settings.data {
        Some(data) => say!("keeps its data in {}", data.display()),
        None => say!("keeps nothing: each start is a new node"),
    }?;
    match &http {
        Some((_, address, options)) => say!("serves http://{address}, {}", access(&options.access)),
        None => say!("serves no HTTP"),
    }?;
    channel.close().await;
    Ok(Exit::Good)
}

/// Runs a node until it is told to end, or cannot go on.
pub(crate) async fn run<F: Factory>(factory: F, settings: Settings) -> Result<Exit, Refusal> {
    let mut signals = Signals::listen().map_err(|error| Refusal::new(format!("signals cannot be heard: {error}")))?;
    let channel = NodeChannel::open(&settings).await?;
    let http = http(&settings).await?;
    // From the first moment: what is logged while it opens is in its first status.
    crate::log::status_is_told();
    // And whoever asks whether it is alive, or why it is not ready, is answered.
    let http = http.map(Http::serve);
    let Some(node) = open(&factory, &settings, &channel, http.as_ref(), &mut signals).await? else {
        tell!("{}: ends", settings.id);
        if let Some(http) = http {
            http.end().await;
        }
        channel.close().await;
        return Ok(Exit::Good);
    };

    let id = &settings.id;
    if let Some(file) = &settings.file {
        tell!("{id}: {} is read; flags win over it", file.display());
    }
    tell!("{id}: runs {}, {channel}", factory.name());
    if settings.data.is_none() {
        tell!("{id}: keeps nothing; each start is a new node (--data DIR keeps it)");
    }
    if let Some(http) = &http {
        http.opening.opened(Arc::new(node.clone()) as Arc<dyn JsonNode>);
        tell!("{id}: serves http://{}, {}", http.address, http.access);
    }

    let goes_on = {
        let mut watch = node.watch_status();
        let mut diary = Diary::default();
        loop {
            tokio::select! {
                biased;
                told = signals.next() => match told {
                    Told::End => break true,
                    Told::Reload => reload(id, &channel),
                },
                status = watch.next() => match status {
                    Some(status) => diary.tell(&status),
                    // It has said why.
                    None => break false,
                },
            }
        }
    };
    let closing = close(&node, &channel, http);
    if !goes_on {
        closing.await;
        return Ok(Exit::BadLines);
    }
    tell!("{id}: ends");
    let again = async { while signals.next().await != Told::End {} };
    tokio::select! {
        biased;
        () = closing => {}
        () = again => tell!("{id}: ends at once"),
    }
    Ok(Exit::Good)
}

/// Opens the node as soon as its channel can be reached: after a power failure, the server may come back after us. `None`
/// when it is told to end before.
async fn open<F: Factory>(
    factory: &F,
    settings: &Settings,
    channel: &NodeChannel,
    http: Option<&Http>,
    signals: &mut Signals,
) -> Result<Option<Node<F::Container>>, Refusal> {
    let id = &settings.id;
    let mut told = None;
    loop {
        let builder = channel.give(describe(factory.make()?, settings)?);
        // Reading all data, or reaching a server, may take longer than somebody waits who wants it to end.
        let mut opening = pin!(builder.open());
        let opened = loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Told::End => return Ok(None),
                    Told::Reload => reload(id, channel),
                },
                opened = &mut opening => break opened,
            }
        };
        let reason = match opened {
            Ok(node) => return Ok(Some(node)),
            Err(OpenError::Channel(ChannelError::Unreachable { reason })) => Some(reason),
            Err(OpenError::Stop(stop)) if stop.is_other_code() => return Err(other_code(factory, settings, &stop)),
            Err(error) => return Err(Refusal::in_flags(error)),
        };
        if reason != told {
            let why = format!("not connected yet, and it is tried again: {}", reason.as_deref().unwrap_or_default());
            tell!("{id}: {why}");
            if let Some(http) = http {
                http.opening.waits_for(why);
            }
            told = reason;
        }
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Told::End => return Ok(None),
                Told::Reload => reload(id, channel),
            },
            () = sleep(RECONNECT_PAUSE) => {}
        }
    }
}

/// The container is not what made the data: what has changed, and what goes on with it.
fn other_code<F: Factory>(factory: &F, settings: &Settings, told: &dyn std::fmt::Display) -> Refusal {
    let (id, name) = (&settings.id, factory.name());
    let Some(data) = settings.data.as_deref().map(Path::display) else { return Refusal::new(told) };
    let recover = match &settings.app {
        Some(app) => format!("conflux recover {}", app.display()),
        None => format!("{name} recover"),
    };
    Refusal::new(format!(
        "{name} is not what made the data in {data}: {told}. If it was changed on purpose, stop all nodes, and \
         `{recover} --id {id} --data {data} --changed --dry-run` says what it would make of them"
    ))
}

/// The node as the library takes it, but for its channel.
fn describe<C: Container>(container: C, settings: &Settings) -> Result<NodeBuilder<C>, Refusal> {
    let mut builder = Node::builder(container, &settings.id);
    builder = match &settings.founders {
        Founders::Size(size) => builder.cluster_size(*size),
        Founders::Named(names) => builder.founders(names.iter().cloned()),
    };
    if let Some(data) = &settings.data {
        builder = builder.disk(FileDisk::new(data).moved(settings.moved));
    }
    if settings.election_timeout_min.is_some() || settings.election_timeout_max.is_some() {
        let (min, max) = crate::ground::election_timeout(settings.election_timeout_min, settings.election_timeout_max);
        builder = builder.election_timeout(min, max);
    }
    if let Some(interval) = settings.heartbeat_interval {
        builder = builder.heartbeat_interval(interval);
    }
    if let Some(deadline) = settings.deadline {
        builder = builder.default_deadline(deadline);
    }
    Ok(builder)
}

/// The listener for HTTP, its address, and who may ask there.
async fn http(settings: &Settings) -> Result<Option<(TcpListener, SocketAddr, Options)>, Refusal> {
    let Some(wanted) = &settings.http else { return Ok(None) };
    let tokens = |path: &Path| {
        let loaded = Tokens::load(path).map(|tokens| Access::Tokens(Arc::new(tokens)));
        loaded.map_err(|error| Refusal::naming(path, &error).of_option("--token-file"))
    };
    let access = settings.token_file.as_deref().map_or(Ok(Access::Loopback), tokens)?;
    let refused = |error| Refusal::new(format!("--http {wanted:?} cannot be served: {error}"));
    let listener = TcpListener::bind(wanted.trim_start_matches("http://")).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    if matches!(access, Access::Loopback) && !address.ip().to_canonical().is_loopback() {
        return Err(Refusal::new(format!(
            "--http {wanted} can be reached from other machines, and no --token-file says who may: give one, or listen at \
             127.0.0.1"
        )));
    }
    Ok(Some((listener, address, Options { access, ..Options::default() })))
}

fn access(access: &Access) -> &'static str {
    match access {
        Access::Tokens(_) => "to those who carry a token",
        Access::Loopback | Access::Application => "to programs of this machine",
    }
}

fn reload(id: &str, channel: &NodeChannel) {
    match channel.reload_tls() {
        None => tell!("{id}: there are no certificates to read again"),
        Some(Ok(())) => tell!("{id}: the certificates were read again; new connections use them"),
        Some(Err(error)) => tell!("{id}: the certificates stay as they were: {error}"),
    }
}

/// HTTP, served from the start.
struct Http {
    address: SocketAddr,
    access: &'static str,
    /// The node, once it is open.
    opening: Opening,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Http {
    fn serve((listener, address, options): (TcpListener, SocketAddr, Options)) -> Http {
        let opening = Opening::new(&options);
        let (access, router) = (access(&options.access), opening.router());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let server = tokio::spawn(async move { conflux_http::serve(listener, router, &options, shutdown).await });
        Http { address, access, opening, stop, server }
    }

    /// Lets requests that are under way be answered.
    async fn end(self) {
        // The server may be gone.
        let _ = self.stop.send(());
        let _ = self.server.await;
    }
}

/// Hands leadership on, lets requests that are under way be answered, and leaves everything clean.
async fn close<C: Container>(node: &Node<C>, channel: &NodeChannel, http: Option<Http>) {
    let status = node.status();
    if status.role == Role::Leader && status.voters.len() > 1 {
        // Without this the others would wait out an election timeout first.
        let _ = timeout(HAND_OVER_WAIT, node.transfer_leadership(None)).await;
    }
    if let Some(http) = http {
        http.end().await;
    }
    node.close().await;
    channel.close().await;
}

/// What was said of the node last.
#[derive(Default)]
struct Diary {
    position: String,
    voters: String,
    notice: Option<String>,
    stopped: bool,
}

impl Diary {
    /// Says what is new, a line each.
    fn tell(&mut self, status: &Status) {
        let id = &status.id;
        if let Some(why) = &status.stopped {
            if !std::mem::replace(&mut self.stopped, true) {
                tell!("{id}: stops: {why}");
            }
            return;
        }
        let position = match &status.leader {
            Some(leader) if status.role != Role::Leader => format!("{}, {leader} leads", status.role),
            _ => status.role.to_string(),
        };
        if position != self.position {
            tell!("{id}: {position}, term {}", status.term);
            self.position = position;
        }
        // While a node is replaced, both of its name vote.
        let mut names: Vec<&str> = status.voters.iter().map(|name| &**name).collect();
        names.sort_unstable();
        names.dedup();
        let voters = names.join(", ");
        if voters != self.voters {
            tell!("{id}: the voters are {voters}");
            self.voters = voters;
        }
        if status.notice != self.notice {
            let said: Vec<&str> = self.notice.iter().flat_map(|notice| notice.split(NOTICES)).collect();
            let now = status.notice.iter().flat_map(|notice| notice.split(NOTICES));
            for news in now.filter(|part| !said.contains(part)) {
                tell!("{id}: {news}");
            }
            self.notice.clone_from(&status.notice);
        }
    }
}
