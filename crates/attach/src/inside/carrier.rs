//! The tunnel itself: an interface inside the container, and a name for it on this host.
//!
//! What handles its packets stays with the host, sockets and all: the kernel, or a process of its own (`adit device`), which
//! lives on when the daemon ends. It goes when the interface goes, and that goes with the container's namespace.

use std::{io, os::fd::AsFd as _, path::PathBuf};

use linux::{
    link,
    netlink::{Error as NetlinkError, Netlink},
    wireguard,
};
use tunnel::{
    Plane,
    control::{Control, ControlError},
    device::{self, DeviceError, Home},
    uapi,
};
use wg::{Device, Peer, Status};

use super::Inside;
use crate::{INTERFACE, Offer};

/// The MTU of a tunnel whose provider names none, in bytes: an outer IPv6 packet of 1,500 bytes holds it.
const MTU: u16 = 1420;

/// Digits of the holder's ID in the name; an interface's has 15 bytes.
const DIGITS: usize = 11;

/// A tunnel could not be made, changed or asked.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// The kernel's WireGuard.
    #[error(transparent)]
    Wireguard(#[from] wireguard::Error),
    /// The process that handles the packets.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Keys and peers.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Links.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// The namespace cannot be entered.
    #[error("entering the container's network namespace: {0}")]
    Enter(#[from] io::Error),
}

/// The name, on this host, of a holder's tunnel.
pub fn name_of(holder: &str) -> String {
    format!("adit{}", holder.get(..DIGITS).unwrap_or(holder))
}

/// The MTU of an offer's tunnel, in bytes.
pub fn mtu_of(offer: &Offer) -> u16 {
    offer.mtu.unwrap_or(MTU)
}

/// Makes the tunnel `name`: an interface inside, without peers, off. One that is left from before goes first.
///
/// It is made where it belongs, and not moved there: that would hold up every change of a network on this host meanwhile.
///
/// # Errors
///
/// [`CarrierError`]; then nothing is left.
pub fn make(name: &str, plane: Plane, inside: &Inside) -> Result<(), CarrierError> {
    remove(name);
    inside.run(|| {
        let mut netlink = Netlink::route()?;
        match link::find(&mut netlink, INTERFACE)? {
            Some(link) => link::delete(&mut netlink, link.index),
            None => Ok(()),
        }
    })??;
    let namespace = inside.namespace().as_fd();
    if plane == Plane::Kernel {
        wireguard::create_inside(&mut Netlink::route()?, INTERFACE, namespace)?;
        return Ok(());
    }
    let home = Home::Inside {
        // The descriptor that the process is given as its standard input.
        namespace: PathBuf::from("/proc/self/fd/0"),
        interface: INTERFACE.to_owned(),
    };
    device::start(name, &home, Some(namespace.try_clone_to_owned()?))?;
    Ok(())
}

/// Ends the process of the tunnel `name`, if it has one. An interface of the kernel goes with its namespace.
pub fn remove(name: &str) {
    if let Some(path) = uapi::find(name) {
        // Its process ends with its socket.
        let _gone_already = std::fs::remove_file(path);
    }
}

/// Gives the tunnel the keys and peers of an offer, wherever it is. What is so already is left alone, sessions too.
///
/// # Errors
///
/// [`CarrierError`].
pub fn configure(name: &str, inside: &Inside, offer: &Offer) -> Result<(), CarrierError> {
    let wanted = device(offer);
    with(name, inside, |control| {
        let there = control.status()?.device;
        let mut wanted = wanted;
        wanted.listen_port = there.listen_port;
        let update = there.difference(&wanted);
        if update.is_empty() {
            Ok(())
        } else {
            control.change(&update)
        }
    })
}

/// The tunnel as it is, keys and all.
///
/// # Errors
///
/// If there is none of this name.
pub fn status(name: &str, inside: &Inside) -> Result<Status, CarrierError> {
    with(name, inside, Control::status)
}

/// A process handles the tunnel and has a socket here, or the kernel does, inside.
fn with<R: Send>(
    name: &str,
    inside: &Inside,
    ask: impl FnOnce(&mut Control) -> Result<R, ControlError> + Send,
) -> Result<R, CarrierError> {
    if uapi::find(name).is_some() {
        return Ok(ask(&mut Control::open(name)?)?);
    }
    Ok(inside.run(|| ask(&mut Control::open(INTERFACE)?))??)
}

/// What an offer's tunnel is to be.
fn device(offer: &Offer) -> Device {
    let peers = offer.peers.iter().map(|server| {
        let peer = Peer {
            preshared_key: server.preshared_key.clone(),
            endpoint: Some(server.endpoint),
            persistent_keepalive: server.persistent_keepalive,
            allowed_ips: server.allowed_ips.iter().copied().collect(),
        };
        (server.public_key, peer)
    });
    Device {
        private_key: Some(offer.private_key.clone()),
        peers: peers.collect(),
        ..Device::default()
    }
}
