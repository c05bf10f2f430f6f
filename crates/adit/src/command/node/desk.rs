//! Answers what is asked of a lease's gateway, and makes it what it is to be.

mod kept;

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use gateway::{
    Name,
    client::{Client, Terms},
    key,
    network::{Network, NetworkError},
    reach::{Endpoint, Host},
    server::{Gateway, PeerChange, PeerState},
};
use launch::{
    Moment,
    node::{self, Answer, PeerReport, Question, Report, Secret, WantedPeer},
    order::MAX_PEERS,
    policy::LONGEST,
};
use wg::PublicKey;

use super::member::{Key, Member};

/// Longest time that a gateway may be told to live on, in seconds: the longest lease, and a day in which its launcher may
/// be away.
pub(super) const MAX_REMAINING_SECS: u64 = LONGEST.as_secs() + 86_400;

/// Names of peers that have gone whose addresses are kept for them, at most.
const MAX_GONE: usize = 1_000;

/// Most DNS servers and networks in a configuration.
const MAX_TERMS: usize = 200;

/// A gateway, and who may connect.
#[derive(Debug)]
pub(super) struct Desk {
    gateway: Gateway,
    public_key: PublicKey,
    network: Network,
    /// In the order in which they are wanted.
    members: Vec<Member>,
    /// Who has gone, the longest first: whoever comes back has the addresses of before.
    gone: VecDeque<Name>,
    /// The end, by the time since this machine was started.
    due: Duration,
}

