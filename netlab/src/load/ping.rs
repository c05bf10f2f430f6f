//! How long an echo takes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::sys;
use crate::Host;

/// How long an answer is waited for.
const LOST: Duration = Duration::from_secs(1);

/// What came of many echoes.
#[derive(Clone, Debug, Default)]
pub struct Pings {
    times: Vec<Duration>,
    lost: usize,
}

impl Pings {
    /// The time that a share of the answers took at most: 0.5 is the median. `None` if there was no answer.
    #[must_use]
    pub fn within(&self, share: f64) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        // Shares lie between 0 and 1, so that the index does.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and `last`"
        )]
        let index = (share * last as f64).round() as usize;
        self.times.get(index).copied()
    }

    /// How many had an answer, and how many had none within a second.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.times.len(), self.lost)
    }
}

/// Asks `target` from `host` for an echo every `interval`, for `length`; the target's kernel answers. One echo is under
/// way at a time: a late answer puts off the next question.
///
/// # Errors
///
/// If there is no raw socket to be had, or no route.
pub fn ping(host: &Host, target: Ipv4Addr, interval: Duration, length: Duration) -> io::Result<Pings> {
    let socket = host.run(sys::icmp)?;
    socket.connect(SocketAddr::from((target, 0)))?;
    socket.set_read_timeout(Some(LOST))?;
    let (mut pings, start) = (Pings::default(), Instant::now());
    let mut sequence = 0_u16;
    while start.elapsed() < length {
        sequence = sequence.wrapping_add(1);
        let asked = Instant::now();
        socket.send(&echo_request(sequence))?;
        match answer(&socket, sequence, asked)? {
            Some(time) => pings.times.push(time),
            None => pings.lost += 1,
        }
        std::thread::sleep(interval.saturating_sub(asked.elapsed()));
    }
    pings.times.sort_unstable();
    Ok(pings)
}

/// An ICMP echo request of 56 bytes of data, as ping(8) sends it.
fn echo_request(sequence: u16) -> [u8; 64] {
    let mut message = [0x5a; 64];
    message[..8].copy_from_slice(&[8, 0, 0, 0, 0xad, 0x17, 0, 0]);
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum: u32 = message
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice, a sum has 16 bits");
    message[2..4].copy_from_slice(&(!folded).to_be_bytes());
    message
}

fn answer(socket: &UdpSocket, sequence: u16, asked: Instant) -> io::Result<Option<Duration>> {
    let mut packet = [0; 2048];
    while asked.elapsed() < LOST {
        let count = match socket.recv(&mut packet) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) => return Err(error),
        };
        let took = asked.elapsed();
        let header = usize::from(packet[0] & 0x0f) * 4;
        let message = packet.get(header..count).unwrap_or_default();
        if message.len() >= 8
            && message[0] == 0
            && message[4..6] == [0xad, 0x17]
            && message[6..8] == sequence.to_be_bytes()
        {
            return Ok(Some(took));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_times_is_found() {
        let times = (1..=101).map(Duration::from_millis).collect();
        let pings = Pings { times, lost: 2 };
        // (share, milliseconds)
        for (share, expected) in [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 101)] {
            assert_eq!(pings.within(share), Some(Duration::from_millis(expected)), "{share}");
        }
        assert_eq!(Pings::default().within(0.5), None);
    }

    #[test]
    fn the_checksum_makes_the_words_of_a_request_add_up() {
        for sequence in [0, 1, 255, 65535] {
            let sum = echo_request(sequence).chunks_exact(2).fold(0_u32, |sum, pair| {
                sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]))
            });
            let folded = (sum & 0xffff) + (sum >> 16);
            assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff, "{sequence}");
        }
    }
}
