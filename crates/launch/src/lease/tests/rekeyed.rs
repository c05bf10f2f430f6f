//! A gateway that was started anew while its lease runs.

use super::*;

/// A gateway's answer with another key, at another address.
fn anew(question: &Question, gateway: u8, host: u8, handshake: Option<Moment>) -> Reached {
    let mut reached = answer(question, handshake);
    reached.endpoint = format!("192.0.2.{host}:51820");
    if let Answer::Report(report) = &mut reached.answer {
        report.public_key = key(gateway);
    }
    reached
}

/// A lease that is ready, whose phone was there, and what it is at 60 s, when its gateway has another key or address.
fn lived(keys: Keys, gateway: u8, host: u8, handshake_after: Option<Moment>) -> Lease {
    let mut lease = lease(Some(600));
    lease.order.keys = keys;
    let mut now = START;
    live(&mut lease, &mut now, after(50), |what, now| match what {
        What::Ask(question) => Outcome::Asked(Ok(answer(question, Some(now)))),
        What::Create | What::Remove => works(what),
    });
    lease.take_notices();
    lease.handle(Event::HandOver("phone".to_owned()), now);
    lease.handle(Event::Keyed("phone".to_owned(), key(1)), now);
    lease.take_notices();
    live(&mut lease, &mut now, after(60), |what, _| match what {
        What::Ask(question) => Outcome::Asked(Ok(anew(question, gateway, host, handshake_after))),
        What::Create | What::Remove => works(what),
    });
    lease
}

#[test]
fn who_took_a_configuration_is_told_to_take_the_new_one() {
    // (the gateway's key, the end of its address, what is said)
    for (gateway, host, said) in [
        (9, 1, None),
        (8, 1, Some("started anew and has another key")),
        (9, 2, Some("has another address, 192.0.2.2:51820")),
        (8, 2, Some("started anew and has another key")),
    ] {
        let mut lease = lived(Keys::Client, gateway, host, None);
        let notices = lease.take_notices();
        let rekeyed: Vec<_> = notices.iter().filter(|notice| notice.kind == Kind::Rekeyed).collect();
        assert_eq!(rekeyed.len(), usize::from(said.is_some()), "once: {notices:?}");
        assert!(
            rekeyed
                .iter()
                .all(|notice| notice.message.contains(said.unwrap_or_default()))
        );
        let known = lease.gateway.as_ref().unwrap();
        assert_eq!(
            (known.public_key, known.endpoint.as_str()),
            (key(gateway), format!("192.0.2.{host}:51820").as_str())
        );
        // The client's own key is as good as before; its connection is none any more.
        assert_eq!(lease.peers[0].public_key, Some(key(1)));
        assert_eq!(lease.peers[0].first_handshake_at.is_none(), said.is_some());
        assert_eq!(lease.state, State::Ready);
    }
}

#[test]
fn what_the_gateway_made_may_be_handed_over_again() {
    // (the gateway's key, the end of its address, handed over still, has the peer a key?)
    for (gateway, host, is_handed_over, has_key) in [(9, 1, true, true), (8, 1, false, false), (9, 2, false, true)] {
        let lease = lived(Keys::Gateway, gateway, host, None);
        let phone = &lease.peers[0];
        assert_eq!(
            (phone.handed_over_at.is_some(), phone.public_key.is_some()),
            (is_handed_over, has_key),
            "{gateway} {host}"
        );
    }
}

#[test]
fn a_client_that_is_still_there_is_no_news() {
    let mut lease = lived(Keys::Client, 9, 2, Some(after(40)));
    assert_eq!(kinds(&mut lease), ["rekeyed"]);
    assert!(lease.peers[0].first_handshake_at.is_some());
}
