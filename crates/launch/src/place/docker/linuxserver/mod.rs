//! Gateways of linuxserver's image, or of one that takes its place: it makes keys and configurations itself, in `/config`.
//!
//! ```text
//!   environment PEERS=phone,laptop ─▶ /config/wg_confs/wg0.conf            the gateway's key, its peers and addresses
//!                                     /config/peer_phone/peer_phone.conf   a client's configuration, with its private key
//! ```
//!
//! Peers are named when the container is made, and stay. What a client's configuration says of the endpoint, the networks
//! and the resolvers is the lease's, not the image's: Docker may choose the port after the image has written it.

mod end;
mod files;
mod traffic;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use docker::engine::{CallError, Found, Phase, Wanted};

pub(super) use self::end::Told;
pub(in crate::place) use self::{end::SCRIPT as END_SCRIPT, files::client};
use self::{files::Server, traffic::Traffic};
use super::{
    Docker, EXEC_LIMIT, PORT, Refs,
    faults::{self, fault},
};
use crate::{
    node::{Answer, PeerReport, Question, Report, Terms, WantedPeer},
    order::Keys,
    place::{Fault, FaultKind, Job, Reached},
};

/// The label that tells which peers the container was made for.
const PEERS: &str = "adit.peers";

/// The gateway's own configuration.
const SERVER_CONF: &str = "/config/wg_confs/wg0.conf";

/// Programs that tell of handshakes and bytes: the image's, and that of an image of adit's in its place.
const SHOW_ALL: [&str; 4] = ["wg", "show", "all", "dump"];
const SHOW_JSON: [&str; 3] = ["adit", "show", "--json"];

/// The container: `wanted`, and what a gateway of this image needs.
///
/// # Errors
///
/// A request that the image cannot fulfil.
pub(super) fn wanted(
    job: &Job,
    host: &str,
    internal_subnet: Option<IpAddr>,
    mut wanted: Wanted,
) -> Result<Wanted, Fault> {
    if job.order.keys == Keys::Client {
        let message = "this place makes clients' keys itself, and takes no public key";
        return Err(unfit("keys_unfit", message, "ask for keys that the gateway makes"));
    }
    let names: Vec<&str> = job.peers.iter().map(|peer| peer.name.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        let message = format!("linuxserver's image gives no peer the name `{name}`");
        return Err(unfit(
            "name_unfit",
            message,
            "use letters and digits, and at least one letter",
        ));
    }
    let names = names.join(",");
    let list = |items: &[String]| items.join(",");
    let allowed_ips: Vec<String> = job.order.allowed_ips.iter().map(ToString::to_string).collect();
    // Keys do not belong in the log: no pictures of configurations there.
    let fixed = [
        ("PEERS", names.clone()),
        ("SERVERURL", host.to_owned()),
        ("LOG_CONFS", "false".to_owned()),
    ];
    let chosen = [
        ("SERVERPORT", job.order.port.map(|port| port.to_string())),
        ("INTERNAL_SUBNET", internal_subnet.map(|subnet| subnet.to_string())),
        ("ALLOWEDIPS", Some(list(&allowed_ips))),
        (
            "PEERDNS",
            job.order.dns.as_deref().filter(|dns| !dns.is_empty()).map(list),
        ),
    ];
    let chosen = chosen.into_iter().filter_map(|(name, value)| Some((name, value?)));
    wanted.environment = fixed
        .into_iter()
        .chain(chosen)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    wanted.labels.insert(PEERS.to_owned(), names);
    wanted.check = Some(end::check());
    wanted.capabilities = vec!["NET_ADMIN".to_owned()];
    let sysctls = ["net.ipv4.ip_forward", "net.ipv4.conf.all.src_valid_mark"];
    wanted.sysctls = BTreeMap::from(sysctls.map(|name| (name.to_owned(), "1".to_owned())));
    Ok(wanted)
}

