//! A hub in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::Router;
use hub::{
    App, Config,
    audit::{Audit, Row},
    config::{Typed, TypedOidc},
    server,
    sign_in::{Given, Secret, SignIn},
};
use launch::{
    Clock, Launcher, launcher,
    place::{
        Place,
        simulate::{Simulate, Times},
    },
    store::Database,
};

/// The token that signs in on loopback.
pub(crate) const TOKEN: &str = "a-token-that-nobody-guesses";

/// The hub's name at the provider.
pub(crate) const CLIENT: &str = "hub";

/// A hub, with a time that the test moves on.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    ahead: Arc<AtomicU64>,
    database: Arc<Database>,
}

impl Hub {
    /// One that only this machine reaches, with the printed token.
    pub(crate) fn local() -> Self {
        Self::of(Typed::default(), Arc::new(Database::in_memory().unwrap()))
    }

    /// One at <https://vpn.example.org>, behind a proxy, with a provider.
    pub(crate) fn public(issuer: &str) -> Self {
        Self::of(public(issuer), Arc::new(Database::in_memory().unwrap()))
    }

    pub(crate) fn with(typed: Typed) -> Self {
        Self::of(typed, Arc::new(Database::in_memory().unwrap()))
    }

    /// The same hub after a restart, set up otherwise.
    pub(crate) fn restarted(&self, typed: Typed) -> Self {
        Self::of(typed, Arc::clone(&self.database))
    }

    fn of(typed: Typed, database: Arc<Database>) -> Self {
        let config = Config::new(typed).unwrap();
        let ahead = Arc::new(AtomicU64::new(0));
        let clock = clock(&ahead);
        let audit = Audit::open(Arc::clone(&database), clock.clone()).unwrap();
        let has_printed = config.is_local && config.oidc.is_none();
        let given = Given {
            token: has_printed.then(|| Secret::new(TOKEN.to_owned())),
            authorities: Vec::new(),
            clock,
        };
        let (sign_in, _) = SignIn::open(&config, given, Arc::clone(&database), audit.clone()).unwrap();
        let times = Times {
            creation: Duration::from_millis(5),
            start: Duration::from_millis(5),
            removal: Duration::from_millis(5),
            call: Duration::from_millis(1),
        };
        let places: Vec<Arc<dyn Place>> = vec![Simulate::new(times)];
        let store: Arc<Database> = Arc::clone(&database);
        let launcher = Launcher::start(launcher::Config::new("test"), store, places).unwrap();
        let app = Arc::new(App::new(config, launcher, sign_in, audit));
        Self {
            router: server::router(Arc::clone(&app)),
            app,
            ahead,
            database,
        }
    }

    /// Moves the hub's time on.
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead
            .fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The audit, the oldest row first.
    pub(crate) async fn audit(&self) -> Vec<Row> {
        let mut rows = self.app.audit.page(None, 1_000).await.unwrap();
        rows.reverse();
        rows
    }

    /// Rows of the audit about this, with this outcome.
    pub(crate) async fn audited(&self, what: &str, outcome: &str) -> Vec<Row> {
        let mut rows = self.audit().await;
        rows.retain(|row| row.what == what && row.outcome == outcome);
        rows
    }

    /// Everything that the hub keeps, as one text to look for secrets in.
    pub(crate) fn kept(&self) -> String {
        let tables = [
            "accounts", "sessions", "tokens", "audit", "leases", "notices", "requests",
        ];
        let mut text = String::new();
        for table in tables {
            let read = |connection: &rusqlite::Connection| -> Result<(), rusqlite::Error> {
                let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
                let columns = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    for column in 0..columns {
                        text.push_str(&format!("{:?} ", row.get_ref(column)?));
                    }
                }
                Ok(())
            };
            self.database.read(read).unwrap();
        }
        text
    }
}

/// A hub at <https://vpn.example.org>, behind a proxy at 10.0.0.7.
pub(crate) fn public(issuer: &str) -> Typed {
    Typed {
        listen: Some("0.0.0.0:8790".to_owned()),
        public_url: Some("https://vpn.example.org".to_owned()),
        trusted_proxies: vec!["10.0.0.7".to_owned()],
        oidc: Some(oidc(issuer)),
        ..Typed::default()
    }
}

pub(crate) fn oidc(issuer: &str) -> TypedOidc {
    TypedOidc {
        issuer: Some(issuer.to_owned()),
        client_id: Some(CLIENT.to_owned()),
        role_claim: Some("groups".to_owned()),
        admin_values: vec!["vpn-admins".to_owned()],
        user_values: vec!["vpn-users".to_owned()],
        ..TypedOidc::default()
    }
}

/// Both of its clocks go by what the test adds.
fn clock(ahead: &Arc<AtomicU64>) -> Clock {
    let begin = std::time::Instant::now();
    let (of_wall, of_boot) = (Arc::clone(ahead), Arc::clone(ahead));
    let read = |ahead: &AtomicU64| Duration::from_millis(ahead.load(Ordering::SeqCst));
    Clock::of(
        move || SystemTime::now() + read(&of_wall),
        move || begin.elapsed() + read(&of_boot),
    )
}
