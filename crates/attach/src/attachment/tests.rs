//! Tunnels that come up, fall silent and fail, in virtual time.

use super::*;

/// An attachment with a provider and a server that do as they are told.
struct World {
    attachment: Attachment,
    start: Instant,
    now: Instant,
    /// Servers that answer.
    alive: BTreeSet<&'static str>,
    /// What the provider answers; `None` gives the next server.
    refusal: Option<ProviderError>,
    /// Whether the interface is there.
    is_there: bool,
    /// Bytes that the container sends each second.
    sends: u64,
    handshake: Option<Instant>,
    sample: Sample,
    /// What was done, with the seconds since the start.
    done: Vec<(u64, String)>,
}

impl World {
    fn new(alive: &[&'static str]) -> Self {
        let now = Instant::now();
        Self {
            attachment: Attachment::new(false),
            start: now,
            now,
            alive: alive.iter().copied().collect(),
            refusal: None,
            is_there: true,
            sends: 100,
            handshake: None,
            sample: Sample::default(),
            done: Vec::new(),
        }
    }

    fn server(&self) -> String {
        self.attachment
            .offer()
            .map(|offer| offer.server.clone())
            .unwrap_or_default()
    }

    /// Lives for so many seconds, in steps of a tenth.
    fn live(&mut self, seconds: u64) {
        for step in 0..seconds * 10 {
            self.now += Duration::from_millis(100);
            let answers = self.alive.contains(self.server().as_str());
            if step % 10 == 0 && self.attachment.placed.is_some() && self.sends > 0 {
                self.sample.sent += self.sends;
                if answers {
                    self.sample.received += self.sends;
                    let age = self.handshake.map(|at| self.now - at);
                    if age.is_none_or(|age| age > Duration::from_secs(120)) {
                        self.handshake = Some(self.now);
                    }
                }
            }
            if self.attachment.poll_timeout().is_some_and(|due| due <= self.now) {
                self.attachment.handle_timeout(self.now);
            }
            self.act();
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.attachment.poll_action() {
            let since = (self.now - self.start).as_secs();
            match action {
                Action::Ask { avoid, again } => {
                    let again = again.map(|offer| offer.server);
                    self.done.push((since, format!("ask again={again:?} avoid={avoid:?}")));
                    let result = match self.refusal.clone() {
                        Some(refusal) => Err(refusal),
                        None => {
                            let wanted = ["one", "two", "three"]
                                .into_iter()
                                .find(|server| !avoid.contains(*server));
                            Ok(offer(
                                &again
                                    .filter(|had| !avoid.contains(had))
                                    .unwrap_or(wanted.unwrap().into()),
                            ))
                        }
                    };
                    self.attachment.handle_offer(result, self.now);
                }
                Action::Place(offer) => {
                    self.done.push((since, format!("place {}", offer.server)));
                    self.handshake = None;
                    self.is_there = true;
                    self.sample = Sample::default();
                    self.attachment.handle_placed(Ok(()), self.now);
                }
                Action::Look => {
                    let sample = Sample {
                        handshake_age: self.handshake.map(|at| self.now - at),
                        ..self.sample
                    };
                    let result = self.is_there.then_some(sample).ok_or_else(|| "it is gone".to_owned());
                    self.attachment.handle_sample(result, self.now);
                }
                Action::Probe => {
                    let answers = self.alive.contains(self.server().as_str());
                    if answers {
                        self.handshake.get_or_insert(self.now);
                    }
                    let result = answers.then_some(()).ok_or_else(|| "no answer".to_owned());
                    self.attachment.handle_probe(result, self.now);
                }
                Action::Forward => self.attachment.handle_forwarded(
                    Ok(Forwarded {
                        port: 4242,
                        expires: std::time::SystemTime::UNIX_EPOCH,
                    }),
                    self.now,
                ),
            }
        }
    }

    fn take_done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
            .into_iter()
            .map(|(_, what)| what)
            .collect()
    }
}

fn offer(server: &str) -> Offer {
    Offer {
        server: server.to_owned(),
        region: None,
        private_key: wg::PrivateKey::from_random([1; 32]),
        addresses: Vec::new(),
        dns: Vec::new(),
        search: Vec::new(),
        mtu: None,
        peers: Vec::new(),
    }
}

#[test]
fn a_tunnel_comes_up_and_stays_while_its_server_answers() {
    for sends in [0, 100] {
        let mut world = World::new(&["one"]);
        world.sends = sends;
        world.act();
        world.live(3600);
        assert_eq!(world.take_done(), ["ask again=None avoid={}", "place one"]);
        assert_eq!((world.attachment.phase(), world.attachment.error()), (Phase::Up, None));
    }
}

#[test]
fn a_silent_server_gets_another_key_first_and_is_left_then() {
    let mut world = World::new(&["one"]);
    world.act();
    world.live(60);
    world.take_done();
    world.alive = ["two"].into();
    let silent = world.now;
    world.live(60);
    let at = |index: usize| world.done[index].0 - (silent - world.start).as_secs();
    assert!(at(0) <= 30, "the first try came after {} s", at(0));
    assert!(at(3) <= 60, "the second server came after {} s", at(3));
    let expected = [
        "ask again=Some(\"one\") avoid={}",
        "place one",
        "ask again=Some(\"one\") avoid={\"one\"}",
        "place two",
    ];
    assert_eq!(world.take_done(), expected);
    assert_eq!((world.attachment.phase(), world.attachment.error()), (Phase::Up, None));
}

#[test]
fn a_key_that_the_server_forgot_is_replaced_where_it_is() {
    let mut world = World::new(&["one"]);
    world.act();
    world.live(10);
    world.take_done();
    world.alive.clear();
    world.live(22);
    // The new key is known.
    world.alive.insert("one");
    world.live(20);
    assert_eq!(world.take_done(), ["ask again=Some(\"one\") avoid={}", "place one"]);
    assert_eq!(world.attachment.phase(), Phase::Up);
}

#[test]
fn an_outage_is_waited_out_with_longer_and_longer_pauses() {
    let mut world = World::new(&["one"]);
    world.refusal = Some(ProviderError::Unavailable("503".to_owned()));
    world.act();
    world.live(400);
    let times: Vec<_> = world.done.iter().map(|(at, _)| *at).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..5], [1, 2, 4, 8, 16]);
    assert!(pauses.iter().all(|pause| *pause <= 61), "{pauses:?}");
    assert_eq!(
        (world.attachment.phase(), world.attachment.error()),
        (Phase::Failed, Some("503"))
    );
    world.refusal = None;
    world.live(61);
    assert_eq!((world.attachment.phase(), world.attachment.error()), (Phase::Up, None));
}

