//! Tokens of Entra ID for an application: by its secret, or by a token that Azure trusts. *Microsoft identity platform: client
//! credentials flow.*

use std::{path::PathBuf, time::Duration};

use reqwest::{
    Method, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::{CredentialError, Exchange, Settings, Way};
use crate::{
    cloud::Audience,
    path::{Path, encode_pairs},
    token::Token,
};

/// How long Entra ID is asked.
const PATIENCE: Duration = Duration::from_secs(40);

/// Longest secret or token in a file, in bytes.
const MAX_FILE: u64 = 64 << 10;

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An application.
#[derive(Clone, Debug)]
pub(super) struct Entra {
    tenant: String,
    client: String,
    proof: Proof,
}

#[derive(Clone)]
enum Proof {
    Secret(Zeroizing<String>),
    SecretFile(PathBuf),
    FederatedFile(PathBuf),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(…)"),
            Self::SecretFile(path) => write!(f, "SecretFile({})", path.display()),
            Self::FederatedFile(path) => write!(f, "FederatedFile({})", path.display()),
        }
    }
}

impl Entra {
    /// By `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET` or its file.
    pub(super) fn secret(settings: &Settings) -> Result<Self, CredentialError> {
        let file = || settings.secret_file.clone().map(Proof::SecretFile);
        let proof = settings.secret.clone().map(Proof::Secret).or_else(file);
        Self::new(Way::ClientSecret, settings, proof, "AZURE_CLIENT_SECRET")
    }

    /// By `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_FEDERATED_TOKEN_FILE`.
    pub(super) fn workload(settings: &Settings) -> Result<Self, CredentialError> {
        let proof = settings.federated_token_file.clone().map(Proof::FederatedFile);
        Self::new(Way::WorkloadIdentity, settings, proof, "AZURE_FEDERATED_TOKEN_FILE")
    }

    fn new(way: Way, settings: &Settings, proof: Option<Proof>, variable: &str) -> Result<Self, CredentialError> {
        match (&settings.tenant, &settings.client, proof) {
            (Some(tenant), Some(client), Some(proof)) => Ok(Self {
                tenant: tenant.clone(),
                client: client.clone(),
                proof,
            }),
            (tenant, client, proof) => {
                let missing = [
                    (variable, proof.is_none()),
                    ("AZURE_CLIENT_ID", client.is_none()),
                    ("AZURE_TENANT_ID", tenant.is_none()),
                ];
                let names: Vec<&str> = missing
                    .iter()
                    .filter(|(_, is_missing)| *is_missing)
                    .map(|(name, _)| *name)
                    .collect();
                let verb = if names.len() == 1 { "is" } else { "are" };
                Err(CredentialError::Absent {
                    way,
                    why: format!("{} {verb} not set", names.join(", ")),
                })
            }
        }
    }

    pub(super) async fn obtain(&self, exchange: &Exchange<'_>, audience: Audience) -> Result<Token, CredentialError> {
        let scope = exchange.cloud.scope(audience);
        let mut pairs = vec![
            ("grant_type", "client_credentials"),
            ("client_id", self.client.as_str()),
            ("scope", scope.as_str()),
        ];
        let file;
        match &self.proof {
            Proof::Secret(secret) => pairs.push(("client_secret", secret.as_str())),
            Proof::SecretFile(path) => {
                file = self.read(path).await?;
                pairs.push(("client_secret", file.as_str()));
            }
            Proof::FederatedFile(path) => {
                file = self.read(path).await?;
                pairs.push((
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
                pairs.push(("client_assertion", file.as_str()));
            }
        }
        let mut form = Zeroizing::new(String::new());
        encode_pairs(pairs, &mut form);
        let mut request = reqwest::Request::new(Method::POST, self.url(exchange)?);
        request.headers_mut().insert(CONTENT_TYPE, FORM);
        request.headers_mut().insert(ACCEPT, JSON);
        *request.body_mut() = Some(form.as_bytes().to_vec().into());
        exchange.ask(self.way(), &request, PATIENCE, |_| false).await
    }

    fn way(&self) -> Way {
        match self.proof {
            Proof::Secret(_) | Proof::SecretFile(_) => Way::ClientSecret,
            Proof::FederatedFile(_) => Way::WorkloadIdentity,
        }
    }

    fn url(&self, exchange: &Exchange<'_>) -> Result<Url, CredentialError> {
        let path = Path::new(&[&self.tenant, "oauth2", "v2.0", "token"]).map_err(|error| CredentialError::Absent {
            way: self.way(),
            why: format!("AZURE_TENANT_ID: {error}"),
        })?;
        let mut url = exchange.cloud.authority().clone();
        url.set_path(path.as_str());
        Ok(url)
    }

    /// What the file holds now: whoever writes it replaces it before its time is over.
    async fn read(&self, path: &std::path::Path) -> Result<Zeroizing<String>, CredentialError> {
        let wrong = |why: String| CredentialError::Absent {
            way: self.way(),
            why: format!("{}: {why}", path.display()),
        };
        let file = tokio::fs::File::open(path)
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let mut bytes = Zeroizing::new(Vec::new());
        let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| wrong(error.to_string()))?;
        let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if text.is_empty() || bytes.len() as u64 > MAX_FILE {
            return Err(wrong(format!(
                "it must hold one line of text, of at most {MAX_FILE} bytes"
            )));
        }
        Ok(Zeroizing::new(text.to_owned()))
    }
}
