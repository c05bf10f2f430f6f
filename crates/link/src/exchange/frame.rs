//! One message and its proof.

use std::io;

use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::secret::{self, Secret};

/// Bytes of a nonce.
pub(super) const NONCE_LEN: usize = 32;

/// Longest message, in bytes: some thousand containers' names.
pub(super) const MAX_LEN: usize = 4 << 20;

/// Which way a message goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Question,
    Answer,
}

/// What messages of one connection are proven by.
pub(super) struct Proof<'a> {
    pub(super) secret: &'a Secret,
    pub(super) server: [u8; NONCE_LEN],
    pub(super) client: [u8; NONCE_LEN],
}

impl Proof<'_> {
    fn of(&self, way: Way, message: &[u8]) -> [u8; secret::LEN] {
        // Of the same length: no message of the one kind is one of the other.
        let label: &[u8] = match way {
            Way::Question => b"adit link: question",
            Way::Answer => b"adit link: answer..",
        };
        self.secret.mac(&[label, &self.server, &self.client, message])
    }

    /// Sends a message.
    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin), way: Way, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let whole = [&length.to_be_bytes(), message, &self.of(way, message)].concat();
        to.write_all(&whole).await
    }

    /// Receives a message; an error if it is too long, or not proven.
    pub(super) async fn read(&self, from: &mut (impl AsyncRead + Unpin), way: Way) -> io::Result<Vec<u8>> {
        let length = usize::try_from(from.read_u32().await?).map_err(io::Error::other)?;
        if length > MAX_LEN {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
        }
        let mut message = Vec::new();
        // What is claimed to come is not room that is taken before it came.
        from.take(length as u64).read_to_end(&mut message).await?;
        if message.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut proof = [0; secret::LEN];
        from.read_exact(&mut proof).await?;
        if !bool::from(proof.ct_eq(&self.of(way, &message))) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the message is not proven by the secret of the link",
            ));
        }
        Ok(message)
    }
}

/// Random bytes for a connection.
pub(super) fn nonce() -> io::Result<[u8; NONCE_LEN]> {
    let mut bytes = [0; NONCE_LEN];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_taken_only_with_its_proof_and_only_once() {
        let secret = Secret::from_bytes([1; 32]);
        let other = Secret::from_bytes([2; 32]);
        let proof = |secret, server: u8| Proof {
            secret,
            server: [server; NONCE_LEN],
            client: [8; NONCE_LEN],
        };
        let mut bytes = Vec::new();
        proof(&secret, 7)
            .write(&mut bytes, Way::Question, b"hello")
            .await
            .unwrap();
        let mut touched = bytes.clone();
        touched[5] ^= 1;
        for (bytes, proof, way, is_taken) in [
            (&bytes[..], proof(&secret, 7), Way::Question, true),
            (&touched[..], proof(&secret, 7), Way::Question, false),
            (&bytes[..], proof(&other, 7), Way::Question, false),
            (&bytes[..], proof(&secret, 7), Way::Answer, false),
            // What was recorded is of no use on another connection.
            (&bytes[..], proof(&secret, 9), Way::Question, false),
            (&bytes[..bytes.len() - 1], proof(&secret, 7), Way::Question, false),
            (&[255; 8][..], proof(&secret, 7), Way::Question, false),
        ] {
            let read = proof.read(&mut &*bytes, way).await;
            assert_eq!(read.is_ok(), is_taken, "{read:?}");
        }
    }
}
