//! Getting a tunnel: a server that nobody else has, and a new key that it takes.

use std::{collections::BTreeSet, time::Duration};

use wg::PrivateKey;
use zeroize::Zeroizing;

use super::{
    Pia,
    catalogue::Edition,
    config::DEDICATED_REGION,
    credentials::Secret,
    dedicated::{self, Dedicated, NotDedicated},
    holder::{self, Record},
    list::Host,
    registration::{Account, NotRegistered, Registered, register},
    store,
};
use crate::{
    Offer, Server,
    provider::{Ask, ProviderError, reservations::Reservations},
};

/// How many servers are tried for one question.
const MAX_ATTEMPTS: usize = 3;

/// How long the list is not asked for again because all its servers are taken.
const LIST_PAUSE: Duration = Duration::from_secs(60);

/// Seconds between keepalives, so that no NAT on the way forgets the tunnel.
const KEEPALIVE: u16 = 25;

/// A server that may be had.
struct Candidate {
    host: Host,
    /// The TCP port at which it takes keys.
    port: u16,
    region: String,
    no_port: Option<String>,
}

/// What holds a server until it is registered with; gives it back when dropped.
struct Pending<'a> {
    held: &'a Reservations,
    key: String,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.held.release(&self.key);
    }
}

/// How an attempt ended without a tunnel.
enum Failed {
    /// No other server would do.
    ForAll(ProviderError),
    Stale,
    Here(String),
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self::ForAll(error)
    }
}

impl From<store::StoreError> for Failed {
    fn from(error: store::StoreError) -> Self {
        Self::ForAll(error.into())
    }
}

impl Pia {
    /// The servers of a region, in the order in which they are tried.
    fn candidates(&self, edition: &Edition, ask: &Ask, wanted: &str) -> Result<Vec<Candidate>, ProviderError> {
        let region = edition.list.region(wanted).map_err(ProviderError::Refused)?;
        if region.is_offline {
            return Err(ProviderError::Unavailable(format!(
                "PIA's region {} is offline: wait, or choose another",
                region.id
            )));
        }
        let no_port = (!region.forwards).then(|| format!("PIA's region {} forwards no ports", region.id));
        let mut hosts = region.servers.clone();
        // The list of today may not name the server that it has.
        let record = Record::find(&self.store, &ask.holder);
        if let (Some(again), Some(record)) = (&ask.again, record)
            && record.cn == again.server
            && record.region == region.id
            && !hosts.iter().any(|host| host.cn == record.cn)
        {
            hosts.push(record.host());
        }
        if hosts.is_empty() {
            return Err(ProviderError::Unavailable(format!(
                "PIA's region {} has no server for WireGuard: choose another",
                region.id
            )));
        }
        let has_it = |host: &Host| ask.again.as_ref().is_some_and(|offer| offer.server == host.cn);
        hosts.sort_by_key(|host| (ask.avoid.contains(&host.cn), !has_it(host)));
        let candidate = |host| Candidate {
            host,
            port: edition.list.port,
            region: region.id.clone(),
            no_port: no_port.clone(),
        };
        Ok(hosts.into_iter().map(candidate).collect())
    }

