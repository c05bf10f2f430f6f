//! The name of a lease, from which every other name of it follows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::Moment;

/// A ULID: sorts by the time of the request. Shown in lower case, as names of containers and machines have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(Ulid);

/// A text that is no lease's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a lease: 26 letters and digits such as 01kb2w0v9hq3k1yv8s4n6t2m5e")]
pub struct LeaseIdError(String);

impl LeaseId {
    /// The id of a lease requested at `now`; `random` tells it from others of that moment.
    pub fn new(now: Moment, random: u128) -> Self {
        Self(Ulid::from_parts(now.as_millis(), random))
    }

    /// What the lease's gateway is called at its place, and everything else that belongs to it there.
    pub fn resource_name(self) -> String {
        format!("adit-{self}")
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().to_ascii_lowercase())
    }
}

impl FromStr for LeaseId {
    type Err = LeaseIdError;

    fn from_str(text: &str) -> Result<Self, LeaseIdError> {
        let id = Ulid::from_string(text).map_err(|_| LeaseIdError(text.to_owned()))?;
        // Crockford's alphabet has several spellings of one id; a lease has one name.
        let id = Self(id);
        if id.to_string() == text.to_ascii_lowercase() {
            Ok(id)
        } else {
            Err(LeaseIdError(text.to_owned()))
        }
    }
}

impl Serialize for LeaseId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = LeaseId::new(Moment::from_millis(1_795_000_000_000), 7);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(id));
        assert_eq!(id.resource_name(), format!("adit-{text}"));
        for wrong in [
            "",
            "x",
            "01kb2w0v9hq3k1yv8s4n6t2m5",
            "il0kb2w0v9hq3k1yv8s4n6t2m5",
            "../../etc/passwd-aaaaaaaaaa",
        ] {
            assert!(wrong.parse::<LeaseId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let early = LeaseId::new(Moment::from_millis(1), u128::MAX);
        assert!(early < LeaseId::new(Moment::from_millis(2), 0));
    }
}
