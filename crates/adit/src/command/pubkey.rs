//! `adit pubkey`: the public key of a private key.

use std::io::Read as _;

use anyhow::Context as _;
use wg::PrivateKey;
use zeroize::Zeroizing;

use crate::output;

/// A key, a line end and some room for stray blanks; more than this is not a key.
const MAX_INPUT: u64 = 1024;

/// Reads a private key from standard input and prints its public key.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut input = Zeroizing::new(String::new());
    std::io::stdin()
        .take(MAX_INPUT)
        .read_to_string(&mut input)
        .context("cannot read a private key from standard input")?;
    let key = PrivateKey::from_base64(input.trim()).context("standard input is not a private key")?;
    output::line(&key.public_key().to_string())
}
