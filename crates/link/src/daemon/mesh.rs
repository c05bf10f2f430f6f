//! Speaks with the other members: asks what is new, answers, and looks for those who do not answer.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use tokio::{net::lookup_host, time::sleep};
use wg::{Endpoint, PublicKey};

use super::{Daemon, Entry, Event, now};
use crate::{
    LinkName,
    exchange::{self, Answer, Asked, Question, Sync, Synced},
    host::tunnel as carrier,
    link::Link,
    reach,
    record::Record,
};

/// How old a handshake may be for its peer's address to be worth telling (*REJECT_AFTER_TIME*).
const FRESH: Duration = Duration::from_secs(180);

/// How long an answer to a host that is out may take to leave.
const PARTING: Duration = Duration::from_millis(100);

/// Most addresses of a member that are tried.
const MAX_PLACES: usize = 8;

/// What came of a question.
pub(super) enum Told {
    /// An answer.
    Synced(Synced),
    /// None, and why; where the member says that it can be reached.
    Silent(String, Vec<SocketAddr>),
}

impl Daemon {
    /// Asks members whose time it is.
    pub(super) fn beat(&mut self, now: Instant) {
        let mut questions = Vec::new();
        for (name, entry) in &mut self.links {
            for (key, reach) in &mut entry.reaches {
                if !reach.begin(now) {
                    continue;
                }
                let Some(other) = entry.link.members.find(key) else {
                    continue;
                };
                let sync = Sync {
                    versions: entry.link.members.versions(),
                    records: entry.link.members.newer_than(&reach.known),
                };
                let is_placed = entry
                    .status
                    .device
                    .peers
                    .get(key)
                    .is_some_and(|peer| peer.endpoint.is_some());
                questions.push((name.clone(), *key, question(&entry.link, other, sync, is_placed)));
            }
        }
        for (name, key, question) in questions {
            self.beside(async move { Event::Told(name, key, question.await) });
        }
    }

    /// Takes what a member answered.
    pub(super) fn handle_told(&mut self, name: &LinkName, key: PublicKey, told: Told) {
        let time = Instant::now();
        let Some(entry) = self.links.get_mut(name) else { return };
        match told {
            Told::Synced(synced) => {
                let is_new = entry.link.take(synced.records);
                note(&mut entry.seen, key, synced.seen);
                let was_up = entry.reaches.get(&key).is_some_and(reach::Reach::is_up);
                if let Some(reach) = entry.reaches.get_mut(&key) {
                    reach.succeed(synced.versions, time);
                }
                if !was_up && let Some(other) = entry.link.members.find(&key) {
                    let text = format!("{} answers", other.name);
                    self.say(name, &text);
                    self.look(name);
                }
                if is_new {
                    self.settle_or_say(name);
                    self.say_removal(name);
                }
            }
            Told::Silent(why, declared) => {
                let current = entry.status.device.peers.get(&key).and_then(|peer| peer.endpoint);
                let mut places: Vec<SocketAddr> = entry.link.endpoints.get(&key).copied().into_iter().collect();
                places.extend(declared);
                places.extend(entry.seen.get(&key).into_iter().flatten());
                let mut unique = std::collections::BTreeSet::new();
                places.retain(|place| unique.insert(*place));
                places.truncate(MAX_PLACES);
                let Some(reach) = entry.reaches.get_mut(&key) else {
                    return;
                };
                let was_up = reach.is_up();
                let tried = reach.fail(&places, current, time);
                let is_lost = was_up && !reach.is_up();
                if tried.is_some() {
                    reach.hurry(time);
                }
                if is_lost && let Some(other) = entry.link.members.find(&key) {
                    let text = format!("{} does not answer ({why}); it is looked for", other.name);
                    self.say(name, &text);
                }
                if let Some(place) = tried {
                    // One of a family that this host does not have is passed over with the next step.
                    let _tried = carrier::set_endpoint(&name.tunnel(), key, place);
                    if let Some(entry) = self.links.get_mut(name)
                        && let Some(peer) = entry.status.device.peers.get_mut(&key)
                    {
                        peer.endpoint = Some(place);
                    }
                }
            }
        }
    }

