//! A place that is none: the same steps, with realistic times and faults, and nothing behind them.
//!
//! What it hands out is a sample: its endpoint is in 192.0.2.0/24, which leads nowhere (RFC 5737).

mod faults;
#[cfg(test)]
mod tests;

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

use self::faults::Faults;
pub use self::faults::{Call, Trouble, Troubles};
use super::{Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal};
use crate::{
    LeaseId, conf,
    lease::Bytes,
    node::{Answer, PeerReport, Question, Report, Secret, Terms, WantedPeer},
};

/// When the place is looked at again at the latest, while it works on something.
const LOOK: Duration = Duration::from_secs(2);

/// A machine that never boots is still not there then.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// How the place is set up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// How many times as fast as a cloud it is; more than 0. Default 1.
    pub speed: f64,
    /// How many of a hundred calls go wrong: they fail, lose their answer or hang. A quarter as many machines never boot.
    /// Default none.
    pub fault_percent: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            speed: 1.0,
            fault_percent: 0,
        }
    }
}

/// How long the place takes.
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
    /// Those of a small machine in a cloud.
    fn default() -> Self {
        Self {
            creation: Duration::from_secs(25),
            start: Duration::from_secs(15),
            removal: Duration::from_secs(15),
            call: Duration::from_millis(400),
        }
    }
}

impl Times {
    /// The same, so many times as fast; `speed` is more than 0.
    #[must_use]
    pub fn at_speed(&self, speed: f64) -> Self {
        Self {
            creation: self.creation.div_f64(speed),
            start: self.start.div_f64(speed),
            removal: self.removal.div_f64(speed),
            call: self.call.div_f64(speed),
        }
    }
}

/// The fake place.
pub struct Simulate {
    times: Times,
    troubles: Box<Troubles>,
    machines: Mutex<HashMap<(String, LeaseId), Machine>>,
    calls: Mutex<HashMap<(Call, Option<LeaseId>), u64>>,
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Well,
    /// It is done, and the answer is lost.
    WithoutAnswer,
    /// What is made never boots.
    WithoutBoot,
}

/// A machine that is none.
#[derive(Clone, Debug)]
struct Machine {
    made: Instant,
    ends: Instant,
    removal: Option<Instant>,
    public_key: PublicKey,
    peers: Vec<Client>,
}

/// A peer of a machine that is none.
#[derive(Clone, Debug)]
struct Client {
    wanted: WantedPeer,
    address: IpAddr,
    traffic: Bytes,
}

impl std::fmt::Debug for Simulate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Simulate({} machines)", self.machines().len())
    }
}

impl Simulate {
    /// The place as it is set up.
    pub fn configured(config: &Config) -> Arc<Self> {
        let faults = Faults::new(config.fault_percent, config.speed);
        let troubles = move |call, id, number| faults.trouble(call, id, number);
        Self::with_troubles(Times::default().at_speed(config.speed), troubles)
    }

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

    /// So many bytes pass for a peer that the gateway knows.
    pub fn pass(&self, id: LeaseId, name: &str, received: u64, sent: u64) {
        let mut machines = self.machines();
        let peers = machines
            .iter_mut()
            .filter(|((_, other), _)| *other == id)
            .flat_map(|(_, machine)| &mut machine.peers);
        for client in peers.filter(|client| client.wanted.name == name) {
            client.traffic.received += received;
            client.traffic.sent += sent;
        }
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

    /// What a call runs into: a fault before anything is done, or how it goes.
    async fn call(&self, call: Call, id: Option<LeaseId>) -> Result<Course, Fault> {
        sleep(self.times.call).await;
        let number = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let number = calls.entry((call, id)).or_default();
            *number += 1;
            *number
        };
        match (self.troubles)(call, id, number) {
            None => Ok(Course::Well),
            Some(Trouble::Fails(fault)) => Err(fault),
            Some(Trouble::LosesAnswer) => Ok(Course::WithoutAnswer),
            Some(Trouble::Hangs(time)) => {
                sleep(time).await;
                Ok(Course::Well)
            }
            Some(Trouble::NeverBoots) => Ok(Course::WithoutBoot),
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
            for wanted in wanted {
                let known = before.iter().find(|other| other.wanted.name == wanted.name);
                let client = Client {
                    wanted: wanted.clone(),
                    address: known.map_or_else(|| free_address(&before, &machine.peers), |known| known.address),
                    traffic: known.map_or_else(Bytes::default, |known| known.traffic),
                };
                machine.peers.push(client);
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
            offers_ssh: false,
        }
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        let course = self.call(Call::Create, Some(job.id)).await?;
        let made = {
            let mut machines = self.machines();
            let machine = machines.entry((job.instance.clone(), job.id)).or_insert_with(|| {
                let mut machine = self.machine(job.id, job.remaining);
                if course == Course::WithoutBoot {
                    machine.made += NEVER;
                }
                machine
            });
            machine.made
        };
        course.answer()?;
        let refs = json!({ "machine": job.id.resource_name() });
        let left = made.saturating_duration_since(Instant::now());
        Ok(if left.is_zero() {
            Creation::Made { refs }
        } else {
            Creation::Pending {
                refs,
                after: left.min(LOOK),
                doing: "the simulated machine boots".to_owned(),
            }
        })
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let course = self.call(Call::Ask, Some(job.id)).await?;
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
        course.answer()?;
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
        let course = self.call(Call::Remove, Some(job.id)).await?;
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
        course.answer()?;
        Ok(if left.is_zero() {
            Removal::Gone
        } else {
            Removal::Pending {
                refs: job.refs.clone(),
                after: left.min(LOOK),
            }
        })
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        self.call(Call::List, None).await?.answer()?;
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

impl Course {
    /// Whether there is an answer.
    fn answer(self) -> Result<(), Fault> {
        match self {
            Self::Well | Self::WithoutBoot => Ok(()),
            Self::WithoutAnswer => Err(Fault::new(
                FaultKind::Unclear,
                "no_answer",
                "the simulated place gave no answer",
            )),
        }
    }
}

fn free_address(before: &[Client], peers: &[Client]) -> IpAddr {
    let mut candidates = (2..=254_u8).map(|last| IpAddr::from([10, 13, 13, last]));
    let is_free = |address: &IpAddr| before.iter().chain(peers).all(|taken| taken.address != *address);
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
            .map(|client| PeerReport {
                name: client.wanted.name.clone(),
                public_key: client.wanted.public_key,
                addresses: vec![client.address],
                endpoint: None,
                latest_handshake: None,
                received_bytes: client.traffic.received,
                sent_bytes: client.traffic.sent,
            })
            .collect(),
    }
}

/// A configuration that nobody can take for one that works: its private key is made of zeros, and every line says what it is.
fn sample(machine: &Machine, name: &str, terms: &Terms) -> Result<Answer, Fault> {
    let client = machine.peers.iter().find(|client| client.wanted.name == name);
    let client = client.ok_or_else(|| Fault::new(FaultKind::Refused, "no_peer", format!("there is no peer {name}")))?;
    let key = PrivateKey::from_random([0; 32]);
    let text = conf::text(terms, machine.public_key, &[client.address], &key.danger_base64());
    Ok(Answer::Configuration {
        public_key: key.public_key(),
        text: Secret::new(Zeroizing::new(conf::mark(&text))),
    })
}
