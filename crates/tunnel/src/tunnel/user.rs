//! A tunnel that this process handles: on a TUN device, or on sockets alone.

use std::{
    io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use dataplane::{
    buffer::Outbox,
    engine::{self, Engine},
    netstack,
    time::Time,
    tun,
    udp::{Offloads, Sockets},
};
use linux::{
    link,
    netlink::Netlink,
    tun::{Tun, TunOptions},
};

use super::{ApplyError, CloseReason, OpenError, Place, Spec, lanes};
use crate::{Count, Plane, Refusal, counts};

/// Engine, sockets and plane of one tunnel.
#[derive(Debug)]
pub(super) struct User {
    engine: Arc<Engine>,
    sockets: Arc<Sockets>,
    running: Running,
    /// What the TUN device cannot do.
    lacks: Vec<&'static str>,
    /// Held while the tunnel is changed: one change at a time.
    changing: Mutex<Outbox>,
}

#[derive(Debug)]
enum Running {
    Tun(tun::Plane),
    Netstack(Box<netstack::Plane>),
}

impl User {
    /// Makes a TUN device that is off and has no address, and handles it.
    pub(super) fn tun(spec: &Spec) -> Result<Self, OpenError> {
        let lanes = lanes::wanted()?;
        let (device, link) = match &spec.place {
            Place::TunInside { namespace, interface } => {
                let made = namespace.run(|| make_tun(interface, spec.mtu, lanes));
                made.map_err(failed)??
            }
            Place::Kernel { .. } | Place::BareKernel | Place::Tun { .. } | Place::BareTun | Place::Netstack(_) => {
                make_tun(&spec.name, spec.mtu, lanes)?
            }
        };
        let offloads = device.offloads();
        let mut user = Self::start(device.queues(), |engine, sockets| {
            start_tun(spec.mtu, device, link, engine, sockets).map(Running::Tun)
        })?;
        if !offloads.tso {
            user.lacks.push("TCP offloads of TUN devices");
        }
        if !offloads.uso {
            user.lacks.push("UDP offloads of TUN devices (Linux 6.2)");
        }
        Ok(user)
    }

    /// Handles packets on sockets alone.
    pub(super) fn netstack(spec: &Spec, config: &netstack::Config) -> Result<Self, OpenError> {
        let config = netstack::Config {
            mtu: spec.mtu.into(),
            ..config.clone()
        };
        Self::start(1, |engine, sockets| {
            let plane = netstack::Plane::start(Arc::clone(engine), Arc::clone(sockets), config);
            let plane = plane.map_err(|cause| OpenError::Plane {
                plane: Plane::Netstack,
                cause,
            })?;
            Ok(Running::Netstack(Box::new(plane)))
        })
    }

    fn start(
        lanes: usize,
        run: impl FnOnce(&Arc<Engine>, &Arc<Sockets>) -> Result<Running, OpenError>,
    ) -> Result<Self, OpenError> {
        let engine = Arc::new(Engine::new(Time::now(), SystemTime::now(), random));
        let sockets = Arc::new(Sockets::bind_lanes(0, 0, Offloads::default(), lanes).map_err(OpenError::Socket)?);
        let running = run(&engine, &sockets)?;
        Ok(Self {
            engine,
            sockets,
            running,
            lacks: Vec::new(),
            changing: Mutex::default(),
        })
    }

    pub(super) fn plane(&self) -> Plane {
        match self.running {
            Running::Tun(_) => Plane::Tun,
            Running::Netstack(_) => Plane::Netstack,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.sockets.port()
    }

    pub(super) fn apply(&self, update: &wg::Update) -> Result<(), ApplyError> {
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

    pub(super) fn status(&self) -> wg::Status {
        let mut status = self.engine.status();
        status.device.listen_port = Some(self.sockets.port()).filter(|port| *port != 0);
        status.device.fwmark = Some(self.sockets.fwmark()).filter(|mark| *mark != 0);
        status
    }

    pub(super) fn counters(&self) -> engine::Counters {
        self.engine.counters()
    }

    pub(super) fn counts(&self) -> Vec<Count> {
        let (tun, netstack) = match &self.running {
            Running::Tun(plane) => (Some(plane.counters()), None),
            Running::Netstack(plane) => (None, Some(plane.counters())),
        };
        counts::counts(
            self.engine.traffic(),
            &self.engine.counters(),
            &self.sockets.counters(),
            tun.as_ref(),
            netstack.as_ref(),
        )
    }

    pub(super) fn lacks(&self) -> Vec<&'static str> {
        let offloads = self.sockets.offloads();
        let mut all = self.lacks.clone();
        if !offloads.gso {
            all.push("UDP_SEGMENT (Linux 4.18, and not 7.0 to 7.1.4, which spoil headers)");
        }
        if !offloads.gro {
            all.push("UDP_GRO (Linux 5.0)");
        }
        all
    }

    pub(super) fn take_refusals(&self) -> Vec<Refusal> {
        self.engine.take_refusals()
    }

    pub(super) fn netstack_plane(&self) -> Option<&netstack::Plane> {
        match &self.running {
            Running::Netstack(plane) => Some(plane),
            Running::Tun(_) => None,
        }
    }

    pub(super) fn ended(&self) -> Option<CloseReason> {
        match &self.running {
            Running::Tun(plane) => plane.ended().and_then(close_reason),
            Running::Netstack(plane) => plane
                .is_stopped()
                .then(|| CloseReason::Failed("the netstack plane stopped".to_owned())),
        }
    }

    pub(super) fn wait_for_interface(&self) -> Option<CloseReason> {
        match &self.running {
            Running::Tun(plane) => close_reason(plane.wait()),
            Running::Netstack(_) => None,
        }
    }

    pub(super) fn stop(&self) {
        if let Running::Tun(plane) = &self.running {
            plane.stop();
        }
    }
}

fn close_reason(end: tun::End) -> Option<CloseReason> {
    match end {
        tun::End::Stopped => None,
        tun::End::DeviceGone => Some(CloseReason::InterfaceGone),
        tun::End::Failed(reason) => Some(CloseReason::Failed(reason)),
    }
}

fn failed(cause: io::Error) -> OpenError {
    OpenError::Plane {
        plane: Plane::Tun,
        cause,
    }
}

/// Makes a TUN device in the calling thread's namespace, and watches it there.
fn make_tun(name: &str, mtu: u16, lanes: NonZeroUsize) -> Result<(Tun, tun::LinkWatch), OpenError> {
    let options = TunOptions {
        vnet_hdr: true,
        persistent: false,
        queues: Some(lanes),
    };
    let device = Tun::open(name, options)?;
    let mut netlink = Netlink::route()?;
    if let Some(link) = link::find(&mut netlink, name)? {
        link::set_mtu(&mut netlink, link.index, mtu.into())?;
    }
    Ok((device, tun::LinkWatch::new(name).map_err(failed)?))
}

fn start_tun(
    mtu: u16,
    device: Tun,
    link: tun::LinkWatch,
    engine: &Arc<Engine>,
    sockets: &Arc<Sockets>,
) -> Result<tun::Plane, OpenError> {
    let options = tun::Options {
        mtu: mtu.into(),
        vnet_hdr: device.has_vnet_hdr(),
        coalesce: device.offloads().tso,
        link: Some(link),
    };
    // A kernel that has queues but lets no sockets share a port gives one lane. A closed queue gets no packets.
    let mut queues = device.into_queues();
    queues.truncate(sockets.lanes());
    tun::Plane::start(Arc::clone(engine), Arc::clone(sockets), queues, options).map_err(failed)
}

fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel has random bytes since it booted");
}
