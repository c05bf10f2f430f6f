//! Configuration text: whatever is read is written back as it was, and stays readable when it is changed.
#![no_main]

use std::{collections::BTreeSet, net::SocketAddr};

use libfuzzer_sys::fuzz_target;
use wg::{
    Conf, PublicKey,
    conf::{Endpoint, Key, Peer, Setting},
};

fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, ()> {
    Ok(([192, 0, 2, 1], endpoint.port).into())
}

/// Reads the text of `conf` again: it must say the same.
fn check(conf: &Conf) {
    let text = conf.render();
    let again = Conf::parse("again", &text).expect("what was written is read");
    assert_eq!(again.render(), text);
    assert_eq!(again.interface(), conf.interface());
    assert!(again.peers().eq(conf.peers()));
    assert_eq!(again.device(resolve), conf.device(resolve));
}

fuzz_target!(|text: &str| {
    let mut conf = match Conf::parse("conf", text) {
        Ok(conf) => conf,
        Err(error) => {
            let line = text.split('\n').nth(error.line - 1).expect("the error's line exists");
            assert!(error.column <= line.chars().count() + 1);
            error.to_string();
            return;
        }
    };
    assert_eq!(conf.render().as_str(), text);
    conf.warnings();
    let device = conf.device(resolve).expect("every name is resolved");

    let keys: Vec<PublicKey> = conf.peers().map(|peer| peer.public_key).collect();
    let added = Peer {
        name: Some("new".to_owned()),
        ..Peer::new(PublicKey::from_bytes([7; 32]))
    };
    if !keys.contains(&added.public_key) {
        conf.add_peer(&added).expect("it is new");
        check(&conf);
    }
    for key in keys.iter().take(4) {
        conf.set_endpoint(key, Endpoint::from(SocketAddr::from(([192, 0, 2, 9], 9))))
            .expect("the peer is there");
        check(&conf);
        conf.unset_peer(key, Key::AllowedIps);
        check(&conf);
    }
    conf.set_interface(Setting::ListenPort(7))
        .expect("a port can be written");
    conf.add_interface(Setting::PostUp("true".to_owned()))
        .expect("a command can be written");
    check(&conf);
    if let Some(key) = keys.first() {
        assert!(conf.remove_peer(key));
        check(&conf);
    }

    conf.save(&device).expect("a device can be written");
    check(&conf);
    let peers: BTreeSet<PublicKey> = conf.peers().map(|peer| peer.public_key).collect();
    assert!(peers.iter().eq(device.peers.keys()));
    let saved = conf.device(resolve).expect("every name is resolved");
    assert_eq!(
        (saved.private_key, saved.listen_port),
        (device.private_key, device.listen_port)
    );
});
