//! A network driver for Docker: containers of its networks have their tunnel before their first process runs.
//!
//! ```text
//! docker network create -d adit --ipam-driver adit -o provider=pia -o region=swiss swiss
//! docker run --network swiss …
//! ```
//!
//! Docker finds the driver by its socket in `/run/docker/plugins` and calls it (*libnetwork: remote driver protocol* and
//! *IPAM driver*). For each container it asks for an address, says that an endpoint is made, and has the interface made that
//! it moves into the container; at the end the same backwards:
//!
//! ```text
//!            with --ipam-driver adit          with Docker's own addresses
//! network    RequestPool → CreateNetwork      CreateNetwork          → Tunnels::check
//! container  RequestAddress                   CreateEndpoint         → Tunnels::reserve
//!            CreateEndpoint → Join            Join                   → Tunnels::join
//! its end    Leave                            Leave                  → Tunnels::leave
//!            DeleteEndpoint → ReleaseAddress  DeleteEndpoint         → Tunnels::release
//! ```
//!
//! Docker starts containers before it answers anybody (*dockerd: daemon restore*), and names only IDs in its calls. So what
//! a network was made with is kept in a file that outlives a boot; [`Driver::restore`] mends it from Docker's own list.

mod answer;
mod ledger;
mod message;
mod networks;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use docker::driver::LIMIT;
use serde::{Deserialize, Serialize};
use wg::IpNet;

use self::{ledger::Ledger, networks::Networks};
use crate::Wish;

pub use docker::driver::Socket;
pub use networks::Network;

/// The driver's name for `docker network create -d`: the name of its socket.
pub const NAME: &str = "adit";

/// Where Docker looks for the driver's socket.
pub const SOCKET: &str = "/run/docker/plugins/adit.sock";

/// Who gets, makes and removes the tunnels.
///
/// Errors are for the person who typed the command: Docker prints them.
#[async_trait]
pub trait Tunnels: Send + Sync {
    /// Says whether there can be a network for this wish: its provider is set up, the region exists as far as that is
    /// known without asking anybody.
    ///
    /// # Errors
    ///
    /// What is wrong and what would mend it.
    async fn check(&self, wish: &Wish) -> Result<(), String>;

    /// Gets a tunnel from the provider, and gives its addresses. `holder` is new: 64 hexadecimal digits. The container is
    /// not known at this time.
    ///
    /// It is dropped when it takes too long; then [`Tunnels::release`] follows.
    ///
    /// # Errors
    ///
    /// Why there is none.
    async fn reserve(&self, holder: &str, wish: &Wish) -> Result<Vec<IpNet>, String>;

    /// Makes the interface of a reserved tunnel, with its keys, peers and MTU, in the namespace of the daemon and of
    /// Docker. Docker moves it into the container's namespace, which may not exist yet, names it `wg0`, gives it the
    /// IPv4 address and the routes, and brings it up. What else is needed inside comes after that and before the
    /// container's process runs: the namespace's birth tells when.
    ///
    /// # Errors
    ///
    /// Why there is none.
    async fn join(&self, endpoint: &Endpoint) -> Result<Joined, String>;

    /// Hears that a container leaves. Docker moves the interface back to this namespace after that, so it is not removed
    /// here.
    async fn leave(&self, endpoint: &Endpoint);

    /// Removes the interface if there is one, and gives the tunnel back to the provider. Called for whatever
    /// [`Tunnels::reserve`] was called for, maybe twice.
    async fn release(&self, holder: &str);
}

/// A container's place in a network of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's ID.
    pub network: String,
    /// Its own ID. Docker's API tells the same of each container, so it leads to the container once that has started.
    pub id: String,
    /// Who holds the tunnel, as [`Tunnels::reserve`] was told.
    pub holder: String,
    /// The file of the container's network namespace, as Docker writes it (`SandboxKey`); it need not exist yet. Empty in
    /// [`Tunnels::leave`] of an endpoint from before the daemon's start.
    pub sandbox: String,
}

/// An interface that Docker may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its name, 15 bytes at most.
    pub interface: String,
    /// Where it leads; Docker sets the routes of IPv4.
    pub routes: Vec<IpNet>,
}

/// The driver.
pub struct Driver {
    tunnels: Arc<dyn Tunnels>,
    networks: Mutex<Networks>,
    ledger: Mutex<Ledger>,
    /// How long the tunnels may take for each call.
    limit: Duration,
}

impl Driver {
    /// The driver for `tunnels`, which knows the networks that are kept in the file `networks`. It has to outlive a boot;
    /// one that is missing or makes no sense is made anew.
    ///
    /// # Errors
    ///
    /// If the file can be neither read nor made.
    pub fn open(networks: &Path, tunnels: Arc<dyn Tunnels>) -> io::Result<Self> {
        Ok(Self {
            tunnels,
            networks: Mutex::new(Networks::open(networks)?),
            ledger: Mutex::default(),
            limit: LIMIT,
        })
    }

    /// Learns a network by its ID from Docker's list.
    ///
    /// # Errors
    ///
    /// That of the file.
    pub fn restore(&self, id: &str, network: Network) -> io::Result<()> {
        self.networks().add(id, network)
    }

    /// What the containers of a network are to have; `None` if it is none of the driver's.
    pub fn wish(&self, network: &str) -> Option<Result<Wish, String>> {
        self.networks().find(network).map(answer::wish)
    }

    /// Learns who holds the tunnel of an endpoint from before the daemon's start; one that is known already is left alone.
    /// Of an endpoint that nobody tells of, the holder is taken to be the endpoint's ID.
    pub fn adopt(&self, endpoint: Endpoint) {
        self.ledger().adopt(endpoint);
    }

    /// Answers Docker on `socket`, for ever.
    pub async fn serve(self: Arc<Self>, socket: &Socket) {
        tokio::select! {
            () = socket.serve(&self) => {}
            () = self.expire() => {}
        }
    }

    fn networks(&self) -> MutexGuard<'_, Networks> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
