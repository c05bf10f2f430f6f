//! Both ends against `snow`, which knows the Noise framework and nothing of WireGuard.

use aws_lc_rs::aead::Aad;
use snow::{Builder, HandshakeState, StatelessTransportState};

use super::*;
use crate::noise::{aead_key, nonce};

const PARAMS: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
const TIMESTAMP: Timestamp = [0x40, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const PRESHARED_KEYS: [[u8; KEY_LEN]; 2] = [[0; KEY_LEN], [0x77; KEY_LEN]];

fn key(byte: u8) -> PrivateKey {
    PrivateKey::from_random([byte; KEY_LEN])
}

struct Ends {
    initiator: KeyPair,
    responder: KeyPair,
    static_static: Secret,
}

fn ends() -> Ends {
    let (initiator, responder) = (KeyPair::new(&key(1)), KeyPair::new(&key(2)));
    let static_static = initiator.agree(responder.public.as_bytes()).unwrap();
    assert_eq!(static_static, responder.agree(initiator.public.as_bytes()).unwrap());
    Ends {
        initiator,
        responder,
        static_static,
    }
}

fn initiation(ends: &Ends) -> (Initiation, [u8; INITIATION_LEN]) {
    let initiator = Initiator {
        identity: &ends.initiator,
        responder: &ends.responder.public,
        static_static: &ends.static_static,
    };
    Initiation::create(&initiator, &key(3), 0x1111, &TIMESTAMP).unwrap()
}

fn snow_end(is_initiator: bool, ends: &Ends, preshared_key: &[u8; KEY_LEN]) -> HandshakeState {
    let (own, ephemeral) = if is_initiator {
        (key(1), key(3))
    } else {
        (key(2), key(4))
    };
    let builder = Builder::new(PARAMS.parse().unwrap())
        .prologue(PROLOGUE)
        .unwrap()
        .local_private_key(own.danger_bytes())
        .unwrap()
        .psk(2, preshared_key)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(ephemeral.danger_bytes());
    if is_initiator {
        builder
            .remote_public_key(ends.responder.public.as_bytes())
            .unwrap()
            .build_initiator()
            .unwrap()
    } else {
        builder.build_responder().unwrap()
    }
}

/// Checks that our keys open what snow seals, and the other way round.
fn assert_same_keys(ours: &TransportKeys, snow: &StatelessTransportState) {
    for counter in [0, 1, 1 << 40] {
        let mut sealed = vec![0; 5 + TAG_LEN];
        snow.write_message(counter, b"hello", &mut sealed).unwrap();
        let opened = aead_key(&ours.receive)
            .open_in_place(nonce(counter), Aad::empty(), &mut sealed)
            .unwrap();
        assert_eq!(opened, b"hello");
        let mut text = b"hello".to_vec();
        let tag = aead_key(&ours.send)
            .seal_in_place_separate_tag(nonce(counter), Aad::empty(), &mut text)
            .unwrap();
        text.extend_from_slice(tag.as_ref());
        let mut plain = [0; 5];
        snow.read_message(counter, &text, &mut plain).unwrap();
        assert_eq!(&plain, b"hello");
    }
}

#[test]
fn our_initiator_writes_what_snow_writes_and_finishes_with_snow() {
    for preshared_key in PRESHARED_KEYS {
        let ends = ends();
        let (initiation, message) = initiation(&ends);
        let mut expected = [0; 108];
        let mut twin = snow_end(true, &ends, &preshared_key);
        twin.write_message(&TIMESTAMP, &mut expected).unwrap();
        assert_eq!(message[8..116], expected);
        assert_eq!(
            (&message[..8], &message[116..]),
            (&[1, 0, 0, 0, 0x11, 0x11, 0, 0][..], &[0; 32][..])
        );

        let mut responder = snow_end(false, &ends, &preshared_key);
        let mut timestamp = [0; TIMESTAMP_LEN];
        responder.read_message(&message[8..116], &mut timestamp).unwrap();
        assert_eq!(timestamp, TIMESTAMP);
        let mut noise = [0; 48];
        responder.write_message(&[], &mut noise).unwrap();
        let (ephemeral, sealed) = (noise[..32].try_into().unwrap(), noise[32..].try_into().unwrap());
        let response = ResponseFields {
            sender: 0x2222,
            receiver: 0x1111,
            ephemeral,
            sealed_nothing: sealed,
        }
        .write();
        let keys = initiation.finish(&ends.initiator, &preshared_key, &response).unwrap();
        assert_eq!(keys.remote_index, 0x2222);
        assert_same_keys(&keys, &responder.into_stateless_transport_mode().unwrap());
        assert!(
            initiation.finish(&ends.initiator, &[9; KEY_LEN], &response).is_none(),
            "another preshared key"
        );
        assert!(
            initiation.finish(&ends.responder, &preshared_key, &response).is_none(),
            "another identity"
        );
    }
}

#[test]
fn our_responder_writes_what_snow_writes_and_finishes_with_snow() {
    for preshared_key in PRESHARED_KEYS {
        let ends = ends();
        let mut initiator = snow_end(true, &ends, &preshared_key);
        let mut message = [0; INITIATION_LEN];
        message[..8].copy_from_slice(&[1, 0, 0, 0, 0x33, 0x33, 0, 0]);
        initiator.write_message(&TIMESTAMP, &mut message[8..116]).unwrap();

        let received = Received::consume(&ends.responder, &message).unwrap();
        assert_eq!(received.initiator, ends.initiator.public);
        let (authentic, timestamp) = received.authenticate(&ends.static_static).unwrap();
        assert_eq!(timestamp, TIMESTAMP);
        let (keys, response) = authentic.respond(&preshared_key, &key(4), 0x4444).unwrap();
        assert_eq!(keys.remote_index, 0x3333);
        assert_eq!(response[..12], [2, 0, 0, 0, 0x44, 0x44, 0, 0, 0x33, 0x33, 0, 0]);

        let mut twin = snow_end(false, &ends, &preshared_key);
        twin.read_message(&message[8..116], &mut [0; TIMESTAMP_LEN]).unwrap();
        let mut expected = [0; 48];
        twin.write_message(&[], &mut expected).unwrap();
        assert_eq!(response[12..60], expected);

        initiator.read_message(&response[12..60], &mut []).unwrap();
        assert_same_keys(&keys, &initiator.into_stateless_transport_mode().unwrap());
    }
}

#[test]
fn every_changed_byte_of_a_handshake_is_noticed() {
    let ends = ends();
    let (initiation, message) = initiation(&ends);
    let authentic = |message: &[u8; INITIATION_LEN]| {
        let received = Received::consume(&ends.responder, message)?;
        if received.initiator != ends.initiator.public {
            return None;
        }
        received.authenticate(&ends.static_static)
    };
    // Bytes before 8 are the type and the index, which are answered as they are; mac1 protects them.
    for at in 8..116 {
        let mut forged = message;
        forged[at] ^= 1;
        assert!(authentic(&forged).is_none(), "byte {at} of the initiation");
    }
    let (authentic, _) = authentic(&message).unwrap();
    let (_, response) = authentic.respond(&[0; KEY_LEN], &key(4), 1).unwrap();
    for at in 12..60 {
        let mut forged = response;
        forged[at] ^= 1;
        assert!(
            initiation.finish(&ends.initiator, &[0; KEY_LEN], &forged).is_none(),
            "byte {at} of the response"
        );
    }
    assert!(initiation.finish(&ends.initiator, &[0; KEY_LEN], &response).is_some());
}

#[test]
fn ephemeral_keys_of_low_order_end_a_handshake() {
    let ends = ends();
    let (initiation, mut message) = initiation(&ends);
    for ephemeral in [[0; KEY_LEN], [0xFF; KEY_LEN]] {
        message[8..40].copy_from_slice(&ephemeral);
        assert!(Received::consume(&ends.responder, &message).is_none());
    }
    let zero = &[0; KEY_LEN];
    let response = ResponseFields {
        sender: 1,
        receiver: 0x1111,
        ephemeral: zero,
        sealed_nothing: &[0; 16],
    }
    .write();
    assert!(initiation.finish(&ends.initiator, zero, &response).is_none());
    let responder = PublicKey::from_bytes([0; KEY_LEN]);
    let initiator = Initiator {
        identity: &ends.initiator,
        responder: &responder,
        static_static: zero,
    };
    assert!(Initiation::create(&initiator, &key(3), 1, &TIMESTAMP).is_none());
}
