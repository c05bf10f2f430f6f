//! What follows from what came of a step.

use std::time::Duration;

use super::{Bytes, Change, End, GatewayFacts, Lease, LeasePeer, Outcome, State, notice::Kind};
use crate::{
    Moment,
    node::{Answer, PeerReport, Report},
    place::{Creation, Fault, FaultKind, Reached, Removal},
};

/// How often a gateway is asked how it is.
pub const OBSERVE: Duration = Duration::from_secs(5);

/// How often while a client may connect for the first time at any moment.
const OBSERVE_KEENLY: Duration = Duration::from_secs(1);

/// How long after it became ready it is asked keenly.
const KEEN: Duration = Duration::from_secs(120);

/// The waits before a failed step is taken again: the first, and the longest of each kind.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT_FOR_START: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT_FOR_REMOVAL: Duration = Duration::from_secs(60);

/// A gateway that goes so shortly before the end went by its own clock.
const EARLY: Duration = Duration::from_secs(5);

impl Lease {
    /// What follows from it. It is of the latest action.
    pub(super) fn done(&mut self, outcome: Outcome, now: Moment) -> Change {
        self.is_recovering = false;
        match (self.state, outcome) {
            (State::Provisioning, Outcome::Created(result)) => self.created(result, now),
            (State::Configuring, Outcome::Asked(result)) => self.first_asked(result, now),
            (State::Ready, Outcome::Asked(result)) => self.asked(result, now),
            (State::Removing, Outcome::Removed(result)) => self.removed(result, now),
            // Of a step that its state has left behind.
            (_, Outcome::Created(_) | Outcome::Asked(_) | Outcome::Removed(_)) => Change::Nothing,
        }
    }

    fn created(&mut self, result: Result<Creation, Fault>, now: Moment) -> Change {
        match result {
            Ok(Creation::Made { refs }) => {
                self.refs = refs;
                self.enter(State::Configuring, now);
                "the gateway starts".clone_into(&mut self.doing);
                self.say(Kind::Configuring, now, "the gateway is made, and starts".to_owned());
            }
            Ok(Creation::Pending { refs, after, doing }) => {
                (self.refs, self.failures) = (refs, 0);
                self.doing = doing;
                self.next_at = now + after;
            }
            Err(fault) if fault.kind == FaultKind::Refused => self.fail(fault, now),
            Err(fault) => self.retry(fault, LONGEST_WAIT, now),
        }
        Change::Row
    }

    fn first_asked(&mut self, result: Result<Reached, Fault>, now: Moment) -> Change {
        match report(result) {
            Ok((endpoint, report)) => {
                self.enter(State::Ready, now);
                self.ready_at = Some(now);
                self.active_at = Some(now);
                self.ends_at = now + Duration::from_secs(self.granted_secs);
                self.fault = None;
                "ready".clone_into(&mut self.doing);
                self.gateway = Some(facts(endpoint, &report));
                let secs = now.since(self.created_at).as_millis();
                self.say(
                    Kind::Ready,
                    now,
                    format!("the gateway answered after {}.{:03} s", secs / 1_000, secs % 1_000),
                );
                self.learn(&report, now);
                self.next_at = now + OBSERVE_KEENLY;
            }
            Err(fault) => match fault.kind {
                FaultKind::Refused => self.fail(fault, now),
                FaultKind::Gone => {
                    let message = format!("the gateway ended before it was ready: {}", fault.message);
                    self.fail(Fault { message, ..fault }, now);
                }
                FaultKind::NotYet => {
                    self.failures += 1;
                    self.next_at = now + wait(self.failures, fault.after, LONGEST_WAIT_FOR_START);
                    self.fault = Some(fault);
                    return Change::Counters;
                }
                FaultKind::Unclear => self.retry(fault, LONGEST_WAIT, now),
            },
        }
        Change::Row
    }

