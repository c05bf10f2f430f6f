//! A place that is none: the same steps, with realistic times and faults, and nothing behind them.
//!
//! What it hands out is a sample: its endpoint is in 192.0.2.0/24, which leads nowhere (RFC 5737).

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use ipnet::{IpNet, Ipv4Net};
use serde_json::json;
use tokio::time::{Instant, sleep};
use wg::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal};
use crate::{
    LeaseId, conf,
    node::{Answer, PeerReport, Question, Report, Secret, Terms, WantedPeer},
};

/// How the place behaves.
#[derive(Clone, Debug)]
pub struct Times {
    /// From the first call until the machine is there.
    pub creation: Duration,
    /// From then until the gateway answers.
    pub start: Duration,
    /// From the first call until nothing is left.
    pub removal: Duration,
    /// How long each call takes.
    pub call: Duration,
}

impl Default for Times {
    /// Those of a small machine in a cloud, ten times as fast: who tries it out has no minutes.
    fn default() -> Self {
        Self {
            creation: Duration::from_millis(2_500),
            start: Duration::from_millis(1_500),
            removal: Duration::from_millis(1_500),
            call: Duration::from_millis(40),
        }
    }
}

/// What goes wrong in a call, if anything does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The call fails, and nothing was done.
    Fails(Fault),
    /// What was asked is done, but the answer is lost.
    LosesAnswer,
    /// No answer comes, for so long; then it is done.
    Hangs(Duration),
}

/// A call at the place, as [`Simulate::with_troubles`] is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Place::create`].
    Create,
    /// [`Place::ask`].
    Ask,
    /// [`Place::remove`].
    Remove,
    /// [`Place::list`].
    List,
}

/// Says what goes wrong in the n-th call of its kind for a lease, counted from 1.
pub type Troubles = dyn Fn(Call, Option<LeaseId>, u64) -> Option<Trouble> + Send + Sync;

/// The fake place.
pub struct Simulate {
    times: Times,
    troubles: Box<Troubles>,
    machines: Mutex<HashMap<(String, LeaseId), Machine>>,
    calls: Mutex<HashMap<(Call, Option<LeaseId>), u64>>,
}

/// A machine that is none.
#[derive(Clone, Debug)]
struct Machine {
    made: Instant,
    ends: Instant,
    removal: Option<Instant>,
    public_key: PublicKey,
    peers: Vec<(WantedPeer, IpAddr)>,
}

impl std::fmt::Debug for Simulate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Simulate({} machines)", self.machines().len())
    }
}

impl Simulate {
    /// The place without faults.
    pub fn new(times: Times) -> Arc<Self> {
        Self::with_troubles(times, |_, _, _| None)
    }

    /// The place in which calls go wrong.
    pub fn with_troubles(
        times: Times,
        troubles: impl Fn(Call, Option<LeaseId>, u64) -> Option<Trouble> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            times,
            troubles: Box::new(troubles),
            machines: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    /// The leases that have something at the place, whoever knows of it.
    pub fn left(&self) -> Vec<LeaseId> {
        self.machines().keys().map(|(_, id)| *id).collect()
    }

    /// A machine goes by itself.
    pub fn crash(&self, id: LeaseId) {
        self.machines().retain(|(_, other), _| *other != id);
    }

    /// Puts a machine there that nobody asked for.
    pub fn strand(&self, instance: &str, id: LeaseId) {
        let machine = self.machine(id, Duration::from_secs(3_600));
        self.machines().insert((instance.to_owned(), id), machine);
    }

    fn machines(&self) -> std::sync::MutexGuard<'_, HashMap<(String, LeaseId), Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn machine(&self, id: LeaseId, remaining: Duration) -> Machine {
        let now = Instant::now();
        // Nobody has the private key of it, and it is the same for a repeated step.
        let mut seed = [0; 32];
        let text = id.to_string();
        for (byte, letter) in seed.iter_mut().zip(text.bytes().cycle()) {
            *byte = letter;
        }
        Machine {
            made: now + self.times.creation,
            ends: now + remaining,
            removal: None,
            public_key: PrivateKey::from_random(seed).public_key(),
            peers: Vec::new(),
        }
    }

    /// What a call runs into: a fault before anything is done, or whether the answer is lost afterwards.
    async fn call(&self, call: Call, id: Option<LeaseId>) -> Result<bool, Fault> {
        sleep(self.times.call).await;
        let number = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let number = calls.entry((call, id)).or_default();
            *number += 1;
            *number
        };
        match (self.troubles)(call, id, number) {
            None => Ok(false),
            Some(Trouble::Fails(fault)) => Err(fault),
            Some(Trouble::LosesAnswer) => Ok(true),
            Some(Trouble::Hangs(time)) => {
                sleep(time).await;
                Ok(false)
            }
        }
    }

    /// The machine, unless its own clock has ended it.
    fn find(&self, job: &Job) -> Result<Machine, Fault> {
        let mut machines = self.machines();
        let key = (job.instance.clone(), job.id);
        let gone = || Fault::new(FaultKind::Gone, "gateway_gone", "the simulated machine is gone");
        let machine = machines.get(&key).cloned().ok_or_else(gone)?;
        if machine.ends <= Instant::now() {
            machines.remove(&key);
            return Err(gone());
        }
        Ok(machine)
    }

    fn bring(&self, job: &Job, wanted: &[WantedPeer], remaining: Duration) {
        if let Some(machine) = self.machines().get_mut(&(job.instance.clone(), job.id)) {
            machine.ends = Instant::now() + remaining;
            let before = std::mem::take(&mut machine.peers);
            for peer in wanted {
                let known = before
                    .iter()
                    .chain(&machine.peers)
                    .find(|(other, _)| other.name == peer.name);
                let address = known.map_or_else(|| free_address(&before, &machine.peers), |(_, address)| *address);
                machine.peers.push((peer.clone(), address));
            }
        }
    }
}

