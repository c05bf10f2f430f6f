//! Judges whether a gateway does its work, by what has happened and not by what is there.
//!
//! Pure: the facts come from the caller.
//!
//! | part | healthy if |
//! |---|---|
//! | tunnel | its plane runs, and was looked at a moment ago |
//! | rules | the kernel has them; it is not named then |
//! | dns | it is off, or has answered one of the last questions about the gateway's own name |
//! | a tunnel to a server of ours (client mode) | its file has come up, with an earlier text at least |
//! | a server of ours (client mode) | it need not be there, or there was a handshake with it in the last 180 s |

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::events::CONNECTED_FOR;

/// How old the latest look at the gateway may be.
const LOOK_LIMIT: Duration = Duration::from_secs(15);

/// How long a first handshake may take: three attempts, five seconds apart (WireGuard whitepaper 6.1: `REKEY_TIMEOUT`).
const FIRST_HANDSHAKE: Duration = Duration::from_secs(15);

/// How a gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether all its parts are healthy.
    pub healthy: bool,
    /// Its parts.
    pub checks: Vec<Check>,
}

/// One part of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is judged.
    pub name: String,
    /// Whether it is healthy.
    pub healthy: bool,
    /// Why.
    pub detail: String,
}

/// What a gateway is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Why the rules that hold the peers are not in force.
    pub rules: Option<String>,
    /// Its DNS; `None` if it is off.
    pub dns: Option<Dns>,
    /// The servers that it is a client of.
    pub servers: Vec<Server>,
    /// The tunnels to servers that are down and should not be, each with the reason.
    pub down: Vec<(String, String)>,
}

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Who handles its packets.
    pub plane: String,
    /// Why it ended.
    pub ended: Option<String>,
    /// How long ago it was looked at.
    pub looked: Duration,
    /// Its peers.
    pub peers: usize,
    /// Those of them that are connected.
    pub connected: usize,
}

/// The gateway's DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dns {
    /// How many questions in a row it has left without an answer.
    pub unanswered: u32,
}

/// A server that this host is a client of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The tunnel, and which of its peers.
    pub name: String,
    /// How long ago the latest handshake was; `None` is never.
    pub handshake: Option<Duration>,
    /// For how long packets have wanted to get there without a handshake; `None` if none has.
    pub wanted: Option<Duration>,
}

/// Most questions in a row that DNS may leave without an answer: a busy machine loses one.
const MAX_UNANSWERED: u32 = 2;

/// Judges a gateway.
pub fn judge(facts: &Facts) -> Health {
    let mut checks = vec![tunnel(&facts.tunnel)];
    checks.extend(facts.rules.as_ref().map(|problem| Check {
        name: "rules".to_owned(),
        healthy: false,
        detail: problem.clone(),
    }));
    checks.extend(facts.dns.map(dns));
    checks.extend(facts.servers.iter().map(server));
    checks.extend(facts.down.iter().map(|(name, why)| Check {
        name: name.clone(),
        healthy: false,
        detail: format!("down, {why}"),
    }));
    Health {
        healthy: checks.iter().all(|check| check.healthy),
        checks,
    }
}

impl Health {
    /// In one line.
    pub fn line(&self) -> String {
        let word = if self.healthy { "healthy" } else { "unhealthy" };
        let checks = self.checks.iter().filter(|check| self.healthy || !check.healthy);
        let details: Vec<String> = checks
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect();
        format!("{word} · {}", details.join(" · "))
    }
}

fn tunnel(facts: &Tunnel) -> Check {
    let (healthy, detail) = match &facts.ended {
        Some(reason) => (false, format!("ended, {reason}")),
        None if facts.looked > LOOK_LIMIT => (false, format!("not looked at for {} s", facts.looked.as_secs())),
        None => (
            true,
            format!(
                "{} plane, {} of {} peers connected",
                facts.plane, facts.connected, facts.peers
            ),
        ),
    };
    Check {
        name: "tunnel".into(),
        healthy,
        detail,
    }
}

fn dns(facts: Dns) -> Check {
    let healthy = facts.unanswered <= MAX_UNANSWERED;
    Check {
        name: "dns".into(),
        healthy,
        detail: if healthy {
            "answers".into()
        } else {
            format!("left {} questions without an answer", facts.unanswered)
        },
    }
}

fn server(facts: &Server) -> Check {
    let waits = |limit| facts.wanted.is_some_and(|wanted| wanted > limit);
    let (healthy, detail) = match facts.handshake {
        Some(age) if age < CONNECTED_FOR => (true, format!("handshake {} s ago", age.as_secs())),
        Some(age) if waits(Duration::ZERO) => (false, format!("no handshake for {} s", age.as_secs())),
        None if waits(FIRST_HANDSHAKE) => (false, "no handshake yet".into()),
        Some(_) => (true, "at rest".into()),
        None => (true, "not asked yet".into()),
    };
    Check {
        name: facts.name.clone(),
        healthy,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            tunnel: Tunnel {
                plane: "tun".into(),
                ended: None,
                looked: Duration::from_secs(2),
                peers: 3,
                connected: 1,
            },
            rules: None,
            dns: Some(Dns { unanswered: 0 }),
            servers: Vec::new(),
            down: Vec::new(),
        }
    }

    #[test]
    fn a_gateway_that_works_is_healthy_with_or_without_connected_peers() {
        let health = judge(&facts());
        assert_eq!(
            health.line(),
            "healthy · tunnel: tun plane, 1 of 3 peers connected · dns: answers"
        );
        let mut facts = facts();
        (facts.tunnel.connected, facts.dns) = (0, None);
        assert!(judge(&facts).healthy);
    }

    #[test]
    fn each_part_can_make_it_unhealthy() {
        type Break = fn(&mut Facts);
        let cases: [(Break, &str); 4] = [
            (
                |facts| {
                    facts
                        .down
                        .push(("office".into(), "PostUp = false: exit status: 1".into()))
                },
                "unhealthy · office: down, PostUp = false: exit status: 1",
            ),
            (
                |facts| facts.tunnel.ended = Some("the interface was removed".into()),
                "unhealthy · tunnel: ended, the interface was removed",
            ),
            (
                |facts| facts.tunnel.looked = Duration::from_secs(60),
                "unhealthy · tunnel: not looked at for 60 s",
            ),
            (
                |facts| facts.dns = Some(Dns { unanswered: 3 }),
                "unhealthy · dns: left 3 questions without an answer",
            ),
        ];
        for (spoil, line) in cases {
            let mut facts = facts();
            spoil(&mut facts);
            assert_eq!(judge(&facts).line(), line);
        }
    }

    #[test]
    fn a_server_is_judged_by_handshakes_if_it_is_wanted() {
        let secs = |secs| Some(Duration::from_secs(secs));
        // (seconds since the handshake, wanted for seconds, healthy)
        for (handshake, wanted, healthy) in [
            (None, None, true),
            (None, secs(5), true),
            (None, secs(16), false),
            (secs(179), secs(30), true),
            (secs(181), secs(30), false),
            (secs(9999), None, true),
        ] {
            let mut facts = facts();
            facts.servers.push(Server {
                name: "office".into(),
                handshake,
                wanted,
            });
            assert_eq!(judge(&facts).healthy, healthy, "{handshake:?} {wanted:?}");
        }
    }
}
