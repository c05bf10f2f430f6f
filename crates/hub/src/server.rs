//! Listens, answers, and stops when what is being written is written.

mod body;
mod client;
mod connection;
mod finish;
mod headers;
mod log;
mod metrics;
mod refused;
mod routes;
mod stall;
mod tls;

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::timeout};

pub(crate) use self::finish::UnderWay;
pub use self::{
    client::{Client, Peer},
    routes::router,
    tls::TlsError,
};
use self::{connection::Connections, metrics::MetricsToken, routes::metrics_router, tls::Certificate};
use crate::{App, monitor, retention};

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a hub does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its certificate is of no use.
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// The token of the metrics is of no use.
    #[error("metrics_token_file: {}: {source}", path.display())]
    MetricsToken {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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
    if let Some(metrics) = &app.config.metrics {
        let token = metrics.token_file.as_deref().map(|path| {
            MetricsToken::read(path).map_err(|source| ServeError::MetricsToken {
                path: path.to_owned(),
                source,
            })
        });
        let router = metrics_router(Arc::clone(&app), token.transpose()?);
        let address = metrics.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })?;
        let acceptor = acceptor.clone().filter(|_| metrics.is_encrypted);
        let connections = Connections::new(&app, router, acceptor);
        tasks.spawn(async move { connections.accept(&listener).await });
    }
    tasks.spawn(retention::keep(Arc::clone(&app)));
    tasks.spawn(monitor::keep(Arc::clone(&app)));
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
    app.audit.settle().await;
    app.launcher.stop().await;
    tasks.shutdown().await;
    Ok(())
}
