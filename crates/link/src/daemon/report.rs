//! Says how links are.

use std::time::{Instant, SystemTime};

use super::{Daemon, Entry, now};
use crate::{
    LinkName,
    control::Answer,
    record::Record,
    status::{ContainerStatus, HostStatus, LinkStatus},
};

impl Daemon {
    pub(super) fn report(&mut self, only: Option<&LinkName>) -> Result<Answer, String> {
        if let Some(name) = only
            && !self.links.contains_key(name)
        {
            return Err(format!("there is no link {name} on this host: adit link list"));
        }
        let names: Vec<LinkName> = self.links.keys().cloned().collect();
        for name in &names {
            self.look(name);
        }
        let wanted = self
            .links
            .values()
            .filter(|entry| only.is_none_or(|only| entry.link.name == *only));
        let links = wanted.map(|entry| self.describe(entry)).collect();
        Ok(Answer::Status { links })
    }

    fn describe(&self, entry: &Entry) -> LinkStatus {
        let link = &entry.link;
        let mut hosts: Vec<HostStatus> = link.own().into_iter().map(|own| host(entry, own)).collect();
        hosts.extend(link.others().into_iter().map(|other| host(entry, other)));
        let mut problems: Vec<String> = entry.problem.iter().chain(&entry.network_problem).cloned().collect();
        if let Some(removal) = link.removal() {
            problems.push(format!(
                "this host was removed by {}: adit link leave {} forgets the link",
                removal.by, link.name
            ));
        }
        if let Some(rival) = link.members.rival(&link.public_key()) {
            problems.push(format!(
                "{} is also the network of {}, which came before: leave the link and join again",
                link.addresses.subnet4(link.number()),
                rival.name
            ));
        }
        if self.engine.is_none() && !link.settings.plain {
            problems.push("there is no Docker here".to_owned());
        }
        let others = entry.reaches.values();
        if others.len() > 0 && others.clone().all(|reach| !reach.is_up()) {
            let silent = entry
                .reaches
                .values()
                .filter_map(|reach| reach.silent_for(Instant::now()))
                .min();
            problems.push(match silent {
                Some(silent) => format!(
                    "no other host has answered for {} s: this host may be offline, or was removed while it was; a member \
                     tells (adit link status)",
                    silent.as_secs()
                ),
                None => "no other host has answered since the daemon's start: this host may be offline, or was removed \
                         while it was; a member tells (adit link status)"
                    .to_owned(),
            });
        }
        LinkStatus {
            link: link.name.to_string(),
            host: link.own().map(|own| own.name.to_string()).unwrap_or_default(),
            networks: link.addresses.everything().to_vec(),
            plane: self.settings.plane.to_string(),
            port: link.port,
            interface: link.name.tunnel(),
            docker_network: (!link.settings.plain).then(|| link.name.to_string()),
            internal: link.settings.internal,
            tokens: link.invitations.iter().filter(|one| one.is_open(now())).count(),
            problems,
            hosts,
        }
    }
}

fn host(entry: &Entry, record: &Record) -> HostStatus {
    let here = record.key == entry.link.public_key();
    let peer = entry.status.device.peers.get(&record.key);
    let counts = entry.status.peers.get(&record.key).copied().unwrap_or_default();
    let since = |time: SystemTime| SystemTime::now().duration_since(time).unwrap_or_default().as_secs();
    HostStatus {
        host: record.name.to_string(),
        here,
        public_key: record.key.to_string(),
        networks: entry.link.addresses.subnets(record.number).to_vec(),
        addresses: entry
            .link
            .addresses
            .gateways(record.number)
            .iter()
            .map(wg::IpNet::addr)
            .collect(),
        up: here || entry.reaches.get(&record.key).is_some_and(|reach| reach.is_up()),
        endpoint: peer.and_then(|peer| peer.endpoint),
        handshake: counts.latest_handshake.map(since),
        received: counts.rx_bytes,
        sent: counts.tx_bytes,
        containers: record
            .containers
            .iter()
            .map(|listed| ContainerStatus {
                names: listed.names.clone(),
                addresses: listed.addresses.clone(),
            })
            .collect(),
    }
}