    fn asked(&mut self, result: Result<Reached, Fault>, now: Moment) -> Change {
        match report(result) {
            Ok((endpoint, report)) => {
                let mut change = if self.failures > 0 || self.is_dirty {
                    Change::Row
                } else {
                    Change::Counters
                };
                if self.unreachable_since.take().is_some() {
                    self.say(Kind::Reachable, now, "the gateway answers again".to_owned());
                }
                (self.failures, self.is_dirty, self.fault) = (0, false, None);
                change = change.max(self.meet(endpoint, &report, now));
                let is_keen = self.peers.iter().any(|peer| peer.first_handshake_at.is_none())
                    && self.ready_at.is_some_and(|ready| now.since(ready) < KEEN);
                self.next_at = now + if is_keen { OBSERVE_KEENLY } else { OBSERVE };
                self.learn(&report, now).max(change)
            }
            Err(fault) if fault.kind == FaultKind::Gone => {
                if self.remaining(now) <= EARLY {
                    self.end(End::Expired, now);
                } else {
                    self.say(Kind::Lost, now, format!("the gateway has gone: {}", fault.message));
                    self.enter(State::Lost, now);
                    (self.outcome, self.fault) = (Some(End::Lost), Some(fault));
                }
                Change::Row
            }
            Err(fault) => {
                let before = self.failures;
                self.failures += 1;
                self.next_at = now + wait(self.failures, fault.after, LONGEST_WAIT);
                // One answer that is missing is no news.
                if self.failures == 3 {
                    self.unreachable_since = Some(now);
                    self.say(
                        Kind::Unreachable,
                        now,
                        format!("the gateway does not answer: {}", fault.message),
                    );
                }
                self.fault = Some(fault);
                if before == 0 || self.failures == 3 {
                    Change::Row
                } else {
                    Change::Counters
                }
            }
        }
    }

    fn removed(&mut self, result: Result<Removal, Fault>, now: Moment) -> Change {
        match result {
            Ok(Removal::Gone) => self.is_removed(now),
            Err(fault) if fault.kind == FaultKind::Gone => self.is_removed(now),
            Ok(Removal::Pending { refs, after }) => {
                (self.refs, self.failures) = (refs, 0);
                self.next_at = now + after;
            }
            Err(fault) => {
                self.failures += 1;
                self.next_at = now + wait(self.failures, fault.after, LONGEST_WAIT_FOR_REMOVAL);
                if self.failures.is_power_of_two() {
                    self.say(Kind::Retry, now, format!("not removed yet: {}", fault.message));
                }
                // Why it failed or was lost says more than why it is still there.
                if self.fault.is_none() {
                    self.fault = Some(fault);
                }
            }
        }
        Change::Row
    }

    fn is_removed(&mut self, now: Moment) {
        self.enter(State::Removed, now);
        self.removed_at = Some(now);
        for peer in &mut self.peers {
            // Where people were is nobody's business once it serves nothing.
            peer.endpoint = None;
        }
        "nothing is left".clone_into(&mut self.doing);
        if !matches!(self.outcome, Some(End::Failed | End::Lost)) {
            self.fault = None;
        }
        self.say(Kind::Removed, now, "nothing of the gateway is left".to_owned());
    }

    fn retry(&mut self, fault: Fault, longest: Duration, now: Moment) {
        self.failures += 1;
        self.next_at = now + wait(self.failures, fault.after, longest);
        if self.failures.is_power_of_two() {
            self.say(Kind::Retry, now, format!("tried again: {}", fault.message));
        }
        self.fault = Some(fault);
    }

