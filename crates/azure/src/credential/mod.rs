//! Who we are to Azure: a managed identity, a workload identity, an application with a secret, or whoever is signed in with
//! `az`.

mod az;
mod entra;
mod exchange;
mod managed;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};

pub(crate) use self::exchange::Exchange;
pub use self::settings::Settings;
use self::{az::Az, entra::Entra, managed::Managed};
use crate::{Kind, cloud::Audience, token::Token};

/// A way to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// An application and its secret.
    ClientSecret,
    /// A token of Kubernetes or another issuer, which Azure trusts for an application.
    WorkloadIdentity,
    /// The identity that the platform gives to what runs on it.
    ManagedIdentity,
    /// Whoever is signed in with the Azure CLI.
    Az,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientSecret => "client-secret",
            Self::WorkloadIdentity => "workload-identity",
            Self::ManagedIdentity => "managed-identity",
            Self::Az => "az",
        })
    }
}

/// Which way is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first that is there, of: client secret, workload identity, managed identity, `az`. The first two are there if
    /// their variables are set, and then no other is tried.
    #[default]
    Auto,
    /// This one and no other.
    Only(Way),
}

impl FromStr for Choice {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        match text {
            "auto" => Ok(Self::Auto),
            "client-secret" => Ok(Self::Only(Way::ClientSecret)),
            "workload-identity" => Ok(Self::Only(Way::WorkloadIdentity)),
            "managed-identity" => Ok(Self::Only(Way::ManagedIdentity)),
            "az" => Ok(Self::Only(Way::Az)),
            other => Err(CredentialError::Unknown(other.to_owned())),
        }
    }
}

/// Why there is no token. Holds none, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is no such way.
    #[error("there is no credential {0}: it is auto, client-secret, workload-identity, managed-identity or az")]
    Unknown(String),
    /// It is not set up here.
    #[error("{way}: {why}")]
    Absent {
        /// Which one.
        way: Way,
        /// What is missing, and what would mend it.
        why: String,
    },
    /// Azure, or the platform, does not give a token.
    #[error("{way}: {message}")]
    Refused {
        /// Which one.
        way: Way,
        /// Its words, and what would mend it.
        message: String,
    },
    /// Nobody answers, or not in time: it may be tried again.
    #[error("{way}: {why}")]
    Unreachable {
        /// Which one.
        way: Way,
        /// Who does not, and how.
        why: String,
    },
    /// None of those that were tried is there.
    #[error("there is no credential for Azure: {}", list(.0))]
    Nothing(Vec<Self>),
}

fn list(errors: &[CredentialError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl CredentialError {
    /// What a caller makes of it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } => Kind::Transient,
            Self::Unknown(_) | Self::Absent { .. } | Self::Refused { .. } | Self::Nothing(_) => Kind::Denied,
        }
    }
}

/// Who we are to Azure.
#[derive(Clone, Debug)]
pub struct Credential {
    /// In this order.
    sources: Vec<Source>,
    /// Those before them that are not set up here.
    passed_over: Vec<CredentialError>,
    /// The one that gave a token: no other is asked any more.
    found: Arc<OnceLock<usize>>,
}

#[derive(Clone, Debug)]
enum Source {
    Entra(Entra),
    Managed(Managed),
    Az(Az),
}

impl Credential {
    /// Chooses by the settings. Only looks at them: whether a token is given shows when one is needed.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Absent`] if that way is not set up here.
    pub fn choose(choice: Choice, settings: &Settings) -> Result<Self, CredentialError> {
        let of = |sources, passed_over| Self {
            sources,
            passed_over,
            found: Arc::default(),
        };
        let only = |source| of(vec![source], Vec::new());
        let way = match choice {
            Choice::Auto => None,
            Choice::Only(way) => Some(way),
        };
        match way {
            Some(Way::ClientSecret) => return Entra::secret(settings).map(|entra| only(Source::Entra(entra))),
            Some(Way::WorkloadIdentity) => return Entra::workload(settings).map(|entra| only(Source::Entra(entra))),
            Some(Way::ManagedIdentity) => return Managed::new(settings).map(|managed| only(Source::Managed(managed))),
            Some(Way::Az) => return Ok(only(Source::Az(Az::new(settings)))),
            None => {}
        }
        let mut passed_over = Vec::new();
        for entra in [Entra::secret(settings), Entra::workload(settings)] {
            match entra {
                Ok(entra) => return Ok(only(Source::Entra(entra))),
                Err(error) => passed_over.push(error),
            }
        }
        let managed = Managed::new(settings)?;
        if managed.is_certain() {
            return Ok(only(Source::Managed(managed)));
        }
        let sources = vec![Source::Managed(managed.sought()), Source::Az(Az::new(settings))];
        Ok(of(sources, passed_over))
    }

    pub(crate) async fn obtain(&self, exchange: &Exchange<'_>, audience: Audience) -> Result<Token, CredentialError> {
        if let [source] = self.sources.as_slice() {
            return source.obtain(exchange, audience).await;
        }
        if let Some(source) = self.found.get().and_then(|found| self.sources.get(*found)) {
            return source.obtain(exchange, audience).await;
        }
        let mut errors = self.passed_over.clone();
        for (at, source) in self.sources.iter().enumerate() {
            match source.obtain(exchange, audience).await {
                Ok(token) => {
                    // Another may have been as fast: it found the same.
                    let _was_first = self.found.set(at);
                    return Ok(token);
                }
                Err(error) => errors.push(error),
            }
        }
        Err(CredentialError::Nothing(errors))
    }
}

impl Source {
    async fn obtain(&self, exchange: &Exchange<'_>, audience: Audience) -> Result<Token, CredentialError> {
        match self {
            Self::Entra(entra) => entra.obtain(exchange, audience).await,
            Self::Managed(managed) => managed.obtain(exchange, audience).await,
            Self::Az(az) => az.obtain(exchange, audience).await,
        }
    }
}
