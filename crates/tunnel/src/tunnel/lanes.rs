//! How many lanes a tunnel on the tun plane has: pairs of threads that share its packets.

use std::{env, num::NonZeroUsize, thread};

use super::OpenError;

/// The variable that says how many.
const VARIABLE: &str = "ADIT_LANES";

/// Most lanes: what a queue more brings has long become less than what it costs.
const MAX: usize = 64;

/// Most lanes that nobody asked for.
const MAX_BY_DEFAULT: usize = 16;

/// Processors for each lane, which has a thread in each direction.
const PROCESSORS: usize = 2;

/// What `$ADIT_LANES` says, 1 to 64; without it one lane for every two processors that this process may use, at least 1
/// and at most 16.
pub(super) fn wanted() -> Result<NonZeroUsize, OpenError> {
    match env::var_os(VARIABLE) {
        Some(value) if !value.is_empty() => {
            let text = value.to_string_lossy();
            asked_for(&text).ok_or_else(|| OpenError::Lanes {
                value: text.into_owned(),
            })
        }
        _ => Ok(for_processors(
            thread::available_parallelism().map_or(1, NonZeroUsize::get),
        )),
    }
}

fn asked_for(text: &str) -> Option<NonZeroUsize> {
    text.trim()
        .parse()
        .ok()
        .filter(|lanes: &NonZeroUsize| lanes.get() <= MAX)
}

fn for_processors(processors: usize) -> NonZeroUsize {
    NonZeroUsize::new((processors / PROCESSORS).min(MAX_BY_DEFAULT)).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_has_two_processors_unless_somebody_says_how_many_lanes() {
        for (processors, lanes) in [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3), (32, 16), (64, 16), (256, 16)] {
            assert_eq!(for_processors(processors).get(), lanes, "{processors} processors");
        }
        for (text, lanes) in [
            ("1", Some(1)),
            (" 64 ", Some(64)),
            ("65", None),
            ("0", None),
            ("-1", None),
            ("two", None),
        ] {
            assert_eq!(asked_for(text).map(NonZeroUsize::get), lanes, "{text:?}");
        }
    }
}
