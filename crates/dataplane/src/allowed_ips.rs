//! Cryptokey routing: which peer a destination belongs to, and a source may come from (*whitepaper 2*).

use std::net::IpAddr;

use wg::IpNet;

/// A table of networks, looked up by the longest prefix.
#[derive(Clone, Debug)]
pub(crate) struct AllowedIps<V> {
    v4: Trie<u32, V>,
    v6: Trie<u128, V>,
}

impl<V> AllowedIps<V> {
    pub(crate) const fn new() -> Self {
        Self {
            v4: Trie::new(),
            v6: Trie::new(),
        }
    }

    /// The value of the longest network that holds the address.
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&V> {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }
    }

    /// The value of just this network.
    pub(crate) fn exact(&self, net: IpNet) -> Option<&V> {
        match net {
            IpNet::V4(net) => self.v4.exact(net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.exact(net.network().to_bits(), net.prefix_len()),
        }
    }

    /// Gives a network its value, and returns the one that it had.
    pub(crate) fn insert(&mut self, net: IpNet, value: V) -> Option<V> {
        match net {
            IpNet::V4(net) => self.v4.insert(net.network().to_bits(), net.prefix_len(), value),
            IpNet::V6(net) => self.v6.insert(net.network().to_bits(), net.prefix_len(), value),
        }
    }

    /// Takes a network out, and returns its value.
    pub(crate) fn remove(&mut self, net: IpNet) -> Option<V> {
        match net {
            IpNet::V4(net) => self.v4.remove(net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.remove(net.network().to_bits(), net.prefix_len()),
        }
    }
}

/// An address as a number.
trait Bits: Copy + Eq + std::ops::BitXor<Output = Self> {
    fn leading_zeros(self) -> u8;
    /// The bit at `index`, counted from the front: 0 or 1. Past the end it is 0.
    fn bit(self, index: u8) -> usize;
    /// The first `len` bits, the others zero.
    fn prefix(self, len: u8) -> Self;
}

macro_rules! bits {
    ($int:ty) => {
        impl Bits for $int {
            fn leading_zeros(self) -> u8 {
                u8::try_from(<$int>::leading_zeros(self)).unwrap_or(u8::MAX)
            }

            fn bit(self, index: u8) -> usize {
                let shifted = self.checked_shl(index.into()).unwrap_or(0);
                usize::from(shifted.leading_zeros() == 0 && shifted != 0)
            }

            fn prefix(self, len: u8) -> Self {
                let host = <$int>::MAX.checked_shr(len.into()).unwrap_or(0);
                self & !host
            }
        }
    };
}

bits!(u32);
bits!(u128);

type Index = u32;

const NONE: Index = Index::MAX;

/// A binary trie whose nodes skip the bits in which nothing below them differs.
///
/// A node without a value has two children, so that there are at most twice as many nodes as networks.
#[derive(Clone, Debug)]
struct Trie<B, V> {
    nodes: Vec<Node<B, V>>,
    root: Index,
    /// Nodes that are not in use, chained by their first child.
    free: Index,
}

#[derive(Clone, Debug)]
struct Node<B, V> {
    prefix: B,
    children: [Index; 2],
    len: u8,
    value: Option<V>,
}

/// Where a node hangs: at the root, or below a node on one side.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Child(Index, usize),
}

impl<B: Bits, V> Node<B, V> {
    fn holds(&self, bits: B, len: u8) -> bool {
        self.len <= len && (self.prefix ^ bits).leading_zeros() >= self.len
    }
}

impl<B, V> Trie<B, V> {
    const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            root: NONE,
            free: NONE,
        }
    }
}

impl<B: Bits, V> Trie<B, V> {
    fn node(&self, index: Index) -> Option<&Node<B, V>> {
        self.nodes.get(index as usize)
    }

    fn lookup(&self, bits: B) -> Option<&V> {
        let (mut index, mut found) = (self.root, None);
        while let Some(node) = self.node(index).filter(|node| node.holds(bits, u8::MAX)) {
            if node.value.is_some() {
                found = node.value.as_ref();
            }
            index = node.children[bits.bit(node.len)];
        }
        found
    }

    /// The link to the node of this very network.
    fn find(&self, prefix: B, len: u8) -> Option<Link> {
        let mut link = Link::Root;
        loop {
            let index = self.follow(link);
            let node = self.node(index).filter(|node| node.holds(prefix, len))?;
            if node.len == len {
                return Some(link);
            }
            link = Link::Child(index, prefix.bit(node.len));
        }
    }

    fn exact(&self, prefix: B, len: u8) -> Option<&V> {
        self.node(self.follow(self.find(prefix, len)?))?.value.as_ref()
    }

    fn follow(&self, link: Link) -> Index {
        match link {
            Link::Root => self.root,
            Link::Child(parent, side) => self.nodes[parent as usize].children[side],
        }
    }

    fn set(&mut self, link: Link, index: Index) {
        match link {
            Link::Root => self.root = index,
            Link::Child(parent, side) => self.nodes[parent as usize].children[side] = index,
        }
    }

    fn allocate(&mut self, prefix: B, len: u8, value: Option<V>) -> Index {
        let node = Node {
            prefix,
            children: [NONE; 2],
            len,
            value,
        };
        let index = self.free;
        if let Some(slot) = self.nodes.get_mut(index as usize) {
            self.free = slot.children[0];
            *slot = node;
            return index;
        }
        let index = Index::try_from(self.nodes.len()).expect("memory ends before 4 billion networks");
        self.nodes.push(node);
        index
    }

