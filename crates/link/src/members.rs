//! Who is a member of a link, as one host knows it; and how what two hosts know becomes one.
//!
//! Each host writes its own record and counts its version up. Of two versions the higher holds; a removal holds for ever,
//! whatever its version. So hosts that hear of the same records, in any order and however often, know the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wg::PublicKey;

use crate::{
    HostName,
    addresses::Addresses,
    record::{Record, Removal},
    text,
};

/// Most records of a link, of those who left too.
const MAX_RECORDS: usize = 4096;

/// How old a removal is, in seconds, before it is forgotten: a month. Until then nobody brings the host back.
const MEMORY: u64 = 30 * 24 * 3600;

/// The version of a record whose host was removed: none is newer.
const REMOVED: u64 = u64::MAX;

/// The members of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Members(#[serde(with = "text::map")] BTreeMap<PublicKey, Record>);

/// Versions by keys, as hosts tell each other what they know.
pub type Versions = BTreeMap<PublicKey, u64>;

impl Members {
    /// The record of a host.
    pub fn find(&self, key: &PublicKey) -> Option<&Record> {
        self.0.get(key)
    }

    /// The member of this name.
    pub fn named(&self, name: &HostName) -> Option<&Record> {
        self.live().find(|record| record.name == *name)
    }

    /// Those who are members.
    pub fn live(&self) -> impl Iterator<Item = &Record> {
        self.0.values().filter(|record| record.removed.is_none())
    }

    /// Those who are members and have their number to themselves: of two with one number it is the one who came first.
    pub fn settled(&self) -> Vec<&Record> {
        let mut by_number: BTreeMap<u16, &Record> = BTreeMap::new();
        for record in self.live() {
            let first = by_number.entry(record.number).or_insert(record);
            if (record.joined, record.key) < (first.joined, first.key) {
                *first = record;
            }
        }
        by_number.into_values().collect()
    }

    /// Who has the number of this member, and came before it; `None` if nobody.
    pub fn rival(&self, key: &PublicKey) -> Option<&Record> {
        let own = self.0.get(key)?;
        let settled = self.settled();
        settled
            .into_iter()
            .find(|record| record.number == own.number && record.key != own.key)
    }

    /// All records that a host whose versions these are does not have.
    pub fn newer_than(&self, versions: &Versions) -> Vec<Record> {
        let is_newer = |record: &&Record| versions.get(&record.key).is_none_or(|theirs| *theirs < record.version);
        self.0.values().filter(is_newer).cloned().collect()
    }

    /// The versions of all records.
    pub fn versions(&self) -> Versions {
        self.0.iter().map(|(key, record)| (*key, record.version)).collect()
    }

    /// Takes a record; whether that changed anything. One that makes no sense is passed over.
    pub fn take(&mut self, record: Record, addresses: &Addresses) -> bool {
        if !record.is_sane(addresses) || (record.version == REMOVED) != record.removed.is_some() {
            return false;
        }
        match self.0.get(&record.key) {
            Some(known) if known.version >= record.version => false,
            None if self.0.len() >= MAX_RECORDS => false,
            Some(_) | None => {
                self.0.insert(record.key, record);
                true
            }
        }
    }

    /// Changes the host's own record, and counts its version up; whether anything changed.
    pub fn change(&mut self, key: &PublicKey, now: u64, change: impl FnOnce(&mut Record)) -> bool {
        let Some(record) = self.0.get_mut(key).filter(|record| record.removed.is_none()) else {
            return false;
        };
        let before = record.clone();
        change(record);
        record.bound();
        if *record == before {
            return false;
        }
        // A host that was put back to an older disk comes before nobody: time counts, too.
        record.version = (record.version + 1).max(now).min(REMOVED - 1);
        true
    }

