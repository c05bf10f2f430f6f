//! The id of a request, through all layers: taken or made, logged, handed on, echoed.

use std::{future::Future, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use launch::Moment;
use tracing::Instrument as _;

/// The header that carries it.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client.
const LONGEST: usize = 64;

/// The id, as an extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

tokio::task_local! {
    static CURRENT: Arc<str>;
}

/// The id of the request that this task answers; `None` outside one.
pub fn current() -> Option<Arc<str>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Lets work that goes on in another task know the id.
pub(crate) fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let id = current();
    async move {
        match id {
            Some(id) => CURRENT.scope(id, work).await,
            None => work.await,
        }
    }
}

/// Takes the client's id, or makes one; lets everything inside know it, and echoes it.
pub(crate) async fn layer(mut request: Request, next: Next) -> Response {
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
    );
    request.extensions_mut().insert(RequestId(id.to_string()));
    let mut response = CURRENT.scope(Arc::clone(&id), next.run(request).instrument(span)).await;
    // What was taken or made is ASCII.
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
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