impl Desk {
    /// A gateway with this public key that has no peer yet and whose addresses are those of `network`. It is to end when
    /// this machine has run for `due`.
    pub(super) fn new(gateway: Gateway, public_key: PublicKey, network: Network, due: Duration) -> Self {
        Self {
            gateway,
            public_key,
            network,
            members: Vec::new(),
            gone: VecDeque::new(),
            due,
        }
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// When it is to end, by the time since this machine was started.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// Answers, and does what is asked; `now` is the time since this machine was started.
    ///
    /// # Errors
    ///
    /// Says why nothing is done.
    pub(super) fn handle(&mut self, question: Question, now: Duration) -> Result<Answer, String> {
        match question {
            Question::Report {} => self.report(now),
            Question::Bring { peers, remaining_secs } => {
                if remaining_secs > MAX_REMAINING_SECS {
                    return Err(format!("it lives for {MAX_REMAINING_SECS} seconds at most"));
                }
                self.bring(&peers)?;
                self.due = now + Duration::from_secs(remaining_secs);
                self.report(now)
            }
            Question::Keys { name, terms } => self.keys(&name, &terms),
            Question::End {} => Ok(Answer::Ending {}),
        }
    }

    /// Looks whether the gateway is well; whether its rules had to be made again.
    ///
    /// # Errors
    ///
    /// It cannot go on.
    pub(super) fn look(&self) -> anyhow::Result<bool> {
        self.gateway.peers()?;
        // Without its rules a peer would reach what it must not.
        Ok(self.gateway.mend()?)
    }

    /// Ends all connections, and waits until nothing of the gateway is left.
    pub(super) fn close(self) {
        self.gateway.close();
    }

    fn report(&self, now: Duration) -> Result<Answer, String> {
        let states = self.states()?;
        let peers = self.members.iter().map(|member| {
            let state = member.state(&states);
            let traffic = member.before.and(state);
            PeerReport {
                name: member.name.to_string(),
                public_key: member.key.map(|key| key.public),
                addresses: member.addresses.clone(),
                endpoint: state.and_then(|state| state.endpoint),
                latest_handshake: state.and_then(|state| state.latest_handshake).map(Moment::from_system),
                received_bytes: traffic.received,
                sent_bytes: traffic.sent,
            }
        });
        // A second that has begun is left, too.
        let remaining = self.due.saturating_sub(now).as_millis().div_ceil(1_000);
        Ok(Answer::Report(Report {
            public_key: self.public_key,
            listen_port: self.gateway.listen_port(),
            plane: self.gateway.plane().to_string(),
            addresses: self.gateway.addresses().to_owned(),
            remaining_secs: u64::try_from(remaining).unwrap_or(u64::MAX),
            peers: peers.collect(),
        }))
    }

    /// Makes these the peers. Nobody else's session is touched.
    fn bring(&mut self, wanted: &[WantedPeer]) -> Result<(), String> {
        let names = names(wanted)?;
        let states = self.states()?;
        let mut members = Vec::with_capacity(names.len());
        let mut new = Vec::new();
        for (name, wanted) in names.into_iter().zip(wanted) {
            let there = self.members.iter().find(|member| member.name == name);
            let there = there.cloned();
            if there.is_none() && !self.gone.contains(&name) {
                new.push(name.clone());
            }
            let addresses = match self.lease(&name) {
                Ok(addresses) => addresses,
                Err(error) => {
                    self.release(&new);
                    return Err(error.to_string());
                }
            };
            members.push(Member::wanted(name, wanted.public_key, there, addresses, &states));
        }
        if let Err(error) = self
            .gateway
            .set_peers(members.iter().filter_map(Member::peer).collect())
        {
            self.release(&new);
            return Err(error.to_string());
        }
        let stays: HashSet<&Name> = members.iter().map(|member| &member.name).collect();
        self.gone.retain(|name| !stays.contains(name));
        let left = self.members.iter().map(|member| &member.name);
        self.gone.extend(left.filter(|name| !stays.contains(name)).cloned());
        while self.gone.len() > MAX_GONE {
            self.forget_one();
        }
        self.members = members;
        Ok(())
    }

    /// Makes a key pair for a peer, and the configuration that holds it; the private key is in nothing else.
    fn keys(&mut self, name: &str, terms: &node::Terms) -> Result<Answer, String> {
        let terms = self.terms(terms)?;
        let states = self.states()?;
        let member = self.members.iter_mut().find(|member| member.name.as_str() == name);
        let member = member.ok_or_else(|| format!("there is no peer `{}`", name.escape_debug()))?;
        let private_key = key::private().map_err(|error| error.to_string())?;
        let client = Client::with_key(private_key, None, member.addresses.clone());
        let change = PeerChange::Set(member.name.clone(), client.peer());
        self.gateway.change(&[change]).map_err(|error| error.to_string())?;
        member.before = member.before.and(member.state(&states));
        member.key = Some(Key {
            public: client.public_key,
            is_made: true,
        });
        Ok(Answer::Configuration {
            public_key: client.public_key,
            text: Secret::new(client.conf(&terms)),
        })
    }

    /// What a client is told, checked: it is written into a file that a root's program reads.
    fn terms(&self, terms: &node::Terms) -> Result<Terms, String> {
        let endpoint: Endpoint = terms.endpoint.parse().map_err(|error| format!("endpoint: {error}"))?;
        let port = endpoint.port.ok_or("endpoint: it has no port")?;
        if terms.allowed_ips.is_empty() {
            return Err("allowed_ips: it names nothing".to_owned());
        }
        if terms.dns.len().max(terms.allowed_ips.len()) > MAX_TERMS {
            return Err(format!(
                "a configuration has at most {MAX_TERMS} DNS servers, and as many networks"
            ));
        }
        if terms.mtu.is_some_and(|mtu| !(1_280..=9_000).contains(&mtu)) {
            return Err("mtu: it is between 1280 and 9000".to_owned());
        }
        let dns: Result<Vec<Host>, _> = terms.dns.iter().map(|host| host.parse()).collect();
        Ok(Terms {
            server_key: self.public_key,
            endpoint: (endpoint.host, port),
            dns: dns.map_err(|error| format!("dns: {error}"))?,
            allowed_ips: terms.allowed_ips.clone(),
            mtu: terms.mtu,
            listen_port: None,
            form: None,
        })
    }

    fn states(&self) -> Result<Vec<PeerState>, String> {
        self.gateway.peers().map_err(|error| error.to_string())
    }

    /// The addresses of a name: those that it has or had, else free ones. Where there are none, whoever has gone longest
    /// loses his.
    fn lease(&mut self, name: &Name) -> Result<Vec<IpAddr>, NetworkError> {
        loop {
            match self.network.lease(name.as_str()) {
                Err(NetworkError::Pool(_)) if self.forget_one() => {}
                leased => return leased,
            }
        }
    }

    /// Whether there was somebody to forget.
    fn forget_one(&mut self) -> bool {
        let name = self.gone.pop_front();
        if let Some(name) = &name {
            self.network.release(name.as_str());
        }
        name.is_some()
    }

    fn release(&mut self, names: &[Name]) {
        for name in names {
            self.network.release(name.as_str());
        }
    }
}

fn names(wanted: &[WantedPeer]) -> Result<Vec<Name>, String> {
    if wanted.len() > MAX_PEERS {
        return Err(format!("it has at most {MAX_PEERS} peers"));
    }
    let mut seen = HashSet::new();
    let mut names = Vec::with_capacity(wanted.len());
    for peer in wanted {
        let name: Name = peer
            .name
            .parse()
            .map_err(|error: gateway::name::NameError| error.to_string())?;
        // In DNS they are one.
        if !seen.insert(name.as_str().to_ascii_lowercase()) {
            return Err(format!("the peer `{name}` is named twice"));
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use gateway::server::Plan;
    use tunnel::Plane;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn desk(subnet: &str) -> Desk {
        let network = Network::new(&[subnet.parse().unwrap()]).unwrap();
        let private_key = key::private().unwrap();
        let public_key = private_key.public_key();
        let gateway = Gateway::open(Plan {
            name: "adit-test".to_owned(),
            plane: Plane::Netstack,
            private_key,
            listen_port: 0,
            addresses: network.gateway_addresses(),
            mtu: 1_420,
            dns: None,
            peer_to_peer: false,
            peers: Vec::new(),
            launcher: None,
        });
        Desk::new(gateway.unwrap(), public_key, network, NOW + Duration::from_secs(60))
    }

    /// `name`, or `name=number of a key`.
    fn wanted(words: &str) -> Vec<WantedPeer> {
        let peer = |word: &str| {
            let (name, key) = word.split_once('=').unzip();
            WantedPeer {
                name: name.unwrap_or(word).to_owned(),
                public_key: key.map(|key: &str| PublicKey::from_bytes([key.parse().unwrap(); 32])),
            }
        };
        words.split_whitespace().map(peer).collect()
    }

    fn bring(desk: &mut Desk, words: &str) -> Result<Report, String> {
        let question = Question::Bring {
            peers: wanted(words),
            remaining_secs: 1_800,
        };
        let Answer::Report(report) = desk.handle(question, NOW)? else {
            panic!("no report")
        };
        Ok(report)
    }

    fn terms() -> node::Terms {
        node::Terms {
            endpoint: "192.0.2.1:51820".to_owned(),
            dns: vec!["10.9.9.1".to_owned(), "corp.example".to_owned()],
            allowed_ips: vec!["0.0.0.0/0".parse().unwrap()],
            mtu: Some(1_380),
        }
    }

    fn keys(desk: &mut Desk, name: &str, terms: node::Terms) -> Result<(PublicKey, String), String> {
        let name = name.to_owned();
        let Answer::Configuration { public_key, text } = desk.handle(Question::Keys { name, terms }, NOW)? else {
            panic!("no configuration")
        };
        Ok((public_key, text.danger_text().to_owned()))
    }

    /// `name address key`, a peer each.
    fn shown(report: &Report) -> Vec<String> {
        let show = |peer: &PeerReport| {
            let key = peer
                .public_key
                .map_or("-".to_owned(), |key| key.as_bytes()[0].to_string());
            format!("{} {} {key}", peer.name, peer.addresses[0])
        };
        report.peers.iter().map(show).collect()
    }

    #[test]
    fn peers_are_brought_one_way_or_another_and_keep_their_addresses() {
        let mut desk = desk("10.9.9.0/29");
        // In this order: what is brought, and what is there then.
        for (words, expected) in [
            ("a=1 b=2", &["a 10.9.9.2 1", "b 10.9.9.3 2"][..]),
            ("a=1 b=2", &["a 10.9.9.2 1", "b 10.9.9.3 2"]),
            ("b=2 c", &["b 10.9.9.3 2", "c 10.9.9.4 -"]),
            // Two have changed their keys.
            ("b=4 c=2 a=1", &["b 10.9.9.3 4", "c 10.9.9.4 2", "a 10.9.9.2 1"]),
            // A key that was brought is not kept for who brings none.
            ("b c=2", &["b 10.9.9.3 -", "c 10.9.9.4 2"]),
            ("", &[]),
            // The network has room for five: who has gone longest makes room.
            ("d e f", &["d 10.9.9.5 -", "e 10.9.9.6 -", "f 10.9.9.2 -"]),
            (
                "c d e f",
                &["c 10.9.9.4 -", "d 10.9.9.5 -", "e 10.9.9.6 -", "f 10.9.9.2 -"],
            ),
        ] {
            let report = bring(&mut desk, words).unwrap();
            assert_eq!(shown(&report), expected, "{words}");
            assert_eq!((report.remaining_secs, &*report.plane), (1_800, "netstack"));
            let keyed = expected.iter().filter(|line| !line.ends_with('-')).count();
            assert_eq!(desk.gateway.peers().unwrap().len(), keyed, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_brought_changes_nothing() {
        let mut desk = desk("10.9.9.0/29");
        bring(&mut desk, "a=1 b=2").unwrap();
        let many: String = (0..=MAX_PEERS).map(|number| format!("p{number} ")).collect();
        for (words, reason) in [
            ("a=1 x/y", "cannot name a peer"),
            ("a=1 A=2", "named twice"),
            ("a=1 c=1", "public key"),
            ("a=1 c d e f g", "no address is left"),
            (&many, "at most 250"),
        ] {
            let refusal = bring(&mut desk, words).unwrap_err();
            assert!(refusal.contains(reason), "{words}: {refusal}");
        }
        let question = Question::Bring {
            peers: Vec::new(),
            remaining_secs: MAX_REMAINING_SECS + 1,
        };
        desk.handle(question, NOW).unwrap_err();
        let Ok(Answer::Report(report)) = desk.handle(Question::Report {}, NOW) else {
            panic!("no report")
        };
        assert_eq!(shown(&report), ["a 10.9.9.2 1", "b 10.9.9.3 2"]);
        assert_eq!(report.remaining_secs, 1_800);
        // Nor are addresses lost.
        assert_eq!(shown(&bring(&mut desk, "a=1 b=2 g").unwrap())[2], "g 10.9.9.4 -");
    }

    #[test]
    fn keys_that_are_made_here_are_in_one_configuration_and_stay_their_peer_s() {
        let mut desk = desk("10.9.9.0/24");
        assert!(keys(&mut desk, "a", terms()).unwrap_err().contains("no peer `a`"));
        bring(&mut desk, "a b=2").unwrap();
        let (first, _) = keys(&mut desk, "a", terms()).unwrap();
        let (second, text) = keys(&mut desk, "a", terms()).unwrap();
        assert_ne!(first, second);
        let conf = wg::conf::Conf::parse("a", &text).unwrap();
        assert_eq!(conf.interface().private_key.unwrap().public_key(), second);
        assert!(!text.contains("PresharedKey"));
        for line in [
            "Address = 10.9.9.2",
            "DNS = 10.9.9.1, corp.example",
            "MTU = 1380",
            "Endpoint = 192.0.2.1:51820",
            "AllowedIPs = 0.0.0.0/0",
        ] {
            assert!(text.lines().any(|found| found.starts_with(line)), "{text}");
        }
        for words in ["a b=2", "b=2 a"] {
            let report = bring(&mut desk, words).unwrap();
            let peer = report.peers.iter().find(|peer| peer.name == "a").unwrap();
            assert_eq!(peer.public_key, Some(second), "{words}");
        }
        // Whoever goes takes the key along.
        bring(&mut desk, "b=2").unwrap();
        assert_eq!(shown(&bring(&mut desk, "a b=2").unwrap())[0], "a 10.9.9.2 -");
    }

    #[test]
    fn a_configuration_says_nothing_that_was_not_checked() {
        let mut desk = desk("10.9.9.0/24");
        bring(&mut desk, "a").unwrap();
        let wrong = |change: fn(&mut node::Terms)| {
            let mut terms = terms();
            change(&mut terms);
            terms
        };
        for (terms, reason) in [
            (wrong(|terms| terms.endpoint = "192.0.2.1".to_owned()), "no port"),
            (wrong(|terms| terms.endpoint = "a b:1".to_owned()), "endpoint"),
            (wrong(|terms| terms.endpoint = "a:1\nPostUp = x".to_owned()), "endpoint"),
            (wrong(|terms| terms.dns = vec!["1.1.1.1\nPostUp = x".to_owned()]), "dns"),
            (wrong(|terms| terms.allowed_ips.clear()), "allowed_ips"),
            (wrong(|terms| terms.mtu = Some(1)), "mtu"),
        ] {
            let refusal = keys(&mut desk, "a", terms).unwrap_err();
            assert!(refusal.contains(reason), "{refusal}");
        }
        let Ok(Answer::Report(report)) = desk.handle(Question::Report {}, NOW) else {
            panic!("no report")
        };
        assert_eq!(shown(&report), ["a 10.9.9.2 -"]);
    }
}
