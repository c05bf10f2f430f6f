//! Receives many datagrams a call.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{
    Tally,
    socket::Socket,
    sys::{self, BATCH, Received},
};
use crate::buffer::Slot;

/// Fills slots from the front with what waits at the socket, and says how many.
pub(super) fn receive(socket: &Socket, slots: &mut [Slot], tally: &Tally) -> Result<usize, Errno> {
    let mut received = [Received::EMPTY; BATCH];
    let mut filled = 0;
    while filled < slots.len() {
        let free = &mut slots[filled..];
        let asked = free.len().min(BATCH);
        let done = match sys::receive(
            socket.as_fd(),
            free.iter_mut().map(|slot| &mut *slot.data),
            &mut received,
        ) {
            Ok(done) => done,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => break,
            Err(error) if is_fatal(error) => return if filled > 0 { Ok(filled) } else { Err(error) },
            // The network's word on something sent earlier, or a want of memory: the next call receives.
            Err(error) => {
                tally.dropped(error, 1);
                break;
            }
        };
        filled += keep(free, &received[..done], tally);
        if done < asked {
            break;
        }
    }
    Ok(filled)
}

/// Moves the slots that hold whole datagrams to the front, and says how many they are.
fn keep(slots: &mut [Slot], received: &[Received], tally: &Tally) -> usize {
    let mut kept = 0;
    for (at, received) in received.iter().enumerate() {
        if received.truncated {
            tally.oversized.one();
            continue;
        }
        let Some(source) = received.name.address().filter(|_| received.len > 0) else {
            continue;
        };
        let (local, segment) = received.control.read();
        slots.swap(kept, at);
        let slot = &mut slots[kept];
        slot.len = received.len;
        slot.segment = segment.unwrap_or(received.len).min(received.len);
        (slot.source, slot.local) = (source, local);
        kept += 1;
    }
    kept
}

/// Whether the error is the socket's own, and will not pass.
fn is_fatal(error: Errno) -> bool {
    matches!(
        error,
        Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::FAULT | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM
    )
}
