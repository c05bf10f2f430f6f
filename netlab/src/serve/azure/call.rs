//! One request, from the connection to its answer: faults, the log, tokens, versions and permissions.

use std::io::{self, BufReader};
use std::net::TcpStream;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use serde_json::Value;

use super::fault::{Fault, Refusal};
use super::members::{Body, Wrong};
use super::operation::Way;
use super::request::{Answer, Asked, Request};
use super::state::State;
use super::{Shared, clock, ingestion, power, route, token, versions};

/// How long a client may be silent. Another thread serves its next connection, so that this harms nobody.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request for the API that may come in.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) request: &'a Request,
    /// The fault that concerns its operation.
    pub(super) fault: Option<Fault>,
}

/// Serves a connection until its end.
pub(super) fn serve(shared: &Arc<Shared>, stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader)? {
        if !exchange(shared, &request, stream)? {
            break;
        }
    }
    Ok(())
}

/// Answers a request; whether the connection goes on.
fn exchange(shared: &Arc<Shared>, request: &Request, mut stream: &TcpStream) -> io::Result<bool> {
    let fault = shared.state().orders.take(&request.method, request.path());
    let answer = match &fault {
        Some(Fault::LostBefore) => {
            log(shared, request, None);
            return Ok(false);
        }
        Some(Fault::Hangs) => {
            log(shared, request, None);
            // It ends when the client gives up, or reads nothing for as long as anybody waits.
            stream.set_read_timeout(None)?;
            let _end = io::copy(&mut &*stream, &mut io::sink());
            return Ok(false);
        }
        Some(Fault::Refused(refusal)) => refusal.answer(),
        Some(
            Fault::LostAfter
            | Fault::CutShort
            | Fault::Late(_)
            | Fault::NeverEnds
            | Fault::OperationFails(_)
            | Fault::OperationForgotten,
        )
        | None => answer(shared, request, fault.as_ref()),
    };
    let answer = with_headers(shared, request, answer);
    log(shared, request, Some(answer.status));
    let is_cut = match fault {
        Some(Fault::LostAfter) => return Ok(false),
        Some(Fault::Late(time)) => {
            // Lateness is what was ordered: there is nothing to wait for but the clock.
            std::thread::sleep(time);
            false
        }
        Some(Fault::CutShort) => true,
        _ => false,
    };
    answer.write(&mut stream, is_cut)?;
    Ok(!is_cut)
}

fn log(shared: &Shared, request: &Request, status: Option<u16>) {
    shared.state().asked.push(Asked {
        method: request.method.clone(),
        target: request.target.clone(),
        headers: request.headers.clone(),
        body: String::from_utf8_lossy(&request.body).into_owned(),
        status,
    });
}

/// What every answer has.
fn with_headers(shared: &Shared, request: &Request, answer: Answer) -> Answer {
    let mut state = shared.state();
    let (id, now) = (state.uuid(), clock::now(state.skew));
    drop(state);
    let word = match &*request.method {
        "GET" | "HEAD" => "reads",
        "DELETE" => "deletes",
        _ => "writes",
    };
    let correlation = request.header("x-ms-correlation-request-id");
    let correlation = if correlation.is_empty() { &id } else { correlation };
    let remaining = format!("x-ms-ratelimit-remaining-subscription-{word}");
    let has_remaining = answer.headers.iter().any(|(name, _)| *name == remaining);
    let mut answer = answer
        .header("Date", clock::http(now))
        .header("Cache-Control", "no-cache")
        .header("x-ms-request-id", &*id)
        .header("x-ms-correlation-request-id", correlation)
        .header("x-ms-routing-request-id", format!("WESTEUROPE:{id}"));
    if !has_remaining {
        answer = answer.header(&remaining, "1199");
    }
    answer
}

/// What a request is answered.
fn answer(shared: &Arc<Shared>, request: &Request, fault: Option<&Fault>) -> Answer {
    let lower: Vec<_> = request.segments.iter().map(|segment| segment.to_lowercase()).collect();
    let lower: Vec<_> = lower.iter().map(String::as_str).collect();
    match (&*request.method, lower.as_slice()) {
        (_, ["metadata", "identity", "oauth2", "token"]) => token::metadata(shared, request),
        ("GET", ["serial", id @ ..]) => power::serial(shared, &format!("/{}", id.join("/")), request.parameter("sig")),
        ("POST", [tenant, "oauth2", "v2.0", "token"]) => token::sign_in(shared, request, tenant),
        ("POST", ["subscriptions", .., "metrics"]) => {
            ingestion::take(shared, request).unwrap_or_else(|refusal| refusal.answer())
        }
        _ => {
            let call = Call {
                shared,
                request,
                fault: fault.cloned(),
            };
            call.answer(&lower).unwrap_or_else(|refusal| refusal.answer())
        }
    }
}

