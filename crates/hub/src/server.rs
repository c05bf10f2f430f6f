//! Listens, answers, and stops when what is being written is written.

mod body;
mod client;
mod connection;
mod finish;
mod headers;
mod log;
mod routes;
mod stall;
mod tls;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::timeout};

pub(crate) use self::finish::UnderWay;
pub use self::{
    client::{Client, Peer},
    routes::{metrics_router, router},
    tls::TlsError,
};
use self::{connection::Connections, tls::Certificate};
use crate::App;

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a hub does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its certificate is of no use.
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// It cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Answers until `stop` is done: then takes no more connections, finishes what is being answered, and stops the launcher.
///
/// # Errors
///
/// [`ServeError`], before anything is answered.
pub async fn serve(
    app: impl Into<Arc<App>>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let app = app.into();
    let mut tasks = tokio::task::JoinSet::new();
    let acceptor = match &app.config.tls {
        None => None,
        Some(files) => {
            let certificate = Certificate::open(files)?;
            let acceptor = certificate.acceptor()?;
            tasks.spawn(certificate.follow());
            Some(acceptor)
        }
    };
    if let Some(address) = app.config.metrics_listen {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })?;
        let connections = Connections::new(&app, metrics_router(Arc::clone(&app)), None);
        tasks.spawn(async move { connections.accept(&listener).await });
    }
    let connections = Connections::new(&app, router(Arc::clone(&app)), acceptor);
    tokio::select! {
        biased;
        () = stop => {}
        () = connections.accept(&listener) => {}
    }
    drop(listener);
    app.stopping.send_replace(true);
    let finish = async {
        connections.finish().await;
        app.under_way.end().await;
    };
    if timeout(app.config.limits.stop, finish).await.is_err() {
        tracing::warn!("some answers were not taken in time, and are cut");
    }
    app.launcher.stop().await;
    tasks.shutdown().await;
    Ok(())
}
