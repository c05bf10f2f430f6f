//! What a host joins a link by: one word, for one host, for a while.
//!
//! ```text
//! adit-link-BASE64URL( form, 1 byte │ expires, 8 │ member's number, 2 │ IPv4 pool, 4 + 1 │ IPv6 prefix, 6 │
//!                      member's public key, 32 │ secret, 32 │ length and link's name │ lengths and endpoints │ check, 4 )
//! ```
//!
//! It holds no lasting key: from the secret come the WireGuard key of one handshake and the key of one exchange, and the
//! member that made the token forgets both once a host has joined with it.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::digest;
use wg::{Endpoint, Ipv4Net, Ipv6Net, PublicKey};
use zeroize::Zeroizing;

use crate::{LinkName, addresses::Addresses, secret::Secret};

/// What a token begins with.
pub const PREFIX: &str = "adit-link-";

/// Longest token, in characters: a few endpoints with long names.
const MAX_LEN: usize = 2048;

/// Most endpoints in a token.
pub const MAX_ENDPOINTS: usize = 4;

/// The form that is written here.
const FORM: u8 = 1;

/// Bytes of the checksum, against a token that is copied wrong.
const CHECK_LEN: usize = 4;

/// A token. `Debug` shows no secret.
#[derive(Clone)]
pub struct Token {
    /// The link.
    pub link: LinkName,
    /// Its addresses.
    pub addresses: Addresses,
    /// The number of the member that made the token.
    pub member: u16,
    /// That member's public key.
    pub key: PublicKey,
    /// Where that member is; one of them answers.
    pub endpoints: Vec<Endpoint>,
    /// When it is of no more use, in seconds since 1970.
    pub expires: u64,
    /// What is known to that member and to the holder alone.
    pub secret: Secret,
}

/// A text that is no token. Its `Display` shows nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins otherwise.
    #[error("a link's token begins with `{PREFIX}`; `adit link create` and `adit link invite` print one")]
    Prefix,
    /// It is cut off, or has characters that do not belong there.
    #[error("the token is damaged: copy it whole, as `adit link invite` prints it")]
    Damaged,
    /// A later version made it.
    #[error("the token is of a newer adit: bring this one up to date")]
    Newer,
}

impl Token {
    /// The token as text, for the person who hands it over.
    pub fn danger_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        bytes.push(FORM);
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        bytes.extend_from_slice(&self.member.to_be_bytes());
        bytes.extend_from_slice(&self.addresses.pool.network().octets());
        bytes.push(self.addresses.pool.prefix_len());
        bytes.extend_from_slice(&self.addresses.prefix.network().octets()[..6]);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(self.secret.danger_bytes());
        let texts = std::iter::once(self.link.to_string());
        let endpoints = self.endpoints.iter().take(MAX_ENDPOINTS).map(Endpoint::to_string);
        for text in texts.chain(endpoints) {
            let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
            bytes.push(length);
            bytes.extend_from_slice(&text.as_bytes()[..length.into()]);
        }
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&bytes));
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + encoded.len()));
        text.push_str(PREFIX);
        text.push_str(&encoded);
        text
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_LEN] {
    let hash = digest::digest(&digest::SHA256, bytes);
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&hash.as_ref()[..CHECK_LEN]);
    check
}

impl FromStr for Token {
    type Err = TokenError;

    /// Reads a token. Space around it does not count: it is copied by hand.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if encoded.len() > MAX_LEN {
            return Err(TokenError::Damaged);
        }
        let bytes = Base64UrlUnpadded::decode_vec(encoded).map_err(|_| TokenError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let (content, sum) = bytes.split_last_chunk::<CHECK_LEN>().ok_or(TokenError::Damaged)?;
        if check(content) != *sum {
            return Err(TokenError::Damaged);
        }
        let mut reader = Reader(content);
        if reader.take::<1>()? != [FORM] {
            return Err(TokenError::Newer);
        }
        let expires = u64::from_be_bytes(reader.take()?);
        let member = u16::from_be_bytes(reader.take()?);
        let pool = Ipv4Addr::from(reader.take::<4>()?);
        let [length] = reader.take()?;
        let pool = Ipv4Net::new(pool, length).map_err(|_| TokenError::Damaged)?;
        let mut prefix = [0; 16];
        prefix[..6].copy_from_slice(&reader.take::<6>()?);
        let prefix = Ipv6Net::new(Ipv6Addr::from(prefix), 48).expect("48 is a length");
        let key = PublicKey::from_bytes(reader.take()?);
        let secret = Secret::from_bytes(reader.take()?);
        let link = reader.text()?.parse().map_err(|_| TokenError::Damaged)?;
        let mut endpoints = Vec::new();
        while !reader.0.is_empty() {
            endpoints.push(reader.text()?.parse().map_err(|_| TokenError::Damaged)?);
        }
        let addresses = Addresses { pool, prefix };
        if endpoints.is_empty() || endpoints.len() > MAX_ENDPOINTS || member >= addresses.room() {
            return Err(TokenError::Damaged);
        }
        Ok(Self {
            link,
            addresses,
            member,
            key,
            endpoints,
            expires,
            secret,
        })
    }
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TokenError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self) -> Result<String, TokenError> {
        let [length] = self.take()?;
        let (text, rest) = self.0.split_at_checked(length.into()).ok_or(TokenError::Damaged)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| TokenError::Damaged)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("link", &self.link)
            .field("endpoints", &self.endpoints)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        let key = Secret::from_bytes([3; 32]).private_key().public_key();
        Token {
            link: "blue".parse().unwrap(),
            addresses: Addresses::new("10.77.0.0/16".parse().unwrap(), &key).unwrap(),
            member: 0,
            key,
            endpoints: vec![
                "a.example.net:51820".parse().unwrap(),
                "[2001:db8::1]:7".parse().unwrap(),
            ],
            expires: 1_800_000_000,
            secret: Secret::from_bytes([250; 32]),
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let text = token().danger_text();
        let read: Token = format!(" {}\n", *text).parse().unwrap();
        assert_eq!(
            (
                read.link,
                read.addresses,
                read.member,
                read.key,
                read.endpoints,
                read.expires
            ),
            (
                token().link,
                token().addresses,
                0,
                token().key,
                token().endpoints,
                1_800_000_000
            )
        );
        assert_eq!(read.secret.danger_bytes(), &[250; 32]);
        assert!(!format!("{:?}", token()).contains("250"));
        assert!(text.len() < 240, "{}", text.len());
    }

    #[test]
    fn what_is_no_token_is_refused_without_a_word_of_it() {
        let whole = token().danger_text();
        let mut changed = whole.as_bytes().to_vec();
        changed[60] = if changed[60] == b'A' { b'B' } else { b'A' };
        for (text, error) in [
            ("", TokenError::Prefix),
            ("adit1:AAAA", TokenError::Prefix),
            (PREFIX, TokenError::Damaged),
            (&whole[..whole.len() - 1], TokenError::Damaged),
            (&whole[..80], TokenError::Damaged),
            (std::str::from_utf8(&changed).unwrap(), TokenError::Damaged),
            (&format!("{PREFIX}{}", "A".repeat(MAX_LEN + 4)), TokenError::Damaged),
        ] {
            assert_eq!(text.parse::<Token>().unwrap_err(), error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_read_with_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), form in any::<bool>()) {
            if form && !bytes.is_empty() {
                bytes[0] = FORM;
            }
            let check = check(&bytes);
            bytes.extend_from_slice(&check);
            let _read = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes)).parse::<Token>();
        }
    }
}
