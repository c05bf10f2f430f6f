//! A tunnel that the kernel's WireGuard handles.
//!
//! The interface outlives a process that is killed. So it carries a mark from its first moment on, by which the next
//! start knows it for one of adit's, and a process that has one holds a claim on its name, which ends with the process
//! however that ends. An interface with the mark and without a claim is a leftover.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use linux::{
    link::{self, Link},
    netlink::Netlink,
    watch::Watch,
    wireguard::{self, Wireguard},
};

use super::{ApplyError, CloseReason, OpenError, Spec};
use crate::{
    Plane,
    counts::{self, Count},
};

/// What stands beside the name of an interface that a tunnel of adit made (`ip link` shows it as alias).
const ALIAS: &str = "adit";

/// The group of an interface until it has its alias, which it cannot have from its first moment on: "adit" as a number.
const GROUP: u32 = u32::from_be_bytes(*b"adit");

/// One interface, which goes with this.
#[derive(Debug)]
pub(super) struct Kernel {
    index: u32,
    /// The port, as far as it was asked for or looked at last.
    port: AtomicU16,
    /// Held while the tunnel is changed or asked: one exchange at a time.
    wireguard: Mutex<Wireguard>,
    netlink: Mutex<Netlink>,
    watch: Watch,
    _claim: Claim,
}

impl Kernel {
    /// Makes an interface that is off and has no address. What killed processes left is removed first.
    pub(super) fn open(spec: &Spec) -> Result<Self, OpenError> {
        let mut wireguard = Wireguard::open()?;
        let mut netlink = Netlink::route()?;
        let claim = Claim::of(&spec.name)?;
        clear_leftovers(&mut netlink, Some(&spec.name))?;
        if link::find(&mut netlink, &spec.name)?.is_some() {
            let name = spec.name.clone();
            return Err(OpenError::Foreign { name });
        }
        let link = wireguard::create(&mut netlink, &spec.name, GROUP)?;
        let mut prepare = |netlink: &mut Netlink| {
            link::set_alias(netlink, link.index, ALIAS, 0)?;
            link::set_mtu(netlink, link.index, spec.mtu.into())?;
            let watch = Watch::new(link.index).map_err(failed)?;
            Ok((watch, wireguard.status(link.index)?.device.listen_port))
        };
        match prepare(&mut netlink) {
            Ok((watch, port)) => Ok(Self {
                index: link.index,
                port: AtomicU16::new(port.unwrap_or_default()),
                wireguard: Mutex::new(wireguard),
                netlink: Mutex::new(netlink),
                watch,
                _claim: claim,
            }),
            Err(error) => {
                let _gone_or_the_next_starts = link::delete(&mut netlink, link.index);
                Err(error)
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self.port.load(Ordering::Relaxed) {
            0 => self.status().device.listen_port.unwrap_or_default(),
            port => port,
        }
    }

    pub(super) fn apply(&self, update: &wg::Update) -> Result<(), ApplyError> {
        let done = lock(&self.wireguard).set(self.index, update);
        match (done, update.listen_port) {
            (Ok(()), port) => {
                if let Some(port) = port {
                    self.port.store(port, Ordering::Relaxed);
                }
                Ok(())
            }
            (Err(wireguard::Error::Kernel(error)), Some(port)) if error.cause.kind() == io::ErrorKind::AddrInUse => {
                Err(ApplyError::Port {
                    port,
                    cause: error.cause,
                })
            }
            (Err(error), _) => Err(ApplyError::Kernel(error)),
        }
    }

    /// An empty status if the interface is gone, which [`Self::ended`] tells.
    pub(super) fn status(&self) -> wg::Status {
        let status = lock(&self.wireguard).status(self.index).unwrap_or_default();
        if let Some(port) = status.device.listen_port {
            self.port.store(port, Ordering::Relaxed);
        }
        status
    }

    pub(super) fn counts(&self) -> Vec<Count> {
        let traffic = link::traffic(&mut lock(&self.netlink), self.index);
        traffic
            .ok()
            .flatten()
            .as_ref()
            .map(counts::of_interface)
            .unwrap_or_default()
    }

    pub(super) fn ended(&self) -> Option<CloseReason> {
        match link::by_index(&mut lock(&self.netlink), self.index) {
            Ok(None) => Some(CloseReason::InterfaceGone),
            // The kernel goes on without being asked.
            Ok(Some(_)) | Err(_) => None,
        }
    }

    pub(super) fn wait_for_interface(&self) -> Option<CloseReason> {
        match self.watch.wait() {
            Ok(true) => Some(CloseReason::InterfaceGone),
            Ok(false) => None,
            Err(error) => Some(CloseReason::Failed(error.to_string())),
        }
    }

    pub(super) fn stop(&self) {
        self.watch.stop();
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.watch.stop();
        let _gone_already = link::delete(&mut lock(&self.netlink), self.index);
    }
}

/// Says that a process handles the interface of a name: a socket without a file, which exists once in the network
/// namespace and ends with the process.
#[derive(Debug)]
struct Claim {
    _socket: UnixDatagram,
}

impl Claim {
    fn of(name: &str) -> Result<Self, OpenError> {
        let address = SocketAddr::from_abstract_name(format!("adit/interface/{name}")).map_err(failed)?;
        match UnixDatagram::bind_addr(&address) {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(OpenError::Claimed { name: name.to_owned() }),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Removes the interfaces that killed processes left; the caller holds the claim on `claimed`.
pub(super) fn clear_leftovers(netlink: &mut Netlink, claimed: Option<&str>) -> Result<(), OpenError> {
    for link in wireguard::list(netlink)?.iter().filter(|link| is_marked(link)) {
        let _claim = match Claim::of(&link.name) {
            Ok(claim) => Some(claim),
            Err(OpenError::Claimed { .. }) if claimed == Some(&*link.name) => None,
            Err(OpenError::Claimed { .. }) => continue,
            Err(error) => return Err(error),
        };
        match link::delete(netlink, link.index) {
            Err(error) if !error.is_missing() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a tunnel of adit made the interface.
fn is_marked(link: &Link) -> bool {
    link.group == GROUP || link.alias.as_deref() == Some(ALIAS)
}

fn failed(cause: io::Error) -> OpenError {
    OpenError::Plane {
        plane: Plane::Kernel,
        cause,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_claimed_once_until_its_claim_ends() {
        let name = format!("test{}", std::process::id());
        let claim = Claim::of(&name).unwrap();
        assert!(matches!(Claim::of(&name), Err(OpenError::Claimed { .. })));
        drop(claim);
        Claim::of(&name).unwrap();
    }
}