#[async_trait]
impl Place for Simulate {
    fn describe(&self) -> Description {
        Description {
            name: "simulate".to_owned(),
            title: "a trial run: nothing is launched, what it hands out is a sample".to_owned(),
            regions: ["nowhere-1", "nowhere-2"].map(str::to_owned).to_vec(),
            sizes: ["small", "large"].map(str::to_owned).to_vec(),
            usual_secs: (self.times.creation + self.times.start).as_secs().max(1),
            takes_public_keys: true,
            is_sample: true,
            reserved_ports: vec![(49_152, 65_534)],
        }
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        let loses = self.call(Call::Create, Some(job.id)).await?;
        let made = {
            let mut machines = self.machines();
            let machine = machines
                .entry((job.instance.clone(), job.id))
                .or_insert_with(|| self.machine(job.id, job.remaining));
            machine.made
        };
        if loses {
            return Err(lost());
        }
        let refs = json!({ "machine": job.id.resource_name() });
        let left = made.saturating_duration_since(Instant::now());
        Ok(if left.is_zero() {
            Creation::Made { refs }
        } else {
            Creation::Pending {
                refs,
                after: left.min(Duration::from_millis(500)),
                doing: "the simulated machine boots".to_owned(),
            }
        })
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let loses = self.call(Call::Ask, Some(job.id)).await?;
        let machine = self.find(job)?;
        if Instant::now() < machine.made + self.times.start {
            return Err(Fault::new(
                FaultKind::NotYet,
                "starting",
                "the simulated gateway starts",
            ));
        }
        let answer = match question {
            Question::Report {} => Answer::Report(report(&machine)),
            Question::Bring { peers, remaining_secs } => {
                self.bring(job, peers, Duration::from_secs(*remaining_secs));
                Answer::Report(report(&self.find(job)?))
            }
            Question::Keys { name, terms } => sample(&machine, name, terms)?,
            Question::End {} => {
                self.machines().remove(&(job.instance.clone(), job.id));
                Answer::Ending {}
            }
        };
        if loses {
            return Err(lost());
        }
        let port = job.order.port.unwrap_or(51_820);
        Ok(Reached {
            endpoint: format!(
                "192.0.2.{}:{port}",
                1 + job.id.to_string().bytes().last().unwrap_or_default() % 250
            ),
            answer,
        })
    }

    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        let loses = self.call(Call::Remove, Some(job.id)).await?;
        let key = (job.instance.clone(), job.id);
        let left = {
            let mut machines = self.machines();
            let now = Instant::now();
            let removal = machines
                .get_mut(&key)
                .map(|machine| *machine.removal.get_or_insert(now + self.times.removal));
            let left = removal.map_or(Duration::ZERO, |gone| gone.saturating_duration_since(now));
            if left.is_zero() {
                machines.remove(&key);
            }
            left
        };
        if loses {
            return Err(lost());
        }
        Ok(if left.is_zero() {
            Removal::Gone
        } else {
            Removal::Pending {
                refs: job.refs.clone(),
                after: left.min(Duration::from_millis(500)),
            }
        })
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        if self.call(Call::List, None).await? {
            return Err(lost());
        }
        let now = Instant::now();
        let mut machines = self.machines();
        machines.retain(|_, machine| machine.ends > now);
        Ok(machines
            .keys()
            .filter(|(other, _)| other == instance)
            .map(|(_, id)| *id)
            .collect())
    }
}

fn lost() -> Fault {
    Fault::new(FaultKind::Unclear, "no_answer", "the simulated place gave no answer")
}

fn free_address(before: &[(WantedPeer, IpAddr)], peers: &[(WantedPeer, IpAddr)]) -> IpAddr {
    let mut candidates = (2..=254_u8).map(|last| IpAddr::from([10, 13, 13, last]));
    let is_free = |address: &IpAddr| before.iter().chain(peers).all(|(_, taken)| taken != address);
    candidates.find(is_free).unwrap_or(IpAddr::from([10, 13, 13, 255]))
}

fn report(machine: &Machine) -> Report {
    Report {
        public_key: machine.public_key,
        listen_port: 51_820,
        plane: "simulate".to_owned(),
        addresses: vec![IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 13, 13, 1), 24))],
        remaining_secs: machine.ends.saturating_duration_since(Instant::now()).as_secs(),
        peers: machine
            .peers
            .iter()
            .map(|(peer, address)| PeerReport {
                name: peer.name.clone(),
                public_key: peer.public_key,
                addresses: vec![*address],
                endpoint: None,
                latest_handshake: None,
                received_bytes: 0,
                sent_bytes: 0,
            })
            .collect(),
    }
}

/// A configuration that nobody can take for one that works: its private key is made of zeros, and every line says what it is.
fn sample(machine: &Machine, name: &str, terms: &Terms) -> Result<Answer, Fault> {
    let peer = machine.peers.iter().find(|(peer, _)| peer.name == name);
    let (_, address) =
        peer.ok_or_else(|| Fault::new(FaultKind::Refused, "no_peer", format!("there is no peer {name}")))?;
    let key = PrivateKey::from_random([0; 32]);
    let text = conf::text(terms, machine.public_key, &[*address], &key.danger_base64());
    Ok(Answer::Configuration {
        public_key: key.public_key(),
        text: Secret::new(Zeroizing::new(conf::mark(&text))),
    })
}
