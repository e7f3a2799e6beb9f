//! A connection to the other side, encrypted or not, and the messages of the handshake on it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::layout::{LayoutError, OPENING_HEADER_BYTES, Opening};

/// How long a handshake may take, TLS included.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// What bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why the other side was not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Reads one message of the handshake.
pub(super) async fn read_opening(stream: &mut dyn Stream) -> Result<Opening, OpenError> {
    let mut header = [0; OPENING_HEADER_BYTES];
    // By itself: what is none of ours may be shorter than a header, as a TLS alert is.
    let (magic, rest) = header.split_first_chunk_mut().expect("a header begins with the magic");
    stream.read_exact(magic).await?;
    Opening::check_magic(*magic)?;
    stream.read_exact(rest).await?;
    // Bounded by the header's check.
    let mut body = vec![0; Opening::body_len(header)?];
    stream.read_exact(&mut body).await?;
    Ok(Opening::decode(header, &body)?)
}

/// Sends one message of the handshake.
pub(super) async fn write_opening(stream: &mut dyn Stream, opening: &Opening) -> io::Result<()> {
    stream.write_all(&opening.encode()).await?;
    stream.flush().await
}

/// Sends a refusal and closes. The other side is given the time to read it: what it has sent meanwhile is read first, as
/// the system would otherwise throw the refusal away with it.
pub(super) async fn refuse(stream: &mut dyn Stream, opening: &Opening) {
    const PATIENCE: Duration = Duration::from_secs(1);
    /// A hello is far shorter.
    const BYTES_MAX: u64 = 64 * 1024;
    let refusing = async {
        write_opening(stream, opening).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(BYTES_MAX), &mut tokio::io::sink()).await
    };
    // It is let go in any case.
    let _ = tokio::time::timeout(PATIENCE, refusing).await;
}
