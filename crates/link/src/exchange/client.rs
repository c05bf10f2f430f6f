//! Asks another host of the link.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::TcpSocket, time::timeout};

use super::{
    Answer, Question,
    frame::{self, NONCE_LEN, Proof, Way},
};
use crate::{PORT, secret::Secret};

/// Asks the host at `to`, from the address `from`, within `limit`.
///
/// # Errors
///
/// Why there is no answer.
pub(crate) async fn ask(
    from: Ipv6Addr,
    to: Ipv6Addr,
    secret: &Secret,
    question: &Question,
    limit: Duration,
) -> io::Result<Answer> {
    let exchange = async {
        let socket = TcpSocket::new_v6()?;
        socket.bind(SocketAddr::new(from.into(), 0))?;
        let mut stream = socket.connect(SocketAddr::new(to.into(), PORT)).await?;
        stream.set_nodelay(true)?;
        let mut server = [0; NONCE_LEN];
        stream.read_exact(&mut server).await?;
        let client = frame::nonce()?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, &client).await?;
        let proof = Proof { secret, server, client };
        proof
            .write(&mut stream, Way::Question, &serde_json::to_vec(question)?)
            .await?;
        let answer = proof.read(&mut stream, Way::Answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    };
    timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")))
}