/// Whether the image gives a peer this name. One of digits alone it takes for a count.
pub(in crate::place) fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && name.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl Docker {
    pub(super) async fn ask_linuxserver(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let found = self.look(job).await?;
        if found.phase != Phase::Running {
            return Err(faults::not_yet("the container starts"));
        }
        let port = self
            .port(&found)
            .ok_or_else(|| faults::not_yet("the container has no port yet"))?;
        let answer = match question {
            Question::Report {} => self.report(job, &found).await?,
            Question::Bring { peers, remaining_secs } => {
                check_peers(peers, &found)?;
                let remaining = Duration::from_secs(*remaining_secs);
                self.move_end(job.id, &found.id, remaining).await?;
                self.report(job, &found).await?
            }
            Question::Keys { name, terms } => self.keys(job, &found, name, terms).await?,
            Question::End {} => {
                self.remove_one(&found.id).await?;
                Answer::Ending {}
            }
        };
        let refs = Refs {
            container: found.id,
            port,
        };
        self.reached(&refs, answer)
    }

    async fn report(&self, job: &Job, found: &Found) -> Result<Answer, Fault> {
        let server = self.server(job, found).await?;
        let traffic = self.traffic(job, found, &server).await?;
        // Nobody would know whether somebody is there.
        if traffic.is_none() && job.order.idle_end_secs.is_some() {
            let message = "the image has neither `wg` nor `adit`: whether clients are there cannot be told";
            return Err(unfit("idle_unfit", message, "launch without an end after idle time"));
        }
        let traffic = traffic.unwrap_or_default();
        let peers = server.peers.into_iter().map(|listed| {
            let seen = traffic.peers.get(&listed.public_key).copied().unwrap_or_default();
            PeerReport {
                name: listed.name,
                public_key: Some(listed.public_key),
                addresses: listed.addresses,
                endpoint: seen.endpoint,
                latest_handshake: seen.latest_handshake,
                received_bytes: seen.received_bytes,
                sent_bytes: seen.sent_bytes,
            }
        });
        Ok(Answer::Report(Report {
            public_key: server.public_key,
            listen_port: PORT,
            plane: traffic.plane.to_owned(),
            addresses: server.addresses,
            remaining_secs: job.remaining.as_secs(),
            peers: peers.collect(),
        }))
    }

    /// What the gateway's own configuration says, once it names every peer.
    async fn server(&self, job: &Job, found: &Found) -> Result<Server, Fault> {
        let Some(text) = self.file(job, found, SERVER_CONF).await? else {
            return Err(self.starting(found, "it has not written its configuration yet").await);
        };
        match files::server(&text) {
            Some(server) if peers_of(found).all(|name| server.peers.iter().any(|peer| peer.name == name)) => Ok(server),
            Some(_) | None => Err(self.starting(found, "its configuration is not complete yet").await),
        }
    }

    /// What happened with its peers; `None` if the image has no program that tells.
    async fn traffic(&self, job: &Job, found: &Found, server: &Server) -> Result<Option<Traffic>, Fault> {
        let mut traffic = None;
        for (words, read) in [
            (&SHOW_ALL[..], traffic::of_wg as fn(&[u8]) -> Option<Traffic>),
            (&SHOW_JSON, traffic::of_adit),
        ] {
            let ran = match self.engine.exec(&found.id, words, EXEC_LIMIT).await {
                Ok(ran) => ran,
                Err(error @ (CallError::Missing(_) | CallError::Conflict(_))) => {
                    self.look(job).await?;
                    return Err(fault(error));
                }
                Err(error) => return Err(fault(error)),
            };
            if !ran.is_unknown() {
                traffic = Some(read(&ran.output).filter(|traffic| traffic.runs(&server.public_key)));
                break;
            }
        }
        match traffic {
            None => Ok(None),
            Some(Some(traffic)) => Ok(Some(traffic)),
            Some(None) => Err(self.starting(found, "its tunnel is not up").await),
        }
    }

    async fn keys(&self, job: &Job, found: &Found, name: &str, terms: &Terms) -> Result<Answer, Fault> {
        // What is read is named by who asks.
        let Some(name) = peers_of(found).find(|peer| peer.eq_ignore_ascii_case(name)) else {
            let message = format!("the gateway has no peer `{}`", name.escape_debug());
            return Ok(Answer::Refused { message });
        };
        let path = format!("/config/peer_{name}/peer_{name}.conf");
        let Some(text) = self.file(job, found, &path).await? else {
            return Err(self
                .starting(found, "it has not written the client's configuration yet")
                .await);
        };
        let (public_key, text) = client(&text, terms).ok_or_else(|| {
            unfit(
                "configuration_unfit",
                "what the image has written is no client's configuration",
                "",
            )
        })?;
        Ok(Answer::Configuration { public_key, text })
    }

    async fn file(&self, job: &Job, found: &Found, path: &str) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Fault> {
        match self.engine.read_file(&found.id, path).await {
            Ok(file) => Ok(file),
            Err(CallError::Missing(_)) => Err(faults::gone(&job.id.resource_name(), None)),
            Err(error) => Err(fault(error)),
        }
    }

    /// Not yet, and what the container said last: often why it never will.
    async fn starting(&self, found: &Found, what: &str) -> Fault {
        let said = self.engine.last_words(&found.id).await;
        let said = said.map(|said| format!("; it last said: {said}")).unwrap_or_default();
        faults::not_yet(format!("the container runs, and {what}{said}"))
    }
}

