//! Carries out what people want.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use tokio::sync::oneshot;
use wg::{Endpoint, Ipv4Net};

use super::{Daemon, Entry, Event, now};
use crate::{
    HostName, LISTEN_PORT, LinkName, Token,
    addresses::{self, Addresses},
    control::{self, Answer, Command, Invited, Joined, Part},
    host,
    join::{self, JoinError, Wish},
    link::Link,
    secret::Secret,
};

/// How many ports are tried from [`LISTEN_PORT`] on.
const PORTS: u16 = 64;

/// Longest life of a token, in seconds: a week.
const MAX_LIFETIME: u64 = 7 * 24 * 3600;

impl Daemon {
    pub(super) fn command(&mut self, command: Command, answer: oneshot::Sender<Answer>) {
        let result = match command {
            Command::Create {
                link,
                pool,
                host,
                lifetime,
            } => self.create(link, pool, host, lifetime),
            Command::Invite { link, lifetime } => self.invite(&link, lifetime, Vec::new()),
            Command::Join { token, host } => match self.begin_join(&token, host) {
                Ok(wish) => {
                    let name = wish.token.link.clone();
                    self.beside(async move { Event::Joined(name, Box::new(join::join(wish).await), answer) });
                    return;
                }
                Err(why) => Err(why),
            },
            Command::Leave { link } => return self.leave(&link, answer),
            Command::Remove { link, host } => self.remove(&link, &host),
            Command::Status { link } => self.report(link.as_ref()),
        };
        Self::reply(answer, result);
    }

    fn find(&self, name: &LinkName) -> Result<&Entry, String> {
        self.links.get(name).ok_or_else(|| no_link(name))
    }

    fn create(&mut self, name: LinkName, pool: Option<Ipv4Net>, part: Part, lifetime: u64) -> Result<Answer, String> {
        self.must_be_new(&name)?;
        let [key, secret] = [Secret::random(), Secret::random()].map(|made| made.map_err(|error| error.to_string()));
        let [key, secret] = [key?, secret?];
        let public = key.private_key().public_key();
        let pool = match pool {
            Some(pool) => pool,
            None => host::free_pool(&public)
                .map_err(|error| error.to_string())?
                .ok_or("no network from 10.77.0.0/16 to 10.127.0.0/16 is free on this host: choose one by --subnet")?,
        };
        let addresses = Addresses::new(pool, &public).map_err(|error| error.to_string())?;
        must_be_free(&addresses)?;
        let port = self.port(part.port)?;
        let endpoint = endpoint(part.endpoint.as_deref(), port)?;
        let host = part.name.unwrap_or_else(|| self.settings.host.clone());
        let link = Link::create(
            name.clone(),
            pool,
            host,
            endpoint,
            port,
            part.settings,
            [key, secret],
            now(),
        );
        let link = link.map_err(|error| error.to_string())?;
        self.links.insert(name.clone(), Entry::new(link));
        let made = self.settle(&name).and_then(|()| match &self.find(&name)?.problem {
            Some(problem) => Err(problem.clone()),
            None => Ok(()),
        });
        if let Err(why) = made {
            self.forget(&name);
            return Err(why);
        }
        self.ensure_network(&name);
        let notes = self
            .engine_note(&name)
            .into_iter()
            .chain(self.place_note(&name))
            .collect();
        self.invite(&name, lifetime, notes)
    }

    fn invite(&mut self, name: &LinkName, lifetime: u64, notes: Vec<String>) -> Result<Answer, String> {
        if !(1..=MAX_LIFETIME).contains(&lifetime) {
            return Err("a token lives for a second to a week".to_owned());
        }
        self.find(name)?;
        let secret = Secret::random().map_err(|error| error.to_string())?;
        let Some(entry) = self.links.get_mut(name) else {
            return Err(no_link(name));
        };
        let before = entry.link.clone();
        let places = match entry.link.own().and_then(|own| own.endpoint.clone()) {
            Some(endpoint) => vec![endpoint],
            None => host::outer_addresses()
                .into_iter()
                .map(|address| Endpoint::from(SocketAddr::new(address, entry.link.port)))
                .collect(),
        };
        if places.is_empty() {
            return Err("this host has no address that others could reach: name one by --endpoint".to_owned());
        }
        let token = entry
            .link
            .invite(secret, places, lifetime, now())
            .map_err(|error| error.to_string())?;
        if let Err(why) = self.settle(name) {
            if let Some(entry) = self.links.get_mut(name) {
                entry.link = before;
            }
            return Err(why);
        }
        Ok(Answer::Token(Invited {
            link: name.clone(),
            token: token.danger_text().to_string(),
            lifetime,
            notes,
        }))
    }