    fn release(&mut self, index: Index) {
        let node = &mut self.nodes[index as usize];
        (node.value, node.children) = (None, [self.free, NONE]);
        self.free = index;
    }

    fn insert(&mut self, prefix: B, len: u8, value: V) -> Option<V> {
        let mut link = Link::Root;
        let below = loop {
            let index = self.follow(link);
            let Some(node) = self.nodes.get_mut(index as usize) else {
                break NONE;
            };
            if !node.holds(prefix, len) {
                break index;
            }
            if node.len == len {
                return node.value.replace(value);
            }
            link = Link::Child(index, prefix.bit(node.len));
        };
        let new = self.allocate(prefix, len, Some(value));
        let Some((other, other_len)) = self.node(below).map(|node| (node.prefix, node.len)) else {
            self.set(link, new);
            return None;
        };
        let common = (prefix ^ other).leading_zeros().min(len).min(other_len);
        let top = if common == len {
            new
        } else {
            self.allocate(prefix.prefix(common), common, None)
        };
        if top != new {
            self.set(Link::Child(top, prefix.bit(common)), new);
        }
        self.set(Link::Child(top, other.bit(common)), below);
        self.set(link, top);
        None
    }

    fn remove(&mut self, prefix: B, len: u8) -> Option<V> {
        let link = self.find(prefix, len)?;
        let index = self.follow(link);
        let value = self.nodes[index as usize].value.take()?;
        self.collapse(link);
        if let Link::Child(parent, _) = link {
            // Removing a leaf may leave its parent with one child and no value.
            let up = self.nodes[parent as usize].place();
            if let Some(up) = self.find(up.0, up.1) {
                self.collapse(up);
            }
        }
        if self.root == NONE {
            *self = Self::new();
        }
        Some(value)
    }

    /// Takes out the node that the link leads to, if it has no value and fewer than two children.
    fn collapse(&mut self, link: Link) {
        let index = self.follow(link);
        let node = &self.nodes[index as usize];
        let [left, right] = node.children;
        if node.value.is_none() && (left == NONE || right == NONE) {
            self.set(link, if left == NONE { right } else { left });
            self.release(index);
        }
    }
}

impl<B: Copy, V> Node<B, V> {
    fn place(&self) -> (B, u8) {
        (self.prefix, self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_network_wins() {
        let mut table = AllowedIps::new();
        for (i, text) in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "::/0",
            "fd00::/8",
            "fd00::1/128",
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(table.insert(net(text), i), None);
        }
        for (address, expected) in [
            ("192.0.2.1", 0),
            ("10.2.0.1", 1),
            ("10.1.2.4", 2),
            ("10.1.2.3", 3),
            ("2001:db8::1", 4),
            ("fd00::2", 5),
            ("fd00::1", 6),
            ("255.255.255.255", 0),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 4),
        ] {
            assert_eq!(table.lookup(address.parse().unwrap()), Some(&expected), "{address}");
        }
        assert_eq!(table.insert(net("10.1.0.0/16"), 9), Some(2), "a network is taken over");
        assert_eq!(table.remove(net("10.1.2.3/32")), Some(3));
        assert_eq!(table.lookup("10.1.2.3".parse().unwrap()), Some(&9));
        assert_eq!(table.remove(net("10.1.2.3/32")), None);
        assert_eq!(
            table.remove(net("10.1.2.0/24")),
            None,
            "only the very network is removed"
        );
    }

    fn nets() -> impl Strategy<Value = IpNet> {
        // Few bits vary, so that networks nest and collide.
        let v4 = (any::<u8>(), 0_u8..=8, 0_u8..=24).prop_map(|(bits, len, more)| {
            let len = if len == 8 { 8 + more } else { len };
            IpNet::new(IpAddr::from([bits, 0, 0, bits & 3]), len).unwrap().trunc()
        });
        let v6 = (any::<u8>(), 0_u8..=128).prop_map(|(bits, len)| {
            let mut octets = [0; 16];
            (octets[0], octets[15]) = (bits & 0xC3, bits & 0x3C);
            IpNet::new(IpAddr::from(octets), len).unwrap().trunc()
        });
        prop_oneof![v4, v6]
    }

    fn naive(model: &BTreeMap<IpNet, u32>, address: IpAddr) -> Option<&u32> {
        model
            .iter()
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, v)| v)
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_a_list(
            steps in prop::collection::vec((any::<bool>(), nets(), any::<u32>()), 1..120),
            probes in prop::collection::vec(nets(), 40),
        ) {
            let (mut table, mut model) = (AllowedIps::new(), BTreeMap::new());
            for (add, net, value) in steps {
                if add {
                    prop_assert_eq!(table.insert(net, value), model.insert(net, value));
                } else {
                    prop_assert_eq!(table.remove(net), model.remove(&net));
                }
                prop_assert_eq!(table.exact(net), model.get(&net));
            }
            for probe in probes.iter().chain(model.keys()) {
                for address in [probe.network(), probe.broadcast()] {
                    prop_assert_eq!(table.lookup(address), naive(&model, address), "{}", address);
                }
            }
            for net in model.keys() {
                prop_assert!(table.remove(*net).is_some());
            }
            prop_assert!(table.v4.nodes.is_empty() && table.v6.nodes.is_empty(), "nothing is left behind");
        }
    }
}
