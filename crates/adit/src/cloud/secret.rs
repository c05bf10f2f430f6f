//! Secrets of places: in files that only their owner should read, or in the environment; never in settings.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use launch::node::Secret;
use zeroize::Zeroizing;

use super::Variables;

/// Longest secret that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// Where secrets come from.
pub(crate) enum Secrets<'v> {
    /// From their files, else from variables.
    Of(Variables<'v>),
    /// From nowhere: something stands for each. For plans, which hide them, and for removals, which need none.
    None,
}

impl Secrets<'_> {
    /// The secret of a key, which is in a file or in a variable.
    ///
    /// # Errors
    ///
    /// If it is in neither, or the file cannot be read.
    pub(super) fn read(&self, key: &str, file: Option<&PathBuf>, variable: &str) -> anyhow::Result<Secret> {
        match self {
            // Of the right shape for every one of them.
            Self::None => Ok(hidden()),
            Self::Of(variables) => match (file, variables(variable)) {
                (Some(file), _) => from_file(file).with_context(|| format!("{key}: {}", file.display())),
                (None, Some(text)) => Ok(Secret::new(Zeroizing::new(text))),
                (None, None) => bail!("{key} is missing: name a file that has it, or set {variable}"),
            },
        }
    }
}

fn hidden() -> Secret {
    Secret::new(Zeroizing::new(format!("{}=", "A".repeat(43))))
}

fn from_file(file: &Path) -> anyhow::Result<Secret> {
    if fs::metadata(file)?.len() > LONGEST {
        bail!("longer than {LONGEST} bytes");
    }
    let text = Zeroizing::new(fs::read_to_string(file)?);
    let secret = Zeroizing::new(text.trim().to_owned());
    if secret.is_empty() {
        bail!("is empty");
    }
    Ok(Secret::new(secret))
}
