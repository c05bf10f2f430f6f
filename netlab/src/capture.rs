//! Sees every frame that passes a host's interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::Host;
use crate::load::sys;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// An IP packet that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it says it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// The protocol's number, of IPv6 that of the first header behind the fixed one.
    pub protocol: u8,
    /// The ports of TCP and UDP; the type and the code of ICMP.
    pub ports: Option<(u16, u16)>,
}

/// What passes a host's interfaces from here on, all of them, those included that come later.
pub struct Capture {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Begins to look. `wanted` says of a packet whether it is kept; frames that carry no IP are not.
    ///
    /// # Panics
    ///
    /// If the kernel gives no packet socket, which root has.
    pub fn start(host: &Host, wanted: impl Fn(&Seen) -> bool + Send + 'static) -> Self {
        let socket = host.run(sys::packet_socket).expect("open a packet socket");
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Seen>>>::default());
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut frame = vec![0; 128];
            while !stopped.load(Ordering::Relaxed) {
                // It waits a tenth of a second at most.
                let Ok(len) = sys::receive(&socket, &mut frame) else {
                    continue;
                };
                if let Some(packet) = read(&frame[..len]).filter(&wanted) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
                }
            }
        });
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The packet in an Ethernet frame.
fn read(frame: &[u8]) -> Option<Seen> {
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let packet = frame.get(14..)?;
    let (source, destination, protocol, header): (IpAddr, IpAddr, u8, usize) = match kind {
        IPV4 => {
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            let header = usize::from(packet.first()? & 0xf) * 4;
            (address(12)?.into(), address(16)?.into(), *packet.get(9)?, header)
        }
        IPV6 => {
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            (address(8)?.into(), address(24)?.into(), *packet.get(6)?, 40)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let ports = match protocol {
        TCP | UDP => port(header).zip(port(header + 2)),
        ICMP => packet
            .get(header)
            .zip(packet.get(header + 1))
            .map(|(kind, code)| (u16::from(*kind), u16::from(*code))),
        _ => None,
    };
    Some(Seen {
        source,
        destination,
        protocol,
        ports,
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::{Lab, wait_until};

    #[test]
    fn a_datagram_between_hosts_is_seen() {
        crate::requires!("root", "ip");
        let lab = Lab::new();
        let (left, right) = (lab.host("left"), lab.host("right"));
        let capture = Capture::start(&right, |packet| packet.protocol == UDP);
        left.link("eth0", &["192.0.2.1/24"], &right, "eth0", &["192.0.2.2/24"]);
        left.run(|| {
            let socket = UdpSocket::bind("192.0.2.1:1111").expect("bind");
            socket.send_to(b"hello", "192.0.2.2:2222").expect("send");
        });
        let expected = Seen {
            source: "192.0.2.1".parse().expect("an address"),
            destination: "192.0.2.2".parse().expect("an address"),
            protocol: UDP,
            ports: Some((1111, 2222)),
        };
        wait_until("the datagram is seen", Duration::from_secs(10), || {
            capture.seen().contains(&expected).then_some(())
        });
    }
}
