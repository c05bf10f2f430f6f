//! `adit genpsk`: makes a preshared key.

use anyhow::Context as _;
use wg::PresharedKey;
use zeroize::Zeroizing;

use crate::output;

/// Prints a fresh preshared key.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut random = Zeroizing::new([0; wg::key::KEY_LEN]);
    getrandom::fill(random.as_mut_slice()).context("cannot read this system's random source")?;
    output::secret_line(&PresharedKey::from_bytes(*random).danger_base64())
}
