//! The token that PIA gives for a user's name and password.
//!
//! It is kept until a server refuses it. Logins are counted by PIA, and too many lock the user out, so that one login at
//! a time is tried for all containers, none while an earlier failure holds it back, and none while the last token has
//! yet to be taken by a server. [`State`] is pure.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    config::Config,
    credentials::{Login, Secret, danger_serialize},
    store::{Store, StoreError},
};
use crate::provider::{
    ProviderError,
    https::{Answer, encode, quote},
};

/// The token, and how long PIA asked for patience.
const FILE: &str = "token.json";

/// The longest token that is taken, in bytes.
const MAX_TOKEN: usize = 4096;

/// How long no login is tried after the first "too many attempts"; twice as long after each further one.
const FIRST_LOCKOUT: Duration = Duration::from_secs(5 * 60);

/// The longest time without a login.
const MAX_LOCKOUT: Duration = Duration::from_secs(60 * 60);

/// How long the same name and password are not tried again that PIA refused.
const AFTER_DENIAL: Duration = Duration::from_secs(15 * 60);

/// How long no login is tried after one without an answer.
const AFTER_OUTAGE: Duration = Duration::from_secs(10);

/// How long a token that no server has taken yet is not replaced by another.
const MIN_TRIAL: Duration = Duration::from_secs(10 * 60);

/// What came of a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Token(Secret),
    /// PIA wants no more logins for a while.
    TooMany(Option<Duration>),
    /// The name or the password is wrong.
    Denied,
    /// Anything else.
    Failed(String),
}

/// What is known of the token.
#[derive(Debug, Default)]
pub(super) struct State {
    token: Option<Secret>,
    /// When the token came, until a server has taken it.
    on_trial: Option<SystemTime>,
    hold: Option<Hold>,
    /// "Too many attempts" in a row.
    lockouts: u32,
}

/// Why no login is tried.
#[derive(Debug)]
struct Hold {
    until: SystemTime,
    error: ProviderError,
    /// Who was refused: others may try.
    denied: Option<Login>,
}

/// What is on the disk.
#[derive(Default, Serialize, Deserialize)]
struct Text {
    /// Empty if there is none.
    #[serde(default, serialize_with = "danger_serialize")]
    token: Secret,
    /// Seconds since 1970 before which no login is tried.
    #[serde(default)]
    locked_until: u64,
    #[serde(default)]
    lockouts: u32,
}

impl State {
    /// Whether a login may be tried.
    fn permit(&self, login: &Login, now: SystemTime) -> Result<(), ProviderError> {
        match &self.hold {
            Some(hold) if now < hold.until && hold.denied.as_ref().is_none_or(|denied| denied == login) => {
                Err(hold.error.clone())
            }
            _ => Ok(()),
        }
    }

    /// Whether the token may be given up for another.
    fn permit_renewal(&self, now: SystemTime) -> Result<(), ProviderError> {
        match self.on_trial {
            Some(since) if now < since + MIN_TRIAL => Err(ProviderError::Unavailable(format!(
                "PIA's servers do not take the token that PIA gave at {}; no other is asked for before {}",
                clock(since),
                clock(since + MIN_TRIAL)
            ))),
            _ => Ok(()),
        }
    }

    /// Takes in what came of a login.
    fn learn(
        &mut self,
        outcome: Outcome,
        login: &Login,
        place: &str,
        now: SystemTime,
    ) -> Result<Secret, ProviderError> {
        let (wait, error, denied) = match outcome {
            Outcome::Token(token) => {
                self.hold = None;
                self.lockouts = 0;
                self.on_trial = Some(now);
                self.token = Some(token.clone());
                return Ok(token);
            }
            Outcome::TooMany(asked) => {
                let wait = FIRST_LOCKOUT * 2_u32.pow(self.lockouts.min(5));
                self.lockouts = self.lockouts.saturating_add(1);
                let wait = wait.max(asked.unwrap_or_default()).min(MAX_LOCKOUT);
                (wait, locked(now + wait), None)
            }
            Outcome::Denied => {
                let error = ProviderError::Refused(format!(
                    "PIA refuses the user name or the password of {place}: correct them there; these are not tried again \
                     before {}",
                    clock(now + AFTER_DENIAL)
                ));
                (AFTER_DENIAL, error, Some(login.clone()))
            }
            Outcome::Failed(why) => {
                let error = ProviderError::Unavailable(format!("no login at PIA: {why}"));
                (AFTER_OUTAGE, error, None)
            }
        };
        self.hold = Some(Hold {
            until: now + wait,
            error: error.clone(),
            denied,
        });
        Err(error)
    }

