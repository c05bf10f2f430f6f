//! Tokens, kept in memory and renewed in time, by one renewal for all who wait.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use crate::{
    Cloud, Credential, SetUpError,
    clock::{Clock, SystemClock},
    cloud::Audience,
    credential::{CredentialError, Exchange},
    http::Http,
};

/// How long before its end a token is renewed, unless its giver names a time. Of a short one, half its life.
const MARGIN: Duration = Duration::from_secs(300);

/// How long before its end a token is not used: the request has to arrive.
const LAST: Duration = Duration::from_secs(10);

/// How long it is waited after a renewal failed while the token is still good.
const PAUSE: Duration = Duration::from_secs(30);

/// A token. There is no `Display`, and `Debug` hides it; it is overwritten when it goes.
pub struct Token {
    secret: Zeroizing<String>,
    due: Instant,
    end: Instant,
    /// The same by the time of day: the other clock may stand still while the machine sleeps.
    end_of_day: SystemTime,
}

impl Token {
    /// Good for `life` from these times on; to be renewed after `refresh`, if that is told.
    pub(crate) fn new(
        secret: Zeroizing<String>,
        life: Duration,
        refresh: Option<Duration>,
        (now, time_of_day): (Instant, SystemTime),
    ) -> Self {
        // Longer ones there are none, and the sums below have to hold.
        let life = life.min(Duration::from_secs(7 * 86_400));
        let fresh = life - MARGIN.min(life / 2);
        Self {
            secret,
            due: now + refresh.filter(|refresh| *refresh < life).unwrap_or(fresh),
            end: now + life.saturating_sub(LAST),
            end_of_day: time_of_day + life.saturating_sub(LAST),
        }
    }

    /// As `Authorization` wants it; never shown by `Debug`.
    pub fn header(&self) -> HeaderValue {
        let text = Zeroizing::new(format!("Bearer {}", self.secret.as_str()));
        // A token with other letters is refused as it is read.
        let mut header = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        header.set_sensitive(true);
        header
    }

    fn is_good(&self, clock: &dyn Clock) -> bool {
        clock.now() < self.end && clock.time_of_day() < self.end_of_day
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The tokens of one credential in one cloud.
#[derive(Debug)]
pub struct Tokens {
    credential: Credential,
    cloud: Cloud,
    http: Http,
    clock: Arc<dyn Clock>,
    slots: [Slot; Audience::ALL.len()],
}

#[derive(Debug, Default)]
struct Slot {
    held: Mutex<Held>,
    renewal: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Arc<Token>>,
    failure: Option<(Instant, CredentialError)>,
}

impl Slot {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be used, and whether it needs no renewal.
    fn usable(&self, clock: &dyn Clock) -> Option<(Arc<Token>, bool)> {
        let held = self.held();
        let token = held.token.clone().filter(|token| token.is_good(clock))?;
        let now = clock.now();
        let pauses = held.failure.as_ref().is_some_and(|(at, _)| now < *at + PAUSE);
        let is_fresh = now < token.due || pauses;
        Some((token, is_fresh))
    }

    fn failure_since(&self, start: Instant) -> Option<CredentialError> {
        let held = self.held();
        let (_, error) = held.failure.as_ref().filter(|(at, _)| *at > start)?;
        Some(error.clone())
    }
}

impl Tokens {
    /// The tokens of a credential, for whoever does not speak to Resource Manager. A proxy is taken from the environment.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn of(credential: Credential, cloud: Cloud) -> Result<Self, SetUpError> {
        Ok(Self::new(credential, cloud, Http::new()?, Arc::new(SystemClock)))
    }

    pub(crate) fn new(credential: Credential, cloud: Cloud, http: Http, clock: Arc<dyn Clock>) -> Self {
        Self {
            credential,
            cloud,
            http,
            clock,
            slots: Default::default(),
        }
    }

    /// A token that is good now.
    ///
    /// # Errors
    ///
    /// If there is none and none is given.
    pub async fn token(&self, audience: Audience) -> Result<Arc<Token>, CredentialError> {
        let slot = self.slot(audience);
        let start = self.clock.now();
        let usable = slot.usable(&*self.clock);
        let _renewal = match usable {
            Some((token, true)) => return Ok(token),
            // Somebody renews it: what is there does until then.
            Some((token, false)) => match slot.renewal.try_lock() {
                Ok(renewal) => renewal,
                Err(_) => return Ok(token),
            },
            None => slot.renewal.lock().await,
        };
        match slot.usable(&*self.clock) {
            Some((token, true)) => return Ok(token),
            Some((_, false)) => {}
            // Who waited with others for a renewal that failed does not begin another.
            None => slot.failure_since(start).map_or(Ok(()), Err)?,
        }
        let exchange = Exchange {
            http: &self.http,
            cloud: &self.cloud,
            clock: &*self.clock,
        };
        let given = self.credential.obtain(&exchange, audience).await;
        let mut held = slot.held();
        match given {
            Ok(token) => {
                let token = Arc::new(token);
                *held = Held {
                    token: Some(Arc::clone(&token)),
                    failure: None,
                };
                Ok(token)
            }
            Err(error) => {
                let good = held.token.clone().filter(|token| token.is_good(&*self.clock));
                held.failure = Some((self.clock.now(), error.clone()));
                let Some(token) = good else { return Err(error) };
                tracing::warn!(%error, "no fresh token for azure: the last one is used while it is good");
                Ok(token)
            }
        }
    }

    /// Another token than this one, which was not taken.
    ///
    /// # Errors
    ///
    /// If none is given.
    pub async fn instead_of(&self, refused: &Arc<Token>, audience: Audience) -> Result<Arc<Token>, CredentialError> {
        {
            let mut held = self.slot(audience).held();
            held.token.take_if(|token| Arc::ptr_eq(token, refused));
        }
        self.token(audience).await
    }

    fn slot(&self, audience: Audience) -> &Slot {
        let [arm, storage, monitor] = &self.slots;
        match audience {
            Audience::Arm => arm,
            Audience::Storage => storage,
            Audience::Monitor => monitor,
        }
    }
}
