//! The id of a request, through all layers: taken or made, logged, handed on, echoed.

use std::{future::Future, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use launch::Moment;
use tracing::{Instrument as _, Span};

use crate::{App, trace_context::TraceContext};

/// The header that carries it.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client.
const LONGEST: usize = 64;

/// The id, as an extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// What is known of the request that a task answers.
#[derive(Debug)]
struct Current {
    id: Arc<str>,
    /// What whom we ask for it is told of its trace.
    trace: Option<TraceContext>,
}

tokio::task_local! {
    static CURRENT: Arc<Current>;
}

/// The id of the request that this task answers; `None` outside one.
pub fn current() -> Option<Arc<str>> {
    CURRENT.try_with(|current| Arc::clone(&current.id)).ok()
}

/// The place in its trace of the request that this task answers; `None` if it belongs to none.
pub(crate) fn trace() -> Option<TraceContext> {
    CURRENT.try_with(|current| current.trace).ok()?
}

/// Lets work that goes on in another task know the id.
pub(crate) fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let current = CURRENT.try_with(Arc::clone).ok();
    async move {
        match current {
            Some(current) => CURRENT.scope(current, work).await,
            None => work.await,
        }
    }
}

/// Takes the client's id, or makes one; lets everything inside know it, and echoes it.
pub(crate) async fn layer(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id: Arc<str> = taken(request.headers().get(HEADER)).unwrap_or_else(made).into();
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method = %request.method(),
        path = request.uri().path(),
        route = tracing::field::Empty,
        status = tracing::field::Empty,
        subject = tracing::field::Empty,
        lease = tracing::field::Empty,
        trace_id = tracing::field::Empty,
        span_id = tracing::field::Empty,
        parent_span_id = tracing::field::Empty,
        is_sampled = tracing::field::Empty,
    );
    let trace = begin(
        &span,
        TraceContext::of(request.headers()),
        app.config.otlp_endpoint.is_some(),
    );
    request.extensions_mut().insert(RequestId(id.to_string()));
    let current = Arc::new(Current {
        id: Arc::clone(&id),
        trace,
    });
    let mut response = CURRENT.scope(current, next.run(request).instrument(span)).await;
    // What was taken or made is ASCII.
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// Says in a request's span which trace it belongs to; gives what whom we ask for it is told. Where spans are sent, it is a span
/// of its own, of the caller's trace or one that begins here; elsewhere the caller's is handed on.
fn begin(span: &Span, caller: Option<TraceContext>, is_sent: bool) -> Option<TraceContext> {
    let own = match (caller, is_sent) {
        (Some(caller), true) => Some(caller.child()),
        (Some(caller), false) => Some(caller),
        (None, true) => Some(TraceContext::random()),
        (None, false) => None,
    };
    if let Some(own) = own {
        span.record("trace_id", format!("{:032x}", own.trace));
    }
    if let (Some(own), true) = (own, is_sent) {
        span.record("span_id", format!("{:016x}", own.span));
        if let Some(caller) = caller {
            span.record("parent_span_id", format!("{:016x}", caller.span));
        }
        if !own.is_sampled {
            span.record("is_sampled", false);
        }
    }
    own
}

/// An id that is safe in a log and in a header: letters, digits, `-`, `_`, `.`.
fn taken(header: Option<&HeaderValue>) -> Option<String> {
    let text = header?.to_str().ok()?;
    let is_safe = (1..=LONGEST).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    is_safe.then(|| text.to_owned())
}

fn made() -> String {
    let mut random = [0; 16];
    // Without random numbers ids repeat within a millisecond, and nothing else rests on them.
    let _all_zero = getrandom::fill(&mut random);
    let now = Moment::from_system(std::time::SystemTime::now());
    ulid::Ulid::from_parts(now.as_millis(), u128::from_le_bytes(random))
        .to_string()
        .to_ascii_lowercase()
}
