//! PIA's server list, of the format v6, and its signature.
//!
//! Pure. The body's first line is JSON, the second is empty, and from the third on stands an RSA-SHA256 signature of the
//! first in base64. Whatever is in a list that this does not know is passed over; so is a region or a server that it
//! cannot read.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use base64ct::{Base64, Encoding as _};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::{ServerName, SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde::Deserialize;
use serde_json::Value;

/// How many servers of a region are kept that only earlier lists had.
const MAX_EARLIER: usize = 64;

/// How many names of regions are offered for one that is unknown.
const MAX_NEAR: usize = 5;

/// A server list that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    #[error("the server list is not JSON of the format v6")]
    Format,
    #[error("the server list names no region with WireGuard")]
    Empty,
    #[error("the server list has no signature")]
    Unsigned,
    #[error("the server list's signature is wrong for the key that is set up")]
    Signature,
}

/// A public key that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RSA public key as PEM (BEGIN PUBLIC KEY)")]
pub(super) struct ListKeyError;

/// The key that signs the list.
#[derive(Clone, Debug)]
pub(super) struct ListKey(Vec<u8>);

/// The regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The TCP port at which servers take keys.
    pub(super) port: u16,
    pub(super) regions: Vec<Region>,
}

/// One region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// As `ca_vancouver`.
    pub(super) id: String,
    /// As `CA Vancouver`.
    pub(super) name: String,
    /// Whether its servers forward ports.
    pub(super) forwards: bool,
    pub(super) is_offline: bool,
    /// Those of WireGuard.
    pub(super) servers: Vec<Host>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Host {
    /// What its certificate calls it. Nothing is read from it: some are `zurich401`, some `Server-12706-0a`.
    pub(super) cn: String,
    pub(super) ip: IpAddr,
}

impl Host {
    /// Whether it can be a server: its name that of a host, its address that of one machine.
    pub(super) fn is_sound(&self) -> bool {
        let is_one = !self.ip.is_unspecified() && !self.ip.is_multicast();
        is_one && matches!(ServerName::try_from(&*self.cn), Ok(ServerName::DnsName(_)))
    }
}

impl ListKey {
    /// Reads a key as `openssl rsa -pubout` writes it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, ListKeyError> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| ListKeyError)?;
        // SubjectPublicKeyInfo, RFC 5280 section 4.1: a sequence of the algorithm and a bit string with the key.
        let (inside, _) = element(&info, 0x30).ok_or(ListKeyError)?;
        let (_algorithm, inside) = element(inside, 0x30).ok_or(ListKeyError)?;
        let (bits, _) = element(inside, 0x03).ok_or(ListKeyError)?;
        let key = bits.strip_prefix(&[0]).ok_or(ListKeyError)?;
        // RSAPublicKey, RFC 8017 appendix A.1.1: a sequence again.
        element(key, 0x30).ok_or(ListKeyError)?;
        Ok(Self(key.to_owned()))
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0);
        key.verify(text, signature).is_ok()
    }
}

/// The content of the DER element with `tag` at the beginning, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&[len], rest) = rest.split_first_chunk()?;
            (usize::from(len), rest)
        }
        0x82 => {
            let (&len, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(len)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(len)).flatten()
}

#[derive(Deserialize)]
struct ListText {
    groups: Groups,
    regions: Vec<Value>,
}

#[derive(Deserialize)]
struct Groups {
    wg: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    ports: Vec<u16>,
}

#[derive(Deserialize)]
struct RegionText {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    port_forward: bool,
    #[serde(default)]
    offline: bool,
    /// By what they serve: `wg`, `meta` and others.
    servers: BTreeMap<String, Value>,
}

impl List {
    /// Reads a list, and checks its signature if there is a key.
    pub(super) fn parse(body: &[u8], key: Option<&ListKey>) -> Result<Self, ListError> {
        let end = body.iter().position(|&byte| byte == b'\n').unwrap_or(body.len());
        let (json, rest) = body.split_at(end);
        if let Some(key) = key {
            let text: String = rest
                .iter()
                .filter(|byte| !byte.is_ascii_whitespace())
                .map(|&byte| char::from(byte))
                .collect();
            let signature = Base64::decode_vec(&text).map_err(|_| ListError::Unsigned)?;
            match signature.is_empty() {
                true => return Err(ListError::Unsigned),
                false if !key.has_signed(json, &signature) => return Err(ListError::Signature),
                false => {}
            }
        }
        let text: ListText = serde_json::from_slice(json).map_err(|_| ListError::Format)?;
        let port = text.groups.wg.first().and_then(|group| group.ports.first());
        let port = port.copied().filter(|port| *port != 0).ok_or(ListError::Format)?;
        let regions: Vec<_> = text.regions.into_iter().filter_map(Region::of).collect();
        if regions.iter().all(|region| region.servers.is_empty()) {
            return Err(ListError::Empty);
        }
        Ok(Self { port, regions })
    }

