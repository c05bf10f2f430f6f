//! Makes keys from this system's random source.

use wg::{PresharedKey, PrivateKey};
use zeroize::Zeroizing;

/// This system gives no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("cannot read this system's random source: {0}")]
pub struct RandomError(getrandom::Error);

/// A fresh private key.
///
/// # Errors
///
/// [`RandomError`]; a system without a random source cannot have keys.
pub fn private() -> Result<PrivateKey, RandomError> {
    Ok(PrivateKey::from_random(*random::<{ wg::key::KEY_LEN }>()?))
}

/// A fresh preshared key.
///
/// # Errors
///
/// [`RandomError`]; a system without a random source cannot have keys.
pub fn preshared() -> Result<PresharedKey, RandomError> {
    Ok(PresharedKey::from_bytes(*random::<{ wg::key::KEY_LEN }>()?))
}

/// Fresh random bytes, wiped when dropped.
///
/// # Errors
///
/// [`RandomError`].
pub fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(RandomError)?;
    Ok(bytes)
}
