//! What a stretch of time brought: bytes or counts, and the processors' part in it.

use std::time::{Duration, Instant};

use netlab::{Host, cpu};

/// How long a load runs before it is measured: until windows are open and queues are as they stay.
const WARM_UP: Duration = Duration::from_secs(1);

/// One measured stretch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// How long it was.
    pub(crate) seconds: f64,
    /// How far the counter went.
    pub(crate) count: f64,
    /// The processor time of the hosts' programs, in seconds.
    pub(crate) programs: f64,
    /// How many processors of the machine were busy, on average.
    pub(crate) busy: f64,
    /// The part of it that neither this process, nor the hosts' programs, nor interrupts account for: others' work,
    /// which spoils the measurement.
    pub(crate) foreign: f64,
}

impl Stretch {
    /// Lets a load warm up, then watches `counter` for `length`; the programs of `hosts` are accounted for.
    pub(crate) fn watch(hosts: &[&Host], length: Duration, counter: impl Fn() -> u64) -> Self {
        std::thread::sleep(WARM_UP);
        let before = Look::take(hosts, counter());
        std::thread::sleep(length);
        Look::take(hosts, counter()).since(&before)
    }

    /// A count a second.
    pub(crate) fn rate(&self) -> f64 {
        self.count / self.seconds
    }
}

/// One look at the counters.
pub(crate) struct Look {
    at: Instant,
    count: u64,
    machine: cpu::Machine,
    programs: Duration,
    own: Duration,
}

impl Look {
    /// Looks at the programs of `hosts` and at the machine.
    pub(crate) fn take(hosts: &[&Host], count: u64) -> Self {
        let processes = hosts.iter().flat_map(|host| host.processes());
        Self {
            at: Instant::now(),
            count,
            machine: cpu::Machine::read(),
            programs: processes.map(|process| cpu::of(process.pid)).sum(),
            own: i32::try_from(std::process::id()).map_or(Duration::ZERO, cpu::of),
        }
    }

    /// What came between an earlier look and this one.
    pub(crate) fn since(&self, before: &Self) -> Stretch {
        let seconds = (self.at - before.at).as_secs_f64();
        let part = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64();
        let busy = part(self.machine.busy, before.machine.busy);
        let programs = part(self.programs, before.programs);
        let known = programs + part(self.own, before.own) + part(self.machine.interrupts, before.machine.interrupts);
        Stretch {
            seconds,
            count: self.count.saturating_sub(before.count) as f64,
            programs,
            busy: busy / seconds,
            foreign: (busy - known).max(0.0) / seconds,
        }
    }
}
