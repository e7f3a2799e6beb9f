//! Serving a router by itself, within limits and to a graceful end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::options::{Access, Limits, Options};
use crate::stall::Stalling;

/// The longest head of a request, in bytes: its line and all its headers.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long to wait before the next connection is accepted after one that could not be: mostly, files are exhausted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Everybody on the network would be let in.
    #[error(
        "{0} can be reached from other machines, and there are no tokens: listen on 127.0.0.1 or [::1], or give tokens \
         (a file of lines `ROLE TOKEN`)"
    )]
    Exposed(SocketAddr),
    /// The listener is no good.
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] io::Error),
}

/// Tells those who would go on for ever that the end has begun.
#[derive(Clone)]
pub(crate) struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Waits for the beginning of the end.
    pub(crate) async fn begins(&mut self) {
        // A sender that is gone is the end, too.
        let _ = self.0.wait_for(|ending| *ending).await;
    }
}

/// Serves a router (the one of [`router`](crate::router), or an application's with that mounted in it) over HTTP/1.1
/// until `shutdown` is ready. Then it accepts nothing more, subscribers are ended, and requests under way are answered
/// for as long as [`Limits::grace`].
///
/// # Errors
/// When the listener can be reached from other machines, and [`Options::access`] lets everybody in.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: &Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if matches!(options.access, Access::Loopback) && !address.ip().to_canonical().is_loopback() {
        return Err(ServeError::Exposed(address));
    }
    let limits = &options.limits;
    let places = Arc::new(Semaphore::new(limits.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let (end, ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("it is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer, router.clone(), limits, Ending(ending.clone()));
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    end.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, all).await.is_err() {
        tracing::warn!(
            "{} connections were cut at the end: they took longer than {:?}",
            connections.len(),
            limits.grace
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// Serves one connection to its end.
fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: &Limits,
    mut ending: Ending,
) -> impl Future<Output = ()> + Send + use<> {
    let (head_time, stall_time) = (limits.head_time, limits.stall_time);
    async move {
        // Answers are small, and somebody waits for them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("{peer}: {error}");
        }
        let told = ending.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(told.clone());
            // As axum's own server does, for the application's handlers.
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request.map(Body::new))
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        let stream = TokioIo::new(Stalling::new(stream, stall_time));
        let mut served = pin!(builder.serve_connection(stream, service).with_upgrades());
        let done = tokio::select! {
            biased;
            done = served.as_mut() => done,
            () = ending.begins() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = done {
            tracing::debug!("{peer}: {error}");
        }
    }
}
