//! An OpenID Connect provider: npm's `oidc-provider`, with users of the test's that sign in by a button.
//!
//! Authorization code with PKCE only (RFC 7636, S256), as *OpenID Connect Core 1.0, 3.1* has it; keys are RS256. A test
//! needs `"node"` and `"npm:oidc-provider"`, and `"root"` for one on a host.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Host, account, node, tool, wait_until};

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(30);

/// What a provider is to be like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address on which it listens, which its issuer names; 127.0.0.1 unless set.
    pub address: IpAddr,
    /// The port; 0, unless set, takes a free one.
    pub port: u16,
    /// The client that may ask it.
    pub client: Client,
    /// Who can sign in.
    pub users: Vec<User>,
    /// Where a client finds what is known of a user.
    pub claims: Claims,
    /// Who is asked for a sign-in.
    pub sign_in: SignIn,
}

impl Settings {
    /// A provider on a free port of 127.0.0.1 that puts claims into ID tokens and shows its page.
    #[must_use]
    pub const fn new(client: Client, users: Vec<User>) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            client,
            users,
            claims: Claims::InIdToken,
            sign_in: SignIn::ByPage,
        }
    }
}

/// A client of the provider's.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its ID.
    pub id: String,
    /// Its secret, for HTTP's basic authentication; without one it is a public client.
    pub secret: Option<String>,
    /// Where a browser comes back to with a code: the redirect URIs, compared letter by letter.
    pub redirects: Vec<String>,
    /// Where a browser may come back to when it has signed out.
    pub signed_out: Vec<String>,
}

/// Somebody who can sign in.
#[derive(Clone, Debug)]
pub struct User {
    /// Who it is.
    pub sub: String,
    /// What is known besides: an object such as `{"name": "Alice", "groups": ["staff"]}`.
    ///
    /// `email` and `email_verified` are of the scope `email`, `groups` of `groups`, `roles` of `roles`, all else of
    /// `profile`.
    pub claims: Value,
}

/// Where a provider puts what it knows of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// In the ID token and at the UserInfo endpoint, as most providers do.
    InIdToken,
    /// At the UserInfo endpoint only, as *OpenID Connect Core 1.0, 5.4* has it.
    AtUserInfo,
}

/// Who signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// Whoever's button is pressed on a page: `Sign in as NAME` for each user, and `Refuse`.
    ///
    /// Without a browser: POST the form field `sub` to the page's own address; an empty one refuses.
    ByPage,
    /// The first user, without being asked.
    AsFirst,
}

/// A running provider. Dropping it ends it; if the test is failing, what it said is printed first.
#[derive(Debug)]
pub struct Provider {
    issuer: String,
    said: Arc<Mutex<Vec<Value>>>,
    log: File,
    child: Child,
    reader: Option<JoinHandle<()>>,
    // It goes on as long as this is open, so that it does not outlive the test.
    _input: ChildStdin,
}

/// Starts a provider on `host`, or beside the test if there is none.
///
/// # Panics
///
/// If it does not start.
#[track_caller]
#[must_use]
pub fn oidc(host: Option<&Host>, settings: &Settings) -> Provider {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/oidc.mjs");
    let log = tempfile::tempfile().expect("make a file for a log");
    let mut command = Command::new(tool("node").expect("needs node"));
    command
        .args(node::arguments(&script))
        .env(node::PACKAGES, node::packages())
        .env(account::OWNER, std::process::id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().expect("share a file"));
    if let Some(host) = host {
        host.lead(&mut command, false);
    }
    let mut child = crate::command::started(&mut command, "an OpenID Connect provider");
    let mut input = child.stdin.take().expect("its input is a pipe");
    writeln!(input, "{}", written(settings)).expect("hand over the settings");
    let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
    let said = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&said);
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            locked(&lines).push(value);
        }
    });
    let mut provider = Provider {
        issuer: String::new(),
        said,
        log,
        child,
        reader: Some(reader),
        _input: input,
    };
    provider.issuer = wait_until("an OpenID Connect provider starts", LIMIT, || {
        let issuer = locked(&provider.said).first()?["issuer"].as_str().map(str::to_owned);
        let ended = provider.child.try_wait().expect("ask after a child");
        assert!(ended.is_none() || issuer.is_some(), "{}", provider.words());
        issuer
    });
    provider
}

impl Provider {
    /// Its address; discovery is at `/.well-known/openid-configuration` below it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The parameters of each request for a sign-in that it took, in the order in which users signed in.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        let said = locked(&self.said);
        said.iter().filter_map(|event| event.get("asked")).cloned().collect()
    }

    /// What it refused, each as `{"failed": "grant", "why": "…"}`.
    #[must_use]
    pub fn failed(&self) -> Vec<Value> {
        let said = locked(&self.said);
        said.iter()
            .filter(|event| event["failed"].is_string())
            .cloned()
            .collect()
    }

    fn words(&self) -> String {
        let mut log = String::new();
        let read = (&self.log).rewind().and_then(|()| (&self.log).read_to_string(&mut log));
        let said: Vec<_> = locked(&self.said).iter().map(Value::to_string).collect();
        format!(
            "the OpenID Connect provider said: {}\n{log}{}",
            said.join("\n"),
            read.err().map_or_else(String::new, |error| error.to_string())
        )
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _end = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- {}---", self.words());
        }
    }
}

/// The settings as the script reads them.
fn written(settings: &Settings) -> Value {
    let user = |user: &User| {
        let mut claims = user.claims.clone();
        claims["sub"] = user.sub.clone().into();
        claims
    };
    json!({
        "address": settings.address,
        "port": settings.port,
        "client": {
            "id": settings.client.id,
            "secret": settings.client.secret,
            "redirects": settings.client.redirects,
            "signedOut": settings.client.signed_out,
        },
        "users": settings.users.iter().map(user).collect::<Vec<_>>(),
        "claims": match settings.claims {
            Claims::InIdToken => "idtoken",
            Claims::AtUserInfo => "userinfo",
        },
        "asksNobody": settings.sign_in == SignIn::AsFirst,
    })
}

fn locked(said: &Mutex<Vec<Value>>) -> MutexGuard<'_, Vec<Value>> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
