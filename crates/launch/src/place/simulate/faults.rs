//! What goes wrong at the place that is none.

use std::time::Duration;

use crate::{
    LeaseId,
    place::{Fault, FaultKind},
};

/// How long a call hangs, at the speed of a cloud: longer than a question may take, shorter than a creation may.
const HANG: Duration = Duration::from_secs(30);

/// So many times as many calls go wrong as machines never boot: a lease has many calls, and is one machine.
const MACHINES: u64 = 4;

/// What goes wrong in a call, if anything does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The call fails, and nothing was done.
    Fails(Fault),
    /// What was asked is done, but the answer is lost.
    LosesAnswer,
    /// No answer comes, for so long; then it is done.
    Hangs(Duration),
    /// The machine that this creation makes never boots. Of another call it is no trouble.
    NeverBoots,
}

/// A call at the place, as [`Simulate::with_troubles`] is asked for it.
///
/// [`Simulate::with_troubles`]: super::Simulate::with_troubles
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Place::create`](crate::place::Place::create).
    Create,
    /// [`Place::ask`](crate::place::Place::ask).
    Ask,
    /// [`Place::remove`](crate::place::Place::remove).
    Remove,
    /// [`Place::list`](crate::place::Place::list).
    List,
}

/// Says what goes wrong in the n-th call of its kind for a lease, counted from 1.
pub type Troubles = dyn Fn(Call, Option<LeaseId>, u64) -> Option<Trouble> + Send + Sync;

/// Faults that seem to come by chance, and come again the same for the same lease: what goes wrong follows from the lease's id
/// and the call's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Faults {
    percent: u64,
    hang: Duration,
}

impl Faults {
    /// `percent` of the calls go wrong, and a quarter as many machines never boot.
    pub(super) fn new(percent: u8, speed: f64) -> Self {
        Self {
            percent: percent.into(),
            hang: HANG.div_f64(speed),
        }
    }

    pub(super) fn trouble(&self, call: Call, id: Option<LeaseId>, number: u64) -> Option<Trouble> {
        let lease = id.map(|id| id.to_string()).unwrap_or_default();
        let is_first = (call, number) == (Call::Create, 1);
        if is_first && chance(&lease, "boot", 0) % (100 * MACHINES) < self.percent {
            return Some(Trouble::NeverBoots);
        }
        let word = match call {
            Call::Create => "create",
            Call::Ask => "ask",
            Call::Remove => "remove",
            Call::List => "list",
        };
        let chance = chance(&lease, word, number);
        if chance % 100 >= self.percent {
            return None;
        }
        Some(match chance / 100 % 3 {
            0 => Trouble::Fails(Fault::new(
                FaultKind::Unclear,
                "simulated_fault",
                "the simulated place could not do it, as it was told to fail at times",
            )),
            1 => Trouble::LosesAnswer,
            _ => Trouble::Hangs(self.hang),
        })
    }
}

/// The same number for the same words, and another one for others.
fn chance(lease: &str, word: &str, number: u64) -> u64 {
    // FNV-1a, 64 bits; then the finalizer of SplitMix64, for its low bits are not much of a mixture.
    let bytes = lease.bytes().chain([0]).chain(word.bytes()).chain(number.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;

    #[test]
    fn as_many_calls_go_wrong_as_was_said_and_the_same_ones_again() {
        for (percent, speed) in [(0, 1.0), (20, 1.0), (20, 10.0), (100, 10.0)] {
            let faults = Faults::new(percent, speed);
            let mut kinds = [0_u32; 4];
            for lease in 0..500_u32 {
                let id = Some(LeaseId::new(Moment::from_millis(1_795_000_000_000), lease.into()));
                for number in 1..=20 {
                    let trouble = faults.trouble(Call::Ask, id, number);
                    assert_eq!(trouble, faults.trouble(Call::Ask, id, number));
                    match trouble {
                        None => {}
                        Some(Trouble::Fails(_)) => kinds[0] += 1,
                        Some(Trouble::LosesAnswer) => kinds[1] += 1,
                        Some(Trouble::Hangs(time)) => {
                            assert_eq!(time, Duration::from_secs(30).div_f64(speed));
                            kinds[2] += 1;
                        }
                        Some(Trouble::NeverBoots) => panic!("a question makes no machine"),
                    }
                }
            }
            for lease in 0..4_000_u32 {
                let id = Some(LeaseId::new(Moment::from_millis(1_795_000_000_000), lease.into()));
                let first = faults.trouble(Call::Create, id, 1);
                kinds[3] += u32::from(first == Some(Trouble::NeverBoots));
            }
            let calls = u32::from(percent) * 100;
            let third = calls / 3;
            for count in &kinds[..3] {
                assert!(count.abs_diff(third) <= third / 5, "{percent}: {kinds:?}");
            }
            let machines = u32::from(percent) * 10;
            assert!(kinds[3].abs_diff(machines) <= machines / 4, "{percent}: {kinds:?}");
        }
    }
}
