//! Asks the gateway on a machine; and Azure, if it gives no answer.

use std::time::Duration;

use serde_json::Value;

use super::{AzureVm, found::is_of, making::gone, refs::Refs, requests};
use crate::{
    node::{Answer, PeerReport, Question, Ready, Report, Terms, WantedPeer, tunnel::CallError},
    place::{
        Fault, FaultKind, Job, Reached,
        azure::{
            fault::{fault, refused},
            gateways,
        },
        docker::linuxserver,
    },
};

/// When a configuration that is read of a machine may be there.
const READ: Duration = Duration::from_secs(10);

impl AzureVm {
    /// Asks adit's own gateway, through its WireGuard port.
    pub(super) async fn ask_own(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let refs = Refs::read(job);
        let (Some(endpoint), Some(mut key)) = (refs.endpoint(), refs.public_key) else {
            return Err(unread());
        };
        let (ready, has_ended) = self.memory.read(job.id);
        if let Some(ready) = ready {
            key = ready.public_key;
        }
        let error = match self.gateways.ask(job.id, &endpoint, key, question).await {
            Ok(answer) => return Ok(Reached { endpoint, answer }),
            Err(error) => error,
        };
        self.look(job).await?;
        if has_ended {
            return Err(Fault::new(
                FaultKind::Gone,
                "gateway_ended",
                "the gateway on the machine has ended",
            ));
        }
        // It may have been started anew, and have another key.
        if let CallError::Unanswered { .. } = error {
            self.read_anew(job, None);
        }
        Err(self.memory.fault(job.id).unwrap_or_else(|| gateways::fault(&error)))
    }

    /// Asks Azure how the machine is on which linuxserver's image runs: that has nothing that could be asked from outside.
    pub(super) async fn ask_linuxserver(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let refs = Refs::read(job);
        let (Some(endpoint), Some(public_key)) = (refs.endpoint(), refs.public_key) else {
            return Err(unread());
        };
        let answer = match question {
            Question::Report {} => {
                self.look(job).await?;
                self.report(job, &refs, public_key)
            }
            Question::Bring { peers, remaining_secs } => {
                check_peers(peers, &refs)?;
                self.look(job).await?;
                self.tell_end(job, *remaining_secs);
                self.report(job, &refs, public_key)
            }
            Question::Keys { name, terms } => self.keys(job, &refs, name, terms)?,
            // What ends it is the removal of its machine.
            Question::End {} => Answer::Ending {},
        };
        Ok(Reached { endpoint, answer })
    }

    /// Whether the machine runs.
    async fn look(&self, job: &Job) -> Result<(), Fault> {
        let request = requests::machine_state(&self.config.site, job.id);
        let found = self.hasty(job.id).find(&request).await.map_err(|error| fault(&error))?;
        match found {
            Some(machine) if is_of(&machine, job) => match power(&machine) {
                Some(word @ ("stopped" | "stopping" | "deallocated" | "deallocating")) => Err(Fault::new(
                    FaultKind::Gone,
                    "machine_stopped",
                    format!("the machine {} is {word}", job.id.resource_name()),
                )),
                Some(_) | None => Ok(()),
            },
            Some(_) | None => Err(gone(job)),
        }
    }

    fn report(&self, job: &Job, refs: &Refs, public_key: wg::PublicKey) -> Answer {
        let (ready, _) = self.memory.read(job.id);
        let ready = ready.unwrap_or(Ready {
            public_key,
            listen_port: refs.port,
            plane: "kernel".to_owned(),
        });
        let peers = refs.peers.iter().map(|peer| PeerReport {
            name: peer.name.clone(),
            public_key: Some(peer.public_key),
            addresses: vec![peer.address],
            endpoint: None,
            latest_handshake: None,
            received_bytes: 0,
            sent_bytes: 0,
        });
        Answer::Report(Report {
            public_key: ready.public_key,
            listen_port: ready.listen_port,
            plane: ready.plane,
            addresses: Vec::new(),
            remaining_secs: job.remaining.as_secs(),
            peers: peers.collect(),
        })
    }

    /// The configuration of a peer: of this process's memory, or soon, once it is read of the machine.
    fn keys(&self, job: &Job, refs: &Refs, name: &str, terms: &Terms) -> Result<Answer, Fault> {
        let Some(peer) = refs.peers.iter().find(|peer| peer.name.eq_ignore_ascii_case(name)) else {
            let message = format!("the gateway has no peer `{}`", name.escape_debug());
            return Ok(Answer::Refused { message });
        };
        if let Some(text) = self.memory.configuration(job.id, &peer.name) {
            let client = linuxserver::client(text.danger_text().as_bytes(), terms);
            let (public_key, text) = client.ok_or_else(|| {
                refused(
                    "configuration_unfit",
                    "what the image has written is no client's configuration",
                    "",
                )
            })?;
            return Ok(Answer::Configuration { public_key, text });
        }
        if let Some(fault) = self.memory.fault(job.id) {
            return Err(fault);
        }
        self.read_anew(job, Some(peer.name.clone()));
        let message = "the configuration is being read of the machine, which takes Azure half a minute";
        Err(Fault::new(FaultKind::NotYet, "configuration_read", message)
            .with_remedy("ask again")
            .with_after(READ))
    }
}

fn unread() -> Fault {
    Fault::new(FaultKind::NotYet, "gateway_unread", "the gateway's key is not read yet")
}

/// The word for whether a machine is on.
fn power(machine: &Value) -> Option<&str> {
    let statuses = machine["properties"]["instanceView"]["statuses"].as_array()?;
    statuses
        .iter()
        .filter_map(|status| status["code"].as_str())
        .find_map(|code| code.strip_prefix("PowerState/"))
}

/// Whether these are the peers that the gateway was made for.
fn check_peers(wanted: &[WantedPeer], refs: &Refs) -> Result<(), Fault> {
    let is_wanted = |name: &str| wanted.iter().any(|peer| peer.name.eq_ignore_ascii_case(name));
    let is_there = |name: &str| refs.peers.iter().any(|peer| peer.name.eq_ignore_ascii_case(name));
    let fixed = |message: String| {
        let remedy = "launch another gateway with the peers that you want, and end this one";
        Err(refused("peers_fixed", message, remedy))
    };
    if let Some(peer) = wanted.iter().find(|peer| !is_there(&peer.name)) {
        return fixed(format!(
            "linuxserver's image takes no peer while it runs: `{}` cannot be added",
            peer.name
        ));
    }
    if let Some(peer) = refs.peers.iter().find(|peer| !is_wanted(&peer.name)) {
        return fixed(format!(
            "linuxserver's image keeps its peers while it runs: `{}` cannot be removed",
            peer.name
        ));
    }
    Ok(())
}
