//! What is known of a container's server, for the requests that come later and after a restart of the daemon.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    list::Host,
    store::{Store, StoreError, plain},
};
use crate::provider::Ask;

/// How the files of holders begin.
const START: &str = "holder-";

/// What a holder has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The server, as the list calls it.
    pub(super) cn: String,
    /// Its address outside.
    pub(super) ip: IpAddr,
    /// Its address in the tunnel.
    pub(super) vip: Option<IpAddr>,
    /// The region that was asked for.
    pub(super) region: String,
    /// Why it forwards no ports; `None` if it does.
    pub(super) no_port: Option<String>,
    /// The name under which its port is kept, so that a container that is made again gets it again.
    pub(super) port: String,
}

impl Record {
    pub(super) fn host(&self) -> Host {
        let (cn, ip) = (self.cn.clone(), self.ip);
        Host { cn, ip }
    }

    pub(super) fn find(store: &Store, holder: &str) -> Option<Self> {
        store.find(&file(holder))
    }

    pub(super) fn keep(&self, store: &Store, holder: &str) -> Result<(), StoreError> {
        store.keep(&file(holder), self)
    }
}

/// Forgets what a holder has.
pub(super) fn forget(store: &Store, holder: &str) {
    store.remove(&file(holder));
}

/// The file of a holder.
pub(super) fn file(holder: &str) -> String {
    format!("{START}{}.json", plain(holder))
}

/// The files of all holders.
pub(super) fn files(store: &Store) -> Vec<String> {
    store.names(START)
}

/// The file of the port of who asks: by name, for the ID is another when a container is made again.
pub(super) fn port_file(ask: &Ask) -> String {
    let name = if ask.name.is_empty() { &ask.holder } else { &ask.name };
    format!("port-{}.json", plain(name))
}
