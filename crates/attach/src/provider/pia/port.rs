//! Getting a forwarded port for a holder: the one that is kept, or another.

use std::time::SystemTime;

use super::{
    Pia,
    forwarding::{Grant, Inside, NotForwarded},
};
use crate::provider::{Forwarded, ProviderError};

impl Pia {
    /// A port for the server that is seen through `inside`: the kept one if it is good, with its token renewed once.
    pub(super) async fn bind(&self, inside: &Inside<'_>, file: &str) -> Result<Forwarded, ProviderError> {
        let now = SystemTime::now();
        let kept = self.store.find::<Grant>(file).filter(|grant| grant.is_good(now));
        if let Some(grant) = kept {
            match inside.bind(&grant).await {
                Ok(()) => return forwarded(&grant),
                Err(NotForwarded::Grant(_)) => self.store.remove(file),
                Err(error) => return Err(error.into()),
            }
        }
        let token = self.token().await?;
        let grant = match inside.grant(&token, now).await {
            Err(NotForwarded::Login) => {
                let token = self.renew(&token).await?;
                inside.grant(&token, now).await
            }
            grant => grant,
        }?;
        self.store.keep(file, &grant)?;
        if let Err(error) = inside.bind(&grant).await {
            if matches!(error, NotForwarded::Grant(_)) {
                self.store.remove(file);
            }
            return Err(error.into());
        }
        forwarded(&grant)
    }
}

fn forwarded(grant: &Grant) -> Result<Forwarded, ProviderError> {
    let unreadable = || ProviderError::Unavailable("no forwarded port: its grant cannot be read".to_owned());
    grant.forwarded().ok_or_else(unreadable)
}
