//! The tunnel itself: an interface inside the container, and a name for it on this host.
//!
//! An interface is made inside, or here for the engine to move. What handles its packets does not care.
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

/// What the name begins with.
const PREFIX: &str = "adit";

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
    format!("{PREFIX}{}", holder.get(..DIGITS).unwrap_or(holder))
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
    inside.run(|| link::remove(INTERFACE))??;
    let namespace = inside.namespace().as_fd();
    if plane == Plane::Kernel {
        wireguard::create_inside(&mut Netlink::route()?, INTERFACE, namespace)?;
        return Ok(());
    }
    let home = Home::Inside {
        // The descriptor that the process is given as its standard input.
        namespace: PathBuf::from("/proc/self/fd/0"),
        interface: INTERFACE.to_owned(),
        process: inside.process(),
    };
    device::start(name, &home, Some(namespace.try_clone_to_owned()?))?;
    Ok(())
}

/// Makes the tunnel `name` in this process's own namespace, with its keys, peers and MTU, and off. Whoever moves it takes
/// it to where it belongs. One that is left from before goes first.
///
/// # Errors
///
/// [`CarrierError`]; then nothing is left.
pub fn make_here(name: &str, plane: Plane, offer: &Offer) -> Result<(), CarrierError> {
    remove(name);
    let made = (|| {
        if plane == Plane::Kernel {
            wireguard::create(&mut Netlink::route()?, name, 0)?;
        } else {
            device::start(name, &Home::Here, None)?;
        }
        let mut netlink = Netlink::route()?;
        if let Some(link) = link::find(&mut netlink, name)? {
            link::set_mtu(&mut netlink, link.index, mtu_of(offer).into())?;
        }
        Control::open(name)?.bring_to(device(offer))?;
        Ok(())
    })();
    if made.is_err() {
        remove(name);
    }
    made
}

/// Ends the tunnel `name`: its process, if it has one, and its interface, if that is here. An interface of the kernel that
/// is inside goes with its namespace.
pub fn remove(name: &str) {
    device::remove(name);
}

/// The holders' tunnels that have a name here: by their names.
pub fn names() -> Vec<String> {
    let links = Netlink::route().and_then(|mut netlink| link::list(&mut netlink));
    let links = links.unwrap_or_default().into_iter().map(|link| link.name);
    let sockets = uapi::list().into_iter().map(|(name, _)| name);
    let is_ours = |name: &String| {
        let digits = name.strip_prefix(PREFIX).unwrap_or_default();
        digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let names: std::collections::BTreeSet<_> = links.chain(sockets).filter(is_ours).collect();
    names.into_iter().collect()
}

/// Gives the tunnel the keys and peers of an offer, wherever it is. What is so already is left alone, sessions too.
///
/// # Errors
///
/// [`CarrierError`].
pub fn configure(name: &str, inside: &Inside, offer: &Offer) -> Result<(), CarrierError> {
    with(name, inside, |control| control.bring_to(device(offer)))
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
