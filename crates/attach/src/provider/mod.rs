//! Where a container's tunnel comes from: one file each.

mod client;
pub mod file;
pub mod gateway;
mod https;
pub mod pia;
mod reservations;

use std::{collections::BTreeSet, net::SocketAddr, time::SystemTime};

use async_trait::async_trait;
use tokio::net::TcpStream;

pub use self::https::{Endpoint, EndpointError};
use crate::Offer;

/// What a container asks of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The container's ID, 64 hexadecimal digits; or of an endpoint of a network. Who holds what is told apart by it.
    pub holder: String,
    /// What people call it.
    pub name: String,
    /// The region that it wants; `None` is the provider's default.
    pub region: Option<String>,
    /// The configuration that it wants of several; `None` is any.
    pub conf: Option<String>,
    /// Servers that failed it just now. They come last, not never.
    pub avoid: BTreeSet<String>,
    /// The tunnel that it has and would like to keep, with another key: its address stays if the provider allows.
    pub again: Option<Offer>,
}

/// Why there is no tunnel to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// What the container or the operator asked for cannot be: nothing changes that but another label or file. The text
    /// says what is wrong and what would mend it.
    #[error("{0}")]
    Refused(String),
    /// It may go better later: an outage, a limit, a full pool. The text says what happened.
    #[error("{0}")]
    Unavailable(String),
}

/// A way into a container's namespace for what has to travel through its tunnel.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Opens a TCP connection from inside the container's namespace.
    async fn tcp(&self, to: SocketAddr) -> std::io::Result<TcpStream>;
}

/// A port that the provider forwards to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The port, at the server's address and at the container.
    pub port: u16,
    /// Until when the number is the container's.
    pub expires: SystemTime,
}

/// A VPN service that attachments get their configuration from.
///
/// A provider is shared by all containers and asked by several at once. It keeps apart what two containers may not have
/// at the same time, by their `holder`.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Gets a tunnel. What the holder had before is given back once it has the new one.
    async fn connect(&self, ask: &Ask) -> Result<Offer, ProviderError>;

    /// Hears of a tunnel that a holder has from before the daemon's start: `server` is that of its [`Offer`].
    fn adopt(&self, holder: &str, server: &str);

    /// Takes back what a holder has; nothing if it has nothing.
    async fn release(&self, holder: &str);

    /// Binds a forwarded port through the tunnel, anew if it is bound already. To be called again every 15 minutes.
    ///
    /// The default is a refusal: most providers forward none.
    async fn forward_port(&self, holder: &str, offer: &Offer, dial: &dyn Dial) -> Result<Forwarded, ProviderError> {
        let (_, _, _) = (holder, offer, dial);
        Err(ProviderError::Refused(
            "this provider forwards no ports: remove the label adit.port-forward".to_owned(),
        ))
    }
}
