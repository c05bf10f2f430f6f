//! Reads a request's body before anybody acts on it, within limits of size and time.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::{App, problem::Problem};

/// Replaces the body by one that is there as a whole.
pub(super) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.config.limits.body_bytes;
    let (parts, body) = request.into_parts();
    let declared = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return too_large(limit).into_response();
    }
    let read = timeout(app.config.limits.answer, Limited::new(body, limit).collect()).await;
    let problem = match read {
        Ok(Ok(body)) => return next.run(Request::from_parts(parts, Body::from(body.to_bytes()))).await,
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(limit),
        Ok(Err(_)) => Problem::new(
            StatusCode::BAD_REQUEST,
            "body_cut",
            "the body of the request did not come whole",
        ),
        Err(_) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_late",
            "the body of the request took too long",
        ),
    };
    problem.into_response()
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body is larger than {limit} bytes"),
    )
}
