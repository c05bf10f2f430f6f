//! Peers as `PEERS` and its kin name them.

use std::{collections::HashSet, str::FromStr};

use super::value::items;
use crate::{
    Name,
    name::{MAX_LEN, NameError},
};

/// Most peers that a number asks for.
pub const MAX_PEERS: u32 = 65_533;

/// A peer as `PEERS` has it: a number or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(Name);

/// Which peers get keepalives from the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keepalive {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// These.
    Only(Vec<PeerId>),
}

impl PeerId {
    /// The peer of a numbered list with this number.
    pub fn numbered(number: u32) -> Self {
        Self(number.to_string().parse().expect("digits are a name"))
    }

    /// The name as `PEERS` has it.
    pub fn item(&self) -> &Name {
        &self.0
    }

    /// What the peer's directory and files are called: `peer1` for a number, `peer_phone` for a name.
    pub fn file_name(&self) -> String {
        let item = self.0.as_str();
        format!("{}{item}", beginning(item))
    }

    /// The name of its directory, by which the gateway knows it.
    pub fn name(&self) -> Name {
        let name = self.file_name();
        name.parse().expect("an item is so short that its directory has a name")
    }

    /// The peer whose directory is called so; `None` for the name of anything else.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let item = name.strip_prefix("peer")?;
        let peer: Self = item.strip_prefix('_').unwrap_or(item).parse().ok()?;
        (peer.file_name() == name).then_some(peer)
    }
}

impl FromStr for PeerId {
    type Err = NameError;

    /// Reads an item of `PEERS`: what its directory is called has to be a [`Name`], too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Name::parse(text, MAX_LEN - beginning(text).len()).map(Self)
    }
}

/// What stands before an item in the name of its directory.
fn beginning(item: &str) -> &'static str {
    if item.bytes().all(|byte| byte.is_ascii_digit()) {
        "peer"
    } else {
        "peer_"
    }
}

impl Keepalive {
    /// Whether this peer gets keepalives.
    pub fn covers(&self, peer: &PeerId) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Only(peers) => peers.contains(peer),
        }
    }

    /// Reads `all`, if that comes first, or peers between commas. Nothing between two commas is nobody.
    ///
    /// # Errors
    ///
    /// Says which item is wrong.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.split(',').next().is_some_and(|first| first.trim() == "all") {
            return Ok(Self::All);
        }
        let peers = items(text).map(|item| item.parse().map_err(|error: NameError| error.to_string()));
        peers.collect::<Result<_, _>>().map(Self::Only)
    }
}

/// Reads a number of peers, or their names. A name that comes twice counts once.
///
/// # Errors
///
/// Says which item is wrong.
pub fn peers(text: &str) -> Result<Vec<PeerId>, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse::<u32>().ok().filter(|number| *number <= MAX_PEERS);
        let number = number.ok_or_else(|| format!("a gateway has at most {MAX_PEERS} peers"))?;
        return Ok((1..=number).map(PeerId::numbered).collect());
    }
    let mut peers: Vec<PeerId> = Vec::new();
    let mut seen = HashSet::new();
    for item in items(text) {
        let peer: PeerId = item.parse().map_err(|error: NameError| error.to_string())?;
        if seen.insert(peer.clone()) {
            peers.push(peer);
        }
    }
    if peers.is_empty() {
        return Err("a list that names no peer; 0 is a gateway without peers".into());
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_called_so_that_its_directory_has_a_name() {
        for (letter, most) in [("a", 59), ("7", 60)] {
            let peer: PeerId = letter.repeat(most).parse().unwrap();
            assert_eq!(peer.name().as_str().len(), MAX_LEN);
            let error = letter.repeat(most + 1).parse::<PeerId>().unwrap_err().to_string();
            assert!(error.contains(&format!("1 to {most} ASCII letters")), "{error}");
        }
    }

    #[test]
    fn a_directory_belongs_to_one_peer_or_to_none() {
        for (name, peer) in [
            ("peer1", Some("1")),
            ("peer_phone", Some("phone")),
            ("peer_my-tablet_2", Some("my-tablet_2")),
            ("peer_1", None),
            ("peerphone", None),
            ("peer", None),
            ("peer_", None),
            ("peers", None),
            ("server", None),
        ] {
            let found = PeerId::of_file_name(name);
            assert_eq!(found.as_ref().map(|peer| peer.item().as_str()), peer, "{name}");
        }
    }
}