    /// Takes note of what the gateway is. One with another key or address than before is not where the configurations of before
    /// lead to.
    fn meet(&mut self, endpoint: String, report: &Report, now: Moment) -> Change {
        let facts = facts(endpoint, report);
        if self.gateway.as_ref() == Some(&facts) {
            return Change::Counters;
        }
        let before = self.gateway.replace(facts.clone());
        let has_other_key = before
            .as_ref()
            .is_some_and(|before| before.public_key != facts.public_key);
        let message = match before {
            Some(_) if has_other_key => {
                "the gateway was started anew and has another key: what leads to the one before connects no more; take the \
                 new configuration"
                    .to_owned()
            }
            Some(before) if before.endpoint != facts.endpoint => format!(
                "the gateway has another address, {}: take the new configuration",
                facts.endpoint
            ),
            Some(_) | None => return Change::Row,
        };
        self.say(Kind::Rekeyed, now, message);
        // Whoever was there has to come again, and needs some time for it.
        self.active_at = Some(now);
        let makes_keys = self.makes_keys();
        for peer in &mut self.peers {
            let seen = report.seen(&peer.name);
            if seen.is_none_or(|seen| seen.latest_handshake.is_none()) {
                (peer.first_handshake_at, peer.latest_handshake_at, peer.endpoint) = (None, None, None);
            }
            if makes_keys {
                peer.handed_over_at = None;
                peer.public_key = peer.public_key.filter(|_| !has_other_key);
            }
        }
        Change::Row
    }

    fn learn(&mut self, report: &Report, now: Moment) -> Change {
        let mut change = Change::Counters;
        let mut news = Vec::new();
        for peer in &mut self.peers {
            let Some(seen) = report.seen(&peer.name) else {
                continue;
            };
            change = change.max(peer.learn(seen, now));
            if let Some(handshake) = peer.latest_handshake_at {
                self.active_at = self.active_at.max(Some(handshake));
                if peer.first_handshake_at.is_none() {
                    peer.first_handshake_at = Some(handshake);
                    change = Change::Row;
                    news.push(peer.name.clone());
                }
            }
        }
        for name in news {
            self.say(Kind::Handshake, now, format!("{name} has connected"));
        }
        change
    }
}

impl Report {
    /// What it says of a peer.
    fn seen(&self, name: &str) -> Option<&PeerReport> {
        self.peers.iter().find(|seen| seen.name.eq_ignore_ascii_case(name))
    }
}

impl LeasePeer {
    fn learn(&mut self, seen: &PeerReport, now: Moment) -> Change {
        let counted = Bytes {
            received: seen.received_bytes,
            sent: seen.sent_bytes,
        };
        let before = std::mem::replace(&mut self.counted, counted);
        self.received_bytes = self
            .received_bytes
            .saturating_add(passed(before.received, counted.received));
        self.sent_bytes = self.sent_bytes.saturating_add(passed(before.sent, counted.sent));
        self.latest_handshake_at = seen.latest_handshake.map(|at| at.min(now));
        let before = (self.public_key, self.addresses.clone(), self.endpoint);
        if seen.public_key.is_some() {
            self.public_key = seen.public_key;
        }
        (self.addresses, self.endpoint) = (seen.addresses.clone(), seen.endpoint);
        if before == (self.public_key, self.addresses.clone(), self.endpoint) {
            Change::Counters
        } else {
            Change::Row
        }
    }
}

/// What passed between two looks at a counter, which may have begun anew.
fn passed(before: u64, after: u64) -> u64 {
    after.checked_sub(before).unwrap_or(after)
}

fn facts(endpoint: String, report: &Report) -> GatewayFacts {
    GatewayFacts {
        public_key: report.public_key,
        endpoint,
        plane: report.plane.clone(),
        addresses: report.addresses.clone(),
    }
}

/// The report in an answer; whatever else a gateway says to [`Question::Bring`] is a fault.
fn report(result: Result<Reached, Fault>) -> Result<(String, Report), Fault> {
    let Reached { endpoint, answer } = result?;
    match answer {
        Answer::Report(report) => Ok((endpoint, report)),
        Answer::Refused { message } => Err(Fault::new(FaultKind::Refused, "gateway_refused", message)),
        Answer::Configuration { .. } | Answer::Ending {} => Err(Fault::new(
            FaultKind::Unclear,
            "gateway_confused",
            "the gateway's answer does not belong to the question",
        )),
    }
}

/// Doubles with each failure, up to the longest, but for what the place asks for.
fn wait(failures: u32, after: Option<Duration>, longest: Duration) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).max(after.unwrap_or_default())
}
