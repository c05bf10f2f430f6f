//! The provider `pia`: Private Internet Access over its WireGuard API.
//!
//! A container gets a key of its own, which is registered with a server that no other container here has: a server
//! knows one key of an account at a time. Servers are believed by their names under PIA's certificate authority alone.

mod authority;
mod catalogue;
mod config;
mod connect;
mod credentials;
mod dedicated;
mod forwarding;
mod holder;
mod list;
mod port;
mod registration;
mod store;
mod token;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::sync::Mutex;

use self::{
    authority::Authority,
    catalogue::{Catalogue, Edition},
    dedicated::Dedicated,
    forwarding::{Grant, Inside},
    holder::Record,
    store::Store,
    token::Tokens,
};
pub use self::{
    config::{Config, DEDICATED_REGION, DEFAULT_REGION, Endpoints},
    credentials::{Credentials, Login, Secret},
};
use super::{Ask, Dial, Forwarded, Provider, ProviderError, https, reservations::Reservations};
use crate::Offer;

/// How long after the start the files of holders are kept that nobody has asked about.
const UNCLAIMED: Duration = Duration::from_secs(60 * 60);

/// Private Internet Access.
#[derive(Debug)]
pub struct Pia {
    config: Config,
    store: Store,
    /// Trust in the public certificate authorities.
    web: Arc<ClientConfig>,
    authority: Authority,
    tokens: Tokens,
    catalogue: Catalogue,
    dedicated: Mutex<Option<Dedicated>>,
    /// Names of servers.
    held: Reservations,
    opened: SystemTime,
    is_swept: AtomicBool,
    claimed: std::sync::Mutex<BTreeSet<String>>,
}

impl Pia {
    /// Opens the cache. Nothing is asked of PIA before somebody wants a tunnel.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Unavailable`] if the cache's directory cannot be made, [`ProviderError::Refused`] if a
    /// certificate authority in [`Endpoints::roots`] cannot be read.
    pub fn open(config: Config) -> Result<Self, ProviderError> {
        let store = Store::open(&config.cache)?;
        let web = match &config.endpoints.roots {
            None => https::web_trust(),
            Some(path) => {
                let refused = |why: String| ProviderError::Refused(format!("{}: {why}", path.display()));
                let root = CertificateDer::from_pem_file(path).map_err(|error| refused(error.to_string()))?;
                https::trust_in(root).map_err(|error| refused(error.to_string()))?
            }
        };
        let now = SystemTime::now();
        Ok(Self {
            tokens: Tokens::open(&store, now),
            config,
            store,
            web,
            authority: Authority::default(),
            catalogue: Catalogue::default(),
            dedicated: Mutex::default(),
            held: Reservations::default(),
            opened: now,
            is_swept: AtomicBool::new(false),
            claimed: std::sync::Mutex::default(),
        })
    }

    async fn token(&self) -> Result<Secret, ProviderError> {
        self.tokens.token(&self.config, &self.store, &self.web).await
    }

    async fn renew(&self, refused: &Secret) -> Result<Secret, ProviderError> {
        self.tokens.renew(refused, &self.config, &self.store, &self.web).await
    }

    async fn trust(&self) -> Result<Arc<ClientConfig>, ProviderError> {
        self.authority.trust(&self.config, &self.store, &self.web).await
    }

    async fn list(&self) -> Result<Edition, ProviderError> {
        self.catalogue.list(&self.config, &self.store, &self.web).await
    }

    async fn reload(&self, used: &Edition, pause: Duration) -> Result<(), ProviderError> {
        let (config, store, web) = (&self.config, &self.store, &self.web);
        self.catalogue.reload(used, pause, config, store, web).await
    }

    fn claim(&self, holder: &str) {
        let mut claimed = self.claimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        claimed.insert(holder::file(holder));
    }

    /// Removes once what earlier daemons kept of containers that went while none ran, and of ports whose time is over.
    fn sweep(&self, now: SystemTime) {
        let is_early = now.duration_since(self.opened).is_ok_and(|since| since < UNCLAIMED);
        if is_early || self.is_swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let claimed = self.claimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let unclaimed = holder::files(&self.store)
            .into_iter()
            .filter(|file| !claimed.contains(file));
        let old = self.store.names("port-").into_iter();
        let old = old.filter(|file| !self.store.find::<Grant>(file).is_some_and(|grant| grant.is_good(now)));
        unclaimed.chain(old).for_each(|file| self.store.remove(&file));
    }
}

#[async_trait]
impl Provider for Pia {
    async fn connect(&self, ask: &Ask) -> Result<Offer, ProviderError> {
        if let Some(conf) = &ask.conf {
            return Err(ProviderError::Refused(format!(
                "the provider pia has no configurations: instead of adit.conf={conf} name a region by adit.region, or choose \
                 another adit.provider"
            )));
        }
        self.sweep(SystemTime::now());
        match ask.region.as_deref().unwrap_or(&self.config.region) {
            DEDICATED_REGION => self.connect_dedicated(ask).await,
            region => self.connect_in(ask, region).await,
        }
    }

    fn adopt(&self, holder: &str, server: &str) {
        self.claim(holder);
        self.held.note(holder, server);
    }

    async fn release(&self, holder: &str) {
        self.held.release(holder);
        let mut claimed = self.claimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        claimed.remove(&holder::file(holder));
        holder::forget(&self.store, holder);
    }

    async fn forward_port(&self, holder: &str, offer: &Offer, dial: &dyn Dial) -> Result<Forwarded, ProviderError> {
        let record = Record::find(&self.store, holder).filter(|record| record.cn == offer.server);
        let Some(record) = record else {
            return Err(ProviderError::Unavailable(format!(
                "no forwarded port: what {} told about itself is not in the cache any more; restart the container",
                offer.server
            )));
        };
        if let Some(reason) = record.no_port {
            return Err(ProviderError::Refused(format!(
                "{reason}: choose another region, or remove the label adit.port-forward"
            )));
        }
        let Some(vip) = record.vip else {
            return Err(ProviderError::Unavailable(format!(
                "no forwarded port: {} has not told its address in the tunnel",
                record.cn
            )));
        };
        let trust = &self.trust().await?;
        let cn = &record.cn;
        self.bind(&Inside { cn, vip, dial, trust }, &record.port).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_about_for_an_hour_goes() {
        let here = tempfile::tempdir().unwrap();
        let pia = Pia::open(Config::new(Credentials::File("/none".into()), here.path())).unwrap();
        let record = Record {
            cn: "zurich401".to_owned(),
            ip: [192, 0, 2, 1].into(),
            vip: None,
            region: "swiss".to_owned(),
            no_port: None,
            port: "port-web.json".to_owned(),
        };
        for holder in ["adopted", "gone"] {
            record.keep(&pia.store, holder).unwrap();
        }
        pia.store.write("port-old.json", b"{}").unwrap();
        pia.adopt("adopted", "zurich401");
        let count = || fs_names(here.path());
        pia.sweep(pia.opened + UNCLAIMED - Duration::from_secs(1));
        assert_eq!(count().len(), 3);
        pia.sweep(pia.opened + UNCLAIMED);
        assert_eq!(count(), ["holder-adopted.json"]);
    }

    fn fs_names(directory: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}
