//! The pages of signing in and out.

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{FromRequestParts as _, Query, Request, State},
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::{
    BeginError, LOCAL,
    asker::Asker,
    authenticate,
    cookie::Cookie,
    guard::check_origin,
    local,
    next::Next,
    oidc::{self, Answer, NotBegun, SignInError},
    secret::{Purpose, Secret},
    session::Began,
};
use crate::{
    App,
    identity::{CameBy, Denied, Identity},
    pages::LoginPage,
    problem::Problem,
};

/// Where people sign in.
pub(super) const LOGIN: &str = "/login";

/// `/login`, `/login/start`, `/login/callback` and `/logout`.
pub fn router() -> Router<Arc<App>> {
    Router::new()
        .route(LOGIN, get(page).post(by_form))
        .route("/login/start", get(start))
        .route("/login/callback", get(callback))
        .route("/logout", post(sign_out))
}

/// What the sign-in page is asked.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    token: Option<String>,
    next: Option<String>,
    failed: Option<String>,
    out: Option<String>,
}

/// Shows the page; with the printed token in the address, signs in, and takes it out of the address.
async fn page(State(app): State<Arc<App>>, Query(asked): Query<Asked>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let next = Next::of(asked.next.as_deref());
    let Some(token) = asked.token.map(Secret::new) else {
        let is_in = matches!(authenticate::of(&mut parts, &app).await, Ok(Some(_)));
        return match Failed::of(asked.failed.as_deref()) {
            Some(failed) => show(&app, &next, StatusCode::OK, Say::Problem(failed.words())),
            None if is_in => Redirect::to(next.as_str()).into_response(),
            None if asked.out.is_some() => {
                show(&app, &next, StatusCode::OK, Say::Note("You are signed out.".to_owned()))
            }
            None => show(&app, &next, StatusCode::OK, Say::Nothing),
        };
    };
    let asker = Asker::of(&parts.extensions);
    match by_printed(&app, &token, &parts.headers, &asker).await {
        Ok(session) => signed_in(&app, &session, &next),
        // The token must not stay in the address, and less so a wrong one that is nearly right.
        Err(failed) => Redirect::to(&failed.link(&next)).into_response(),
    }
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Typed {
    token: String,
    next: Option<String>,
}

/// Signs in by the token that somebody typed.
async fn by_form(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    extensions: Extensions,
    Form(typed): Form<Typed>,
) -> Response {
    let token = Secret::new(typed.token.trim().to_owned());
    let next = Next::of(typed.next.as_deref());
    // The guard lets this form pass.
    if let Err(denied) = check_origin(&headers, &app.config) {
        return denied.into_response();
    }
    match by_printed(&app, &token, &headers, &Asker::of(&extensions)).await {
        Ok(session) => signed_in(&app, &session, &next),
        Err(failed) => show(&app, &next, failed.status(), Say::Problem(failed.words())),
    }
}

async fn by_printed(app: &App, token: &Secret, headers: &HeaderMap, asker: &Asker) -> Result<Secret, Failed> {
    app.sign_in
        .check_printed(token, asker)
        .await
        .map_err(|denied| match denied {
            Denied::Wait(_) => Failed::Wait,
            Denied::SignedOut { .. }
            | Denied::BadToken
            | Denied::ExpiredToken
            | Denied::Blocked
            | Denied::Scope(_)
            | Denied::NotAdmin
            | Denied::WrongOrigin { .. }
            | Denied::WrongCsrf
            | Denied::TooMany(_)
            | Denied::Tables(_) => Failed::Token,
        })?;
    let begun = app.sign_in.begin(local(), Began::Printed, asker).await;
    let session = begun.map_err(|error| Failed::of_beginning(&error))?;
    end_former(app, headers, asker).await;
    Ok(session)
}

/// Sends the browser to the provider.
async fn start(
    State(app): State<Arc<App>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let next = Next::of(asked.next.as_deref());
    let Some(provider) = &app.sign_in.provider else {
        return Redirect::to(&next.login()).into_response();
    };
    let is_https = app.config.origin.is_https();
    let cookies = Cookie::Begun.values(&headers, is_https);
    let address = Asker::of(&extensions).address;
    match provider
        .begin(&callback_url(&app), next.clone(), &cookies, address)
        .await
    {
        Ok(beginning) => {
            let cookie = Cookie::Begun.set(&beginning.browser, oidc::LIFETIME, is_https);
            ([(header::SET_COOKIE, cookie)], Redirect::to(beginning.url.as_str())).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "nobody can sign in");
            show(
                &app,
                &next,
                StatusCode::SERVICE_UNAVAILABLE,
                Say::Problem(sentence(&error)),
            )
        }
    }
}

