//! One tunnel, on any plane.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use dataplane::{
    buffer::Outbox,
    engine::{self, Engine},
    netstack,
    time::Time,
    tun,
    udp::Sockets,
};
use linux::{
    address, link,
    netlink::Netlink,
    tun::{Tun, TunError, TunOptions},
};
use wg::IpNet;

use crate::{Plane, uapi};

/// What a tunnel is to be, besides what [`Tunnel::apply`] says.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The interface's name; on the netstack plane only what people call it.
    pub name: String,
    /// Largest inner packet, in bytes.
    pub mtu: u16,
    /// Who handles its packets, and what that needs.
    pub place: Place,
}

/// Who handles a tunnel's packets, and what that needs.
#[derive(Clone, Debug)]
pub enum Place {
    /// A TUN device that has these addresses and is on; routes are the caller's.
    Tun {
        /// The interface's addresses, with the networks around them.
        addresses: Vec<IpNet>,
    },
    /// A TUN device without addresses that is off: somebody else does the rest.
    BareTun,
    /// Sockets of this process. The MTU is that of [`Spec`].
    Netstack(Box<netstack::Config>),
}

/// A tunnel could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no TUN device to be had.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The interface could not be set up.
    #[error(transparent)]
    Kernel(#[from] linux::netlink::Error),
    /// No UDP socket.
    #[error("opening a UDP socket: {0}")]
    Socket(io::Error),
    /// No thread or descriptor for the plane.
    #[error("starting the {plane} plane: {cause}")]
    Plane {
        /// The plane.
        plane: Plane,
        /// The error.
        cause: io::Error,
    },
}

/// A tunnel could not be changed; nothing was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The UDP port.
    #[error("listening on UDP port {port}: {cause}")]
    Port {
        /// The port that was asked for.
        port: u16,
        /// The error; mostly, that another program has it.
        cause: io::Error,
    },
    /// The mark on outgoing packets.
    #[error("marking packets with {mark:#x}: {cause}; it needs the capability NET_ADMIN")]
    Mark {
        /// The mark.
        mark: u32,
        /// The error.
        cause: io::Error,
    },
}

/// Why a tunnel ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// Its interface was removed.
    #[error("the interface was removed")]
    InterfaceGone,
    /// Something failed for good.
    #[error("{0}")]
    Failed(String),
}

/// A tunnel that is open. Dropping it closes it: interface, sockets and sessions go.
#[derive(Debug)]
pub struct Tunnel {
    name: String,
    engine: Arc<Engine>,
    sockets: Arc<Sockets>,
    running: Running,
    /// Held while the tunnel is changed: one change at a time.
    changing: Mutex<Outbox>,
}

#[derive(Debug)]
enum Running {
    Tun(tun::Plane),
    Netstack(Box<netstack::Plane>),
}

