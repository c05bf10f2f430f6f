//! `adit genkey`: makes a private key.

use anyhow::Context as _;
use wg::PrivateKey;
use zeroize::Zeroizing;

use crate::output;

/// Prints a fresh private key.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut random = Zeroizing::new([0; wg::key::KEY_LEN]);
    getrandom::fill(random.as_mut_slice()).context("cannot read this system's random source")?;
    output::secret_line(&PrivateKey::from_random(*random).danger_base64())
}
