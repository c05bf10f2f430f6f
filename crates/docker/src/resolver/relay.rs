//! Asks the tunnel's name servers from inside the container.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::answer;
use crate::inside::Inside;

/// The port of DNS.
const PORT: u16 = 53;

/// How long one server may take: with two servers, asked twice, those who ask have not given up.
const LIMIT: Duration = Duration::from_millis(1_200);

/// How often each server is asked.
const ROUNDS: usize = 2;

/// How long an answer over TCP may take.
const STREAM_LIMIT: Duration = Duration::from_secs(5);

/// Longest answer over UDP, in bytes: twice what those who ask say that they take. A longer one comes by TCP.
const LONGEST: usize = 8192;

/// Has a question answered over UDP; `None` if no server answers.
pub(super) async fn datagram(inside: &Arc<Inside>, servers: &[IpAddr], question: &[u8]) -> Option<Vec<u8>> {
    for _ in 0..ROUNDS {
        for server in servers {
            let asked = timeout(LIMIT, ask(inside, (*server, PORT).into(), question)).await;
            if let Ok(Ok(answer)) = asked {
                return Some(answer);
            }
        }
    }
    None
}

async fn ask(inside: &Arc<Inside>, server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    // A port of its own for each question, as a guess at an answer needs it.
    let socket = inside.udp(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let len = socket.recv(&mut buffer).await?;
        if answer::is_answer(question, &buffer[..len]) {
            buffer.truncate(len);
            return Ok(buffer);
        }
    }
}

/// Has a question answered over TCP; `None` if no server answers.
pub(super) async fn stream(inside: &Arc<Inside>, servers: &[IpAddr], question: &[u8]) -> Option<Vec<u8>> {
    for server in servers {
        let exchange = async {
            let mut stream = inside.tcp((*server, PORT).into()).await?;
            write(&mut stream, question).await?;
            read(&mut stream).await
        };
        if let Ok(Ok(answer)) = timeout(STREAM_LIMIT, exchange).await
            && answer::is_answer(question, &answer)
        {
            return Some(answer);
        }
    }
    None
}

/// Writes a message with its length before it (*RFC 1035, 4.2.2*).
pub(super) async fn write(stream: &mut tokio::net::TcpStream, message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), message].concat()).await
}

/// Reads such a message.
pub(super) async fn read(stream: &mut tokio::net::TcpStream) -> io::Result<Vec<u8>> {
    let len = stream.read_u16().await?;
    let mut message = vec![0; len.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