/// Takes the browser back from the provider.
async fn callback(
    State(app): State<Arc<App>>,
    Query(answer): Query<Answer>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let Some(provider) = &app.sign_in.provider else {
        return Redirect::to("/login").into_response();
    };
    let asker = Asker::of(&extensions);
    let is_https = app.config.origin.is_https();
    let cookies = Cookie::Begun.values(&headers, is_https);
    let (known, next) = match provider.finish(&callback_url(&app), answer, &cookies).await {
        Ok(found) => found,
        Err(error) => return refused(&app, &asker, &error, !cookies.is_empty()).await,
    };
    match app.sign_in.begin(known, Began::Provider, &asker).await {
        Ok(session) => {
            end_former(&app, &headers, &asker).await;
            let mut response = signed_in(&app, &session, &next);
            response
                .headers_mut()
                .append(header::SET_COOKIE, Cookie::Begun.remove(is_https));
            response
        }
        Err(error) => show(&app, &next, beginning_status(&error), Say::Problem(sentence(&error))),
    }
}

/// Writes down that somebody was refused at or after the provider, and says why.
async fn refused(app: &App, asker: &Asker, error: &SignInError, has_cookie: bool) -> Response {
    let (status, who) = match error {
        SignInError::NotBegun(NotBegun::Unknown | NotBegun::OtherBrowser) | SignInError::OtherIssuer => {
            (StatusCode::BAD_REQUEST, "")
        }
        SignInError::Unreachable(_) | SignInError::Random(_) => (StatusCode::SERVICE_UNAVAILABLE, ""),
        SignInError::Code(_) | SignInError::Token(_) => (StatusCode::BAD_GATEWAY, ""),
        SignInError::Refused(_) | SignInError::NoPerson(_) => (StatusCode::FORBIDDEN, ""),
        SignInError::NoRole { subject, .. } => (StatusCode::FORBIDDEN, subject.as_str()),
    };
    // Any page can make a browser ask for this address. Without a cookie nothing was tried, and nothing is written down.
    if has_cookie || !matches!(error, SignInError::NotBegun(_)) {
        app.sign_in
            .refused(asker, who, "session.refused", "", &error.to_string())
            .await;
    }
    if let SignInError::NoRole { subject, .. } = error {
        app.sign_in.bar(subject).await;
    }
    show(app, &Next::default(), status, Say::Problem(sentence(error)))
}

/// Ends the session, here and where the provider lets us, there.
async fn sign_out(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let identity = Option::<Identity>::from_request_parts(&mut parts, &app).await?;
    let Some((identity, session)) = identity.and_then(|identity| match identity.came_by {
        CameBy::Cookie { session, .. } => Some((identity, session)),
        CameBy::Token { .. } | CameBy::Printed => None,
    }) else {
        return Ok(Redirect::to("/login").into_response());
    };
    app.sign_in
        .end(&identity.subject, session, &Asker::of(&parts.extensions))
        .await?;
    let provider = app.sign_in.provider.as_ref().filter(|_| identity.subject != LOCAL);
    let elsewhere = match provider {
        Some(provider) => provider.end_session(&format!("{}/login", app.config.origin)).await,
        None => None,
    };
    let mut response = match elsewhere.and_then(|url| HeaderValue::from_str(&format!("0; url={url}")).ok()) {
        // A form of this page may not lead to another site (CSP `form-action`), not even by a redirect.
        Some(refresh) => {
            let note =
                Say::Note("You are signed out here. Now your provider asks whether to sign out there, too.".to_owned());
            (
                [(header::REFRESH, refresh)],
                show(&app, &Next::default(), StatusCode::OK, note),
            )
                .into_response()
        }
        None => Redirect::to("/login?out=").into_response(),
    };
    response
        .headers_mut()
        .append(header::SET_COOKIE, Cookie::Session.remove(app.config.origin.is_https()));
    Ok(response)
}

