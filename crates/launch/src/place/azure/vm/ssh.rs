//! The key for SSH that Azure wants of every machine without a password.

use base64ct::{Base64, Encoding as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

/// What shows in a plan where a key that is thrown away would be.
pub(super) const THROWN_AWAY: &str = "ssh-ed25519 <a fresh key whose private half nobody keeps>";

/// A public key whose private half is nowhere: nobody signs in with it.
///
/// # Errors
///
/// If the system gives no random bytes.
pub(super) fn throw_away() -> Result<String, String> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| error.to_string())?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|error| error.to_string())?;
    Ok(public(pair.public_key().as_ref()))
}

/// As OpenSSH writes it (*RFC 4253, 6.6; RFC 8709, 4*).
fn public(key: &[u8]) -> String {
    const NAME: &str = "ssh-ed25519";
    let mut blob = Vec::with_capacity(51);
    for part in [NAME.as_bytes(), key] {
        blob.extend(u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
        blob.extend(part);
    }
    format!("{NAME} {}", Base64::encode_string(&blob))
}

/// Whether Azure takes such a key itself.
pub(super) fn is_azures(key: &str) -> bool {
    key.starts_with("ssh-rsa ") || key.starts_with("ssh-ed25519 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_thrown_away_is_another_one_every_time_and_one_of_openssh() {
        let (first, second) = (throw_away().unwrap(), throw_away().unwrap());
        assert_ne!(first, second);
        let data = Base64::decode_vec(first.strip_prefix("ssh-ed25519 ").unwrap()).unwrap();
        assert_eq!((data.len(), &data[..15]), (51, &b"\0\0\0\x0bssh-ed25519"[..]));
        assert!(is_azures(&first) && !is_azures("ecdsa-sha2-nistp256 AAAA"));
    }
}
