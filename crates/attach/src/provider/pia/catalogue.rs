//! The server list as it is at the moment: downloaded, cached for a day, and downloaded again when it proves wrong.

use std::{
    collections::BTreeSet,
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use hyper::{Request, StatusCode};
use rustls::ClientConfig;
use tokio::sync::Mutex;

use super::{
    config::Config,
    list::{Host, List, ListKey},
    store::Store,
};
use crate::provider::ProviderError;

/// The list as it came, with its signature.
const FILE: &str = "servers.json";

/// How long a list is used without asking for another.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a list is used if another cannot be had.
const AFTER_OUTAGE: Duration = Duration::from_secs(60);

/// How many stale servers are remembered.
const MAX_STALE: usize = 1024;

/// A list and its number: each download has another.
#[derive(Clone, Debug)]
pub(super) struct Edition {
    pub(super) number: u64,
    pub(super) list: Arc<List>,
}

/// The server list.
#[derive(Debug, Default)]
pub(super) struct Catalogue(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    edition: Option<Edition>,
    /// When another list is due.
    due: Option<SystemTime>,
    /// When the list was asked for.
    asked: Option<SystemTime>,
    /// Servers whose certificate is for another.
    stale: BTreeSet<Host>,
}

impl Catalogue {
    /// The list; downloads it if there is none that is young enough. An old one is better than none.
    pub(super) async fn list(
        &self,
        config: &Config,
        store: &Store,
        web: &Arc<ClientConfig>,
    ) -> Result<Edition, ProviderError> {
        let mut inner = self.0.lock().await;
        let now = SystemTime::now();
        if let (Some(edition), Some(due)) = (&inner.edition, inner.due)
            && now < due
        {
            return Ok(edition.clone());
        }
        let key = key(config)?;
        if inner.edition.is_none()
            && let Some((body, written)) = store.read(FILE)
            && let Ok(list) = List::parse(&body, key.as_ref())
        {
            // A file of the future is of a clock that was set back.
            let is_young = now.duration_since(written).is_ok_and(|age| age < MAX_AGE);
            let edition = inner.take(list, if is_young { written + MAX_AGE } else { now });
            if is_young {
                return Ok(edition);
            }
        }
        match inner.download(config, store, web, key.as_ref(), now).await {
            Ok(edition) => Ok(edition),
            Err(error) => {
                inner.due = Some(now + AFTER_OUTAGE);
                inner.edition.clone().ok_or(error)
            }
        }
    }

    /// Downloads the list again, unless somebody did since `used`, or within `pause`.
    pub(super) async fn reload(
        &self,
        used: &Edition,
        pause: Duration,
        config: &Config,
        store: &Store,
        web: &Arc<ClientConfig>,
    ) -> Result<(), ProviderError> {
        let mut inner = self.0.lock().await;
        let now = SystemTime::now();
        let is_newer = inner
            .edition
            .as_ref()
            .is_some_and(|edition| edition.number != used.number);
        let is_young = inner
            .asked
            .is_some_and(|asked| now.duration_since(asked).is_ok_and(|age| age < pause));
        if is_newer || is_young {
            return Ok(());
        }
        let key = key(config)?;
        inner
            .download(config, store, web, key.as_ref(), now)
            .await
            .map(|_edition| ())
    }

    /// Hears that the machine at a server's address has the certificate of another.
    pub(super) async fn is_stale(&self, host: &Host) {
        let mut inner = self.0.lock().await;
        if inner.stale.len() >= MAX_STALE {
            inner.stale.clear();
        }
        inner.stale.insert(host.clone());
        let stale = inner.stale.clone();
        if let Some(edition) = &mut inner.edition {
            Arc::make_mut(&mut edition.list).merge(&List::default(), &stale);
        }
    }
}

impl Inner {
    async fn download(
        &mut self,
        config: &Config,
        store: &Store,
        web: &Arc<ClientConfig>,
        key: Option<&ListKey>,
        now: SystemTime,
    ) -> Result<Edition, ProviderError> {
        self.asked = Some(now);
        let at = &config.endpoints.list;
        let failed =
            |why: String| ProviderError::Unavailable(format!("PIA's server list cannot be had from {at}: {why}"));
        let question = Request::get(at.path(""))
            .body(Full::default())
            .map_err(|error| failed(error.to_string()))?;
        let answer = at.ask(web, question).await.map_err(|error| failed(error.to_string()))?;
        if answer.status != StatusCode::OK {
            return Err(failed(format!("the server answers {}", answer.status)));
        }
        let list = List::parse(&answer.body, key).map_err(|error| failed(error.to_string()))?;
        let edition = self.take(list, now + MAX_AGE);
        store.write(FILE, &answer.body)?;
        Ok(edition)
    }

    fn take(&mut self, mut list: List, due: SystemTime) -> Edition {
        let (number, earlier) = match &self.edition {
            Some(edition) => (edition.number + 1, Arc::clone(&edition.list)),
            None => (0, Arc::default()),
        };
        list.merge(&earlier, &self.stale);
        self.due = Some(due);
        let list = Arc::new(list);
        self.edition.insert(Edition { number, list }).clone()
    }
}

fn key(config: &Config) -> Result<Option<ListKey>, ProviderError> {
    let Some(path) = &config.list_key else {
        return Ok(None);
    };
    let refused = |why: String| {
        ProviderError::Refused(format!(
            "the key of PIA's server list: {}: {why}: put the public key there, or name none",
            path.display()
        ))
    };
    let pem = fs::read(path).map_err(|cause| refused(cause.to_string()))?;
    ListKey::from_pem(&pem)
        .map(Some)
        .map_err(|error| refused(error.to_string()))
}
