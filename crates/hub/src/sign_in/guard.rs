//! Keeps other sites from acting with somebody's session.
//!
//! A browser sends a session's cookie along with whatever request it makes to this hub, whoever made it do so. Therefore a
//! request that changes something and comes with a cookie has to come from a page of this hub, by what the browser says
//! (`Sec-Fetch-Site`, `Origin`, else `Referer`), and has to bring the value that only such a page knows. A request with a
//! token in its header was made by who has the token.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use openidconnect::url::form_urlencoded;
use subtle::ConstantTimeEq as _;

use super::{authenticate, routes};
use crate::{
    App, Config,
    config::{Origin, is_loopback_host},
    identity::Denied,
};

/// The header in which scripts send what forms send as [`FIELD`].
pub const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// The field of forms.
pub const FIELD: &str = "csrf";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses requests that change something, come with a session's cookie, and were not made by a page of this hub.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // The sign-in's own form is made for nobody yet, and looks at its origin itself.
    if request.method().is_safe() || request.uri().path() == routes::LOGIN {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let identity = match authenticate::of(&mut parts, &app).await {
        Ok(identity) => identity,
        Err(denied) => return denied.into_response(),
    };
    let Some(csrf) = identity.as_ref().and_then(|identity| identity.csrf()) else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    if let Err(denied) = check_origin(&parts.headers, &app.config) {
        return denied.into_response();
    }
    // A body that was too large or cut was refused before.
    let Ok(body) = to_bytes(body, app.config.limits.body_bytes).await else {
        return Denied::WrongCsrf.into_response();
    };
    let is_right = given(&parts, &body).is_some_and(|given| given.as_bytes().ct_eq(csrf.as_bytes()).into());
    if !is_right {
        return Denied::WrongCsrf.into_response();
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// Checks that a browser made a request because of a page of this hub.
///
/// # Errors
///
/// It was another site's page, or the browser does not say.
pub(super) fn check_origin(headers: &HeaderMap, config: &Config) -> Result<(), Denied> {
    let wrong = || {
        Err(Denied::WrongOrigin {
            own: config.origin.to_string(),
        })
    };
    let (Ok(site), Ok(origin), Ok(referer)) = (
        one(headers, SEC_FETCH_SITE),
        one(headers, header::ORIGIN),
        one(headers, header::REFERER),
    ) else {
        return wrong();
    };
    let is_own_origin = origin.map(|origin| is_own(config, origin));
    // Pages of this hub send their own address along (Referrer-Policy: same-origin).
    let is_own_referer = || referer.map(|referer| is_own(config, origin_of(referer)));
    let is_ours = match (site, is_own_origin) {
        (Some(site), None) => site == "same-origin",
        (Some(site), Some(is_own)) => site == "same-origin" && is_own,
        (None, Some(is_own)) => is_own,
        (None, None) => is_own_referer() == Some(true),
    };
    if is_ours { Ok(()) } else { wrong() }
}

/// The value of a header that may be there once.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..]
        .find(['/', '?', '#', '\\'])
        .map_or(url.len(), |at| after_scheme + at);
    &url[..end]
}

/// Whether an origin is this hub's. On loopback the hub has several names.
fn is_own(config: &Config, origin: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else {
        return false;
    };
    if (scheme == "https") != config.origin.is_https() || !matches!(scheme, "http" | "https") {
        return false;
    }
    if config.origin.has_host(host) {
        return true;
    }
    let Some((name, port)) = Origin::split_host(host) else {
        return false;
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    config.is_local && is_loopback_host(&name) && config.origin.has_host(&format!("{}{port}", config.origin.host()))
}

/// What a request brings to show that one of this session's pages made it.
fn given(parts: &Parts, body: &[u8]) -> Option<String> {
    if let Some(value) = parts.headers.get(HEADER) {
        return value.to_str().ok().map(str::to_owned);
    }
    let media_type = parts.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return None;
    }
    form_urlencoded::parse(body)
        .find(|(name, _)| name == FIELD)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;
    use crate::config::Typed;

    fn config(public_url: &str) -> Config {
        let is_public = !public_url.contains("127.0.0.1");
        let typed = Typed {
            listen: Some("127.0.0.1:8790".to_owned()),
            public_url: Some(public_url.to_owned()),
            trusted_proxies: if is_public {
                vec!["10.0.0.1".to_owned()]
            } else {
                Vec::new()
            },
            api_tokens: Some(true),
            ..Typed::default()
        };
        Config::new(typed).unwrap()
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_this_hubs_own_pages_act_with_a_session() {
        let public = config("https://vpn.example.org");
        let local = config("http://127.0.0.1:8790");
        type Lines<'a> = &'a [(&'static str, &'a str)];
        let own = ("origin", "https://vpn.example.org");
        let cases: [(&Config, Lines<'_>, bool); 29] = [
            (&public, &[("sec-fetch-site", "same-origin"), own], true),
            (&public, &[("sec-fetch-site", "same-origin")], true),
            (&public, &[own], true),
            (&public, &[("referer", "https://vpn.example.org/leases/1?x=y")], true),
            (&public, &[("referer", "https://vpn.example.org")], true),
            (&public, &[], false),
            (&public, &[("sec-fetch-site", "cross-site")], false),
            (&public, &[("sec-fetch-site", "same-site"), own], false),
            (&public, &[("sec-fetch-site", "none")], false),
            (&public, &[("sec-fetch-site", "cross-site"), own], false),
            (
                &public,
                &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
                false,
            ),
            (
                &public,
                &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
                false,
            ),
            (&public, &[own, ("origin", "https://evil.example")], false),
            (&public, &[("origin", "null")], false),
            (
                &public,
                &[("origin", "null"), ("referer", "https://vpn.example.org/")],
                false,
            ),
            (&public, &[("origin", "http://vpn.example.org")], false),
            (&public, &[("origin", "https://vpn.example.org:8443")], false),
            (&public, &[("origin", "https://vpn.example.org.evil.example")], false),
            (
                &public,
                &[("origin", "https://evil.example/https://vpn.example.org")],
                false,
            ),
            (&public, &[("origin", "https://vpn.example.org@evil.example")], false),
            (&public, &[("origin", "ftp://vpn.example.org")], false),
            (&public, &[("referer", "https://vpn.example.org.evil.example/")], false),
            (
                &public,
                &[("referer", "https://evil.example/?https://vpn.example.org/")],
                false,
            ),
            (&public, &[("referer", "https://vpn.example.org\\@evil.example/")], true),
            (&local, &[("origin", "http://127.0.0.1:8790")], true),
            (&local, &[("origin", "http://localhost:8790")], true),
            (&local, &[("origin", "http://[::1]:8790")], true),
            // Another service of this machine.
            (&local, &[("origin", "http://localhost:8791")], false),
            (&local, &[("origin", "http://localhost.evil.example:8790")], false),
        ];
        for (config, lines, is_ours) in cases {
            assert_eq!(
                check_origin(&headers(lines), config).is_ok(),
                is_ours,
                "{} {lines:?}",
                config.origin
            );
        }
    }

    #[test]
    fn the_value_comes_in_a_header_or_a_form() {
        let form = "application/x-www-form-urlencoded";
        for (header, media_type, body, expected) in [
            (Some("v"), None, "", Some("v")),
            (Some("v"), Some(form), "csrf=w", Some("v")),
            (None, Some(form), "a=b&csrf=v%2B", Some("v+")),
            (
                None,
                Some("application/x-www-form-urlencoded; charset=utf-8"),
                "csrf=v",
                Some("v"),
            ),
            (None, Some("application/json"), "{\"csrf\":\"v\"}", None),
            (None, Some("text/plain"), "csrf=v", None),
            (None, None, "csrf=v", None),
            (None, Some(form), "", None),
            (None, Some(form), "\u{fffd}%ff%00&&&=", None),
        ] {
            let mut request = Request::builder().method("POST").uri("/x");
            if let Some(header) = header {
                request = request.header(HEADER, header);
            }
            if let Some(media_type) = media_type {
                request = request.header(header::CONTENT_TYPE, media_type);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(
                given(&parts, body.as_bytes()).as_deref(),
                expected,
                "{media_type:?} {body}"
            );
        }
    }
}
