//! Many messages at once against the library, on one core: `cargo bench -p dataplane --bench aead`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{hint::black_box, time::Instant};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use dataplane::aead::{Backend, Key, Sealed};

const ROUNDS: usize = 301;

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Dependent multiplications, of four cycles each with what keeps them odd: their time gives the clock frequency in GHz.
fn clock() -> f64 {
    let mut x = 3_u64;
    let start = Instant::now();
    for _ in 0..300 {
        for _ in 0..10 {
            x = (x | 1).wrapping_mul(x);
        }
        x = black_box(x);
    }
    4.0 * 3000.0 / (start.elapsed().as_secs_f64() * 1e9)
}

/// The clock frequency right after a millisecond of each way, in turn.
fn clocks(ways: &[(&str, Key)], rounds: usize) {
    let mut run = vec![0; 1452 * 44];
    for (name, key) in ways {
        let mut after: Vec<f64> = (0..rounds)
            .map(|_| {
                let start = Instant::now();
                while start.elapsed().as_millis() < 1 {
                    key.seal_run(0, &mut run, 1452);
                }
                clock()
            })
            .collect();
        println!("clock after {name}: {:.2} GHz", median(&mut after));
    }
}

fn main() {
    let mut ways = vec![("library", Key::with_backend(&[7; 32], Backend::Library))];
    for backend in Backend::available().filter(|&backend| backend != Backend::Library) {
        ways.push(("vector", Key::with_backend(&[7; 32], backend)));
    }
    ways.push(("chosen", Key::new(&[7; 32])));
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let rounds = if quick { 2 } else { ROUNDS };

    clocks(&ways, rounds);
    for len in [16, 64, 256, 1420] {
        direct(&ways, len, rounds);
    }
    for opening in [false, true] {
        println!(
            "{}\n{:>6} {:>4} | {}",
            if opening { "opening" } else { "sealing" },
            "bytes",
            "run",
            ways.iter()
                .map(|(name, _)| format!("{name:>9} ns    Gbit/s  ratio | "))
                .collect::<String>()
        );
        for len in [16, 64, 256, 1420, 9000] {
            for run in [1, 2, 3, 4, 6, 8, 12, 16, 44] {
                measure(&ways, opening, len, run, rounds);
            }
        }
    }
    clocks(&ways, rounds);
}

/// One message, by the library's own interface and by this one.
fn direct(ways: &[(&str, Key)], len: usize, rounds: usize) {
    let (_, key) = &ways[ways.len() - 1];
    let library = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("a key has 32 bytes"));
    let mut run = vec![0_u8; len + 32];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let start = Instant::now();
        for counter in 0..100_u64 {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_le_bytes());
            let (text, tag) = black_box(&mut run)[16..].split_at_mut(len);
            let computed = library
                .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), text)
                .expect("the text is short");
            tag.copy_from_slice(computed.as_ref());
        }
        times[0].push(start.elapsed().as_secs_f64() * 1e7);
        let start = Instant::now();
        for counter in 0..100 {
            key.seal_run(counter, black_box(&mut run), len + 32);
        }
        times[1].push(start.elapsed().as_secs_f64() * 1e7);
    }
    let [library, chosen] = times.map(|mut times| median(&mut times));
    println!("one message of {len}: {library:.1} ns by the library itself, {chosen:.1} ns here");
}

fn measure(ways: &[(&str, Key)], opening: bool, len: usize, run: usize, rounds: usize) {
    let segment = len + 32;
    let mut sealed = vec![0_u8; segment * run];
    ways[0].1.seal_run(0, &mut sealed, segment);
    let mut buffer = sealed.clone();
    // Enough calls to a round that the clock's own time does not matter.
    let calls = (40_000 / (run * (len + 200))).max(1);
    let mut times = vec![Vec::with_capacity(rounds); ways.len()];
    for _ in 0..rounds {
        for ((_, key), times) in ways.iter().zip(&mut times) {
            let mut total = 0.0;
            for _ in 0..calls {
                if opening {
                    buffer.copy_from_slice(&sealed);
                    let mut messages = [Sealed::default(); 64];
                    for (i, message) in messages[..run].iter_mut().enumerate() {
                        *message = Sealed {
                            counter: i as u64,
                            start: segment * i + 16,
                            len: len + 16,
                            authentic: false,
                        };
                    }
                    let start = Instant::now();
                    key.open_batch(black_box(&mut buffer), black_box(&mut messages[..run]));
                    total += start.elapsed().as_secs_f64();
                    assert!(messages[..run].iter().all(|message| message.authentic));
                } else {
                    let start = Instant::now();
                    key.seal_run(black_box(0), black_box(&mut buffer), segment);
                    total += start.elapsed().as_secs_f64();
                }
            }
            times.push(total * 1e9 / (calls * run) as f64);
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let columns: String = medians
        .iter()
        .map(|ns| format!("{ns:>12.1} {:>9.2} {:>6.2} | ", len as f64 * 8.0 / ns, medians[0] / ns))
        .collect();
    println!("{len:>6} {run:>4} | {columns}");
}
