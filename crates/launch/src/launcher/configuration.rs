//! What a peer imports: without its private key, or with the one that the gateway makes.

use std::time::Duration;

use super::{Caller, Configuration, Launcher, Refusal};
use crate::{
    Lease, LeaseId, State, conf,
    lease::Event,
    node::{Answer, Question, Secret},
    place::{Fault, FaultKind, Reached},
};

/// How long a gateway may take to make keys.
const LIMIT: Duration = Duration::from_secs(20);

impl Launcher {
    /// The configuration of a peer, but for the private key that only the client has.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn configuration(&self, caller: &Caller, id: LeaseId, name: &str) -> Result<Configuration, Refusal> {
        let lease = self.find(caller, id).await?;
        let peer = lease.peer(name).ok_or(Refusal::NoPeer)?;
        if lease.makes_keys() {
            return Err(Refusal::Conflict {
                code: "keys_on_gateway",
                message: "the gateway makes the keys of this lease: ask for the hand-over instead".to_owned(),
            });
        }
        check_ready(&lease)?;
        conf::configuration(&lease, peer).ok_or_else(not_ready)
    }

    /// The configuration of a peer with the private key that the gateway makes for it. Nobody gets it a second time.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub async fn hand_over(&self, caller: &Caller, id: LeaseId, name: &str) -> Result<Secret, Refusal> {
        let (launcher, caller, name) = (self.clone(), caller.clone(), name.to_owned());
        let hand_over = async move { launcher.hand_over_whole(&caller, id, &name).await };
        self.0.whole(hand_over).await
    }

    async fn hand_over_whole(&self, caller: &Caller, id: LeaseId, name: &str) -> Result<Secret, Refusal> {
        let lease = self.find(caller, id).await?;
        let peer = lease.peer(name).ok_or(Refusal::NoPeer)?.name.clone();
        let wanted = peer.clone();
        let decide = move |lease: &Lease| {
            let peer = lease.peer(&wanted).ok_or(Refusal::NoPeer)?;
            if !lease.makes_keys() {
                return Err(Refusal::Conflict {
                    code: "keys_at_client",
                    message: "this client has made its keys itself: ask for its configuration instead".to_owned(),
                });
            }
            check_ready(lease)?;
            if peer.addresses.is_empty() {
                return Err(not_ready());
            }
            if peer.handed_over_at.is_some() {
                return Err(Refusal::AlreadyHandedOver);
            }
            Ok(Some(Event::HandOver(wanted)))
        };
        let lease = self.wish(caller, id, Box::new(decide)).await?;
        match self.make_keys(&lease, &peer).await {
            Ok((text, public_key)) => {
                let keyed = Event::Keyed(peer, public_key);
                self.wish(caller, id, Box::new(move |_| Ok(Some(keyed)))).await?;
                Ok(text)
            }
            Err(fault) => {
                // Whoever asks again gets another key; the one that was lost on the way opens nothing then.
                let undo = Event::NotHandedOver(peer);
                let _gone = self.wish(caller, id, Box::new(move |_| Ok(Some(undo)))).await;
                Err(fault.into())
            }
        }
    }

    async fn make_keys(&self, lease: &Lease, name: &str) -> Result<(Secret, wg::PublicKey), Fault> {
        let confused = || {
            Fault::new(
                FaultKind::Unclear,
                "gateway_confused",
                "the gateway gave no configuration",
            )
        };
        let gateway = lease.gateway.as_ref().ok_or_else(confused)?;
        let place = self.0.places.get(&lease.order.place).ok_or_else(confused)?;
        let question = Question::Keys {
            name: name.to_owned(),
            terms: conf::terms(lease, gateway),
        };
        let job = self.0.job(lease);
        let asked = tokio::time::timeout(LIMIT, place.ask(&job, &question)).await;
        let late = || {
            Fault::new(
                FaultKind::Unclear,
                "place_timeout",
                "the gateway gave no answer in time",
            )
        };
        let Reached { answer, .. } = asked.map_err(|_| late())??;
        match answer {
            Answer::Configuration { public_key, text } => Ok((text, public_key)),
            Answer::Refused { message } => Err(Fault::new(FaultKind::Refused, "gateway_refused", message)),
            Answer::Report(_) | Answer::Ending {} => Err(confused()),
        }
    }
}

fn check_ready(lease: &Lease) -> Result<(), Refusal> {
    match lease.state {
        State::Ready => Ok(()),
        State::Requested | State::Provisioning | State::Configuring => Err(not_ready()),
        State::Failed | State::Lost | State::Removing | State::Removed => Err(Refusal::Over),
    }
}

fn not_ready() -> Refusal {
    Refusal::NotReady {
        message: "the gateway is not ready for this peer yet".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}
