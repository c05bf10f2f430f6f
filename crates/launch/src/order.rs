//! What a person asks for, and what a lease is to be once every default is filled in.

mod ssh_key;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wg::PublicKey;

use crate::{place::Description, policy::Policy};

/// How long a lease lives unless something else is asked for.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Least time without a handshake that means that no client is there, in seconds. One that is there has a handshake every two
/// minutes (WireGuard whitepaper 6.2, `REKEY_AFTER_TIME`).
pub const LEAST_IDLE: u64 = 180;

/// Longest name of a peer, which WireGuard's apps take for the tunnel's.
pub const MAX_NAME: usize = 15;

/// Most peers of a lease.
pub const MAX_PEERS: usize = 250;

/// A request as it comes from a person or a program. `None` and an empty list leave the choice to the profile, and then to
/// the place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// A set of options that the configuration has under this name.
    pub profile: Option<String>,
    /// Where the gateway runs.
    pub place: Option<String>,
    /// The place's region.
    pub region: Option<String>,
    /// The place's size of machine.
    pub size: Option<String>,
    /// Seconds from ready to the end.
    pub lifetime_secs: Option<u64>,
    /// Seconds without a handshake after which the lease ends.
    pub idle_end_secs: Option<u64>,
    /// Where clients' keys are made.
    pub keys: Option<Keys>,
    /// Who may connect.
    pub peers: Vec<PeerRequest>,
    /// UDP port that clients connect to.
    pub port: Option<u16>,
    /// Clients' resolvers; an empty list leaves them their own, `None` is the gateway itself.
    pub dns: Option<Vec<String>>,
    /// What clients send through the tunnel.
    pub allowed_ips: Option<Vec<IpNet>>,
    /// Largest packet inside the tunnel, in bytes.
    pub mtu: Option<u16>,
    /// The OpenSSH public key that opens the machine of the gateway, such as `ssh-ed25519 AAAA…`; `None`: nobody logs in.
    pub ssh_key: Option<String>,
}

/// A peer as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRequest {
    /// Its name, of 1 to 15 letters, digits, `-` and `_`.
    pub name: String,
    /// Its public key; `None` only where the gateway makes the keys.
    #[serde(default)]
    pub public_key: Option<PublicKey>,
}

/// Where clients' keys are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// At the client, where the private key stays.
    #[default]
    Client,
    /// On the gateway, which hands the configuration over once.
    Gateway,
}

/// Options that the configuration has under a name. What a request names itself wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// What it is for, for people.
    pub description: String,
    /// As in [`Request`].
    pub place: Option<String>,
    /// As in [`Request`].
    pub region: Option<String>,
    /// As in [`Request`].
    pub size: Option<String>,
    /// As in [`Request`].
    pub lifetime_secs: Option<u64>,
    /// As in [`Request`].
    pub idle_end_secs: Option<u64>,
    /// As in [`Request`].
    pub port: Option<u16>,
    /// As in [`Request`].
    pub dns: Option<Vec<String>>,
    /// As in [`Request`].
    pub allowed_ips: Option<Vec<IpNet>>,
    /// As in [`Request`].
    pub mtu: Option<u16>,
    /// As in [`Request`].
    pub ssh_key: Option<String>,
}

/// What a lease is to be: checked, every default filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Where the gateway runs.
    pub place: String,
    /// `None`: the place has no regions.
    pub region: Option<String>,
    /// `None`: the place has no sizes.
    pub size: Option<String>,
    /// From ready to the end, in seconds.
    pub lifetime_secs: u64,
    /// Without a handshake, in seconds; `None` is never.
    pub idle_end_secs: Option<u64>,
    /// Where clients' keys are made.
    pub keys: Keys,
    /// `None`: a free one.
    pub port: Option<u16>,
    /// `None`: the gateway itself.
    pub dns: Option<Vec<String>>,
    /// What clients send through the tunnel.
    pub allowed_ips: Vec<IpNet>,
    /// `None`: the gateway's.
    pub mtu: Option<u16>,
    /// The OpenSSH public key that opens the machine of the gateway, without a comment; `None`: nobody logs in.
    #[serde(default)]
    pub ssh_key: Option<String>,
}

