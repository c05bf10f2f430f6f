//! The provider `file`: configurations of WireGuard in a directory, each for one container at a time.
//!
//! `NAME.conf` is a configuration. A directory in the directory is a pool: who asks for it by its name gets one of its
//! configurations that nobody else has. Who names none gets any of the directory's own.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::timeout;
use wg::conf::{Conf, Dns, Endpoint, Host};
use zeroize::Zeroizing;

use super::{Ask, Provider, ProviderError, reservations::Reservations};
use crate::{Offer, Server};

/// How a configuration's file ends.
const SUFFIX: &str = ".conf";

/// How long a name server may take to tell where a server is.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Configurations in a directory.
#[derive(Debug)]
pub struct File {
    directory: PathBuf,
    /// Public keys that are in use: two files may have the same.
    held: Reservations,
}

/// A configuration that may be had.
struct Candidate {
    /// Its path in the directory.
    name: String,
    conf: Conf,
    /// The public key, by which it is held.
    identity: String,
}

impl File {
    /// The configurations in `directory`, which is looked at whenever somebody asks.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            held: Reservations::default(),
        }
    }

    /// What the container may have, in the order in which it is tried.
    fn candidates(&self, ask: &Ask) -> Result<Vec<Candidate>, ProviderError> {
        if let Some(region) = &ask.region {
            return Err(ProviderError::Refused(format!(
                "the provider file has no regions: instead of adit.region={region} name a configuration by adit.conf, \
                 or choose another adit.provider"
            )));
        }
        let names = match &ask.conf {
            Some(name) => self.named(name)?,
            None => self.listed(Path::new(""))?,
        };
        if names.is_empty() {
            let place = self.directory.join(ask.conf.as_deref().unwrap_or_default());
            return Err(ProviderError::Refused(format!(
                "{} holds no configuration: put a NAME.conf into it",
                place.display()
            )));
        }
        let mut candidates = Vec::new();
        let mut first_error = None;
        for name in names {
            match self.read(&name) {
                Ok(candidate) => candidates.push(candidate),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        // One bad file does not spoil a pool.
        match first_error {
            Some(error) if candidates.is_empty() => return Err(ProviderError::Refused(error)),
            _ => {}
        }
        let rank = |candidate: &Candidate| {
            let has_it = ask.again.as_ref().is_some_and(|offer| offer.server == candidate.name);
            (ask.avoid.contains(&candidate.name), !has_it)
        };
        candidates.sort_by_key(rank);
        Ok(candidates)
    }

    /// The file, or the pool, of this name.
    fn named(&self, name: &str) -> Result<Vec<String>, ProviderError> {
        let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if !is_plain {
            return Err(ProviderError::Refused(format!(
                "adit.conf={name}: it takes the name of a file or a directory in {}, without a slash",
                self.directory.display()
            )));
        }
        let stem = name.strip_suffix(SUFFIX).unwrap_or(name);
        let file = format!("{stem}{SUFFIX}");
        if self.directory.join(&file).is_file() {
            return Ok(vec![file]);
        }
        if self.directory.join(name).is_dir() {
            return self.listed(Path::new(name));
        }
        let known = self.listed(Path::new("")).unwrap_or_default();
        let known = match known.len() {
            0 => "it holds none".to_owned(),
            _ => format!("it holds {}", known.join(", ")),
        };
        Err(ProviderError::Refused(format!(
            "adit.conf={name}: there is neither {file} nor a directory of that name in {}; {known}",
            self.directory.display()
        )))
    }

    /// The names of the configurations in a pool, in their order.
    fn listed(&self, pool: &Path) -> Result<Vec<String>, ProviderError> {
        let place = self.directory.join(pool);
        let failed = |cause: io::Error| ProviderError::Refused(format!("{}: {cause}", place.display()));
        let mut names = Vec::new();
        for entry in fs::read_dir(&place).map_err(failed)? {
            let path = pool.join(entry.map_err(failed)?.file_name());
            let name = path.to_str().filter(|name| name.ends_with(SUFFIX));
            if let Some(name) = name.filter(|name| self.directory.join(name).is_file()) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Candidate, String> {
        Candidate::read(&self.directory.join(name), name)
    }
}

/// What one configuration offers, whoever else may have it.
///
/// # Errors
///
/// [`ProviderError`] if it cannot be read, or is none for a container.
pub async fn read(path: &Path) -> Result<Offer, ProviderError> {
    let name = path.display().to_string();
    offer(&Candidate::read(path, &name).map_err(ProviderError::Refused)?).await
}

impl Candidate {
    fn read(path: &Path, name: &str) -> Result<Self, String> {
        let text = fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|cause| format!("{}: {cause}", path.display()))?;
        let conf = Conf::parse(&path.display().to_string(), &text).map_err(|error| error.to_string())?;
        let key = conf.interface().private_key.ok_or_else(|| {
            format!(
                "{}: [Interface] has no PrivateKey: a container needs one of its own",
                path.display()
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            identity: key.public_key().to_string(),
            conf,
        })
    }
}

#[async_trait]
impl Provider for File {
    async fn connect(&self, ask: &Ask) -> Result<Offer, ProviderError> {
        let mut candidates = self.candidates(ask)?;
        let identities = candidates.iter().map(|candidate| candidate.identity.clone());
        let Some(taken) = self.held.take(&ask.holder, identities) else {
            return Err(ProviderError::Unavailable(in_use(&candidates)));
        };
        let found = candidates.iter().position(|candidate| candidate.identity == taken);
        let candidate = candidates.swap_remove(found.unwrap_or_default());
        let offer = offer(&candidate).await;
        if offer.is_err() && ask.again.is_none() {
            self.held.release(&ask.holder);
        }
        offer
    }

    fn adopt(&self, holder: &str, server: &str) {
        // A file that is gone is held by nobody else either.
        if let Ok(candidate) = self.read(server) {
            self.held.note(holder, &candidate.identity);
        }
    }

    async fn release(&self, holder: &str) {
        self.held.release(holder);
    }
}

/// Why none of the configurations is to be had.
fn in_use(candidates: &[Candidate]) -> String {
    match candidates {
        [one] => format!(
            "the key of {} is in use by another container, and no two may share it (adit attach status says whose it \
             is): add a configuration, or make a directory of several and name that",
            one.name
        ),
        _ => format!(
            "all {} configurations are in use by other containers, and no two may share a key: add another",
            candidates.len()
        ),
    }
}

/// What a configuration offers. `ListenPort`, `FwMark`, `Table` and hooks mean nothing for a container.
async fn offer(candidate: &Candidate) -> Result<Offer, ProviderError> {
    let file = candidate.conf.file();
    let refused = |what: &str| ProviderError::Refused(format!("{file}: {what}"));
    let interface = candidate.conf.interface();
    let private_key = interface
        .private_key
        .ok_or_else(|| refused("[Interface] has no PrivateKey"))?;
    if interface.addresses.is_empty() {
        return Err(refused(
            "[Interface] has no Address: a container needs one in the tunnel",
        ));
    }
    let mut peers = Vec::new();
    for peer in candidate.conf.peers() {
        let endpoint = peer.endpoint.as_ref();
        let endpoint =
            endpoint.ok_or_else(|| refused("a [Peer] has no Endpoint: it is not known where the server is"))?;
        peers.push(Server {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key,
            endpoint: look_up(endpoint).await?,
            allowed_ips: peer.allowed_ips,
            persistent_keepalive: peer.persistent_keepalive,
        });
    }
    if peers.is_empty() {
        return Err(refused("there is no [Peer]"));
    }
    let (mut dns, mut search) = (Vec::new(), Vec::new());
    for one in interface.dns {
        match one {
            Dns::Server(address) => dns.push(address),
            Dns::Search(domain) => search.push(domain),
            Dns::Zoned(address, zone) => {
                return Err(refused(&format!(
                    "DNS = {address}%{zone}: a container has no interface {zone}"
                )));
            }
        }
    }
    Ok(Offer {
        server: candidate.name.clone(),
        region: None,
        private_key,
        addresses: interface.addresses,
        dns,
        search,
        mtu: interface.mtu,
        peers,
    })
}

/// Where a server is.
async fn look_up(endpoint: &Endpoint) -> Result<SocketAddr, ProviderError> {
    if let Some(address) = endpoint.address() {
        return Ok(address);
    }
    let unavailable = |cause: &dyn std::fmt::Display| {
        ProviderError::Unavailable(format!("the endpoint {endpoint} has no address: {cause}"))
    };
    let Host::Name(name) = &endpoint.host else {
        return Err(ProviderError::Refused(format!(
            "the endpoint {endpoint} is on one link only: give an address that is routed, or a name"
        )));
    };
    let found = timeout(LOOKUP_LIMIT, tokio::net::lookup_host((name.as_str(), endpoint.port))).await;
    let found = found.map_err(|_| io::Error::from(ErrorKind::TimedOut)).flatten();
    let mut found = found.map_err(|cause| unavailable(&cause))?;
    found.next().ok_or_else(|| unavailable(&"the name has none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> wg::PrivateKey {
        wg::PrivateKey::from_random([number; 32])
    }

    fn text(number: u8) -> String {
        format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.0.0.{number}/32, fd00::{number}/128\nDNS = 10.0.0.1, corp.example\n\
             MTU = 1380\n[Peer]\nPublicKey = {}\nEndpoint = 192.0.2.1:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n\
             PersistentKeepalive = 25\n",
            key(number).danger_base64().as_str(),
            key(200).public_key()
        )
    }

    fn directory(files: &[(&str, String)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn connect(file: &File, ask: &Ask) -> Result<Offer, ProviderError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(file.connect(ask))
    }

    fn ask(holder: &str, conf: Option<&str>) -> Ask {
        Ask {
            holder: holder.to_owned(),
            conf: conf.map(str::to_owned),
            ..Ask::default()
        }
    }

    #[test]
    fn a_configuration_becomes_an_offer() {
        let directory = directory(&[("home.conf", text(2))]);
        let offer = connect(&File::new(directory.path()), &ask("a", Some("home"))).unwrap();
        let expected = Offer {
            server: "home.conf".to_owned(),
            region: None,
            private_key: key(2),
            addresses: ["10.0.0.2/32", "fd00::2/128"].map(|text| text.parse().unwrap()).into(),
            dns: vec!["10.0.0.1".parse().unwrap()],
            search: vec!["corp.example".to_owned()],
            mtu: Some(1380),
            peers: vec![Server {
                public_key: key(200).public_key(),
                preshared_key: None,
                endpoint: "192.0.2.1:51820".parse().unwrap(),
                allowed_ips: ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap()).into(),
                persistent_keepalive: Some(25),
            }],
        };
        assert_eq!(offer, expected);
        assert!(linux::Family::ALL.into_iter().all(|family| offer.carries(family)));
    }

    #[test]
    fn no_two_containers_share_a_key() {
        let directory = directory(&[
            ("pool/1.conf", text(1)),
            ("pool/2.conf", text(2)),
            ("pool/3-as-2.conf", text(2)),
            ("pool/broken.conf", "[Interface]\nPrivateKey = x\n".to_owned()),
            ("alone.conf", text(9)),
        ]);
        let file = File::new(directory.path());
        let server = |holder, conf| connect(&file, &ask(holder, Some(conf))).map(|offer| offer.server);
        assert_eq!(server("a", "pool").as_deref(), Ok("pool/1.conf"));
        assert_eq!(server("b", "pool").as_deref(), Ok("pool/2.conf"));
        let error = server("c", "pool").unwrap_err();
        assert!(
            error.to_string().starts_with("all 3 configurations are in use"),
            "{error}"
        );
        assert_eq!(server("a", "alone").as_deref(), Ok("alone.conf"));
        let error = server("c", "alone").unwrap_err().to_string();
        let expected = "the key of alone.conf is in use by another container, and no two may share it ";
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(server("c", "pool").as_deref(), Ok("pool/1.conf"), "what a had");
        // After a restart of the daemon.
        let file = File::new(directory.path());
        file.adopt("a", "alone.conf");
        assert!(connect(&file, &ask("c", Some("alone"))).is_err());
    }

    #[test]
    fn a_server_that_failed_comes_last_and_the_one_that_is_had_first() {
        let directory = directory(&[("1.conf", text(1)), ("2.conf", text(2)), ("3.conf", text(3))]);
        let file = File::new(directory.path());
        let had = connect(&file, &ask("a", Some("2"))).unwrap();
        let again = Ask {
            again: Some(had),
            ..ask("a", None)
        };
        assert_eq!(connect(&file, &again).unwrap().server, "2.conf");
        let avoid = Ask {
            avoid: ["2.conf".to_owned()].into(),
            ..again
        };
        assert_eq!(connect(&file, &avoid).unwrap().server, "1.conf");
        let only = Ask {
            avoid: ["3.conf".to_owned()].into(),
            ..ask("b", Some("3"))
        };
        assert_eq!(connect(&file, &only).unwrap().server, "3.conf");
    }

    #[test]
    fn what_cannot_be_is_said_with_its_place() {
        let without = |line: &str| {
            let kept: Vec<_> = text(1)
                .lines()
                .filter(|kept| !kept.starts_with(line))
                .map(str::to_owned)
                .collect();
            kept.join("\n")
        };
        let directory = directory(&[
            ("home.conf", text(1)),
            ("no-address.conf", without("Address")),
            ("no-endpoint.conf", without("Endpoint")),
            ("no-key.conf", without("PrivateKey")),
            ("broken.conf", text(1) + "MTU = many\n"),
        ]);
        fs::create_dir(directory.path().join("empty")).unwrap();
        let file = File::new(directory.path());
        for (conf, part) in [
            ("none", "there is neither none.conf nor a directory of that name"),
            ("../home", "without a slash"),
            ("no-address", "no-address.conf: [Interface] has no Address"),
            ("no-endpoint", "no-endpoint.conf: a [Peer] has no Endpoint"),
            ("no-key", "no-key.conf: [Interface] has no PrivateKey"),
            ("broken", "broken.conf:11:"),
            ("empty", "holds no configuration"),
        ] {
            let error = connect(&file, &ask("a", Some(conf))).unwrap_err();
            assert!(matches!(error, ProviderError::Refused(_)), "{conf}: {error}");
            assert!(error.to_string().contains(part), "{conf}: {error}");
        }
        let region = Ask {
            region: Some("swiss".to_owned()),
            ..ask("a", None)
        };
        assert!(
            connect(&file, &region)
                .unwrap_err()
                .to_string()
                .contains("has no regions")
        );
        assert_eq!(
            connect(&file, &ask("b", Some("home"))).unwrap().server,
            "home.conf",
            "nothing is held by a failure"
        );
    }
}
