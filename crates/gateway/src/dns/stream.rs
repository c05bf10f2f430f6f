//! Answers DNS queries over TCP (RFC 7766), on so many connections and no more.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use hickory_server::{
    net::{
        runtime::{TokioTime, iocompat::AsyncIoTokioAsStd},
        tcp::TcpStream,
        xfer::Protocol,
    },
    proto::op::MessageType,
    server::{Request, RequestHandler, ResponseHandle},
};
use tokio::{net::TcpListener, time};

use super::share::{Share, Shares};

/// Connections that are open at once; one more is closed as soon as it is accepted.
const MAX_CONNECTIONS: usize = 256;

/// Connections of one address that are open at once.
const MAX_CONNECTIONS_EACH: usize = 8;

/// How long a connection may take from one whole query to the next (RFC 7766, section 6.2.3, asks for seconds).
const IDLE: Duration = Duration::from_secs(10);

/// Answers that wait for a slow client.
const RESPONSE_BUFFER: usize = 64;

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Room for the connections of all listeners of one forwarder.
pub(super) fn connections() -> Arc<Shares> {
    Shares::new(MAX_CONNECTIONS, MAX_CONNECTIONS_EACH)
}

/// Accepts connections as long as the runtime lives.
pub(super) async fn serve(listener: TcpListener, handler: impl RequestHandler + Clone, connections: Arc<Shares>) {
    loop {
        match listener.accept().await {
            Ok((stream, asker)) => {
                if let Some(share) = connections.take(asker.ip()) {
                    tokio::spawn(answer(stream, asker, handler.clone(), share));
                }
            }
            Err(_) => time::sleep(PAUSE).await,
        }
    }
}

/// Answers one connection's queries in turn, until it is idle or broken, or something comes that is no query.
async fn answer(stream: tokio::net::TcpStream, asker: SocketAddr, handler: impl RequestHandler, _share: Share) {
    let stream = AsyncIoTokioAsStd(stream);
    // Waiting for a query also writes what was answered, so a client that does not read is idle.
    let (mut queries, responses) = TcpStream::from_stream_with_buffer_size(stream, asker, RESPONSE_BUFFER);
    while let Ok(Some(Ok(message))) = time::timeout(IDLE, queries.next()).await {
        let Ok(request) = Request::from_bytes(message.into_parts().0, asker, Protocol::Tcp) else {
            return;
        };
        // An answer to an answer would go on for ever.
        if request.metadata.message_type == MessageType::Response {
            return;
        }
        let response = ResponseHandle::new(asker, responses.clone(), Protocol::Tcp);
        handler.handle_request::<_, TokioTime>(&request, response).await;
    }
}