/// A wrong value, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field of the request, such as `peers[0].name`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Invalid {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl Order {
    /// A lease of so many seconds at a place that leaves everything else open: clients make their keys, and send everything
    /// through the tunnel.
    pub fn plain(place: impl Into<String>, lifetime_secs: u64) -> Self {
        Self {
            place: place.into(),
            region: None,
            size: None,
            lifetime_secs,
            idle_end_secs: None,
            keys: Keys::Client,
            port: None,
            dns: None,
            allowed_ips: everything(),
            mtu: None,
            ssh_key: None,
        }
    }

    /// Checks a request and fills in what it leaves open: from its profile, from the place, from the policy.
    ///
    /// # Errors
    ///
    /// The first value that is wrong.
    pub fn new(
        request: &Request,
        profiles: &BTreeMap<String, Profile>,
        places: &[Description],
        policy: &Policy,
    ) -> Result<Self, Invalid> {
        let none = Profile::default();
        let profile = match &request.profile {
            None => &none,
            Some(name) => profiles.get(name).ok_or_else(|| {
                let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
                Invalid::new(
                    "profile",
                    format!("there is no profile `{name}`; there are: {}", listed(&known)),
                )
            })?,
        };
        let place = place(request.place.as_ref().or(profile.place.as_ref()), places)?;
        let lifetime_secs = request
            .lifetime_secs
            .or(profile.lifetime_secs)
            .unwrap_or_else(|| DEFAULT_LIFETIME.as_secs().min(policy.max_lifetime.as_secs()));
        policy
            .check_lifetime(lifetime_secs)
            .map_err(|problem| Invalid::new("lifetime_secs", problem))?;
        let idle_end_secs = request.idle_end_secs.or(profile.idle_end_secs);
        if idle_end_secs.is_some_and(|secs| !(LEAST_IDLE..=86_400).contains(&secs)) {
            let problem = format!("must be between {LEAST_IDLE} and 86400 seconds");
            return Err(Invalid::new("idle_end_secs", problem));
        }
        let port = request.port.or(profile.port);
        place
            .check_port(port)
            .map_err(|problem| Invalid::new("port", problem))?;
        let mtu = request.mtu.or(profile.mtu);
        if mtu.is_some_and(|mtu| !(1_280..=9_000).contains(&mtu)) {
            return Err(Invalid::new("mtu", "must be between 1280 and 9000 bytes"));
        }
        let dns = request.dns.clone().or_else(|| profile.dns.clone());
        check_dns(dns.as_deref().unwrap_or_default())?;
        let keys = request.keys.unwrap_or_default();
        check_peers(&request.peers, keys)?;
        if keys == Keys::Client && !place.takes_public_keys {
            return Err(Invalid::new(
                "keys",
                format!(
                    "the place `{}` makes clients' keys itself; ask for it with `gateway`",
                    place.name
                ),
            ));
        }
        Ok(Self {
            place: place.name.clone(),
            region: choice(
                "region",
                request.region.as_ref().or(profile.region.as_ref()),
                &place.regions,
            )?,
            size: choice("size", request.size.as_ref().or(profile.size.as_ref()), &place.sizes)?,
            lifetime_secs,
            idle_end_secs,
            keys,
            port,
            dns,
            allowed_ips: allowed_ips(request.allowed_ips.as_ref().or(profile.allowed_ips.as_ref()))?,
            mtu,
            ssh_key: ssh_key(request, profile, place)?,
        })
    }

    /// From ready to the end.
    pub fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_secs)
    }
}

fn place<'a>(named: Option<&String>, places: &'a [Description]) -> Result<&'a Description, Invalid> {
    let known = || listed(&places.iter().map(|place| place.name.as_str()).collect::<Vec<_>>());
    match named {
        None => places
            .first()
            .ok_or_else(|| Invalid::new("place", "no place is configured")),
        Some(name) => places
            .iter()
            .find(|place| place.name == *name)
            .ok_or_else(|| Invalid::new("place", format!("there is no place `{name}`; there are: {}", known()))),
    }
}

fn choice(field: &str, wanted: Option<&String>, known: &[String]) -> Result<Option<String>, Invalid> {
    match wanted {
        None => Ok(known.first().cloned()),
        Some(wanted) if known.contains(wanted) => Ok(Some(wanted.clone())),
        Some(wanted) if known.is_empty() => Err(Invalid::new(
            field,
            format!("`{wanted}`: this place has no choice of it; leave it out"),
        )),
        Some(wanted) => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(Invalid::new(
                field,
                format!("`{wanted}` is not offered; there are: {}", listed(&known)),
            ))
        }
    }
}

fn allowed_ips(given: Option<&Vec<IpNet>>) -> Result<Vec<IpNet>, Invalid> {
    match given {
        None => Ok(everything()),
        Some(list) if list.is_empty() => Err(Invalid::new(
            "allowed_ips",
            "names nothing: leave it out to send everything through the tunnel",
        )),
        Some(list) if list.len() > 200 => Err(Invalid::new("allowed_ips", "more than 200 networks")),
        Some(list) => Ok(list.iter().map(IpNet::trunc).collect()),
    }
}

/// A place that has no login refuses the key that is asked for; that of a profile, which may be meant for several places, is
/// left out there.
fn ssh_key(request: &Request, profile: &Profile, place: &Description) -> Result<Option<String>, Invalid> {
    let key = match (&request.ssh_key, &profile.ssh_key) {
        (Some(_), _) if !place.offers_ssh => {
            let problem = format!("nobody can log in to gateways at `{}`; leave it out", place.name);
            return Err(Invalid::new("ssh_key", problem));
        }
        (Some(key), _) => key,
        (None, Some(key)) if place.offers_ssh => key,
        (None, _) => return Ok(None),
    };
    ssh_key::read(key)
        .map(Some)
        .map_err(|problem| Invalid::new("ssh_key", problem))
}