    fn begin_join(&mut self, token: &str, part: Part) -> Result<Wish, String> {
        let token: Token = token
            .parse()
            .map_err(|error: crate::token::TokenError| error.to_string())?;
        let name = &token.link;
        self.must_be_new(name)?;
        must_be_free(&token.addresses)?;
        let port = self.port(part.port)?;
        let key = self.store.begin_joining(name, &token.secret);
        let key = key.map_err(|error| error.to_string())?;
        self.joining.insert(name.clone());
        Ok(Wish {
            key,
            name: part.name.unwrap_or_else(|| self.settings.host.clone()),
            endpoint: endpoint(part.endpoint.as_deref(), port)?,
            port,
            settings: part.settings,
            plane: self.settings.plane,
            token,
        })
    }

    pub(super) fn handle_joined(
        &mut self,
        name: &LinkName,
        result: Result<(Link, std::time::Duration), JoinError>,
        answer: oneshot::Sender<Answer>,
    ) {
        self.joining.remove(name);
        let result = result.map_err(|error| error.to_string()).and_then(|(link, took)| {
            let token_of = link.endpoints.keys().next().copied();
            self.links.insert(name.clone(), Entry::new(link));
            self.settle(name)?;
            // Until the link is kept, the key is.
            self.store.end_joining(name).map_err(|error| error.to_string())?;
            self.ensure_network(name);
            let entry = self.find(name)?;
            let other = token_of.and_then(|key| entry.link.members.find(&key));
            let number = entry.link.number();
            let mut notes: Vec<String> = entry
                .problem
                .iter()
                .map(|problem| format!("not whole: {problem}"))
                .collect();
            notes.extend(self.engine_note(name));
            Ok(Answer::Joined(Joined {
                link: name.clone(),
                host: other.map(|other| other.name.to_string()).unwrap_or_default(),
                handshake: took.as_secs_f64(),
                here: entry.link.addresses.subnet4(number),
                there: entry.link.addresses.subnet4(other.map_or(0, |other| other.number)),
                notes,
            }))
        });
        Self::reply(answer, result);
    }

    fn remove(&mut self, name: &LinkName, host: &HostName) -> Result<Answer, String> {
        let entry = self.links.get_mut(name).ok_or_else(|| no_link(name))?;
        let own = entry.link.own().map(|own| own.name.clone());
        if own.as_ref() == Some(host) {
            return Err(format!("{host} is this host: adit link leave {name}"));
        }
        let found = entry.link.members.named(host).cloned();
        let found = found.ok_or_else(|| format!("{name} has no host {host}: adit link status {name} lists them"))?;
        let by = own.ok_or_else(|| no_link(name))?;
        entry.link.members.remove(&found.key, by, now());
        self.store
            .save(&entry.link)
            .map_err(|error| format!("{error}; the host is removed once this is mended"))?;
        // It is told before it is cut off.
        self.tell_all(name, vec![found], Event::Parted(name.clone(), false));
        self.say(name, &format!("{host} is removed"));
        Ok(Answer::Done {
            notes: vec![format!("{host} is out of {name}; the other hosts are told")],
        })
    }

    fn leave(&mut self, name: &LinkName, answer: oneshot::Sender<Answer>) {
        let entry = match self.find(name) {
            Ok(entry) => entry,
            Err(why) => return Self::reply(answer, Err(why)),
        };
        let network = entry.link.network.clone();
        let engine = self.engine.clone();
        let own = name.clone();
        self.beside(async move {
            let removed = match (engine, network) {
                (Some(engine), Some(network)) => engine.remove_network(&network).await,
                _ => Ok(()),
            };
            let removed = removed.map_err(|error| format!("its Docker network does not go: {error}"));
            Event::Unbound(own, removed, answer)
        });
    }

