//! A hub, and somebody who asks it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use hub::{
    App, Config, Monitor,
    audit::{Audit, Row},
    config::{Limits, Typed},
    server::{self, Peer},
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
use serde_json::Value;
use tower::ServiceExt as _;

/// What signs in.
pub(crate) const TOKEN: &str = "a-token-that-nobody-guesses";

/// A public key that is somebody's.
pub(crate) const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// Another one.
pub(crate) const OTHER_KEY: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";

/// And a third.
pub(crate) const THIRD_KEY: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

/// Longer than anything takes here.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A hub.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) app: Arc<App>,
    router: Router,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A question.
pub(crate) struct Question {
    hub: Hub,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    peer: &'static str,
}

/// A database that goes with the test.
pub(crate) fn memory() -> Arc<Database> {
    Arc::new(Database::in_memory().unwrap())
}

/// Times in which a test has no time to lose.
pub(crate) fn quick() -> Times {
    Times {
        creation: Duration::from_millis(40),
        start: Duration::from_millis(20),
        removal: Duration::from_millis(20),
        call: Duration::from_millis(1),
    }
}

impl Hub {
    /// One that only this machine reaches.
    pub(crate) fn new() -> Self {
        Self::with(Typed::default())
    }

    pub(crate) fn with(typed: Typed) -> Self {
        Self::at(typed, Simulate::new(quick()))
    }

    pub(crate) fn at(typed: Typed, place: Arc<Simulate>) -> Self {
        Self::of(Config::new(typed).unwrap(), place, memory(), Clock::system())
    }

    /// One that only this machine reaches, with other limits.
    pub(crate) fn limited(limits: Limits) -> Self {
        let config = Config {
            limits,
            ..Config::new(Typed::default()).unwrap()
        };
        Self::of(config, Simulate::new(quick()), memory(), Clock::system())
    }

    pub(crate) fn of(config: Config, place: Arc<Simulate>, database: Arc<Database>, clock: Clock) -> Self {
        Self::monitored(config, place, database, clock, None)
    }

    /// One that sends custom metrics once it is served.
    pub(crate) fn monitored(
        config: Config,
        place: Arc<Simulate>,
        database: Arc<Database>,
        clock: Clock,
        monitor: Option<Monitor>,
    ) -> Self {
        let audit = Audit::open(Arc::clone(&database), clock.clone()).unwrap();
        let given = Given {
            token: config.is_local.then(|| Secret::new(TOKEN.to_owned())),
            authorities: Vec::new(),
            clock: clock.clone(),
        };
        let (sign_in, _) = SignIn::open(&config, given, Arc::clone(&database), audit.clone()).unwrap();
        let settings = launcher::Config {
            policy: config.policy.clone(),
            profiles: config.profiles.clone(),
            clock,
            ..launcher::Config::new("test")
        };
        let launcher = Launcher::start(settings, database, vec![place as Arc<dyn Place>]).unwrap();
        let app = Arc::new(App::new(config, launcher, sign_in, audit).with_monitor(monitor));
        Self {
            router: server::router(Arc::clone(&app)),
            app,
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Question {
        Question {
            hub: self.clone(),
            method: method.parse().unwrap(),
            path: path.to_owned(),
            headers: HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("127.0.0.1:8790"))]),
            body: Vec::new(),
            peer: "127.0.0.1:40000",
        }
        .with("authorization", &format!("Bearer {TOKEN}"))
    }

    pub(crate) fn get(&self, path: &str) -> Question {
        self.ask("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Question {
        self.ask("POST", path).json(body)
    }

    /// The audit, the newest row first.
    pub(crate) async fn audit(&self) -> Vec<Row> {
        self.app.audit.page(None, 1_000).await.unwrap()
    }

    /// A lease with one peer, as soon as it is ready.
    pub(crate) async fn ready_lease(&self) -> Value {
        let request = serde_json::json!({"peers": [{"name": "phone", "public_key": KEY}]});
        let lease = self.post("/api/v1/leases", &request).send().await.expect(202);
        self.wait(lease["id"].as_str().unwrap(), "ready").await
    }

    /// The lease once it is in this state.
    pub(crate) async fn wait(&self, id: &str, state: &str) -> Value {
        let reached = async {
            loop {
                let lease = self.get(&format!("/api/v1/leases/{id}")).send().await.expect(200);
                if lease["state"] == state {
                    return lease;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap()
    }
}

impl Question {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub(crate) fn by(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn from(mut self, peer: &'static str) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.with("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer but for its body.
    pub(crate) async fn begin(self) -> axum::response::Response {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .body(Body::from(self.body))
            .unwrap();
        *request.headers_mut() = self.headers;
        request.extensions_mut().insert(Peer(self.peer.parse().unwrap()));
        let answer = self.hub.router.clone().oneshot(request);
        tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap()
    }

    pub(crate) async fn send(self) -> Answer {
        let (head, body) = self.begin().await.into_parts();
        let body = tokio::time::timeout(LIMIT, body.collect()).await.unwrap().unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        }
    }
}

impl Answer {
    /// The body of an answer that has to have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The problem that it has to be.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert!(!self.header("x-request-id").is_empty());
        let request_id = self.header("x-request-id").to_owned();
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["type"], "about:blank", "{problem}");
        assert_eq!(problem["request_id"], request_id, "{problem}");
        assert!(
            problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()),
            "{problem}"
        );
        problem
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