impl<'a> Call<'a> {
    fn answer(&self, path: &[&str]) -> Result<Answer, Refusal> {
        let settings = &self.shared.settings;
        {
            let mut state = self.state();
            let now = clock::now(state.skew);
            state.tokens.check(self.request, settings, now)?;
            state.progress();
        }
        versions::check(self.version(), path)?;
        let Some(subscription) = self.segment(1).filter(|_| path.first() == Some(&"subscriptions")) else {
            return Err(Refusal::new(
                404,
                "InvalidResourceType",
                "The resource type could not be found.",
            ));
        };
        if !subscription.eq_ignore_ascii_case(&settings.subscription) {
            let message = format!("The subscription '{subscription}' could not be found.");
            return Err(Refusal::new(404, "SubscriptionNotFound", message));
        }
        route::allowed(self, path)?;
        let (namespace, is_write) = (
            self.namespace(),
            matches!(&*self.request.method, "PUT" | "POST" | "PATCH"),
        );
        if is_write && self.is_of_group() && self.state().unregistered.contains(&namespace) {
            let message = format!("The subscription is not registered to use namespace '{namespace}'.");
            return Err(Refusal::new(409, "MissingSubscriptionRegistration", message).target(&namespace));
        }
        if matches!(&*self.request.method, "PUT" | "PATCH") || !self.request.body.is_empty() {
            let kind = self.request.header("content-type");
            if !kind.to_lowercase().starts_with("application/json") {
                let message =
                    format!("The content media type '{kind}' is not supported. Only 'application/json' is supported.");
                return Err(Refusal::new(415, "UnsupportedMediaType", message));
            }
        }
        route::answer(self, path)
    }

    pub(super) fn state(&self) -> MutexGuard<'a, State> {
        self.shared.state()
    }

    /// A segment of the path, as sent.
    pub(super) fn segment(&self, index: usize) -> Option<&'a str> {
        self.request.segments.get(index).map(String::as_str)
    }

    /// The version of the API that was asked for.
    pub(super) fn version(&self) -> &'a str {
        self.request.parameter("api-version")
    }

    /// Where the client finds the service.
    pub(super) fn base(&self) -> String {
        format!("http://{}", self.request.header("host"))
    }

    /// How the client is to follow an operation.
    pub(super) fn way(&self) -> Way {
        let method = &*self.request.method;
        self.shared
            .settings
            .way
            .unwrap_or_else(|| match (&*self.namespace(), method) {
                ("microsoft.compute" | "microsoft.network" | "microsoft.containerinstance", "PUT" | "PATCH") => {
                    Way::AsyncOperation
                }
                ("microsoft.compute" | "microsoft.network", _) => Way::Both,
                _ => Way::Location,
            })
    }

    /// The provider's namespace, in lower case.
    pub(super) fn namespace(&self) -> String {
        let mut segments = self.request.segments.iter().map(|segment| segment.to_lowercase());
        let found = segments.by_ref().find(|segment| segment == "providers");
        found.and_then(|_| segments.next()).unwrap_or_default()
    }

    /// Whether the path goes on behind a resource group.
    pub(super) fn is_of_group(&self) -> bool {
        self.segment(2)
            .is_some_and(|segment| segment.eq_ignore_ascii_case("resourcegroups"))
            && self.segment(5).is_some()
    }

    /// The body, which must be of this type.
    pub(super) fn body(&self, body: &Body) -> Result<Value, Refusal> {
        let namespace = self.namespace();
        let text = String::from_utf8_lossy(&self.request.body);
        let invalid = |why: String| {
            if namespace == "microsoft.network" {
                let refusal = Refusal::new(400, "InvalidRequestFormat", "Cannot parse the request.");
                return refusal.detail("InvalidJson", why);
            }
            let message = format!("The request content was invalid and could not be deserialized: '{why}'.");
            Refusal::new(400, "InvalidRequestContent", message)
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        if !value.is_object() {
            return Err(invalid("The content is no object.".to_owned()));
        }
        let place = |name: &str| text.find(&format!("\"{name}\"")).unwrap_or(0) + 1;
        body.check(&value).map_err(|wrong| match wrong {
            Wrong::Unknown(name, path) => {
                let whole = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let (of, position) = (if path.is_empty() { body.name } else { &path }, place(&name));
                invalid(format!(
                    "Could not find member '{name}' on object of type '{of}'. Path '{whole}', line 1, position {position}."
                ))
            }
            Wrong::Missing(path) if namespace == "microsoft.compute" => {
                let message = format!("Required parameter '{path}' is missing (null).");
                Refusal::new(400, "InvalidParameter", message).target(&path)
            }
            Wrong::Missing(path) => invalid(format!("Required property '{path}' not found in JSON.")),
            Wrong::Value(path, value) if namespace == "microsoft.compute" => {
                let message = format!("The value '{value}' of parameter '{path}' is not allowed.");
                Refusal::new(400, "InvalidParameter", message).target(&path)
            }
            Wrong::Value(path, value) => {
                invalid(format!("Error converting value {value} to the type of '{path}'. Path '{path}', line 1, position 1."))
            }
        })?;
        Ok(value)
    }

    /// Whether this may only make what is not there: `If-None-Match: *`.
    pub(super) fn is_only_new(&self) -> bool {
        self.request.header("if-none-match") == "*"
    }
}