    pub(super) fn handle_unbound(
        &mut self,
        name: &LinkName,
        result: Result<(), String>,
        answer: oneshot::Sender<Answer>,
    ) {
        let result = result.and_then(|()| {
            let entry = self.links.get_mut(name).ok_or_else(|| no_link(name))?;
            let others: Vec<_> = entry.link.others().into_iter().cloned().collect();
            let key = entry.link.public_key();
            if let Some(own) = entry.link.own().map(|own| own.name.clone()) {
                entry.link.members.remove(&key, own, now());
            }
            self.store.save(&entry.link).map_err(|error| error.to_string())?;
            let notes = vec![format!("this host is out of {name}")];
            self.tell_all(name, others, Event::Parted(name.clone(), true));
            Ok(Answer::Done { notes })
        });
        Self::reply(answer, result);
    }

    pub(super) fn handle_parted(&mut self, name: &LinkName, is_own: bool) {
        if is_own {
            self.forget(name);
            self.say(name, "left");
        } else {
            self.settle_or_say(name);
            self.say_removal(name);
        }
    }

    /// Ends all that a link has on this host, its file last.
    fn forget(&mut self, name: &LinkName) {
        let Some(entry) = self.links.remove(name) else { return };
        drop(entry.server);
        host::remove(&entry.link);
        if let Err(error) = self.firewall.remove(name) {
            self.say(name, &format!("its rules do not go: {error}"));
        }
        if let Err(error) = self.store.forget(name) {
            self.say(name, &error.to_string());
        }
        self.tell_names();
    }

    fn must_be_new(&self, name: &LinkName) -> Result<(), String> {
        if self.joining.contains(name) {
            return Err(format!("this host is joining {name} already: wait for that"));
        }
        match self.links.get(name) {
            None => Ok(()),
            Some(_) => Err(format!(
                "this host has a link {name}: adit link invite {name} makes another token, adit link leave {name} ends it"
            )),
        }
    }

    /// The port that is wanted, or the first that is free.
    fn port(&self, wanted: Option<u16>) -> Result<u16, String> {
        let is_free = |port: &u16| {
            self.links.values().all(|entry| entry.link.port != *port)
                && UdpSocket::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port)).is_ok()
        };
        match wanted {
            Some(0) => Err("--port is 1 to 65535".to_owned()),
            Some(port) if is_free(&port) => Ok(port),
            Some(port) => Err(format!(
                "UDP port {port} is taken on this host: choose another by --port"
            )),
            None => (LISTEN_PORT..LISTEN_PORT + PORTS)
                .find(is_free)
                .ok_or_else(|| format!("no UDP port from {LISTEN_PORT} on is free: choose one by --port")),
        }
    }

    /// What is to be known about Docker.
    fn engine_note(&self, name: &LinkName) -> Option<String> {
        let entry = self.links.get(name)?;
        (self.engine.is_none() && !entry.link.settings.plain)
            .then(|| "there is no Docker here: containers come in once there is".to_owned())
    }

    /// What is to be known about where this host is.
    fn place_note(&self, name: &LinkName) -> Option<String> {
        let entry = self.links.get(name)?;
        if entry.link.own()?.endpoint.is_some() {
            return None;
        }
        let places: Vec<_> = host::outer_addresses().iter().map(ToString::to_string).collect();
        Some(format!(
            "others reach this host at {}, UDP port {}; if that is not so, name it by --endpoint",
            places.join(" or "),
            entry.link.port
        ))
    }
}

fn no_link(name: &LinkName) -> String {
    format!("there is no link {name} on this host: adit link list")
}

fn must_be_free(addresses: &Addresses) -> Result<(), String> {
    match host::in_the_way(addresses) {
        Ok(None) => Ok(()),
        Ok(Some(route)) => Err(format!(
            "the link's addresses {} are in use on this host ({route}): make the link with others, as --subnet {}",
            addresses.pool,
            addresses::DEFAULT_POOL.replace("77", "99")
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// What a person says that others reach this host by; the tunnel's port, unless it is said.
fn endpoint(text: Option<&str>, port: u16) -> Result<Option<Endpoint>, String> {
    let read = text.map(|text| control::endpoint(text, port)).transpose();
    read.map_err(|error| format!("--endpoint {error}"))
}