/// The names of the peers that a container was made for.
fn peers_of(found: &Found) -> impl Iterator<Item = &str> {
    let names = found.labels.get(PEERS).map(String::as_str).unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty())
}

/// Whether these are the peers that it was made for.
fn check_peers(wanted: &[WantedPeer], found: &Found) -> Result<(), Fault> {
    let is_wanted = |name: &str| wanted.iter().any(|peer| peer.name == name);
    let is_there = |peer: &&WantedPeer| peers_of(found).any(|name| name == peer.name);
    let fixed = |message: String| {
        let remedy = "launch another gateway with the peers that you want, and end this one";
        Err(unfit("peers_fixed", message, remedy))
    };
    if let Some(peer) = wanted.iter().find(|peer| !is_there(peer)) {
        return fixed(format!(
            "linuxserver's image takes no peer while it runs: `{}` cannot be added",
            peer.name
        ));
    }
    if let Some(name) = peers_of(found).find(|name| !is_wanted(name)) {
        return fixed(format!(
            "linuxserver's image keeps its peers while it runs: `{name}` cannot be removed"
        ));
    }
    Ok(())
}

fn unfit(code: &str, message: impl Into<String>, remedy: &str) -> Fault {
    Fault::new(FaultKind::Refused, code, message).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    use docker::engine::Phase;

    use super::*;
    use crate::place::docker::tests::job;

    fn peers(names: &[&str]) -> Vec<WantedPeer> {
        let peer = |name: &&str| WantedPeer {
            name: (*name).to_owned(),
            public_key: None,
        };
        names.iter().map(peer).collect()
    }

    fn gateway_job(names: &[&str]) -> Job {
        let mut job = job();
        job.order.keys = Keys::Gateway;
        job.peers = peers(names);
        job
    }

    #[test]
    fn the_environment_is_linuxserver_s() {
        let mut job = gateway_job(&["phone", "laptop2"]);
        job.order.port = Some(443);
        job.order.dns = Some(vec!["1.1.1.1".to_owned(), "example.com".to_owned()]);
        let wanted = wanted(
            &job,
            "vpn.example.com",
            Some(IpAddr::from([10, 9, 8, 0])),
            Wanted::default(),
        )
        .unwrap();
        let environment: Vec<String> = wanted
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            environment,
            [
                "ALLOWEDIPS=0.0.0.0/0,::/0",
                "INTERNAL_SUBNET=10.9.8.0",
                "LOG_CONFS=false",
                "PEERDNS=1.1.1.1,example.com",
                "PEERS=phone,laptop2",
                "SERVERPORT=443",
                "SERVERURL=vpn.example.com",
            ]
        );
        assert_eq!(wanted.capabilities, ["NET_ADMIN"]);
    }

    #[test]
    fn what_the_image_cannot_is_refused_before_anything_is_made() {
        let with_keys = Job {
            order: job().order,
            ..gateway_job(&["phone"])
        };
        for (job, code) in [
            (with_keys, "keys_unfit"),
            (gateway_job(&["my-phone"]), "name_unfit"),
            (gateway_job(&["phone", "7"]), "name_unfit"),
        ] {
            let fault = wanted(&job, "vpn.example.com", None, Wanted::default()).unwrap_err();
            assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, code));
        }
    }

    #[test]
    fn peers_stay_as_they_are() {
        let found = Found {
            id: "e".to_owned(),
            labels: BTreeMap::from([(PEERS.to_owned(), "phone,laptop".to_owned())]),
            phase: Phase::Running,
            published: BTreeMap::new(),
        };
        for (wanted, message) in [
            (&["phone", "laptop"][..], None),
            (&["laptop", "phone"], None),
            (&["phone", "laptop", "tablet"], Some("`tablet` cannot be added")),
            (&["laptop"], Some("`phone` cannot be removed")),
        ] {
            let fault = check_peers(&peers(wanted), &found).err();
            assert_eq!(fault.is_some(), message.is_some(), "{wanted:?}");
            if let (Some(fault), Some(message)) = (fault, message) {
                assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, "peers_fixed"));
                assert!(fault.message.ends_with(message), "{}", fault.message);
            }
        }
    }
}