/// Both default routes.
pub fn everything() -> Vec<IpNet> {
    vec![
        IpNet::V4(ipnet::Ipv4Net::default()),
        IpNet::V6(ipnet::Ipv6Net::default()),
    ]
}

fn check_dns(servers: &[String]) -> Result<(), Invalid> {
    if servers.len() > 8 {
        return Err(Invalid::new("dns", "more than 8 servers and domains"));
    }
    for (index, server) in servers.iter().enumerate() {
        if server.parse::<IpAddr>().is_err() && !is_domain(server) {
            return Err(Invalid::new(
                format!("dns[{index}]"),
                format!("`{server}` is neither an address nor a search domain"),
            ));
        }
    }
    Ok(())
}

/// RFC 1123, section 2.1.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253
        && text.split('.').all(is_label)
        && !text
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
}

/// Whether peers can be had as they are asked for: by name, key, and number.
///
/// # Errors
///
/// The first that cannot.
pub fn check_peers(peers: &[PeerRequest], keys: Keys) -> Result<(), Invalid> {
    if peers.is_empty() {
        return Err(Invalid::new("peers", "names nobody: a lease has at least one peer"));
    }
    if peers.len() > MAX_PEERS {
        return Err(Invalid::new("peers", format!("more than {MAX_PEERS}")));
    }
    for (index, peer) in peers.iter().enumerate() {
        check_name(&peer.name).map_err(|problem| Invalid::new(format!("peers[{index}].name"), problem))?;
        let before = &peers[..index];
        if before.iter().any(|other| other.name.eq_ignore_ascii_case(&peer.name)) {
            let problem = format!("`{}` is given twice", peer.name);
            return Err(Invalid::new(format!("peers[{index}].name"), problem));
        }
        let field = || format!("peers[{index}].public_key");
        match (&peer.public_key, keys) {
            (None, Keys::Client) => {
                let problem = "is missing: make a key pair at the client and give its public key, \
                               or ask for `keys: gateway`";
                return Err(Invalid::new(field(), problem));
            }
            (Some(_), Keys::Gateway) => {
                return Err(Invalid::new(
                    field(),
                    "with `keys: gateway` the gateway makes it; leave it out",
                ));
            }
            (Some(key), Keys::Client) if before.iter().any(|other| other.public_key == Some(*key)) => {
                return Err(Invalid::new(
                    field(),
                    "another peer has this key; every device has its own",
                ));
            }
            (Some(_), Keys::Client) | (None, Keys::Gateway) => {}
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_valid = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(is_inner)
        && name.as_bytes()[0].is_ascii_alphanumeric();
    if is_valid {
        Ok(())
    } else {
        Err(format!(
            "`{}` cannot name a peer: 1 to {MAX_NAME} ASCII letters, digits, `-` and `_`, the first a letter or a digit",
            name.escape_debug()
        ))
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINciyW2ykUGBJgJI4Tmc11xusqjDzO4KUiBZgG7n4cTT";

    #[test]
    fn an_ssh_key_is_for_places_that_offer_a_login_and_a_profile_may_have_one_for_those() {
        let place = |name: &str, offers_ssh| Description {
            name: name.to_owned(),
            offers_ssh,
            ..Description::default()
        };
        let places = [place("azure-vm", true), place("docker", false)];
        let profile = Profile {
            ssh_key: Some(format!("{KEY} of the profile")),
            ..Profile::default()
        };
        let profiles = BTreeMap::from([("admin".to_owned(), profile)]);
        // (place, profile, key that is asked for, key of the order or the field that is wrong)
        for (place, profile, asked, expected) in [
            ("azure-vm", None, None, Ok(None)),
            ("azure-vm", None, Some(KEY), Ok(Some(KEY))),
            ("azure-vm", Some("admin"), None, Ok(Some(KEY))),
            ("azure-vm", None, Some("ssh-ed25519 x"), Err("ssh_key")),
            ("docker", None, Some(KEY), Err("ssh_key")),
            ("docker", Some("admin"), None, Ok(None)),
        ] {
            let request = Request {
                place: Some(place.to_owned()),
                profile: profile.map(str::to_owned),
                keys: Some(Keys::Gateway),
                peers: vec![PeerRequest {
                    name: "phone".to_owned(),
                    public_key: None,
                }],
                ssh_key: asked.map(str::to_owned),
                ..Request::default()
            };
            let order = Order::new(&request, &profiles, &places, &Policy::default());
            let found = order.map(|order| order.ssh_key).map_err(|invalid| invalid.field);
            let expected = expected.map(|key| key.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(found, expected, "{place} {profile:?} {asked:?}");
        }
    }

    #[test]
    fn an_order_that_was_kept_before_there_were_logins_has_none() {
        let order = Order::plain("docker", 1_800);
        let mut kept = serde_json::to_value(&order).unwrap();
        assert!(kept.as_object_mut().unwrap().remove("ssh_key").is_some());
        assert_eq!(serde_json::from_value::<Order>(kept).unwrap(), order);
    }
}
