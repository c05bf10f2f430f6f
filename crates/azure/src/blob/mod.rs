//! One blob of Azure Storage: read, written if nobody else has written it meanwhile, removed.
//!
//! ```text
//!   Blob ─▶ azure_storage_blob ─▶ Wire: signs, sends by this crate's own client
//! ```
//!
//! Nothing is sent again here: whoever calls knows how long it may wait.

mod connection;
mod error;
mod location;
mod shared_key;
#[cfg(test)]
mod signature;
#[cfg(test)]
mod tests;
mod wire;

use std::{fmt, sync::Arc};

use azure_core::http::{ClientOptions, Etag, RequestContent, RetryOptions, Transport};
use azure_storage_blob::{
    BlobClient, BlobClientOptions,
    models::{BlobClientDeleteOptions, BlobClientDownloadOptions, BlobClientUploadOptions},
};
use zeroize::Zeroizing;

use self::wire::Wire;
pub use self::{
    connection::{ConnectionError, ConnectionString},
    error::{BlobError, Fault},
    location::{Location, LocationError},
    shared_key::AccountKey,
};
use crate::{SetUpError, Tokens, http::Http};

/// What is spoken: a version that every cloud and Azurite have.
const VERSION: &str = "2021-12-02";

/// Who is allowed to a blob. `Debug` hides secrets.
#[derive(Clone)]
pub enum Access {
    /// Whoever has the account's key.
    Key(AccountKey),
    /// Whoever has a shared access signature: the query that it is, without `?`.
    Signature(Zeroizing<String>),
    /// Whom Microsoft Entra ID knows.
    Identity(Arc<Tokens>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(…)",
            Self::Signature(_) => "Signature(…)",
            Self::Identity(_) => "Identity(…)",
        })
    }
}

/// Which content of a blob it was, as the service names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

/// A blob's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Which content it is.
    pub tag: Tag,
}

/// One blob. Every answer is waited for half a minute at most.
#[derive(Clone)]
pub struct Blob {
    client: Arc<BlobClient>,
    location: Location,
}

impl Blob {
    /// The blob at a location.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn new(location: Location, access: Access) -> Result<Self, SetUpError> {
        let wire = Wire::new(Http::new()?, access);
        let options = BlobClientOptions {
            client_options: ClientOptions {
                retry: RetryOptions::none(),
                transport: Some(Transport::new(Arc::new(wire))),
                ..ClientOptions::default()
            },
            version: VERSION.to_owned(),
        };
        let client = BlobClient::new(location.url().clone(), None, Some(options))
            .map_err(|error| SetUpError(error.to_string()))?;
        Ok(Self {
            client: Arc::new(client),
            location,
        })
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Reads it; of a longer one, only the first `most` bytes. `None` if Azure is sure that there is none.
    ///
    /// # Errors
    ///
    /// If it is not known whether there is one, and [`Fault::NoContainer`].
    pub async fn read(&self, most: u64) -> Result<Option<Content>, BlobError> {
        let options = BlobClientDownloadOptions {
            range: Some((0..most).into()),
            ..BlobClientDownloadOptions::default()
        };
        let result = match self.client.download(Some(options)).await {
            Ok(result) => result,
            Err(error) => {
                let error = BlobError::new(&error, &self.location);
                return if error.fault == Fault::NoBlob {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        let tag = self.tag(result.properties.etag)?;
        let bytes = result.body.collect().await;
        let bytes = bytes.map_err(|error| BlobError::new(&error, &self.location))?;
        Ok(Some(Content {
            bytes: bytes.into(),
            tag,
        }))
    }

    /// Writes it, whole, if it is still the one with this tag; `None`: if there is none yet.
    ///
    /// # Errors
    ///
    /// [`Fault::Changed`] if it is another.
    pub async fn write(&self, bytes: &[u8], old: Option<&Tag>) -> Result<Tag, BlobError> {
        let options = BlobClientUploadOptions {
            if_match: old.map(|tag| Etag::from(tag.0.as_str())),
            if_none_match: old.is_none().then(|| Etag::from("*")),
            blob_content_type: Some("application/octet-stream".to_owned()),
            ..BlobClientUploadOptions::default()
        };
        let content = RequestContent::from_slice(bytes);
        let result = self.client.upload(content, Some(options)).await;
        let result = result.map_err(|error| BlobError::new(&error, &self.location))?;
        self.tag(result.etag)
    }

    /// Removes it if it is still the one with this tag. Of one that is not there, Azure may say that it is another.
    ///
    /// # Errors
    ///
    /// [`Fault::Changed`] if it is another.
    pub async fn remove(&self, old: &Tag) -> Result<(), BlobError> {
        let options = BlobClientDeleteOptions {
            if_match: Some(Etag::from(old.0.as_str())),
            ..BlobClientDeleteOptions::default()
        };
        let Err(error) = self.client.delete(Some(options)).await else {
            return Ok(());
        };
        let error = BlobError::new(&error, &self.location);
        if error.fault == Fault::NoBlob {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn tag(&self, tag: Option<Etag>) -> Result<Tag, BlobError> {
        let tag = tag.ok_or_else(|| BlobError::untagged(&self.location))?;
        Ok(Tag(tag.to_string()))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