    /// Takes in what only an earlier list had: PIA names other servers at every call. Servers that were found `stale`
    /// stay out, wherever they are.
    pub(super) fn merge(&mut self, earlier: &Self, stale: &BTreeSet<Host>) {
        for region in &mut self.regions {
            let before = earlier.regions.iter().find(|before| before.id == region.id);
            let mut kept = 0;
            for host in before.iter().flat_map(|before| &before.servers) {
                let is_known = |known: &Host| known.cn == host.cn || known.ip == host.ip;
                if kept < MAX_EARLIER && !region.servers.iter().any(is_known) {
                    region.servers.push(host.clone());
                    kept += 1;
                }
            }
            region.servers.retain(|host| !stale.contains(host));
        }
    }

    /// The region of this ID or name, in whatever case; an error says what is wrong and names the nearest.
    pub(super) fn region(&self, wanted: &str) -> Result<&Region, String> {
        let is_it =
            |region: &&Region| region.id.eq_ignore_ascii_case(wanted) || region.name.eq_ignore_ascii_case(wanted);
        self.regions.iter().find(is_it).ok_or_else(|| {
            let near = self.near(wanted);
            let hint = match near.is_empty() {
                true => "take an ID from PIA's list, as swiss or ca_vancouver".to_owned(),
                false => format!("did you mean {}?", near.join(", ")),
            };
            format!("PIA has no region {wanted:?}: {hint}")
        })
    }

    /// The IDs that are likest to `wanted`, the likest first.
    fn near(&self, wanted: &str) -> Vec<&str> {
        let wanted = wanted.to_lowercase();
        let score = |region: &Region| {
            let of = |text: &str| {
                let text = text.to_lowercase();
                let is_part =
                    !wanted.is_empty() && (text.contains(&wanted) || wanted.contains(&text) && text.len() > 3);
                if is_part { 1 } else { distance(&text, &wanted) }
            };
            of(&region.id).min(of(&region.name))
        };
        let limit = 1 + wanted.chars().count() / 3;
        let mut near: Vec<_> = self.regions.iter().map(|region| (score(region), &*region.id)).collect();
        near.retain(|(score, _)| *score <= limit);
        near.sort_unstable();
        near.into_iter().take(MAX_NEAR).map(|(_, id)| id).collect()
    }
}

impl Region {
    fn of(value: Value) -> Option<Self> {
        let text: RegionText = serde_json::from_value(value)
            .ok()
            .filter(|text: &RegionText| !text.id.is_empty())?;
        let hosts = text.servers.get("wg").and_then(Value::as_array).into_iter().flatten();
        let hosts = hosts.filter_map(|host| Host::deserialize(host).ok());
        Some(Self {
            id: text.id,
            name: text.name,
            forwards: text.port_forward,
            is_offline: text.offline,
            servers: hosts.filter(Host::is_sound).collect(),
        })
    }
}

