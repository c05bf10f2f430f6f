//! Takes questions over UDP and TCP.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Book,
    answer::{self, Fate},
    relay,
};
use crate::inside::Inside;

/// Questions of one container that wait for an answer at once; more get none, so that a flood costs bounded memory.
const MAX_WAITING: usize = 128;

/// Connections of one container at once.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);

/// How long it is waited after the kernel had no descriptor or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest question, in bytes.
const LONGEST: usize = 4096;

/// Answers until this is dropped.
pub(super) async fn serve(udp: UdpSocket, tcp: TcpListener, inside: Arc<Inside>, book: Arc<Book>) {
    tokio::join!(
        datagrams(Arc::new(udp), &inside, &book),
        connections(tcp, &inside, &book)
    );
}

async fn datagrams(socket: Arc<UdpSocket>, inside: &Arc<Inside>, book: &Arc<Book>) {
    let waiting = Arc::new(Semaphore::new(MAX_WAITING));
    // They end with this.
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok((len, client)) = socket.recv_from(&mut buffer).await else {
            sleep(PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else {
            continue;
        };
        let question = buffer[..len].to_vec();
        let (socket, inside, book) = (Arc::clone(&socket), Arc::clone(inside), Arc::clone(book));
        tasks.spawn(async move {
            let answer = match decide(&book, &question).await {
                Fate::Answer(answer) => Some(answer),
                Fate::Outside => relay::datagram(&inside, &book.servers(), &question)
                    .await
                    .or_else(|| answer::failure(&question)),
                Fate::Ignored => None,
            };
            if let Some(answer) = answer {
                let _client_went = socket.send_to(&answer, client).await;
            }
            drop(permit);
        });
    }
}

async fn connections(listener: TcpListener, inside: &Arc<Inside>, book: &Arc<Book>) {
    let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let (inside, book) = (Arc::clone(inside), Arc::clone(book));
        tasks.spawn(async move {
            connection(stream, &inside, &book).await;
            drop(permit);
        });
    }
}

async fn connection(mut stream: TcpStream, inside: &Arc<Inside>, book: &Book) {
    while let Ok(Ok(question)) = timeout(IDLE, relay::read(&mut stream)).await {
        let answer = match decide(book, &question).await {
            Fate::Answer(answer) => Some(answer),
            Fate::Outside => relay::stream(inside, &book.servers(), &question)
                .await
                .or_else(|| answer::failure(&question)),
            Fate::Ignored => None,
        };
        let Some(answer) = answer else { return };
        if !matches!(timeout(IDLE, relay::write(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Decides once the neighbours' names are known: none of them is to be asked of anybody outside.
async fn decide(book: &Book, question: &[u8]) -> Fate {
    match answer::decide(book, question) {
        Fate::Outside => {
            book.wait().await;
            answer::decide(book, question)
        }
        fate @ (Fate::Answer(_) | Fate::Ignored) => fate,
    }
}
