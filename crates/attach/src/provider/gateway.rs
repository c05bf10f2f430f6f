//! The provider `gateway`: an adit gateway, over its API. The key is born here; only the public key travels.
//!
//! A token is a file. A directory holds several, `NAME.token` each; a container asks for one of them by `adit.conf` or
//! `adit.region`, else it gets the first that gives it a tunnel.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, de};
use tokio::{net::lookup_host, time::timeout};
use wg::{IpNet, PresharedKey, PrivateKey, PublicKey, Token, conf};
use zeroize::Zeroizing;

use super::{Ask, Provider, ProviderError, client::Client};
use crate::{Offer, Server};

/// How the file of a token ends in a directory of several.
const SUFFIX: &str = ".token";

/// How long a name server may take to tell where a gateway is.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Characters of a holder in the name of its peer: 48 bits, so that no two hosts have the same.
const HOLDER_LEN: usize = 12;

/// Longest name of a peer, in characters.
const NAME_LEN: usize = 59;

/// Gateways that give tunnels to who has their tokens.
#[derive(Debug)]
pub struct Gateway {
    path: PathBuf,
    client: Client,
    peers: Mutex<Peers>,
}

/// Who has which peer, by the names that offers give to servers: `GATEWAY/PEER`.
#[derive(Debug, Default)]
struct Peers {
    held: HashMap<String, String>,
    /// Peers that are to go and did not yet, for want of an answer.
    owed: BTreeMap<String, Removal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    Waiting,
    Going,
}

/// What a gateway answers to a `PUT`; what else is in it is for others.
#[derive(Deserialize)]
struct Admission {
    #[serde(deserialize_with = "networks")]
    addresses: Vec<IpNet>,
    #[serde(default)]
    dns: Vec<IpAddr>,
    #[serde(default)]
    search: Vec<String>,
    mtu: Option<u16>,
    server: Answerer,
}

/// The gateway in that answer.
#[derive(Deserialize)]
struct Answerer {
    public_key: String,
    endpoint: String,
    preshared_key: Option<String>,
    #[serde(deserialize_with = "networks")]
    allowed_ips: Vec<IpNet>,
    persistent_keepalive: Option<u16>,
}

/// Networks as texts.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let networks = texts.iter().map(|text| text.parse());
    networks.collect::<Result<_, _>>().map_err(de::Error::custom)
}