#[test]
fn a_refusal_is_questioned_every_half_minute() {
    let mut world = World::new(&["one"]);
    world.refusal = Some(ProviderError::Refused("no such region".to_owned()));
    world.act();
    world.live(301);
    assert_eq!(world.done.len(), 11);
}

#[test]
fn an_interface_that_goes_is_set_up_again_as_it_was() {
    let mut world = World::new(&["one"]);
    world.act();
    world.live(60);
    world.take_done();
    world.is_there = false;
    world.live(6);
    assert_eq!(world.take_done(), ["place one"]);
    assert_eq!((world.attachment.phase(), world.attachment.error()), (Phase::Up, None));
}

#[test]
fn a_tunnel_from_before_is_left_as_it_is() {
    let mut world = World::new(&["one"]);
    world.attachment = Attachment::adopted(offer("one"), true, world.now);
    world.live(60);
    assert_eq!(world.take_done(), [""; 0]);
    assert_eq!(world.attachment.phase(), Phase::Up);
    assert_eq!(world.attachment.forwarded().map(|forwarded| forwarded.port), Some(4242));
}

#[test]
fn an_idle_tunnel_whose_session_ended_is_no_failure() {
    let mut world = World::new(&["one"]);
    world.act();
    world.live(10);
    world.take_done();
    world.sends = 0;
    world.alive.clear();
    world.live(1000);
    assert_eq!(world.take_done(), [""; 0]);
    assert_eq!(world.attachment.phase(), Phase::Up);
    world.sends = 10;
    world.live(30);
    assert!(!world.take_done().is_empty(), "it is mended once the container speaks");
}
