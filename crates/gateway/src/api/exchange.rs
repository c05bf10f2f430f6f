//! One request over HTTP: who may ask, what is asked, and the answer as JSON.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request as HttpRequest, Response, StatusCode,
    body::{Body, Bytes},
    header,
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use wg::PublicKey;

use super::{
    Answer, Call, Refusal, Request,
    guesses::{self, Guesses},
    guests::Source,
    secret::Lock,
};
use crate::text::Text;

/// Where peers are, before their names.
const PEERS: &str = "/v1/peers/";

/// Longest body of a request, in bytes.
const MAX_BODY: usize = 4096;

/// How long a client may take to send its body.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// How long the daemon may take: it may be busy with thousands of peers' files.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What stands between clients and the daemon.
#[derive(Debug)]
pub(super) struct Gate {
    lock: Arc<Lock>,
    guesses: Mutex<Guesses>,
    queue: mpsc::Sender<Call>,
    bell: Arc<OwnedFd>,
    log: fn(&str),
}

/// The body of a `PUT`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    public_key: Text<PublicKey>,
}

/// A response that says what is wrong.
#[derive(Debug, PartialEq, Eq)]
struct Problem(StatusCode, String);

impl Gate {
    pub(super) fn new(lock: Arc<Lock>, queue: mpsc::Sender<Call>, bell: Arc<OwnedFd>, log: fn(&str)) -> Self {
        Self {
            lock,
            guesses: Mutex::default(),
            queue,
            bell,
            log,
        }
    }

    /// Answers a request of somebody who comes from there.
    pub(super) async fn respond<B>(&self, request: HttpRequest<B>, source: Source) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
    {
        let answered = async {
            self.admit(&request, source, Instant::now())?;
            let request = read(request).await?;
            self.ask(request).await
        };
        let answer = match answered.await {
            Ok(answer) => answer,
            Err(Problem(status, message)) => return problem(status, &message),
        };
        match answer {
            Answer::Peer(admission) => {
                let body = serde_json::to_vec(&admission).expect("names, addresses and texts can be written");
                respond(StatusCode::OK, body)
            }
            Answer::Deleted => respond(StatusCode::NO_CONTENT, Vec::new()),
            Answer::Refused(refusal, message) => problem(status_of(refusal), &message),
        }
    }

    /// Lets through who has the token.
    fn admit<B>(&self, request: &HttpRequest<B>, source: Source, now: Instant) -> Result<(), Problem> {
        if self.guesses().is_barred(source, now) {
            let message = "too many wrong tokens came from there; try again in a minute";
            return Err(Problem(StatusCode::TOO_MANY_REQUESTS, message.to_owned()));
        }
        let authorization = request.headers().get(header::AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.lock.opens_to(authorization) {
            return Ok(());
        }
        if self.guesses().note(source, now) {
            (self.log)(&format!(
                "the API got {} wrong tokens from {}; it is not listened to for a minute",
                guesses::MOST,
                source.0
            ));
        }
        let message = "this token does not open this gateway; `adit peer token` there prints the one that does";
        Err(Problem(StatusCode::UNAUTHORIZED, message.to_owned()))
    }

    async fn ask(&self, request: Request) -> Result<Answer, Problem> {
        let busy = |message: &str| Problem(StatusCode::SERVICE_UNAVAILABLE, message.to_owned());
        let (asker, answer) = oneshot::channel();
        let call = Call { request, asker };
        self.queue
            .try_send(call)
            .map_err(|_| busy("the gateway has too many requests at once; try again"))?;
        // It fails only if it was rung more often than a number can say.
        let _rung = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        match timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(busy("the gateway ends; try again when it runs")),
            Err(_) => Err(busy("the gateway is busy; try again")),
        }
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is asked for.
async fn read<B>(request: HttpRequest<B>) -> Result<Request, Problem>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>,
{
    let name = request.uri().path().strip_prefix(PEERS);
    let Some(name) = name.filter(|name| !name.is_empty() && !name.contains('/')) else {
        let message = format!("there is nothing here; peers are at {PEERS}NAME");
        return Err(Problem(StatusCode::NOT_FOUND, message));
    };
    let name = name.to_owned();
    let method = request.method();
    if method == Method::GET {
        return Ok(Request::Get { name });
    }
    if method == Method::DELETE {
        return Ok(Request::Delete { name });
    }
    if method != Method::PUT {
        let message = "peers take GET, PUT and DELETE".to_owned();
        return Err(Problem(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    let body = timeout(BODY_LIMIT, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("a body has at most {MAX_BODY} bytes");
            return Err(Problem(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Ok(Err(error)) => return Err(Problem(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => {
            let message = "the body took too long".to_owned();
            return Err(Problem(StatusCode::REQUEST_TIMEOUT, message));
        }
    };
    let put: Put = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("not {{\"public_key\": \"…\"}}: {error}");
        Problem(StatusCode::BAD_REQUEST, message)
    })?;
    Ok(Request::Put {
        name,
        public_key: put.public_key.0,
    })
}

fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Name => StatusCode::BAD_REQUEST,
        Refusal::Foreign => StatusCode::FORBIDDEN,
        Refusal::Nobody => StatusCode::NOT_FOUND,
        Refusal::Conflict => StatusCode::CONFLICT,
        Refusal::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn problem(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let mut response = respond(status, json!({ "error": message }).to_string().into_bytes());
    let extra = match status {
        StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
        StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, "GET, PUT, DELETE")),
        StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "60")),
        _ => None,
    };
    if let Some((name, value)) = extra {
        response
            .headers_mut()
            .insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if status != StatusCode::NO_CONTENT {
        let json = header::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_now(method: &str, path: &str, body: &str) -> Result<Request, Problem> {
        let body = Full::new(Bytes::from(body.to_owned()));
        let request = HttpRequest::builder().method(method).uri(path).body(body).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(read(request))
    }

    #[test]
    fn requests_are_read_or_refused_with_the_fitting_status() {
        let key = PublicKey::from_bytes([7; 32]);
        let body = format!("{{\"public_key\":\"{key}\"}}");
        let name = || "web".to_owned();
        for (method, path, body, read) in [
            (
                "PUT",
                "/v1/peers/web",
                body.as_str(),
                Ok(Request::Put {
                    name: name(),
                    public_key: key,
                }),
            ),
            ("GET", "/v1/peers/web", "", Ok(Request::Get { name: name() })),
            ("DELETE", "/v1/peers/web", "", Ok(Request::Delete { name: name() })),
            ("PUT", "/v1/peers/web", "", Err(400)),
            ("PUT", "/v1/peers/web", r#"{"public_key":"x"}"#, Err(400)),
            ("PUT", "/v1/peers/web", &body.replace('}', ",\"allow\":[]}"), Err(400)),
            ("PUT", "/v1/peers/web", &body.repeat(100), Err(413)),
            ("POST", "/v1/peers/web", "", Err(405)),
            ("GET", "/v1/peers/", "", Err(404)),
            ("GET", "/v1/peers", "", Err(404)),
            ("GET", "/v1/peers/a/b", "", Err(404)),
            ("GET", "/", "", Err(404)),
        ] {
            let found = read_now(method, path, body).map_err(|Problem(status, _)| status.as_u16());
            assert_eq!(found, read, "{method} {path} {body}");
        }
    }
}
