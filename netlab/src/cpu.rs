//! Processor time: of processes, and of the whole machine.

use std::sync::OnceLock;
use std::time::Duration;

/// How many ticks `/proc` counts in a second: `USER_HZ`, the same on every Linux.
const TICKS: u64 = 100;

/// What the machine's processors have done since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// The time of all processors that were not idle, interrupts included.
    pub busy: Duration,
    /// The part of it that interrupts took, and the kernel's threads that go on with them: it belongs to no program.
    pub interrupts: Duration,
}

impl Machine {
    /// What they have done so far; nothing where `/proc/stat` cannot be read.
    #[must_use]
    pub fn read() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal: proc(5).
        let numbers: Vec<u64> = first
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        let sum = |fields: &[usize]| fields.iter().filter_map(|field| numbers.get(*field)).sum();
        let threads = soft_interrupts().iter().map(|pid| of(*pid)).sum::<Duration>();
        Self {
            busy: ticks(sum(&[0, 1, 2, 5, 6, 7])),
            interrupts: ticks(sum(&[5, 6])) + threads,
        }
    }
}

/// The kernel's threads that carry on what an interrupt left to do: receiving packets, for instance.
fn soft_interrupts() -> &'static [i32] {
    static THREADS: OnceLock<Vec<i32>> = OnceLock::new();
    THREADS.get_or_init(|| {
        let threads = crate::accounts(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("ksoftirqd/"))
        });
        threads.into_iter().map(|thread| thread.pid).collect()
    })
}

/// The time that the threads of the process `pid` took so far, in user space and in the kernel; zero if there is none.
#[must_use]
pub fn of(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the last bracket may hold anything; utime and stime are fields 14 and 15: proc(5).
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let numbers = fields.split_whitespace().skip(11).take(2);
    ticks(numbers.filter_map(|word| word.parse::<u64>().ok()).sum())
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_for_the_process_and_the_machine() {
        let me = i32::try_from(std::process::id()).expect("a process number fits");
        let (mine, all) = (of(me), Machine::read().busy);
        crate::wait_until(
            "this process has taken a tenth of a second",
            Duration::from_secs(60),
            || {
                std::hint::black_box((0..1_000_000_u64).fold(0, |sum: u64, number| sum.wrapping_mul(31) ^ number));
                (of(me) >= mine + Duration::from_millis(100)).then_some(())
            },
        );
        assert!(Machine::read().busy > all);
    }
}
