//! Sets sign-in up.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use launch::{Clock, store::sqlite::Database};
use zeroize::Zeroizing;

use super::{
    Lifetime, SignIn,
    oidc::{self, Provider},
    secret::{Purpose, RandomError, Secret},
    tables::{Tables, TablesError},
};
use crate::{Config, audit::Audit};

/// Shortest token that may be chosen instead of a random one, in characters.
const SHORTEST: usize = 20;

/// Longest secret that is read from a file, in bytes.
const LONGEST_SECRET: u64 = 4_096;

/// What sign-in is given beside the hub's configuration.
#[derive(Clone, Debug)]
pub struct Given {
    /// The token that signs in on loopback; `None` is a random one, new at each start.
    pub token: Option<Secret>,
    /// Certificates, in PEM, of authorities that are trusted for the provider beside the public ones.
    pub authorities: Vec<u8>,
    /// What time it is.
    pub clock: Clock,
}

/// Why sign-in cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The tables cannot be made.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// This system has no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The chosen token could be guessed.
    #[error(
        "the token for signing in is too short: give one of at least {SHORTEST} characters, or none for a random one"
    )]
    ShortToken,
    /// There is nothing that the chosen token would open.
    #[error("a token for signing in is for a hub that listens on loopback without OpenID Connect: leave it out")]
    UselessToken,
    /// The client's secret cannot be read.
    #[error("oidc.client_secret_file: {} cannot be read: {source}", path.display())]
    ClientSecret {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The provider cannot be asked so.
    #[error(transparent)]
    Provider(#[from] oidc::SetUpError),
}

impl Default for Given {
    fn default() -> Self {
        Self {
            token: None,
            authorities: Vec::new(),
            clock: Clock::system(),
        }
    }
}

impl SignIn {
    /// Sets sign-in up in this database, whose tables are made if they are missing.
    ///
    /// The second value is the token that has to be printed, if the hub is on loopback and has no provider: whoever has it is
    /// an admin until the hub ends.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(
        config: &Config,
        given: Given,
        database: Arc<Database>,
        audit: Audit,
    ) -> Result<(Self, Option<Secret>), OpenError> {
        let is_printed = config.is_local && config.oidc.is_none();
        let printed = match given.token {
            Some(_) if !is_printed => return Err(OpenError::UselessToken),
            Some(token) if token.expose().chars().count() < SHORTEST => return Err(OpenError::ShortToken),
            Some(token) => Some(token),
            None if is_printed => Some(Secret::random()?),
            None => None,
        };
        let provider = match &config.oidc {
            Some(oidc) => {
                let secret = oidc.client_secret_file.as_deref().map(read_secret).transpose()?;
                Some(Provider::new(oidc, secret, &given.authorities, given.clock.clone())?)
            }
            None => None,
        };
        let sign_in = Self {
            tables: Tables::open(database)?,
            audit,
            clock: given.clock,
            lifetime: Lifetime {
                absolute: config.session,
                idle: Lifetime::default().idle.min(config.session),
            },
            takes_tokens: config.has_api_tokens,
            printed: printed.as_ref().map(|token| token.fingerprint(Purpose::Printed)),
            provider,
            attempts: Mutex::default(),
        };
        Ok((sign_in, printed))
    }
}

fn read_secret(path: &Path) -> Result<Secret, OpenError> {
    let fail = |source| OpenError::ClientSecret {
        path: path.to_owned(),
        source,
    };
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(fail)?;
    file.take(LONGEST_SECRET).read_to_string(&mut text).map_err(fail)?;
    match text.trim() {
        "" => Err(fail(io::Error::new(io::ErrorKind::InvalidData, "it is empty"))),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}