    /// Holds the first of `candidates` that no other holder has.
    fn reserve<'a>(&'a self, holder: &str, candidates: Vec<Candidate>) -> Option<(Candidate, Pending<'a>)> {
        let key = format!("{holder} (new)");
        let found = candidates.into_iter().find(|candidate| {
            let cn = &candidate.host.cn;
            self.held.holder_of(cn).as_deref() == Some(holder) || self.held.take(&key, [cn.clone()]).is_some()
        })?;
        Some((found, Pending { held: &self.held, key }))
    }

    pub(super) async fn connect_in(&self, ask: &Ask, region: &str) -> Result<Offer, ProviderError> {
        let mut failures = Vec::new();
        let mut tried = BTreeSet::new();
        let mut may_reload = true;
        while tried.len() < MAX_ATTEMPTS {
            let edition = self.list().await?;
            let mut candidates = self.candidates(&edition, ask, region)?;
            candidates.retain(|candidate| !tried.contains(&candidate.host));
            let Some((candidate, pending)) = self.reserve(&ask.holder, candidates) else {
                // Another list may name other servers.
                if !may_reload {
                    break;
                }
                may_reload = false;
                if let Err(error) = self.reload(&edition, LIST_PAUSE).await {
                    failures.push(error.to_string());
                    break;
                }
                continue;
            };
            tried.insert(candidate.host.clone());
            let account = Account::Token(self.token().await?);
            match self.attempt(ask, &candidate, account, &pending).await {
                Ok(offer) => return Ok(offer),
                Err(Failed::ForAll(error)) => return Err(error),
                Err(Failed::Here(why)) => failures.push(format!("{}: {why}", candidate.host.cn)),
                Err(Failed::Stale) => {
                    let cn = &candidate.host.cn;
                    failures.push(format!("{cn}: the server list is out of date"));
                    self.catalogue.is_stale(&candidate.host).await;
                    if may_reload {
                        may_reload = false;
                        if let Err(error) = self.reload(&edition, Duration::ZERO).await {
                            failures.push(error.to_string());
                        }
                    }
                }
            }
        }
        Err(ProviderError::Unavailable(match failures.is_empty() {
            true => format!(
                "all servers of PIA's region {region} that are known are taken by other containers: each needs one of its \
                 own; choose another region, or wait for another list"
            ),
            false => format!("no tunnel in PIA's region {region}: {}", failures.join("; ")),
        }))
    }

    pub(super) async fn connect_dedicated(&self, ask: &Ask) -> Result<Offer, ProviderError> {
        let Some(dip) = &self.config.dedicated_ip else {
            return Err(ProviderError::Refused(format!(
                "the region {DEDICATED_REGION} is that of a dedicated IP, and its token is not set up: set it up, or choose \
                 another region"
            )));
        };
        let dedicated = self.dedicated(dip).await?;
        let no_port = (!dedicated.forwards()).then(|| {
            format!(
                "a dedicated IP in the United States ({}) forwards no ports",
                dedicated.id
            )
        });
        let candidate = Candidate {
            host: dedicated.host,
            port: self.list().await?.list.port,
            region: DEDICATED_REGION.to_owned(),
            no_port,
        };
        let Some((candidate, pending)) = self.reserve(&ask.holder, vec![candidate]) else {
            return Err(ProviderError::Unavailable(
                "the dedicated IP is taken by another container: it is for one at a time".to_owned(),
            ));
        };
        let attempt = self
            .attempt(ask, &candidate, Account::Dedicated(dip.clone()), &pending)
            .await;
        if attempt.is_err() {
            // It may have moved.
            *self.dedicated.lock().await = None;
        }
        attempt.map_err(|failed| match failed {
            Failed::ForAll(error) => error,
            Failed::Here(why) => ProviderError::Unavailable(format!("no tunnel with the dedicated IP: {why}")),
            Failed::Stale => ProviderError::Unavailable(
                "no tunnel with the dedicated IP: its server has moved; where to is asked at the next attempt"
                    .to_owned(),
            ),
        })
    }

    /// Where the dedicated IP is.
    async fn dedicated(&self, dip: &Secret) -> Result<Dedicated, ProviderError> {
        let mut known = self.dedicated.lock().await;
        if let Some(dedicated) = &*known {
            return Ok(dedicated.clone());
        }
        let mut token = self.token().await?;
        let mut found = dedicated::find(dip, &token, &self.config, &self.web).await;
        if found == Err(NotDedicated::Login) {
            token = self.renew(&token).await?;
            found = dedicated::find(dip, &token, &self.config, &self.web).await;
        }
        match found {
            Ok(dedicated) => {
                self.tokens.taken(&token).await;
                Ok(known.insert(dedicated).clone())
            }
            Err(NotDedicated::Failed(error)) => Err(error),
            Err(NotDedicated::Login) => Err(not_taken()),
        }
    }

    /// Registers a new key with a server; with another token if it does not take the first.
    async fn attempt(
        &self,
        ask: &Ask,
        candidate: &Candidate,
        account: Account,
        pending: &Pending<'_>,
    ) -> Result<Offer, Failed> {
        let Candidate { host, port, .. } = candidate;
        let trust = self.trust().await?;
        let private_key = new_key()?;
        let public_key = private_key.public_key();
        let registered = match register(host, *port, &account, &public_key, &trust).await {
            Err(NotRegistered::Login) => match account {
                Account::Token(refused) => {
                    let account = Account::Token(self.renew(&refused).await?);
                    let registered = register(host, *port, &account, &public_key, &trust).await;
                    self.taken(&account, &registered).await;
                    registered
                }
                Account::Dedicated(_) => Err(NotRegistered::Login),
            },
            registered => {
                self.taken(&account, &registered).await;
                registered
            }
        };
        let registered = registered.map_err(|error| match error {
            NotRegistered::Stale => Failed::Stale,
            NotRegistered::Failed(why) => Failed::Here(why),
            NotRegistered::Login if candidate.region == DEDICATED_REGION => Failed::ForAll(ProviderError::Refused(
                "PIA's server does not take the token of the dedicated IP: put a valid one there, or choose another region"
                    .to_owned(),
            )),
            NotRegistered::Login => Failed::ForAll(not_taken()),
        })?;
        let record = Record {
            cn: host.cn.clone(),
            ip: host.ip,
            vip: registered.vip,
            region: candidate.region.clone(),
            no_port: candidate.no_port.clone(),
            port: holder::port_file(ask),
        };
        record.keep(&self.store, &ask.holder)?;
        self.claim(&ask.holder);
        self.held.release(&pending.key);
        self.held.note(&ask.holder, &host.cn);
        Ok(offer(candidate, registered, private_key))
    }

    async fn taken(&self, account: &Account, registered: &Result<Registered, NotRegistered>) {
        if let (Account::Token(token), Ok(_)) = (account, registered) {
            self.tokens.taken(token).await;
        }
    }
}

fn offer(candidate: &Candidate, registered: Registered, private_key: PrivateKey) -> Offer {
    // PIA has no IPv6: the guard rejects it.
    let everything = linux::Family::of(registered.address.addr()).everything();
    Offer {
        server: candidate.host.cn.clone(),
        region: Some(candidate.region.clone()),
        private_key,
        addresses: vec![registered.address],
        dns: registered.dns,
        search: Vec::new(),
        mtu: None,
        peers: vec![Server {
            public_key: registered.server_key,
            preshared_key: None,
            endpoint: (candidate.host.ip, registered.port).into(),
            allowed_ips: vec![everything],
            persistent_keepalive: Some(KEEPALIVE),
        }],
    }
}

fn not_taken() -> ProviderError {
    ProviderError::Unavailable(
        "PIA's server does not take the token that PIA has just given: see that the subscription is active".to_owned(),
    )
}

fn new_key() -> Result<PrivateKey, ProviderError> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice())
        .map_err(|error| ProviderError::Unavailable(format!("this system's random source: {error}")))?;
    Ok(PrivateKey::from_random(*random))
}