impl Tunnel {
    /// Opens a tunnel without key and peers, on a UDP port of the kernel's choice. Its sockets, and its interface if it
    /// has one, are those of the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; then nothing is left.
    pub fn open(spec: &Spec) -> Result<Self, OpenError> {
        let engine = Arc::new(Engine::new(Time::now(), SystemTime::now(), random));
        let sockets = Arc::new(Sockets::bind(0, 0).map_err(OpenError::Socket)?);
        let running = match &spec.place {
            Place::Tun { addresses } => {
                let plane = start_tun(spec, &engine, &sockets)?;
                bring_up(&spec.name, addresses)?;
                Running::Tun(plane)
            }
            Place::BareTun => Running::Tun(start_tun(spec, &engine, &sockets)?),
            Place::Netstack(config) => {
                let config = netstack::Config {
                    mtu: spec.mtu.into(),
                    ..(**config).clone()
                };
                let plane = netstack::Plane::start(Arc::clone(&engine), Arc::clone(&sockets), config);
                let plane = plane.map_err(|cause| OpenError::Plane {
                    plane: Plane::Netstack,
                    cause,
                })?;
                Running::Netstack(Box::new(plane))
            }
        };
        Ok(Self {
            name: spec.name.clone(),
            engine,
            sockets,
            running,
            changing: Mutex::default(),
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who handles the packets.
    pub fn plane(&self) -> Plane {
        match self.running {
            Running::Tun(_) => Plane::Tun,
            Running::Netstack(_) => Plane::Netstack,
        }
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.sockets.port()
    }

    /// Changes keys, port, mark and peers, and only what the update names: sessions of other peers live on.
    ///
    /// # Errors
    ///
    /// The port or the mark cannot be had; nothing is changed then.
    pub fn apply(&self, update: &wg::Update) -> Result<(), ApplyError> {
        let mut outbox = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mark_before = self.sockets.fwmark();
        if let Some(mark) = update.fwmark.filter(|mark| *mark != mark_before) {
            self.sockets.set_fwmark(mark).map_err(|cause| {
                let _as_before = self.sockets.set_fwmark(mark_before);
                ApplyError::Mark { mark, cause }
            })?;
        }
        if let Some(port) = update.listen_port {
            self.sockets.rebind(port).map_err(|cause| {
                let _as_before = self.sockets.set_fwmark(mark_before);
                ApplyError::Port { port, cause }
            })?;
        }
        let now = Time::now();
        self.engine.apply(now, update, &mut outbox);
        self.engine.seal(now, &mut outbox);
        self.sockets.send(outbox.runs());
        outbox.clear();
        match &self.running {
            Running::Tun(plane) => plane.wake(),
            Running::Netstack(plane) => plane.wake(),
        }
        Ok(())
    }

    /// The tunnel as it is, with its keys, and what has happened with its peers.
    pub fn status(&self) -> wg::Status {
        let mut status = self.engine.status();
        status.device.listen_port = Some(self.sockets.port()).filter(|port| *port != 0);
        status.device.fwmark = Some(self.sockets.fwmark()).filter(|mark| *mark != 0);
        status
    }

    /// Packets of the protocol that were dropped, by cause.
    pub fn counters(&self) -> engine::Counters {
        self.engine.counters()
    }

    /// The netstack plane, to change its policy and read its counters; `None` on another plane.
    pub fn netstack(&self) -> Option<&netstack::Plane> {
        match &self.running {
            Running::Netstack(plane) => Some(plane),
            Running::Tun(_) => None,
        }
    }

    /// Why the tunnel has ended by itself; `None` as long as it lives.
    pub fn ended(&self) -> Option<CloseReason> {
        match &self.running {
            Running::Tun(plane) => plane.ended().and_then(close_reason),
            Running::Netstack(plane) => plane
                .is_stopped()
                .then(|| CloseReason::Failed("the netstack plane stopped".to_owned())),
        }
    }

    /// Waits until the tunnel's interface is gone or the tun plane failed; returns at once on another plane.
    pub fn wait_for_interface(&self) -> Option<CloseReason> {
        match &self.running {
            Running::Tun(plane) => close_reason(plane.wait()),
            Running::Netstack(_) => None,
        }
    }

    /// Stops handling packets; the interface goes when the tunnel is dropped at the latest.
    pub fn stop(&self) {
        if let Running::Tun(plane) = &self.running {
            plane.stop();
        }
    }

    /// Closes the tunnel and waits until nothing of it is left.
    pub fn close(self) {
        drop(self);
    }
}

impl uapi::Interface for Tunnel {
    fn status(&self) -> wg::Status {
        Self::status(self)
    }

    fn apply(&self, update: &wg::Update) -> Result<(), i32> {
        Self::apply(self, update).map_err(|error| {
            let (ApplyError::Port { cause, .. } | ApplyError::Mark { cause, .. }) = error;
            // What says its remedy keeps its kind, but not the kernel's number.
            let known = [
                (io::ErrorKind::AddrInUse, wg::uapi::EADDRINUSE),
                (
                    io::ErrorKind::PermissionDenied,
                    rustix::io::Errno::ACCESS.raw_os_error(),
                ),
            ];
            let number = known.iter().find(|(kind, _)| *kind == cause.kind());
            number.map_or(cause.raw_os_error().unwrap_or(wg::uapi::EIO), |(_, number)| *number)
        })
    }
}

fn close_reason(end: tun::End) -> Option<CloseReason> {
    match end {
        tun::End::Stopped => None,
        tun::End::DeviceGone => Some(CloseReason::InterfaceGone),
        tun::End::Failed(reason) => Some(CloseReason::Failed(reason)),
    }
}

fn start_tun(spec: &Spec, engine: &Arc<Engine>, sockets: &Arc<Sockets>) -> Result<tun::Plane, OpenError> {
    let failed = |cause| OpenError::Plane {
        plane: Plane::Tun,
        cause,
    };
    let device = Tun::open(
        &spec.name,
        TunOptions {
            vnet_hdr: true,
            persistent: false,
        },
    )?;
    let mut netlink = Netlink::route()?;
    if let Some(link) = link::find(&mut netlink, &spec.name)? {
        link::set_mtu(&mut netlink, link.index, spec.mtu.into())?;
    }
    let options = tun::Options {
        mtu: spec.mtu.into(),
        vnet_hdr: device.has_vnet_hdr(),
        coalesce: device.offloads().tso,
        link: Some(tun::LinkWatch::new(&spec.name).map_err(failed)?),
    };
    tun::Plane::start(Arc::clone(engine), Arc::clone(sockets), device.into_fd(), options).map_err(failed)
}

/// Gives the interface its addresses and switches it on.
fn bring_up(name: &str, addresses: &[IpNet]) -> Result<(), OpenError> {
    let mut netlink = Netlink::route()?;
    // It was made a moment ago; if it is gone already, the plane says so.
    if let Some(link) = link::find(&mut netlink, name)? {
        for address in addresses {
            address::add(&mut netlink, link.index, *address)?;
        }
        link::set_up(&mut netlink, link.index)?;
    }
    Ok(())
}

fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel has random bytes since it booted");
}
