//! RSA keys, as large providers sign with.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64ct::{Base64, Encoding as _};

/// A key that signs.
#[derive(Debug)]
pub struct Rsa(KeyPair);

/// Makes a key of 2,048 bits.
///
/// # Panics
///
/// If there are no random bytes.
#[must_use]
pub fn rsa() -> Rsa {
    Rsa(KeyPair::generate(KeySize::Rsa2048).expect("make an RSA key"))
}

impl Rsa {
    /// The public key as PEM (`BEGIN PUBLIC KEY`).
    #[must_use]
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().expect("encode a public key");
        let text = Base64::encode_string(der.as_ref());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// The private key in PKCS #8.
    pub(super) fn pkcs8(&self) -> Vec<u8> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().expect("encode a private key");
        der.as_ref().to_vec()
    }

    /// The RSA-SHA256 signature (PKCS #1 v1.5) of a text, in base64.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> String {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
            .expect("sign a text");
        Base64::encode_string(&signature)
    }
}
