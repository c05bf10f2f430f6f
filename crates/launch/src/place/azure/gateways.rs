//! Asks gateways at Azure through their WireGuard ports, and knows what follows if they do not answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use wg::PublicKey;

use crate::{
    LauncherSecret, LeaseId,
    node::{
        Answer, Question,
        tunnel::{CallError, Caller},
    },
    place::{Fault, FaultKind},
};

/// How long an answer is waited for: less than a step may take, so that Azure can be asked why there was none. In this crate's
/// own tests no gateway answers.
const LIMIT: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 6_000 });

/// One caller for each lease, kept: it sees to it that no handshake is a replay. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Gateways {
    secret: LauncherSecret,
    callers: Arc<Mutex<HashMap<LeaseId, Called>>>,
}

#[derive(Debug)]
struct Called {
    endpoint: String,
    public_key: PublicKey,
    caller: Arc<Caller>,
}

impl Gateways {
    pub(super) fn new(secret: LauncherSecret) -> Self {
        Self {
            secret,
            callers: Arc::default(),
        }
    }

    /// The launcher's public key for a lease, which its gateway is told.
    pub(super) fn launcher(&self, lease: LeaseId) -> PublicKey {
        self.secret.key(lease).public_key()
    }

    /// Asks the gateway with this key at `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// As [`Caller::ask`].
    pub(super) async fn ask(
        &self,
        lease: LeaseId,
        endpoint: &str,
        public_key: PublicKey,
        question: &Question,
    ) -> Result<Answer, CallError> {
        let caller = self.caller(lease, endpoint, public_key);
        caller.ask(question, LIMIT).await
    }

    /// Forgets a lease whose gateway is gone.
    pub(super) fn forget(&self, lease: LeaseId) {
        self.callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&lease);
    }

    fn caller(&self, lease: LeaseId, endpoint: &str, public_key: PublicKey) -> Arc<Caller> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(called) = callers.get(&lease)
            && called.endpoint == endpoint
            && called.public_key == public_key
        {
            return Arc::clone(&called.caller);
        }
        let caller = Arc::new(Caller::new(endpoint.to_owned(), public_key, self.secret.key(lease)));
        let called = Called {
            endpoint: endpoint.to_owned(),
            public_key,
            caller: Arc::clone(&caller),
        };
        callers.insert(lease, called);
        caller
    }
}

/// What follows from a gateway that gave no answer, as far as the gateway alone tells: nothing is clear.
pub(super) fn fault(error: &CallError) -> Fault {
    let code = match error {
        CallError::Unanswered { .. } => "gateway_unanswered",
        CallError::Silent { .. } | CallError::Refused { .. } => "gateway_silent",
        CallError::Name { .. } | CallError::Socket { .. } => "gateway_unreachable",
        CallError::Cut | CallError::Late | CallError::Busy => "gateway_late",
        CallError::OwnKey | CallError::TooLong | CallError::Foreign(_) => "gateway_foreign",
    };
    Fault::new(FaultKind::Unclear, code, error.to_string())
        .with_remedy("see that UDP gets from here to the gateway's port: firewalls, the security group and its source")
}