    /// Answers a member, or whoever has a token.
    pub(super) fn handle_asked(&mut self, name: &LinkName, asked: Asked) {
        let time = now();
        let Asked { from, question, answer } = asked;
        if matches!(question, Question::Register(_)) {
            self.look(name);
        }
        let Some(entry) = self.links.get_mut(name) else { return };
        match question {
            Question::Register(registration) => {
                let before = entry.link.clone();
                let result = entry.link.register(from, &registration, time);
                let who = entry.status.device.peers.iter().find_map(|(key, peer)| {
                    let invitation = before
                        .invitations
                        .iter()
                        .find(|invitation| before.addresses.of_guest(invitation.secret.one_time_address()) == from)?;
                    (invitation.secret.one_time_key().public_key() == *key).then_some(peer.endpoint)?
                });
                let place = who.map(|place| format!(" at {place}")).unwrap_or_default();
                let reply = match result {
                    Ok(registered) => match self.settle(name) {
                        Ok(()) => {
                            self.say(name, &format!("{}{place} joins by a token", registration.name));
                            Answer::Registered(registered)
                        }
                        Err(why) => {
                            if let Some(entry) = self.links.get_mut(name) {
                                entry.link = before;
                            }
                            Answer::Refused { why }
                        }
                    },
                    Err(why) => {
                        self.say(name, &format!("{}{place} is refused: {why}", registration.name));
                        Answer::Refused { why }
                    }
                };
                let _asker_went = answer.send(reply);
            }
            Question::Sync(sync) => {
                let number = crate::addresses::host_of(&entry.link.addresses, from.into());
                let others = entry.link.others();
                let member = others
                    .iter()
                    .find(|other| Some(other.number) == number)
                    .map(|other| other.key);
                let Some(member) = member else { return };
                if let Some(reach) = entry.reaches.get_mut(&member)
                    && !reach.is_up()
                {
                    // It is there again, or for the first time.
                    reach.hurry(Instant::now());
                }
                let seen = fresh(entry);
                let (synced, is_new) = entry.link.sync(member, sync, seen);
                let _asker_went = answer.send(Answer::Synced(synced));
                let is_gone = |key| {
                    entry
                        .link
                        .members
                        .find(key)
                        .is_none_or(|record| record.removed.is_some())
                };
                if is_new && (is_gone(&member) || entry.link.removal().is_some()) {
                    // The answer goes out before the way of it is closed.
                    let own = name.clone();
                    self.beside(async move {
                        sleep(PARTING).await;
                        Event::Parted(own, false)
                    });
                } else if is_new {
                    self.settle_or_say(name);
                }
            }
        }
    }

    /// Says it if this host was removed.
    pub(super) fn say_removal(&self, name: &LinkName) {
        if let Some(removal) = self.links.get(name).and_then(|entry| entry.link.removal()) {
            let text = format!(
                "this host was removed by {}: its tunnel is closed; adit link leave {name} forgets it",
                removal.by
            );
            self.say(name, &text);
        }
    }

    /// Looks at a tunnel, and keeps where its members are heard from.
    pub(super) fn look(&mut self, name: &LinkName) {
        let Some(entry) = self.links.get_mut(name) else { return };
        let Ok(status) = carrier::status(&name.tunnel()) else {
            return;
        };
        entry.status = status;
        let heard = fresh(entry);
        let mut is_new = false;
        for (key, place) in heard {
            if entry.link.members.find(&key).is_some() {
                is_new |= entry.link.endpoints.insert(key, place) != Some(place);
            }
        }
        if is_new && let Err(error) = self.store.save(&entry.link) {
            let text = format!("it is not kept: {error}");
            self.say(name, &text);
        }
    }

    /// Tells all members at once what this host knows, as far as they answer, and comes back with `then`.
    pub(super) fn tell_all(&self, name: &LinkName, members: Vec<Record>, then: Event) {
        let Some(entry) = self.links.get(name) else { return };
        let questions: Vec<_> = members
            .iter()
            .map(|other| {
                let sync = Sync {
                    versions: entry.link.members.versions(),
                    records: entry.link.members.newer_than(&BTreeMap::new()),
                };
                tokio::spawn(question(&entry.link, other, sync, true))
            })
            .collect();
        self.beside(async move {
            for question in questions {
                let _as_far_as_they_answer = question.await;
            }
            then
        });
    }
}

/// Asks a member what is new, and tells it.
fn question(link: &Link, other: &Record, sync: Sync, is_placed: bool) -> impl Future<Output = Told> + Send + 'static {
    let (from, to) = (link.address(), link.addresses.of_host(other.number));
    let (secret, endpoint) = (link.secret().clone(), other.endpoint.clone());
    async move {
        let why = if is_placed {
            match exchange::ask(from, to, &secret, &Question::Sync(sync), reach::LIMIT).await {
                Ok(Answer::Synced(synced)) => return Told::Synced(synced),
                Ok(Answer::Registered(_) | Answer::Refused { .. }) => "it answers something else".to_owned(),
                Err(error) => error.to_string(),
            }
        } else {
            "it is not known where it is".to_owned()
        };
        let places = match endpoint {
            Some(endpoint) => resolve(&endpoint).await.unwrap_or_default(),
            None => Vec::new(),
        };
        Told::Silent(why, places)
    }
}

async fn resolve(endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
    match endpoint.address() {
        Some(address) => Ok(vec![address]),
        None => Ok(lookup_host(endpoint.to_string()).await?.collect()),
    }
}

/// Where members are heard from that have shaken hands of late.
fn fresh(entry: &Entry) -> BTreeMap<PublicKey, SocketAddr> {
    let peers = entry.status.device.peers.iter();
    peers
        .filter_map(|(key, peer)| {
            let latest = entry.status.peers.get(key)?.latest_handshake?;
            let age = SystemTime::now().duration_since(latest).unwrap_or_default();
            let place = peer.endpoint.filter(|_| age < FRESH)?;
            entry.link.members.find(key).map(|_| (*key, place))
        })
        .collect()
}

/// Notes where a member hears the others from.
fn note(seen: &mut BTreeMap<PublicKey, Vec<SocketAddr>>, by: PublicKey, told: BTreeMap<PublicKey, SocketAddr>) {
    for (key, place) in told.into_iter().filter(|(key, _)| *key != by) {
        let places = seen.entry(key).or_default();
        places.retain(|known| *known != place);
        places.insert(0, place);
        places.truncate(MAX_PLACES);
    }
}
