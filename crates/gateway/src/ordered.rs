//! A map that remembers the order in which its keys came.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Values by key, walked in the order in which the keys came. Adding and removing one costs the same in a map of ten
/// thousand as in one of ten.
#[derive(Clone, Debug)]
pub(crate) struct Ordered<K, V> {
    by_key: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V> Ordered<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn get<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.by_key.get(key).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entry = |key: &K| self.by_key.get_key_value(key).map(|(key, (_, value))| (key, value));
        self.order.values().filter_map(entry)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Puts a value in: at the end if the key is new, else in place of the one that is given back.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some((_, place)) = self.by_key.get_mut(&key) {
            return Some(std::mem::replace(place, value));
        }
        self.next += 1;
        self.order.insert(self.next, key.clone());
        self.by_key.insert(key, (self.next, value));
        None
    }

    pub(crate) fn remove<Q: ?Sized + Eq + Hash>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (place, value) = self.by_key.remove(key)?;
        self.order.remove(&place);
        Some(value)
    }
}

impl<K: Clone + Eq + Hash, V> FromIterator<(K, V)> for Ordered<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let mut map = Self::default();
        for (key, value) in items {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_in_the_order_in_which_they_came() {
        let mut map: Ordered<&str, u8> = [("c", 1), ("a", 2), ("b", 3)].into_iter().collect();
        assert_eq!(map.insert("a", 4), Some(2));
        assert_eq!((map.remove("c"), map.remove("c")), (Some(1), None));
        assert_eq!(map.insert("c", 5), None);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&"a", &4), (&"b", &3), (&"c", &5)]);
        assert_eq!((map.len(), map.get("b"), map.get("d")), (3, Some(&3), None));
    }
}
