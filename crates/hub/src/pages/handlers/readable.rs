//! Problems as pages: what a browser would show as JSON becomes something that a person can read.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts},
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

/// Most characters of an error that is no problem.
const LONGEST_LINE: usize = 300;

/// A middleware: answers a browser's navigation with a page where a program gets a problem.
pub async fn readable(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !is_navigation(&request) {
        return next.run(request).await;
    }
    let parts = copy(&request);
    let response = next.run(request).await;
    if is_for_programs(&response) {
        as_page(&app, parts, response).await
    } else {
        response
    }
}

/// Whether it is an error that no person should have to read as it is: a problem, or a line of the framework's.
fn is_for_programs(response: &Response) -> bool {
    let media_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    is_error && (media_type == problem::CONTENT_TYPE || media_type.starts_with("text/plain"))
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
    let problem = serde_json::from_slice::<Problem>(&read).unwrap_or_else(|_| {
        let line: String = String::from_utf8_lossy(&read).chars().take(LONGEST_LINE).collect();
        Problem::new(head.status, "unreadable", line.trim())
    });
    let (back, again) = (back(&parts), again(&parts, head.status));
    // Who asks too often is not looked up to be told so.
    let identity = if head.status == StatusCode::TOO_MANY_REQUESTS {
        None
    } else {
        let identity = Option::<Identity>::from_request_parts(&mut parts, app).await;
        identity.ok().flatten()
    };
    let viewer = identity.as_ref().map(Viewer::of);
    let page = ErrorPage {
        viewer: viewer.as_ref(),
        problem: &problem,
        back: &back,
        again: again.as_deref(),
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
        let referrer: Uri = parts.headers.get(header::REFERER)?.to_str().ok()?.parse().ok()?;
        let host = parts.headers.get(header::HOST)?.to_str().ok()?;
        let is_ours = referrer.authority().is_some_and(|authority| authority.as_str() == host);
        is_ours.then(|| path(&referrer))?
    };
    if parts.method == Method::GET {
        "/".to_owned()
    } else {
        page().unwrap_or_else(|| "/".to_owned())
    }
}

/// The page that was asked for, if it may be there the next time.
fn again(parts: &Parts, status: StatusCode) -> Option<String> {
    let is_passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    (is_passing && parts.method == Method::GET).then(|| path(&parts.uri))?
}

/// The path of an address, as a link to a page of this hub. There is none if a browser would take it for another host's: after
/// `//` comes a host, and `\` is read as `/`.
fn path(address: &Uri) -> Option<String> {
    let path = address.path_and_query()?.as_str();
    (!path.starts_with("//") && !path.contains('\\')).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
        let empty = axum::http::Request::builder().method(method).uri(path);
        let with = headers
            .iter()
            .fold(empty, |builder, (name, value)| builder.header(*name, *value));
        with.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_who_waits_for_a_page_gets_one() {
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        for (path, accept, expected) in [
            ("/leases/x", browser, true),
            ("/api/v1/leases", browser, false),
            ("/leases/x", "application/json", false),
            ("/leases/x", "*/*", false),
        ] {
            assert_eq!(
                is_navigation(&request("GET", path, &[("accept", accept)])),
                expected,
                "{path} {accept}"
            );
        }
    }

    #[test]
    fn a_refused_form_leads_back_to_its_own_page_and_to_no_other_site() {
        let host = ("host", "vpn.example");
        for (method, referrer, expected) in [
            ("POST", "https://vpn.example/leases/x?y=1", "/leases/x?y=1"),
            ("POST", "https://evil.example/leases/x", "/"),
            ("POST", "https://vpn.example.evil.example/", "/"),
            ("POST", "javascript:alert(1)", "/"),
            ("POST", "https://vpn.example//evil.example/x", "/"),
            ("POST", "https://vpn.example/\\evil.example/x", "/"),
            ("GET", "https://vpn.example/history", "/"),
        ] {
            let parts = copy(&request(method, "/leases/x/end", &[host, ("referer", referrer)]));
            assert_eq!(back(&parts), expected, "{method} {referrer}");
        }
        assert_eq!(back(&copy(&request("POST", "/launch", &[host]))), "/");
    }

    #[test]
    fn a_page_that_may_come_later_is_offered_again_and_a_form_is_not() {
        for (method, status, path, expected) in [
            ("GET", 429, "/history?cursor=x", Some("/history?cursor=x")),
            ("GET", 503, "/history?cursor=x", Some("/history?cursor=x")),
            ("GET", 404, "/history?cursor=x", None),
            ("POST", 503, "/history?cursor=x", None),
            // No page of this hub's.
            ("GET", 429, "//evil.example/x", None),
            ("GET", 429, "/\\evil.example/x", None),
        ] {
            let parts = copy(&request(method, path, &[]));
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(again(&parts, status).as_deref(), expected, "{method} {status} {path}");
        }
    }
}
