//! The tunnel of a link: an interface in the host's namespace, handled by the kernel or by a process of its own.

use std::net::{IpAddr, SocketAddr};

use linux::{
    link,
    netlink::{Error as NetlinkError, Netlink},
    wireguard,
};
use tunnel::{
    Plane,
    control::{Control, ControlError},
    device::{self, DeviceError, Home},
};
use wg::{Device, IpNet, PeerUpdate, PublicKey, Status, Update};

use crate::link::Link;

/// A tunnel could not be made, changed or asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    /// The kernel's WireGuard.
    #[error(transparent)]
    Wireguard(#[from] wireguard::Error),
    /// The process that handles the packets.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Keys and peers.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The port is another program's.
    #[error("UDP port {0} is taken by another program: end that, or leave and join with another --port")]
    Port(u16),
    /// Links.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
}

/// The addresses of this host on the tunnel.
pub(crate) fn own_addresses(link: &Link) -> Vec<IpNet> {
    let gateways = link.addresses.gateways(link.number());
    let gateways = gateways.into_iter().filter(|_| link.settings.plain);
    let own = IpAddr::from(link.address());
    std::iter::once(own)
        .chain(gateways.map(|gateway| gateway.addr()))
        .map(IpNet::from)
        .collect()
}

/// Sees to it that there is a tunnel of this name that answers.
pub(crate) fn open(name: &str, plane: Plane) -> Result<(), TunnelError> {
    let mut netlink = Netlink::route()?;
    if link::find(&mut netlink, name)?.is_some() && status(name).is_ok() {
        return Ok(());
    }
    remove(name);
    match plane {
        Plane::Kernel => drop(wireguard::create(&mut netlink, name, 0)?),
        Plane::Tun | Plane::Netstack => device::start(name, &Home::Here, None)?,
    }
    Ok(())
}

/// Gives the tunnel its keys and peers.
pub(crate) fn bring_to(name: &str, device: Device) -> Result<(), TunnelError> {
    let port = device.listen_port.unwrap_or_default();
    match Control::open(name)?.bring_to(device) {
        Err(error) if error.is_port_taken() => Err(TunnelError::Port(port)),
        done => Ok(done?),
    }
}

/// The tunnel as it is.
pub(crate) fn status(name: &str) -> Result<Status, TunnelError> {
    Ok(Control::open(name)?.status()?)
}

/// Says where a peer is.
pub(crate) fn set_endpoint(name: &str, peer: PublicKey, endpoint: SocketAddr) -> Result<(), TunnelError> {
    let update = Update {
        peers: vec![PeerUpdate {
            update_only: true,
            endpoint: Some(endpoint),
            ..PeerUpdate::new(peer)
        }],
        ..Update::default()
    };
    Ok(Control::open(name)?.change(&update)?)
}

/// Ends the tunnel: its process, if it has one, and its interface.
pub(crate) fn remove(name: &str) {
    device::remove(name);
}