    /// Makes the host's own record newer than one that is known of it elsewhere; whether it was not.
    pub fn outdo(&mut self, key: &PublicKey, version: u64) -> bool {
        match self.0.get_mut(key) {
            Some(record) if record.removed.is_none() && record.version < version => {
                record.version = (version + 1).min(REMOVED - 1);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Ends a membership; whether there was one.
    pub fn remove(&mut self, key: &PublicKey, by: HostName, now: u64) -> bool {
        let Some(record) = self.0.get_mut(key).filter(|record| record.removed.is_none()) else {
            return false;
        };
        record.removed = Some(Removal { by, at: now });
        record.version = REMOVED;
        record.containers.clear();
        record.reserved.clear();
        true
    }

    /// Forgets removals that are long past.
    pub fn forget(&mut self, now: u64) {
        self.0.retain(|_, record| {
            record
                .removed
                .as_ref()
                .is_none_or(|removal| now.saturating_sub(removal.at) < MEMORY)
        });
    }

    /// The lowest number that nobody has, and that is kept for nobody.
    pub fn free_number(&self, room: u16) -> Option<u16> {
        let is_taken = |number: &u16| {
            self.live()
                .any(|record| record.number == *number || record.reserved.contains(number))
        };
        (0..room).find(|number| !is_taken(number))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    pub(crate) fn key(seed: u8) -> PublicKey {
        Secret::from_bytes([seed; 32]).private_key().public_key()
    }

    pub(crate) fn record(seed: u8, number: u16) -> Record {
        Record {
            key: key(seed),
            name: format!("host-{seed}").parse().unwrap(),
            number,
            endpoint: None,
            joined: seed.into(),
            version: 1,
            removed: None,
            reserved: Vec::new(),
            containers: Vec::new(),
        }
    }

    fn addresses() -> Addresses {
        Addresses::new("10.77.0.0/16".parse().unwrap(), &key(1)).unwrap()
    }

    fn members(records: impl IntoIterator<Item = Record>) -> Members {
        let mut members = Members::default();
        for record in records {
            members.take(record, &addresses());
        }
        members
    }

    #[test]
    fn the_newer_record_holds_and_a_removal_for_ever() {
        let mut members = members([record(1, 0), record(2, 1)]);
        let mut newer = record(2, 1);
        newer.version = 9;
        newer.endpoint = Some("192.0.2.1:7".parse().unwrap());
        assert!(members.take(newer.clone(), &addresses()));
        assert!(
            !members.take(record(2, 1), &addresses()),
            "an older one changes nothing"
        );
        assert!(members.remove(&key(2), "host-1".parse().unwrap(), 100));
        newer.version = u64::MAX - 1;
        assert!(!members.take(newer.clone(), &addresses()), "nobody brings it back");
        assert!(!members.change(&key(2), 5, |record| record.endpoint = None));
        assert_eq!(members.live().count(), 1);
        assert_eq!(members.free_number(256), Some(1), "its number is free");
        members.forget(100 + MEMORY - 1);
        assert!(members.find(&key(2)).is_some());
        members.forget(100 + MEMORY);
        assert!(members.find(&key(2)).is_none());
        // Only a removal has the version of one.
        newer.version = u64::MAX;
        assert!(!members.take(newer, &addresses()));
    }

    #[test]
    fn of_two_with_one_number_the_first_keeps_it() {
        let members = members([record(1, 0), record(3, 1), record(2, 1)]);
        let settled: Vec<_> = members.settled().iter().map(|record| record.key).collect();
        assert_eq!(settled, [key(1), key(2)]);
        assert_eq!(members.rival(&key(3)).map(|record| record.key), Some(key(2)));
        assert_eq!(members.rival(&key(2)), None);
    }

    #[test]
    fn numbers_are_given_in_their_order_and_not_twice() {
        let mut first = record(1, 0);
        first.reserved = vec![1, 2];
        let members = members([first, record(2, 4)]);
        assert_eq!(members.free_number(256), Some(3));
        assert_eq!(members.free_number(3), None);
    }

    #[test]
    fn records_that_make_no_sense_are_passed_over() {
        let container = |address: &str| crate::record::Listed {
            names: vec!["web".to_owned()],
            addresses: vec![address.parse().unwrap()],
        };
        for (wrong, what) in [
            (
                Record {
                    number: 300,
                    ..record(1, 0)
                },
                "a number out of the pool",
            ),
            (
                Record {
                    containers: vec![container("10.77.1.2")],
                    ..record(1, 0)
                },
                "another host's address",
            ),
            (
                Record {
                    containers: vec![container("192.0.2.1")],
                    ..record(1, 0)
                },
                "nobody's address",
            ),
            (
                Record {
                    reserved: vec![9; 65],
                    ..record(1, 0)
                },
                "too many reserved",
            ),
        ] {
            assert!(!Members::default().take(wrong, &addresses()), "{what}");
        }
        let right = Record {
            containers: vec![container("10.77.0.2")],
            ..record(1, 0)
        };
        assert!(Members::default().take(right, &addresses()));
    }

    fn any_record() -> impl Strategy<Value = Record> {
        (1..5_u8, 1..6_u64, any::<bool>()).prop_map(|(seed, version, removed)| {
            let mut record = record(seed, seed.into());
            // The same version says the same.
            record.version = version;
            record.joined = version;
            if removed {
                record.version = REMOVED;
                record.joined = 0;
                record.removed = Some(Removal {
                    by: "host-1".parse().unwrap(),
                    at: 1,
                });
            }
            record
        })
    }

    proptest! {
        #[test]
        fn whoever_heard_the_same_knows_the_same(
            (records, shuffled) in proptest::collection::vec(any_record(), 0..20)
                .prop_flat_map(|records| (Just(records.clone()), Just(records).prop_shuffle()))
        ) {
            let (one, mut other) = (members(records), members(shuffled));
            prop_assert_eq!(&one, &other);
            // And what one has told the other is told once.
            for record in one.newer_than(&other.versions()) {
                prop_assert!(!other.take(record, &addresses()));
            }
        }
    }
}
