//! Puts the fragments of one peer's packets together, in bounded memory and time.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use crate::{
    ip::{Fragment, Packet, V6_HEADER_LEN, header::Header},
    time::Time,
};

/// How long the fragments of a packet are waited for (RFC 791, 3.2; Linux has the same).
pub(super) const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Room before the payload, for the header of the whole packet.
const HEADROOM: usize = V6_HEADER_LEN;

/// Longest first fragment that is kept to be quoted in an error.
const QUOTE_LEN: usize = 1_500;

/// Most separate stretches of one packet: a sender in order has one, a hostile one as many as it can.
const MAX_GAPS: usize = 64;

/// What an unfinished packet costs beside its bytes.
const OVERHEAD: usize = size_of::<Assembly>() + MAX_GAPS * size_of::<(usize, usize)>();

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// More are missing.
    Waiting,
    /// The packet is whole: an IP header without options and the payload.
    Whole(&'a [u8]),
    /// Parts overlap or contradict each other: the packet and what comes of it later are dropped (RFC 5722).
    Rejected,
}

/// Unfinished packets of one peer. By default it holds none.
#[derive(Debug, Default)]
pub(super) struct Reassembler {
    unfinished: HashMap<Key, Assembly>,
    /// Bytes that `unfinished` holds, overhead included.
    held: usize,
    limit: usize,
    /// The packet that was finished last; the memory serves the next.
    finished: Vec<u8>,
    evicted: usize,
}

/// RFC 791 tells packets apart by protocol too, RFC 8200 does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    ident: u32,
    protocol: Option<u8>,
}

#[derive(Debug)]
struct Assembly {
    /// Headroom, then the payload as far as it came.
    bytes: Vec<u8>,
    /// The stretches of the payload that are there, in order, apart from each other.
    stretches: Vec<(usize, usize)>,
    /// The payload's length, once the last fragment came.
    len: Option<usize>,
    /// Of the first fragment, which says what the whole is.
    header: Option<Header>,
    quote: Vec<u8>,
    rejected: bool,
    due: Time,
}

impl Reassembler {
    /// Holds at most `limit` bytes.
    #[cfg(test)]
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Holds at most `limit` bytes after the next fragment.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes a fragment. `fragment` is the packet's own.
    pub(super) fn add(&mut self, now: Time, packet: &Packet<'_>, fragment: Fragment) -> Outcome<'_> {
        let key = Key {
            source: packet.source,
            destination: packet.destination,
            ident: fragment.ident,
            protocol: (!packet.is_v6()).then_some(packet.protocol),
        };
        if !self.unfinished.contains_key(&key) {
            self.make_room(OVERHEAD);
            self.unfinished.insert(key, Assembly::new(now + REASSEMBLY_TIMEOUT));
            self.held += OVERHEAD;
        }
        let growth = self
            .unfinished
            .get(&key)
            .map_or(0, |assembly| assembly.growth(packet, fragment));
        if self.held + growth > self.limit {
            self.make_room_but(growth, &key);
        }
        let Some(assembly) = self.unfinished.get_mut(&key) else {
            return Outcome::Rejected;
        };
        let before = assembly.cost();
        let place = assembly.place(packet, fragment);
        self.held = (self.held + assembly.cost()).saturating_sub(before);
        match place {
            Place::Rejected => Outcome::Rejected,
            Place::Waiting => Outcome::Waiting,
            Place::Whole(header) => {
                if let Some(assembly) = self.remove(&key) {
                    self.finished = assembly.bytes;
                }
                let payload_len = self.finished.len() - HEADROOM;
                let start = HEADROOM - header.len();
                if header.write(&mut self.finished[start..], payload_len) == 0 {
                    return Outcome::Rejected;
                }
                Outcome::Whole(&self.finished[start..])
            }
        }
    }

    /// Drops what waited too long. Calls `tell` with the first fragment of each packet whose first fragment had come.
    pub(super) fn expire(&mut self, now: Time, mut tell: impl FnMut(&[u8])) -> usize {
        let mut expired = 0;
        let held = &mut self.held;
        self.unfinished.retain(|_, assembly| {
            let keep = now < assembly.due;
            if !keep {
                *held = held.saturating_sub(assembly.cost());
                expired += usize::from(!assembly.rejected);
                if !assembly.quote.is_empty() && !assembly.rejected {
                    tell(&assembly.quote);
                }
            }
            keep
        });
        expired
    }

    /// When [`Reassembler::expire`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.unfinished.values().map(|assembly| assembly.due).min()
    }

    /// How many packets were dropped for want of room, since this was last asked.
    pub(super) fn take_evicted(&mut self) -> usize {
        std::mem::take(&mut self.evicted)
    }