/// How many letters must be put in, left out or changed to make one text of another (Levenshtein). Of what is longer
/// than the IDs of regions, only the beginning counts.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.chars().take(64).collect();
    let mut row: Vec<_> = (0..=other.len()).collect();
    for (line, letter) in one.chars().take(64).enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (place, theirs) in other.iter().enumerate() {
            let changed = corner + usize::from(letter != *theirs);
            corner = row[place + 1];
            row[place + 1] = changed.min(corner + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &str = concat!(
        r#"{"groups":{"wg":[{"name":"wireguard","ports":[1337,1]}],"new":7},"extra":[],"regions":["#,
        r#"{"id":"swiss","name":"Switzerland","country":"CH","port_forward":true,"offline":false,"servers":{"#,
        r#""awg":[{"ip":"192.0.2.9","cn":"a","port":1338}],"meta":[{"ip":"192.0.2.8","cn":"m"}],"#,
        r#""wg":[{"ip":"192.0.2.1","cn":"zurich401"},{"ip":"192.0.2.2","cn":"Server-12706-0a","van":true},"#,
        r#"{"ip":"0.0.0.0","cn":"x"},{"ip":"nonsense","cn":"x"},{"ip":"192.0.2.3","cn":"../x"},{"cn":7}]}},"#,
        r#"{"id":"us_texas","name":"US Texas","port_forward":false,"offline":true,"servers":{"wg":[]}},"#,
        r#"{"id":"v7","servers":[]},{"name":"no id"},7]}"#,
        "\n\nAAAA\n",
    );

    fn host(cn: &str, last: u8) -> Host {
        let ip = IpAddr::from([192, 0, 2, last]);
        Host { cn: cn.to_owned(), ip }
    }

    #[test]
    fn what_is_unknown_or_unsound_in_a_list_is_passed_over() {
        let list = List::parse(BODY.as_bytes(), None).unwrap();
        assert_eq!(list.port, 1337);
        let ids: Vec<_> = list.regions.iter().map(|region| &*region.id).collect();
        assert_eq!(ids, ["swiss", "us_texas"]);
        let swiss = list.region("SWITZERLAND").unwrap();
        assert!(swiss.forwards && !swiss.is_offline);
        assert_eq!(swiss.servers, [host("zurich401", 1), host("Server-12706-0a", 2)]);
        assert!(list.region("us_texas").unwrap().is_offline);
    }

    #[test]
    fn a_list_that_cannot_be_used_says_why() {
        let empty = BODY.replace("zurich401", "..").replace("Server-12706-0a", "..");
        for (body, error) in [
            ("", ListError::Format),
            ("<html>", ListError::Format),
            (r#"{"groups":{"wg":[{"ports":[0]}]},"regions":[]}"#, ListError::Format),
            (&*empty, ListError::Empty),
        ] {
            assert_eq!(List::parse(body.as_bytes(), None), Err(error), "{body}");
        }
    }

    #[test]
    fn an_unknown_region_is_told_its_neighbours() {
        let list = List::parse(BODY.as_bytes(), None).unwrap();
        for (wanted, hint) in [
            ("swis", "did you mean swiss?"),
            ("siwss", "did you mean swiss?"),
            ("us-texas", "did you mean us_texas?"),
            ("texas", "did you mean us_texas?"),
            ("", "take an ID"),
            ("atlantis", "take an ID"),
        ] {
            let error = list.region(wanted).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn lists_are_merged_but_for_stale_servers() {
        let with = |servers: &[Host]| List {
            port: 1337,
            regions: vec![Region {
                id: "a".to_owned(),
                name: String::new(),
                forwards: true,
                is_offline: false,
                servers: servers.to_vec(),
            }],
        };
        let mut list = with(&[host("x", 1), host("z", 9)]);
        let earlier = with(&[host("x", 2), host("y", 1), host("w", 4), host("v", 5)]);
        list.merge(&earlier, &BTreeSet::from([host("v", 5), host("z", 9)]));
        assert_eq!(list.regions[0].servers, [host("x", 1), host("w", 4)]);
    }

    #[test]
    fn the_signature_is_over_the_first_line() {
        let rsa = netlab::serve::rsa();
        let key = ListKey::from_pem(rsa.public_pem().as_bytes()).unwrap();
        let json = BODY.lines().next().unwrap();
        let signature = rsa.sign(json.as_bytes());
        let (one, two) = signature.split_at(64);
        let signed = format!("{json}\n\n{one}\n{two}\n");
        // (body, is it taken?)
        for (body, error) in [
            (signed.clone(), None),
            (signed.replace("swiss", "swizz"), Some(ListError::Signature)),
            (BODY.to_owned(), Some(ListError::Signature)),
            (json.to_owned(), Some(ListError::Unsigned)),
            (format!("{json}\n\n***"), Some(ListError::Unsigned)),
        ] {
            assert_eq!(List::parse(body.as_bytes(), Some(&key)).err(), error, "{body}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for pem in ["", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n"] {
            assert_eq!(ListKey::from_pem(pem.as_bytes()).err(), Some(ListKeyError));
        }
    }

    proptest! {
        #[test]
        fn no_list_is_too_strange(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..BODY.len(), byte: u8) {
            let _either = List::parse(&body, None);
            let mut broken = BODY.as_bytes().to_vec();
            broken[cut] = byte;
            if let Ok(list) = List::parse(&broken, None) {
                let _either = list.region("swizz");
            }
        }

        #[test]
        fn no_der_is_too_strange(der in proptest::collection::vec(any::<u8>(), 0..40), tag: u8) {
            let _either = element(&der, tag);
        }
    }
}
