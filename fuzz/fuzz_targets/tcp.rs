//! The end of a client's TCP connection: no segments, events and silences make it panic, send what was not written, or
//! stay due.
#![no_main]

use std::time::Duration;

use dataplane::{
    netstack::tcp::{Config, Connection, Flags, MAX_HEADER_LEN, Options, Segment, Seq, Timestamps},
    time::Time,
};
use libfuzzer_sys::fuzz_target;

/// Reads numbers off the fuzzer's bytes.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// A position near `base`, or any.
    fn near(&mut self, base: Seq) -> Option<Seq> {
        let kind = self.byte()?;
        let small = u32::from(self.byte()?) << (kind & 7);
        Some(match kind >> 6 {
            0 | 1 => base + small,
            2 => base - small,
            _ => base + (small << 16),
        })
    }

    fn segment<'p>(&mut self, irs: Seq, iss: Seq, payload: &'p [u8]) -> Option<Segment<'p>> {
        let flags = Flags(self.byte()?);
        let (seq, ack) = (self.near(irs)?, self.near(iss)?);
        let window = u16::from(self.byte()?) << 8;
        let payload = &payload[..usize::from(self.byte()?) * 8];
        let mut options = Options::default();
        let extras = self.byte()?;
        for _ in 0..extras & 3 {
            options.sack.push((self.near(iss)?, self.near(iss)?));
        }
        if extras & 4 != 0 {
            let (value, echo) = (u32::from(self.byte()?), u32::from(self.byte()?));
            options.timestamps = Some(Timestamps { value, echo });
        }
        options.sack_permitted = extras & 8 != 0;
        options.window_scale = (extras & 16 != 0).then_some(extras >> 4);
        options.mss = (extras & 32 != 0).then_some(u16::from(extras) << 3);
        Some(Segment {
            source_port: 1,
            destination_port: 2,
            seq,
            ack,
            flags,
            window,
            options,
            payload,
        })
    }
}

fn play(script: &mut Script<'_>) -> Option<()> {
    let payload = [7; 255 * 8];
    let (irs, iss) = (Seq(u32::MAX - 3000), Seq(u32::MAX - 1000));
    let mut now = Time::from_nanos(1_000_000_000);
    let syn = Segment {
        flags: Flags::SYN,
        seq: irs,
        ..script.segment(irs, iss, &payload)?
    };
    let mut connection = Connection::accept(now, &Config::ipv4(1420), iss.0, &syn);
    let (mut written, mut finished) = (0, false);
    loop {
        let mut room = usize::MAX;
        match script.byte()? % 16 {
            0..=5 => connection.handle_segment(now, &script.segment(irs, iss, &payload)?),
            6 => connection.dialled(),
            7 | 8 if !finished => written += connection.write(&payload[..usize::from(script.byte()?)]),
            9 => {
                let len = usize::from(script.byte()?) * 64;
                connection.consume(now, len);
            }
            10 | 11 => now = now + Duration::from_micros(1 << (script.byte()? % 32)),
            12 => {
                connection.finish();
                finished = true;
            }
            13 => connection.set_mss(now, u16::from(script.byte()?) << 4),
            14 => room = usize::from(script.byte()? % 4),
            15 if script.byte()? == 0 => connection.abort(),
            _ => {}
        }
        for _ in 0..4 {
            connection.handle_timeout(now);
            connection.poll_transmit(now, 4000, &mut |header, (first, second)| {
                let mut bytes = [0; MAX_HEADER_LEN];
                let len = first.len() + second.len();
                assert!(header.write(1, 2, &mut bytes) <= MAX_HEADER_LEN);
                assert!(len == 0 || header.seq.since(iss + 1) as usize + len <= written);
                assert!(first.iter().chain(second).all(|&byte| byte == 7));
                room = room.saturating_sub(1);
                room > 0
            });
        }
        assert!(room == 0 || room < 4 || connection.poll_timeout().is_none_or(|due| due > now));
        let (first, second) = connection.readable();
        assert!(first.iter().chain(second).all(|&byte| byte == 7));
        assert!(connection.memory() <= 20 << 20);
    }
}

fuzz_target!(|data: &[u8]| {
    play(&mut Script(data));
});
