//! The Noise IKpsk2 handshake: *WireGuard whitepaper 5.4.2 and 5.4.3*.
//!
//! ```text
//!   initiator                                      responder
//!       │── e, es, s, ss, {timestamp} ──────────────▶│ consume_initiation
//!       │                                            │ respond
//!   finish ◀────────────────── e, ee, se, psk, {} ───│
//! ```
//!
//! Pure: the ephemeral keys are arguments. The macs of the messages belong to [`cookie`](crate::cookie).

use wg::{PrivateKey, PublicKey, key::KEY_LEN};

use crate::{
    message::{INITIATION_LEN, InitiationFields, RESPONSE_LEN, ResponseFields, TAG_LEN, TIMESTAMP_LEN},
    noise::{KeyPair, Secret, Symmetric},
};

/// A TAI64N timestamp, which compares as bytes.
pub(crate) type Timestamp = [u8; TIMESTAMP_LEN];

/// What a complete handshake leaves behind.
pub(crate) struct TransportKeys {
    pub(crate) send: Secret,
    pub(crate) receive: Secret,
    /// Index by which the other end knows the session.
    pub(crate) remote_index: u32,
}

/// The initiator's state between its initiation and the response.
pub(crate) struct Initiation {
    symmetric: Symmetric,
    ephemeral: KeyPair,
    /// The index that the response must name.
    pub(crate) local_index: u32,
}

/// What the initiator knows beforehand.
pub(crate) struct Initiator<'a> {
    pub(crate) identity: &'a KeyPair,
    pub(crate) responder: &'a PublicKey,
    /// DH of the two static keys.
    pub(crate) static_static: &'a [u8; KEY_LEN],
}

impl Initiation {
    /// Makes the first message. `None` if the responder's key is of low order.
    pub(crate) fn create(
        initiator: &Initiator<'_>,
        ephemeral: &PrivateKey,
        local_index: u32,
        timestamp: &Timestamp,
    ) -> Option<(Self, [u8; INITIATION_LEN])> {
        let mut symmetric = Symmetric::new(initiator.responder);
        let ephemeral = KeyPair::new(ephemeral);
        symmetric.mix_key(ephemeral.public.as_bytes());
        symmetric.mix_hash(ephemeral.public.as_bytes());

        let shared = ephemeral.agree(initiator.responder.as_bytes())?;
        let key = symmetric.mix_key_for_sealing(&*shared);
        let mut sealed_static = [0; KEY_LEN + TAG_LEN];
        symmetric.seal(&key, initiator.identity.public.as_bytes(), &mut sealed_static);

        let key = symmetric.mix_key_for_sealing(initiator.static_static);
        let mut sealed_timestamp = [0; TIMESTAMP_LEN + TAG_LEN];
        symmetric.seal(&key, timestamp, &mut sealed_timestamp);

        let message = InitiationFields {
            sender: local_index,
            ephemeral: ephemeral.public.as_bytes(),
            sealed_static: &sealed_static,
            sealed_timestamp: &sealed_timestamp,
        }
        .write();
        Some((
            Self {
                symmetric,
                ephemeral,
                local_index,
            },
            message,
        ))
    }

    /// Takes the response. `None` if it is not the responder's; the initiation then goes on waiting.
    pub(crate) fn finish(
        &self,
        identity: &KeyPair,
        preshared_key: &[u8; KEY_LEN],
        response: &[u8; RESPONSE_LEN],
    ) -> Option<TransportKeys> {
        let fields = ResponseFields::of(response);
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_hash(fields.ephemeral);
        symmetric.mix_key(fields.ephemeral);
        symmetric.mix_key(&*self.ephemeral.agree(fields.ephemeral)?);
        symmetric.mix_key(&*identity.agree(fields.ephemeral)?);
        let key = symmetric.mix_preshared_key(preshared_key);
        symmetric.open(&key, fields.sealed_nothing, &mut [])?;
        let [send, receive] = symmetric.split();
        Some(TransportKeys {
            send,
            receive,
            remote_index: fields.sender,
        })
    }
}

/// The responder's state after it has read who calls.
pub(crate) struct Received {
    symmetric: Symmetric,
    ephemeral: [u8; KEY_LEN],
    sealed_timestamp: [u8; TIMESTAMP_LEN + TAG_LEN],
    remote_index: u32,
    /// Who calls, which is not proven before [`Received::authenticate`].
    pub(crate) initiator: PublicKey,
}

/// The responder's state after it has seen that the initiation is authentic.
pub(crate) struct Authentic {
    symmetric: Symmetric,
    ephemeral: [u8; KEY_LEN],
    remote_index: u32,
    initiator: PublicKey,
}

impl Received {
    /// Reads who sent an initiation. `None` if it was not made for this identity.
    pub(crate) fn consume(identity: &KeyPair, message: &[u8; INITIATION_LEN]) -> Option<Self> {
        let fields = InitiationFields::of(message);
        let mut symmetric = Symmetric::new(&identity.public);
        symmetric.mix_key(fields.ephemeral);
        symmetric.mix_hash(fields.ephemeral);
        let key = symmetric.mix_key_for_sealing(&*identity.agree(fields.ephemeral)?);
        let mut initiator = [0; KEY_LEN];
        symmetric.open(&key, fields.sealed_static, &mut initiator)?;
        Some(Self {
            symmetric,
            ephemeral: *fields.ephemeral,
            sealed_timestamp: *fields.sealed_timestamp,
            remote_index: fields.sender,
            initiator: PublicKey::from_bytes(initiator),
        })
    }

    /// Proves who called, by the DH of the two static keys, and returns when.
    pub(crate) fn authenticate(mut self, static_static: &[u8; KEY_LEN]) -> Option<(Authentic, Timestamp)> {
        let key = self.symmetric.mix_key_for_sealing(static_static);
        let mut timestamp = [0; TIMESTAMP_LEN];
        self.symmetric.open(&key, &self.sealed_timestamp, &mut timestamp)?;
        let Self {
            symmetric,
            ephemeral,
            remote_index,
            initiator,
            ..
        } = self;
        Some((
            Authentic {
                symmetric,
                ephemeral,
                remote_index,
                initiator,
            },
            timestamp,
        ))
    }
}

impl Authentic {
    /// Makes the response, and the keys that go with it. `None` if a key of the initiator's is of low order.
    pub(crate) fn respond(
        mut self,
        preshared_key: &[u8; KEY_LEN],
        ephemeral: &PrivateKey,
        local_index: u32,
    ) -> Option<(TransportKeys, [u8; RESPONSE_LEN])> {
        let ephemeral = KeyPair::new(ephemeral);
        self.symmetric.mix_hash(ephemeral.public.as_bytes());
        self.symmetric.mix_key(ephemeral.public.as_bytes());
        self.symmetric.mix_key(&*ephemeral.agree(&self.ephemeral)?);
        self.symmetric.mix_key(&*ephemeral.agree(self.initiator.as_bytes())?);
        let key = self.symmetric.mix_preshared_key(preshared_key);
        let mut sealed_nothing = [0; TAG_LEN];
        self.symmetric.seal(&key, &[], &mut sealed_nothing);
        let [receive, send] = self.symmetric.split();
        let message = ResponseFields {
            sender: local_index,
            receiver: self.remote_index,
            ephemeral: ephemeral.public.as_bytes(),
            sealed_nothing: &sealed_nothing,
        }
        .write();
        Some((
            TransportKeys {
                send,
                receive,
                remote_index: self.remote_index,
            },
            message,
        ))
    }
}

#[cfg(test)]
mod tests;
