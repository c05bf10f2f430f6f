//! Where what a gateway keeps is: a folder, or a container of Azure's blobs.

use std::{convert::Infallible, path::PathBuf, str::FromStr};

use anyhow::{Context as _, anyhow};
use azure::{
    Cloud, Credential, Tokens,
    blob::{Access, Blob, ConnectionString, Location},
    credential::{Choice, Settings},
};
use launch::LeaseId;
use zeroize::Zeroizing;

use super::{file::StateFile, keeper::Store};
use crate::failure;

/// Who may come to the storage account.
pub(super) const CONNECTION_VARIABLE: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// What a container's address begins with.
const BLOB: &str = "blob:";

/// `DIR`, or `blob:URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder, which is there.
    Folder(PathBuf),
    /// The address of a container, as it was typed.
    Blobs(String),
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix(BLOB) {
            Some(address) => Self::Blobs(address.to_owned()),
            None => Self::Folder(text.into()),
        })
    }
}

impl Place {
    /// Where the state of a lease is: others' are beside it.
    pub(super) fn store(&self, lease: LeaseId, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Store> {
        let name = format!("adit-{lease}.state");
        let address = match self {
            Self::Folder(folder) => return Ok(Store::File(StateFile::new(folder, &name))),
            Self::Blobs(address) => address,
        };
        let container: Location = address
            .parse()
            .map_err(|error| failure::usage(format!("--state {BLOB}…: {error}")))?;
        let location = container.join(&name);
        let string = variable(CONNECTION_VARIABLE)
            .filter(|string| !string.is_empty())
            .map(Zeroizing::new);
        let access = match string {
            Some(string) => {
                let wrong = |error| failure::usage(format!("{CONNECTION_VARIABLE}: {error}"));
                let string: ConnectionString = string.parse().map_err(wrong)?;
                string.access(&location).map_err(wrong)?
            }
            None => Access::Identity(identity(variable)?.into()),
        };
        let blob = Blob::new(location, access).map_err(|error| anyhow!("{error}"))?;
        Ok(Store::Blob(blob))
    }
}

/// The tokens of whoever this machine is to Azure.
fn identity(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Tokens> {
    let settings = Settings::read(variable);
    let cloud = settings.in_cloud(Cloud::default()).context("AZURE_AUTHORITY_HOST")?;
    let none = || format!("without {CONNECTION_VARIABLE}, an identity is needed that may use the container");
    let credential = Credential::choose(Choice::Auto, &settings).with_context(none)?;
    Ok(Tokens::of(credential, cloud)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_container() {
        let lease: LeaseId = "01kb2w0v9hq3k1yv8s4n6t2m5e".parse().unwrap();
        let key = |string: &'static str| move |name: &str| (name == CONNECTION_VARIABLE).then(|| string.to_owned());
        for (text, string, expected) in [
            ("/config", "", Ok("/config/adit-01kb2w0v9hq3k1yv8s4n6t2m5e.state")),
            (
                "blob:https://a.blob.core.windows.net/c/d",
                "AccountName=a;AccountKey=a2V5",
                Ok("https://a.blob.core.windows.net/c/d/adit-01kb2w0v9hq3k1yv8s4n6t2m5e.state"),
            ),
            (
                "blob:https://b.blob.core.windows.net/c",
                "AccountName=a;AccountKey=a2V5",
                Err(CONNECTION_VARIABLE),
            ),
            (
                "blob:https://a.blob.core.windows.net/c",
                "AccountName=a",
                Err("AccountKey or"),
            ),
            (
                "blob:https://a.blob.core.windows.net/c?sig=x",
                "AccountName=a",
                Err("shared access signature"),
            ),
            ("blob:c", "AccountName=a;AccountKey=a2V5", Err("--state")),
        ] {
            let place: Place = text.parse().unwrap();
            match (place.store(lease, key(string)), expected) {
                (Ok(store), Ok(expected)) => assert_eq!(store.to_string(), expected),
                (Err(error), Err(expected)) => assert!(format!("{error:#}").contains(expected), "{error:#}"),
                (store, _) => panic!("{text}: {store:?}"),
            }
        }
    }
}