impl Gateway {
    /// The gateways whose tokens are in `path`: one in a file, or several in a directory. It is looked at whenever somebody
    /// asks, so that a token can be changed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            client: Client::default(),
            peers: Mutex::default(),
        }
    }

    /// The tokens' names, in their order.
    fn names(&self) -> Result<Vec<String>, ProviderError> {
        if !self.path.is_dir() {
            let stem = self.path.file_stem().and_then(|stem| stem.to_str());
            return Ok(vec![stem.unwrap_or("gateway").to_owned()]);
        }
        let failed = |cause: io::Error| ProviderError::Refused(format!("{}: {cause}", self.path.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(SUFFIX))
                    .map(str::to_owned),
            );
        }
        names.sort();
        Ok(names)
    }

    fn file(&self, name: &str) -> PathBuf {
        if self.path.is_dir() {
            self.path.join(format!("{name}{SUFFIX}"))
        } else {
            self.path.clone()
        }
    }

    fn token(&self, name: &str) -> Result<Token, ProviderError> {
        let path = self.file(name);
        let wrong = |problem: &dyn std::fmt::Display| ProviderError::Refused(format!("{}: {problem}", path.display()));
        let text = fs::read_to_string(&path)
            .map(Zeroizing::new)
            .map_err(|cause| wrong(&cause))?;
        text.parse().map_err(|error: wg::token::TokenError| wrong(&error))
    }

    /// The gateways that are tried, the best first.
    fn candidates(&self, ask: &Ask) -> Result<Vec<String>, ProviderError> {
        let mut names = self.names()?;
        if names.is_empty() {
            return Err(ProviderError::Refused(format!(
                "{} holds no token: put what `adit peer token` prints on the gateway into a file NAME{SUFFIX} there",
                self.path.display()
            )));
        }
        for (label, wanted) in [("adit.conf", &ask.conf), ("adit.region", &ask.region)] {
            let Some(wanted) = wanted else { continue };
            let known = names.join(", ");
            names.retain(|name| name == wanted);
            if names.is_empty() {
                return Err(ProviderError::Refused(format!(
                    "{label}={wanted}: there is no token of that name at {}; there is {known}",
                    self.path.display()
                )));
            }
        }
        let before = ask.again.as_ref().map(|offer| offer.server.clone());
        let before = before.or_else(|| self.peers().held.get(&ask.holder).cloned());
        let is_of = |server: &str, name: &str| split(server).is_some_and(|(gateway, _)| gateway == name);
        names.sort_by_key(|name| {
            let has_failed = ask.avoid.iter().any(|server| is_of(server, name));
            let has_it = before.as_deref().is_some_and(|server| is_of(server, name));
            (has_failed, !has_it)
        });
        Ok(names)
    }

    async fn connect_to(&self, name: &str, ask: &Ask) -> Result<Offer, ProviderError> {
        let token = self.token(name)?;
        let server = self.server_for(name, ask)?;
        let (_, peer) = split(&server).unwrap_or_default();
        let mut random = Zeroizing::new([0; wg::key::KEY_LEN]);
        getrandom::fill(&mut *random).map_err(|error| ProviderError::Unavailable(format!("no key: {error}")))?;
        let private_key = PrivateKey::from_random(*random);
        let answer = self.client.put(&token, peer, private_key.public_key()).await;
        let answer = answer.map_err(|failure| failure.at(&self.file(name)))?;
        let admission = serde_json::from_slice(&answer.body).map_err(|error| {
            ProviderError::Unavailable(format!("{}: an answer of another kind: {error}", token.endpoint))
        });
        let offer = match admission {
            Ok(admission) => offer(admission, server.clone(), name, private_key, answer.from).await,
            Err(error) => Err(error),
        };
        if offer.is_err() {
            // It is there and nobody knows: it goes, unless it was there before.
            let mut peers = self.peers();
            if peers.held.get(&ask.holder) != Some(&server) {
                peers.owed.insert(server, Removal::Waiting);
            }
            return offer;
        }
        let before = self.peers().held.insert(ask.holder.clone(), server.clone());
        if let Some(before) = before.filter(|before| *before != server) {
            self.peers().owed.insert(before, Removal::Waiting);
        }
        // Others may not answer, and a container waits.
        self.settle(|gateway| gateway == name).await;
        offer
    }

    /// What the holder's peer at this gateway is called: as before, if there is one.
    fn server_for(&self, name: &str, ask: &Ask) -> Result<String, ProviderError> {
        let mut peers = self.peers();
        let known = ask.again.as_ref().map(|offer| &offer.server);
        let known = known.or(peers.held.get(&ask.holder)).cloned();
        let known = known.filter(|server| split(server).is_some_and(|(gateway, _)| gateway == name));
        let server = known.unwrap_or_else(|| format!("{name}/{}", peer_name(ask)));
        match peers.owed.get(&server) {
            Some(Removal::Going) => Err(ProviderError::Unavailable(format!("{server} is being removed"))),
            Some(Removal::Waiting) => {
                peers.owed.remove(&server);
                Ok(server)
            }
            None => Ok(server),
        }
    }

    /// Removes what is to go at the gateways that `is_meant` names, as far as they answer.
    async fn settle(&self, is_meant: impl Fn(&str) -> bool) {
        let is_due = |server: &String| split(server).is_none_or(|(gateway, _)| is_meant(gateway));
        let due: Vec<String> = self
            .peers()
            .owed
            .keys()
            .filter(|server| is_due(server))
            .cloned()
            .collect();
        for server in due {
            let going = self
                .peers()
                .owed
                .get_mut(&server)
                .map(|removal| std::mem::replace(removal, Removal::Going));
            if going != Some(Removal::Waiting) {
                continue;
            }
            let gone = self.remove(&server).await;
            let mut peers = self.peers();
            if gone {
                peers.owed.remove(&server);
            } else {
                peers.owed.insert(server, Removal::Waiting);
            }
        }
    }

    /// Whether a peer is no more.
    async fn remove(&self, server: &str) -> bool {
        let Some((name, peer)) = split(server) else { return true };
        match self.token(name) {
            Ok(token) => self.client.delete(&token, peer).await.is_ok(),
            Err(_) => false,
        }
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Provider for Gateway {
    async fn connect(&self, ask: &Ask) -> Result<Offer, ProviderError> {
        let mut worst = None;
        for name in self.candidates(ask)? {
            match self.connect_to(&name, ask).await {
                Ok(offer) => return Ok(offer),
                // What may go better later is worth waiting for, whatever the others say.
                Err(error) => match worst {
                    Some(ProviderError::Unavailable(_)) => {}
                    Some(ProviderError::Refused(_)) | None => worst = Some(error),
                },
            }
        }
        Err(worst.unwrap_or_else(|| ProviderError::Unavailable("no gateway was asked".to_owned())))
    }

    fn adopt(&self, holder: &str, server: &str) {
        if split(server).is_some() {
            self.peers().held.insert(holder.to_owned(), server.to_owned());
        }
    }

    async fn release(&self, holder: &str) {
        {
            let mut peers = self.peers();
            if let Some(server) = peers.held.remove(holder) {
                peers.owed.insert(server, Removal::Waiting);
            }
        }
        self.settle(|_| true).await;
    }
}

/// The gateway and the peer in what an offer calls its server.
fn split(server: &str) -> Option<(&str, &str)> {
    // A token's name may hold slashes no more than a file's may.
    server.split_once('/')
}

/// What a gateway calls the peer of a container: `web-0123456789ab`.
fn peer_name(ask: &Ask) -> String {
    let plain = |text: &str, most: usize| -> String {
        let is_plain = |character: &char| character.is_ascii_alphanumeric();
        text.chars()
            .map(|character| {
                if is_plain(&character) || character == '_' {
                    character
                } else {
                    '-'
                }
            })
            .skip_while(|character| !is_plain(character))
            .take(most)
            .collect()
    };
    let holder = plain(&ask.holder, HOLDER_LEN);
    let name = plain(&ask.name, NAME_LEN - HOLDER_LEN - 1);
    if name.is_empty() {
        return holder;
    }
    format!("{name}-{holder}")
}

/// Makes an offer of an answer. Of a gateway's addresses the one is taken at which its API answers, if it is among them.
async fn offer(
    admission: Admission,
    server: String,
    gateway: &str,
    private_key: PrivateKey,
    from: SocketAddr,
) -> Result<Offer, ProviderError> {
    let unusable = |problem: String| ProviderError::Unavailable(format!("{gateway}: {problem}"));
    let Answerer {
        public_key,
        endpoint,
        preshared_key,
        allowed_ips,
        persistent_keepalive,
    } = admission.server;
    let public_key: PublicKey = public_key
        .parse()
        .map_err(|error| unusable(format!("the gateway's key: {error}")))?;
    let preshared_key = preshared_key
        .map(Zeroizing::new)
        .map(|text| PresharedKey::from_base64(&text))
        .transpose();
    Ok(Offer {
        server,
        region: None,
        private_key,
        addresses: admission.addresses,
        dns: admission.dns,
        search: admission.search,
        mtu: admission.mtu,
        peers: vec![Server {
            public_key,
            preshared_key: preshared_key.map_err(|error| unusable(format!("the preshared key: {error}")))?,
            endpoint: look_up(&endpoint, from).await.map_err(unusable)?,
            allowed_ips,
            persistent_keepalive,
        }],
    })
}

async fn look_up(text: &str, api: SocketAddr) -> Result<SocketAddr, String> {
    let endpoint: conf::Endpoint = text.parse().map_err(|error| format!("the endpoint {text}: {error}"))?;
    if let Some(address) = endpoint.address() {
        return Ok(address);
    }
    let found = match timeout(LOOKUP_LIMIT, lookup_host(text)).await {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        Ok(Err(error)) => return Err(format!("{text} cannot be looked up: {error}")),
        Err(_) => return Err(format!("{text} cannot be looked up: no name server answers")),
    };
    let same = found.iter().find(|address| address.ip() == api.ip());
    same.or(found.first())
        .copied()
        .ok_or_else(|| format!("{text} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str) -> Ask {
        Ask {
            holder: "0123456789abcdef".repeat(4),
            name: name.to_owned(),
            ..Ask::default()
        }
    }

    #[test]
    fn a_peer_is_named_after_its_container_as_far_as_a_gateway_takes_it() {
        for (name, peer) in [
            ("web", "web-0123456789ab"),
            ("my.app_1", "my-app_1-0123456789ab"),
            ("_x", "x-0123456789ab"),
            ("größe", "gr--e-0123456789ab"),
            ("", "0123456789ab"),
            ("--", "0123456789ab"),
        ] {
            assert_eq!(peer_name(&ask(name)), peer, "{name}");
        }
        let long = peer_name(&ask(&"a".repeat(100)));
        assert_eq!(long.len(), NAME_LEN);
        assert!(long.ends_with("-0123456789ab"), "{long}");
    }

    #[test]
    fn tokens_are_chosen_by_label_then_by_what_failed_then_by_what_there_was() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(folder.path().join(format!("{name}.token")), "").unwrap();
        }
        fs::write(folder.path().join("README"), "").unwrap();
        let gateways = Gateway::new(folder.path());
        let mut wanted = ask("web");
        assert_eq!(gateways.candidates(&wanted).unwrap(), ["a", "b", "c"]);
        gateways.adopt(&wanted.holder, "b/web-0123456789ab");
        assert_eq!(gateways.candidates(&wanted).unwrap(), ["b", "a", "c"]);
        assert_eq!(gateways.server_for("b", &wanted).unwrap(), "b/web-0123456789ab");
        wanted.avoid.insert("b/web-0123456789ab".to_owned());
        assert_eq!(gateways.candidates(&wanted).unwrap(), ["a", "c", "b"]);
        wanted.conf = Some("b".to_owned());
        assert_eq!(gateways.candidates(&wanted).unwrap(), ["b"]);
        wanted.region = Some("z".to_owned());
        let error = gateways.candidates(&wanted).unwrap_err();
        assert!(
            matches!(&error, ProviderError::Refused(text) if text.contains("adit.region=z")),
            "{error}"
        );
        // Only one file.
        let single = Gateway::new(folder.path().join("a.token"));
        assert_eq!(single.candidates(&ask("web")).unwrap(), ["a"]);
        let error = single.token("a").unwrap_err();
        assert!(
            matches!(&error, ProviderError::Refused(text) if text.contains("a.token")),
            "{error}"
        );
    }
}
