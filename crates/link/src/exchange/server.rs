//! Answers other hosts of a link.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Answer, Question,
    frame::{self, NONCE_LEN, Proof, Way},
};
use crate::{PORT, secret::Secret};

/// How long an exchange may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Exchanges at once; more wait.
const MAX_CONNECTIONS: usize = 64;

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// Who may come in, by address, and by which secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doors(Arc<Mutex<BTreeMap<Ipv6Addr, Secret>>>);

impl Doors {
    /// Says who may come in from now on.
    pub(crate) fn set(&self, doors: BTreeMap<Ipv6Addr, Secret>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doors;
    }

    fn secret(&self, of: IpAddr) -> Option<Secret> {
        let IpAddr::V6(address) = of else { return None };
        let doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doors.get(&address).cloned()
    }
}

/// A question, where it came from, and the way back.
pub(crate) struct Asked {
    pub(crate) from: Ipv6Addr,
    pub(crate) question: Question,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// Listens until this is dropped.
#[derive(Debug)]
pub(crate) struct Server(JoinHandle<()>);

impl Server {
    /// Listens on the host's own address, and gives what is asked to `hear`.
    ///
    /// # Errors
    ///
    /// If the address is not this host's, or the port is taken.
    pub(crate) fn start(
        address: Ipv6Addr,
        doors: Doors,
        hear: impl Fn(Asked) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v6()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(address.into(), PORT))?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Self(tokio::spawn(serve(listener, doors, hear))))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(listener: TcpListener, doors: Doors, hear: impl Fn(Asked) + Clone + Send + 'static) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, from)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let (doors, hear) = (doors.clone(), hear.clone());
        tokio::spawn(async move {
            // Whoever breaks off, or proves nothing, gets nothing.
            let _counts_for_nothing = timeout(LIMIT, exchange(stream, from, &doors, hear)).await;
            drop(permit);
        });
    }
}

async fn exchange(mut stream: TcpStream, from: SocketAddr, doors: &Doors, hear: impl Fn(Asked)) -> io::Result<()> {
    let (Some(secret), IpAddr::V6(from)) = (doors.secret(from.ip()), from.ip()) else {
        return Ok(());
    };
    stream.set_nodelay(true)?;
    let server = frame::nonce()?;
    stream.write_all(&server).await?;
    let mut client = [0; NONCE_LEN];
    stream.read_exact(&mut client).await?;
    let proof = Proof {
        secret: &secret,
        server,
        client,
    };
    let question = serde_json::from_slice(&proof.read(&mut stream, Way::Question).await?)?;
    let (answer, answered) = oneshot::channel();
    hear(Asked { from, question, answer });
    let answer = answered.await.map_err(io::Error::other)?;
    proof
        .write(&mut stream, Way::Answer, &serde_json::to_vec(&answer)?)
        .await?;
    stream.shutdown().await
}
