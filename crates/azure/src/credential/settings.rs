//! The variables that say who we are, as Microsoft's own libraries read them.

use std::{fmt, path::PathBuf};

use zeroize::Zeroizing;

use crate::{Cloud, cloud::CloudError};

/// What the environment says of credentials. `Debug` hides secrets.
#[derive(Clone, Default)]
pub struct Settings {
    /// `AZURE_TENANT_ID`.
    pub tenant: Option<String>,
    /// `AZURE_CLIENT_ID`: the application, or the user-assigned identity.
    pub client: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub secret: Option<Zeroizing<String>>,
    /// `AZURE_CLIENT_SECRET_FILE`: read for every token.
    pub secret_file: Option<PathBuf>,
    /// `AZURE_FEDERATED_TOKEN_FILE`: read for every token.
    pub federated_token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`.
    pub authority_host: Option<String>,
    /// `IDENTITY_ENDPOINT`: the managed identity of App Service and Container Apps.
    pub identity_endpoint: Option<String>,
    /// `IDENTITY_HEADER`: what it wants to hear.
    pub identity_header: Option<Zeroizing<String>>,
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST`: who answers instead of the machine's metadata service.
    pub metadata_host: Option<String>,
    /// `AZURE_SUBSCRIPTION_ID`.
    pub subscription: Option<String>,
    /// The Azure CLI; `None` is `az` on the path.
    pub az: Option<PathBuf>,
}

impl Settings {
    /// Reads variables, of which an empty one is as none.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            tenant: text("AZURE_TENANT_ID"),
            client: text("AZURE_CLIENT_ID"),
            secret: text("AZURE_CLIENT_SECRET").map(Zeroizing::new),
            secret_file: text("AZURE_CLIENT_SECRET_FILE").map(PathBuf::from),
            federated_token_file: text("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            authority_host: text("AZURE_AUTHORITY_HOST"),
            identity_endpoint: text("IDENTITY_ENDPOINT"),
            identity_header: text("IDENTITY_HEADER").map(Zeroizing::new),
            metadata_host: text("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
            subscription: text("AZURE_SUBSCRIPTION_ID"),
            az: None,
        }
    }

    /// The cloud with the authority that is named here.
    ///
    /// # Errors
    ///
    /// If secrets would travel in the clear to it.
    pub fn in_cloud(&self, cloud: Cloud) -> Result<Cloud, CloudError> {
        match &self.authority_host {
            Some(host) => cloud.with_authority(host),
            None => Ok(cloud),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("tenant", &self.tenant)
            .field("client", &self.client)
            .field("has_secret", &self.secret.is_some())
            .field("secret_file", &self.secret_file)
            .field("federated_token_file", &self.federated_token_file)
            .field("authority_host", &self.authority_host)
            .field("identity_endpoint", &self.identity_endpoint)
            .field("metadata_host", &self.metadata_host)
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}