    fn text(&self) -> Text {
        let locked = self.hold.as_ref().filter(|_| self.lockouts > 0);
        let locked = locked.and_then(|hold| hold.until.duration_since(UNIX_EPOCH).ok());
        Text {
            token: self.token.clone().unwrap_or_default(),
            locked_until: locked.map_or(0, |since| since.as_secs()),
            lockouts: self.lockouts,
        }
    }

    fn of(text: Text, now: SystemTime) -> Self {
        let until = UNIX_EPOCH + Duration::from_secs(text.locked_until.min(u64::from(u32::MAX)));
        // A clock that was set back must not lock anybody out for longer.
        let is_locked = now < until && until <= now + MAX_LOCKOUT;
        Self {
            token: Some(text.token).filter(|token| is_sound(token.danger_text())),
            on_trial: None,
            hold: is_locked.then(|| Hold {
                until,
                error: locked(until),
                denied: None,
            }),
            lockouts: if is_locked { text.lockouts } else { 0 },
        }
    }
}

fn locked(until: SystemTime) -> ProviderError {
    ProviderError::Unavailable(format!(
        "PIA has had too many logins of this user (too_many_attempts); the next is tried at {}",
        clock(until)
    ))
}

/// A time for people, in UTC.
pub(super) fn clock(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn is_sound(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads the answer to a login.
fn read(answer: &Answer, login: &Login) -> Outcome {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Text {
        token: Option<Secret>,
        code: Option<String>,
        message: Option<String>,
    }
    let text: Option<Text> = serde_json::from_slice(&answer.body).ok();
    let code = text.as_ref().and_then(|text| text.code.as_deref());
    if answer.status == StatusCode::TOO_MANY_REQUESTS || code == Some("too_many_attempts") {
        return Outcome::TooMany(answer.retry_after);
    }
    match (answer.status, text) {
        (StatusCode::OK, Some(text)) => match text.token.filter(|token| !token.danger_text().is_empty()) {
            Some(token) if is_sound(token.danger_text()) => Outcome::Token(token),
            Some(_) => Outcome::Failed("its answer holds a token of letters that no token has".to_owned()),
            None => Outcome::Denied,
        },
        (StatusCode::OK, None) => Outcome::Failed("its answer is not JSON".to_owned()),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Outcome::Denied,
        (status, text) => {
            let said = text.and_then(|text| text.message).unwrap_or_default();
            let said = quote(&said, &[&login.user, login.password.danger_text()]);
            Outcome::Failed(format!("it answers {status} {said}").trim_end().to_owned())
        }
    }
}

/// The token of all containers.
#[derive(Debug)]
pub(super) struct Tokens {
    /// Held through a login, so that there is one at a time.
    state: Mutex<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    state: State,
    is_saved: bool,
}

impl Tokens {
    /// Begins with what is on the disk.
    pub(super) fn open(store: &Store, now: SystemTime) -> Self {
        let text = store.find::<Text>(FILE).unwrap_or_default();
        let state = State::of(text, now);
        Self {
            state: Mutex::new(Shelf { state, is_saved: true }),
        }
    }

    /// The token; logs in if there is none.
    pub(super) async fn token(
        &self,
        config: &Config,
        store: &Store,
        web: &Arc<ClientConfig>,
    ) -> Result<Secret, ProviderError> {
        let mut shelf = self.state.lock().await;
        shelf.save(store)?;
        match &shelf.state.token {
            Some(token) => Ok(token.clone()),
            None => shelf.log_in(config, store, web).await,
        }
    }

    /// Another token than `refused`, which a server does not take; one that somebody else got meanwhile, if there is.
    pub(super) async fn renew(
        &self,
        refused: &Secret,
        config: &Config,
        store: &Store,
        web: &Arc<ClientConfig>,
    ) -> Result<Secret, ProviderError> {
        let mut shelf = self.state.lock().await;
        shelf.save(store)?;
        match &shelf.state.token {
            Some(token) if token != refused => return Ok(token.clone()),
            Some(_) => shelf.state.permit_renewal(SystemTime::now())?,
            None => {}
        }
        shelf.log_in(config, store, web).await
    }

    /// Hears that a server has taken a token.
    pub(super) async fn taken(&self, token: &Secret) {
        let mut shelf = self.state.lock().await;
        if shelf.state.token.as_ref() == Some(token) {
            shelf.state.on_trial = None;
        }
    }
}

impl Shelf {
    async fn log_in(
        &mut self,
        config: &Config,
        store: &Store,
        web: &Arc<ClientConfig>,
    ) -> Result<Secret, ProviderError> {
        let login = config
            .credentials
            .read()
            .map_err(|error| ProviderError::Refused(error.to_string()))?;
        self.state.permit(&login, SystemTime::now())?;
        let outcome = ask(config, web, &login).await;
        let learnt = self
            .state
            .learn(outcome, &login, &config.credentials.place(), SystemTime::now());
        self.is_saved = false;
        self.save(store)?;
        learnt
    }

    /// Writes down what is not on the disk yet: without it, a restart would log in again.
    fn save(&mut self, store: &Store) -> Result<(), StoreError> {
        if !self.is_saved {
            store.keep(FILE, &self.state.text())?;
            self.is_saved = true;
        }
        Ok(())
    }
}

async fn ask(config: &Config, web: &Arc<ClientConfig>, login: &Login) -> Outcome {
    let at = &config.endpoints.api;
    let form = format!(
        "username={}&password={}",
        encode(&login.user),
        encode(login.password.danger_text())
    );
    let question = Request::post(at.path("/token"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Full::from(form));
    let question = match question {
        Ok(question) => question,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    match at.ask(web, question).await {
        Ok(answer) => read(&answer, login),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn login(user: &str) -> Login {
        Login {
            user: user.to_owned(),
            password: Secret::new("pass"),
        }
    }

    fn start() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn an_answer_is_a_token_or_says_why_not() {
        let failed = |why: &str| Outcome::Failed(why.to_owned());
        for (status, body, outcome) in [
            (200, r#"{"token":"abc","x":1}"#, Outcome::Token(Secret::new("abc"))),
            (200, r#"{"token":""}"#, Outcome::Denied),
            (200, "{}", Outcome::Denied),
            (
                200,
                r#"{"token":"a\nb"}"#,
                failed("its answer holds a token of letters that no token has"),
            ),
            (200, "<html>", failed("its answer is not JSON")),
            (401, "", Outcome::Denied),
            (403, "{}", Outcome::Denied),
            (429, "", Outcome::TooMany(None)),
            (
                400,
                r#"{"status":"error","code":"too_many_attempts"}"#,
                Outcome::TooMany(None),
            ),
            (302, "", failed("it answers 302 Found")),
            (
                500,
                r#"{"message":"p1 and pass"}"#,
                failed("it answers 500 Internal Server Error (hidden, for it repeats a secret)"),
            ),
        ] {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: None,
                body: body.into(),
            };
            assert_eq!(read(&answer, &login("p1")), outcome, "{status} {body}");
        }
    }

    #[test]
    fn too_many_logins_hold_back_the_next_for_longer_each_time() {
        let (mut state, me, mut now) = (State::default(), login("p1"), start());
        for (asked, wait) in [
            (None, 5),
            (None, 10),
            (Some(25 * MINUTE), 25),
            (None, 40),
            (None, 60),
            (Some(999 * MINUTE), 60),
        ] {
            state.permit(&me, now).unwrap();
            let error = state.learn(Outcome::TooMany(asked), &me, "", now).unwrap_err();
            let until = now + wait * MINUTE;
            assert!(error.to_string().contains(&clock(until)), "{error}");
            assert_eq!(state.permit(&me, until - MINUTE), Err(error.clone()));
            // A restart does not forget it.
            let again = State::of(state.text(), now);
            assert_eq!(again.permit(&me, until - MINUTE), Err(error));
            assert_eq!(again.lockouts, state.lockouts);
            now = until;
        }
        state.permit(&me, now).unwrap();
        state.learn(Outcome::Token(Secret::new("t")), &me, "", now).unwrap();
        assert_eq!((state.lockouts, state.hold.is_none()), (0, true));
    }

    #[test]
    fn a_refused_login_is_not_tried_again_but_another_is() {
        let (mut state, me) = (State::default(), login("p1"));
        let error = state.learn(Outcome::Denied, &me, "/etc/pia", start()).unwrap_err();
        assert!(
            matches!(&error, ProviderError::Refused(text) if text.contains("/etc/pia")),
            "{error}"
        );
        assert_eq!(state.permit(&me, start() + 14 * MINUTE), Err(error));
        state.permit(&login("p2"), start()).unwrap();
        state.permit(&me, start() + 15 * MINUTE).unwrap();
    }

    #[test]
    fn a_token_that_no_server_has_taken_is_not_replaced_at_once() {
        let (mut state, me) = (State::default(), login("p1"));
        state.learn(Outcome::Token(Secret::new("t")), &me, "", start()).unwrap();
        assert!(state.permit_renewal(start() + 9 * MINUTE).is_err());
        state.permit_renewal(start() + 10 * MINUTE).unwrap();
        state.on_trial = None;
        state.permit_renewal(start()).unwrap();
    }

    #[test]
    fn a_lock_out_of_a_clock_that_was_set_back_is_none() {
        let text = Text {
            token: Secret::default(),
            locked_until: 1_800_000_000 + 3601,
            lockouts: 1,
        };
        State::of(text, start()).permit(&login("p1"), start()).unwrap();
    }
}
