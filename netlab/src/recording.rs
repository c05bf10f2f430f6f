//! Records the UDP datagrams that pass a host's interfaces, as somebody on the wire does, and sends them again.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::Host;
use crate::load::sys;

/// Length of the headers before a datagram's payload: Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 14 + 20 + 8;

/// What an Ethernet frame with IPv4 has in its header.
const IPV4: [u8; 2] = [0x08, 0x00];

/// UDP's number.
const UDP: u8 = 17;

/// The longest datagram that is sent again as it was.
const LONGEST: usize = 1472;

/// Datagrams over IPv4, from here on, until this is dropped.
pub struct Recording {
    stop: Arc<AtomicBool>,
    payloads: Arc<Mutex<Vec<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Recording {
    /// Begins to record.
    ///
    /// # Panics
    ///
    /// If the kernel gives no packet socket, which root has.
    pub fn start(host: &Host) -> Self {
        let socket = host.run(sys::packet_socket).expect("open a packet socket");
        let (stop, payloads) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&payloads));
        let thread = std::thread::spawn(move || {
            let mut frame = vec![0; 128 << 10];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(len) = sys::receive(&socket, &mut frame) else {
                    continue;
                };
                let frame = &frame[..len];
                if frame.get(12..14) == Some(&IPV4) && frame.get(23) == Some(&UDP) && len > HEADERS {
                    let mut payloads = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    payloads.push(frame[HEADERS..].to_vec());
                }
            }
        });
        Self {
            stop,
            payloads,
            thread: Some(thread),
        }
    }

    /// What was recorded so far.
    pub fn payloads(&self) -> Vec<Vec<u8>> {
        self.payloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether these bytes are in any of it.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        let has = |payload: &Vec<u8>| payload.windows(bytes.len()).any(|window| window == bytes);
        self.payloads().iter().any(has)
    }

    /// Sends it all again, from `host` to `to`, in the order in which it passed.
    ///
    /// # Panics
    ///
    /// If the host has no socket.
    pub fn replay(&self, host: &Host, to: SocketAddr) {
        let payloads = self.payloads();
        host.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("bind a socket");
            for payload in payloads.iter().filter(|payload| payload.len() <= LONGEST) {
                let _full = socket.send_to(payload, to);
            }
        });
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