    /// Bytes that unfinished packets hold.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    fn make_room(&mut self, needed: usize) {
        while self.held + needed > self.limit {
            let Some(oldest) = self.oldest(None) else { return };
            self.evict(&oldest);
        }
    }

    /// Makes room by dropping others, and `key` itself if that is not enough.
    fn make_room_but(&mut self, needed: usize, key: &Key) {
        while self.held + needed > self.limit {
            let oldest = self.oldest(Some(key)).unwrap_or(*key);
            self.evict(&oldest);
            if oldest == *key {
                return;
            }
        }
    }

    fn oldest(&self, but: Option<&Key>) -> Option<Key> {
        let others = self.unfinished.iter().filter(|(key, _)| Some(*key) != but);
        others.min_by_key(|(_, assembly)| assembly.due).map(|(key, _)| *key)
    }

    fn evict(&mut self, key: &Key) {
        if self.remove(key).is_some_and(|assembly| !assembly.rejected) {
            self.evicted += 1;
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Assembly> {
        let assembly = self.unfinished.remove(key)?;
        self.held = self.held.saturating_sub(assembly.cost());
        Some(assembly)
    }
}

enum Place {
    Waiting,
    Whole(Header),
    Rejected,
}

impl Assembly {
    fn new(due: Time) -> Self {
        Self {
            bytes: vec![0; HEADROOM],
            stretches: Vec::new(),
            len: None,
            header: None,
            quote: Vec::new(),
            rejected: false,
            due,
        }
    }

    fn cost(&self) -> usize {
        OVERHEAD + self.bytes.len() - HEADROOM + self.quote.len()
    }

    /// By how much the buffer would grow.
    fn growth(&self, packet: &Packet<'_>, fragment: Fragment) -> usize {
        if self.rejected {
            return 0;
        }
        let quote = if fragment.offset == 0 { QUOTE_LEN } else { 0 };
        (HEADROOM + fragment.offset + packet.payload.len()).saturating_sub(self.bytes.len()) + quote
    }

    fn place(&mut self, packet: &Packet<'_>, fragment: Fragment) -> Place {
        if self.rejected {
            return Place::Rejected;
        }
        let (start, end) = (fragment.offset, fragment.offset + packet.payload.len());
        let place = HEADROOM + start..HEADROOM + end;
        let is_known_end = fragment.more || self.len == Some(end);
        if self.is_there(start, end) && self.bytes.get(place.clone()) == Some(packet.payload) && is_known_end {
            // The network doubled it.
            return Place::Waiting;
        }
        let at = self.stretches.partition_point(|stretch| stretch.1 <= start);
        let overlaps = self.stretches.get(at).is_some_and(|stretch| stretch.0 < end);
        if overlaps || !self.agrees(end, fragment) {
            return self.reject();
        }
        if self.bytes.len() < place.end {
            self.bytes.resize(place.end, 0);
        }
        self.bytes[place].copy_from_slice(packet.payload);
        self.join(at, start, end);
        if self.stretches.len() > MAX_GAPS {
            return self.reject();
        }
        if !fragment.more {
            self.len = Some(end);
        }
        if start == 0 {
            let header = Header::new(packet.source, packet.destination, packet.protocol);
            self.header = Some(Header {
                hop_limit: packet.hop_limit,
                traffic_class: packet.traffic_class,
                dont_fragment: false,
                ..header
            });
            if packet.bytes.len() <= QUOTE_LEN {
                self.quote = packet.bytes.to_vec();
            }
        }
        match (self.len, self.header) {
            (Some(len), Some(header)) if self.stretches == [(0, len)] => Place::Whole(header),
            _ => Place::Waiting,
        }
    }

    /// Whether the whole range came before, as parts of any size.
    fn is_there(&self, start: usize, end: usize) -> bool {
        self.stretches
            .iter()
            .any(|stretch| stretch.0 <= start && end <= stretch.1)
    }

    /// Whether the fragment's end fits what is known of the packet's.
    fn agrees(&self, end: usize, fragment: Fragment) -> bool {
        let reached = self.stretches.last().map_or(0, |stretch| stretch.1);
        match self.len {
            Some(len) => {
                if fragment.more {
                    end < len
                } else {
                    end == len
                }
            }
            None => fragment.more || reached <= end,
        }
    }

    fn join(&mut self, at: usize, start: usize, end: usize) {
        let joins_before = at > 0 && self.stretches[at - 1].1 == start;
        let joins_after = self.stretches.get(at).is_some_and(|stretch| stretch.0 == end);
        match (joins_before, joins_after) {
            (true, true) => {
                self.stretches[at - 1].1 = self.stretches[at].1;
                self.stretches.remove(at);
            }
            (true, false) => self.stretches[at - 1].1 = end,
            (false, true) => self.stretches[at].0 = start,
            (false, false) => self.stretches.insert(at, (start, end)),
        }
    }

    /// Frees the bytes, but remembers, so that what comes later is not taken for a new packet.
    fn reject(&mut self) -> Place {
        self.rejected = true;
        self.bytes = vec![0; HEADROOM];
        (self.stretches, self.quote) = (Vec::new(), Vec::new());
        Place::Rejected
    }
}

#[cfg(test)]
mod tests;
