//! Problems as pages: what a browser would show as JSON becomes something that a person can read.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, Limited};

use super::super::{error::ErrorPage, layout::Viewer};
use crate::{
    App,
    identity::Identity,
    problem::{self, Problem},
};

/// Largest problem that is read, in bytes.
const LARGEST: usize = 64 * 1024;

/// A middleware: answers a browser's navigation with a page where a program gets a problem.
pub async fn readable(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !is_navigation(&request) {
        return next.run(request).await;
    }
    let parts = copy(&request);
    let response = next.run(request).await;
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|media_type| media_type == problem::CONTENT_TYPE);
    if is_problem {
        as_page(&app, parts, response).await
    } else {
        response
    }
}

/// Whether a person waits for a page.
fn is_navigation(request: &Request) -> bool {
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    accepted.contains("text/html") && !request.uri().path().starts_with("/api/")
}

/// What tells who asks.
fn copy(request: &Request) -> Parts {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy.into_parts().0
}

async fn as_page(app: &Arc<App>, mut parts: Parts, response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let read = Limited::new(body, LARGEST)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let problem = serde_json::from_slice::<Problem>(&read)
        .unwrap_or_else(|_| Problem::new(head.status, "unknown", "the hub could not answer this"));
    let back = back(&parts);
    let identity = Option::<Identity>::from_request_parts(&mut parts, app)
        .await
        .ok()
        .flatten();
    let viewer = identity.as_ref().map(Viewer::of);
    let page = ErrorPage {
        viewer: viewer.as_ref(),
        problem: &problem,
        back: &back,
    };
    let (page_head, page) = page.render().into_response().into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    for (name, value) in &page_head.headers {
        head.headers.insert(name, value.clone());
    }
    head.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    Response::from_parts(head, page)
}

/// Where a form that was refused came from, if that was a page of this hub; else the start.
fn back(parts: &Parts) -> String {
    let page = || {
        let referrer: axum::http::Uri = parts.headers.get(header::REFERER)?.to_str().ok()?.parse().ok()?;
        let host = parts.headers.get(header::HOST)?.to_str().ok()?;
        let is_ours = referrer.authority().is_some_and(|authority| authority.as_str() == host);
        is_ours.then(|| referrer.path_and_query().map(|path| path.as_str().to_owned()))?
    };
    if parts.method == Method::GET {
        "/".to_owned()
    } else {
        page().unwrap_or_else(|| "/".to_owned())
    }
}