/// Sends the browser on with its session.
fn signed_in(app: &App, session: &Secret, next: &Next) -> Response {
    let cookie = Cookie::Session.set(session, app.sign_in.lifetime.absolute, app.config.origin.is_https());
    ([(header::SET_COOKIE, cookie)], Redirect::to(next.as_str())).into_response()
}

/// Ends the sessions that the browser had before, so that nobody goes on with one of them.
async fn end_former(app: &App, headers: &HeaderMap, asker: &Asker) {
    for former in Cookie::Session.values(headers, app.config.origin.is_https()) {
        let session = former.fingerprint(Purpose::Session);
        if let Err(error) = app.sign_in.end_known(session, asker).await {
            tracing::warn!(%error, "a former session goes on until it ends by itself");
        }
    }
}

fn callback_url(app: &App) -> String {
    format!("{}/login/callback", app.config.origin)
}

/// What the page says beside how to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Say {
    Nothing,
    Problem(String),
    Note(String),
}

fn show(app: &App, next: &Next, status: StatusCode, say: Say) -> Response {
    let sign_in = &app.sign_in;
    let say = if say == Say::Nothing && sign_in.printed.is_none() && sign_in.provider.is_none() {
        Say::Note("This hub has no pages to sign in to: it answers programs that have an API token.".to_owned())
    } else {
        say
    };
    let (problem, note) = match say {
        Say::Nothing => (None, None),
        Say::Problem(problem) => (Some(problem), None),
        Say::Note(note) => (None, Some(note)),
    };
    let provider = sign_in.provider.as_ref();
    let page = LoginPage {
        takes_token: sign_in.printed.is_some(),
        provider: provider.map(|provider| (next.link("/login/start"), provider.name())),
        next: next.to_string(),
        problem,
        note,
        hidden: None,
    };
    (status, Html(page.render().into_string())).into_response()
}

/// Why the printed token did not sign in. In the address it is a word, so that nobody can make the page say something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Token,
    Wait,
    Hub,
}

impl Failed {
    const ALL: [Self; 3] = [Self::Token, Self::Wait, Self::Hub];

    fn of(word: Option<&str>) -> Option<Self> {
        Self::ALL.into_iter().find(|failed| Some(failed.as_str()) == word)
    }

    fn of_beginning(error: &BeginError) -> Self {
        tracing::error!(%error, "no session begins");
        Self::Hub
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Wait => "wait",
            Self::Hub => "hub",
        }
    }

    fn words(self) -> String {
        match self {
            Self::Token => "This is not the token that the hub printed when it was started. A restart makes a new one.",
            Self::Wait => "Too many tokens from your address were wrong. Wait five minutes, and try again.",
            Self::Hub => "The hub could not begin a session. Its log says why.",
        }
        .to_owned()
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::FORBIDDEN,
            Self::Wait => StatusCode::TOO_MANY_REQUESTS,
            Self::Hub => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn link(self, next: &Next) -> String {
        let login = next.login();
        let and = if login.contains('?') { '&' } else { '?' };
        format!("{login}{and}failed={}", self.as_str())
    }
}

/// An error as a sentence of a page.
fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .map(|first| first.to_uppercase().collect())
        .unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

fn beginning_status(error: &BeginError) -> StatusCode {
    match error {
        BeginError::Blocked => StatusCode::FORBIDDEN,
        BeginError::Random(_) | BeginError::Tables(_) | BeginError::Audit(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl From<BeginError> for Problem {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Blocked => Denied::Blocked.into(),
            BeginError::Random(error) => Self::internal(&error),
            BeginError::Tables(error) => error.into(),
            BeginError::Audit(error) => error.into(),
        }
    }
}
