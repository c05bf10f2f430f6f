//! Where a request comes from, and whether it was meant for this hub.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use ipnet::IpNet;

use crate::{App, Config, config::Origin, problem::Problem, sign_in::authenticate::Found};

/// The other end of a connection; the listener notes it in each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address; behind a trusted proxy what the proxy says.
    pub address: IpAddr,
    /// Whether no proxy is between: the address is the connection's own.
    pub is_direct: bool,
}

impl Client {
    /// Whether it is this machine, and no proxy's.
    pub fn is_this_machine(self) -> bool {
        self.is_direct && self.address.is_loopback()
    }

    /// An address that is nobody's, for a request whose connection is not known.
    const NOBODY: Self = Self {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        is_direct: false,
    };

    /// Where a request with these headers comes from that came by this connection; a connection that is not known is nobody's.
    pub fn of(peer: Option<Peer>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let Some(Peer(peer)) = peer else { return Self::NOBODY };
        let peer = peer.ip().to_canonical();
        let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
        if !is_trusted(peer) {
            return Self {
                address: peer,
                is_direct: true,
            };
        }
        let lists = [forwarded_for(headers), forwarded(headers)].map(|list| client_in(&list, is_trusted));
        let address = match lists {
            [Some(one), None] | [None, Some(one)] => one,
            [Some(one), Some(other)] if one == other => one,
            // Nobody said it, or a client forged the header that the proxy does not write.
            [None, None] | [Some(_), Some(_)] => peer,
        };
        Self {
            address,
            is_direct: false,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::NOBODY))
    }
}

/// Notes where a request comes from.
pub(super) async fn note(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get().copied();
    let client = Client::of(peer, request.headers(), &app.config.trusted_proxies);
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(Found::default());
    next.run(request).await
}

/// Refuses what was not meant for this hub, or comes too often. Probes of a container's keeper may have any host; the one that
/// looks whether the store can be written costs a write.
pub(super) async fn check(State(app): State<Arc<App>>, client: Client, request: Request, next: Next) -> Response {
    let checked = match request.uri().path() {
        "/healthz" => Ok(()),
        "/readyz" => app.rates.check_address(client.address),
        _ => check_way(&app.config, client)
            .and_then(|()| check_host(&app.config, &request))
            .and_then(|()| app.rates.check_address(client.address)),
    };
    match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Refuses what comes too often, on a listener that has no other checks. Whether the process lives costs nothing.
pub(super) async fn check_rate(State(app): State<Arc<App>>, client: Client, request: Request, next: Next) -> Response {
    if request.uri().path() != "/healthz"
        && let Err(problem) = app.rates.check_address(client.address)
    {
        return problem.into_response();
    }
    next.run(request).await
}

/// Whoever passes the proxy by would speak in the clear.
fn check_way(config: &Config, client: Client) -> Result<(), Problem> {
    if !client.is_direct || config.tls.is_some() || client.address.is_loopback() {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "not_by_proxy",
        "this hub is reached by its proxy only",
    )
    .with_remedy(format!("use {}", config.origin)))
}

/// A page of somebody else's whose name leads to this address (DNS rebinding) says another host than ours.
fn check_host(config: &Config, request: &Request) -> Result<(), Problem> {
    let mut headers = request.headers().get_all(header::HOST).iter();
    // More than one is none (RFC 9112, section 3.2).
    let header = match (headers.next(), headers.next()) {
        (Some(host), None) => host.to_str().ok(),
        (Some(_) | None, _) => None,
    };
    // RFC 9112, section 3.2.2: the host in an absolute target wins over the header, which has to be there all the same.
    let authority = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let host = header.and_then(|header| Origin::split_host(authority.unwrap_or(header)));
    let host = host.map(|(host, _)| host);
    let is_ours = host.is_some_and(|host| {
        host == config.origin.host() || (config.is_local && crate::config::is_loopback_host(&host))
    });
    if is_ours {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        "the header Host names something else than this hub",
    )
    .with_remedy(format!("use {}", config.origin)))
}

/// The nearest address that is no trusted proxy's; `None` if there is no list, or it cannot be read up to there.
fn client_in(list: &[Option<IpAddr>], is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut nearest = None;
    for address in list.iter().rev() {
        nearest = Some((*address)?);
        if !address.is_some_and(&is_trusted) {
            break;
        }
    }
    nearest
}

/// The addresses of `X-Forwarded-For`, the nearest last; `None` is what is no address.
fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    values(headers, "x-forwarded-for").into_iter().map(node).collect()
}

/// The addresses of `Forwarded` (RFC 7239), the nearest last.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let for_of = |element: &str| {
        element.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("for")
                .then(|| node(value.trim().trim_matches('"')))?
        })
    };
    values(headers, "forwarded").into_iter().map(for_of).collect()
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    // A header that is no text is one element that says nothing.
    let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or(""));
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_proxy_is_believed_only_if_it_is_trusted_and_only_about_its_own_neighbour() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/24".parse().unwrap(), "2001:db8::/64".parse().unwrap()];
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let cases: [(&str, Headers<'_>, &str, bool); 16] = [
            // (the connection's other end, headers, the client, direct?)
            ("192.0.2.9:1", &[], "192.0.2.9", true),
            ("192.0.2.9:1", &[("x-forwarded-for", "198.51.100.1")], "192.0.2.9", true),
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", "198.51.100.1")],
                "198.51.100.1",
                false,
            ),
            (
                "[::ffff:10.0.0.1]:1",
                &[("x-forwarded-for", "198.51.100.1")],
                "198.51.100.1",
                false,
            ),
            // The left part is the client's own word.
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", "127.0.0.1, 198.51.100.1")],
                "198.51.100.1",
                false,
            ),
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "198.51.100.1")],
                "198.51.100.1",
                false,
            ),
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", "198.51.100.1, 10.0.0.2")],
                "198.51.100.1",
                false,
            ),
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")],
                "10.0.0.3",
                false,
            ),
            (
                "10.0.0.1:1",
                &[("x-forwarded-for", "198.51.100.1, nonsense")],
                "10.0.0.1",
                false,
            ),
            ("10.0.0.1:1", &[("x-forwarded-for", "")], "10.0.0.1", false),
            ("10.0.0.1:1", &[], "10.0.0.1", false),
            (
                "[2001:db8::1]:1",
                &[("x-forwarded-for", "[2001:db8:1::5]:443")],
                "2001:db8:1::5",
                false,
            ),
            (
                "10.0.0.1:1",
                &[("forwarded", "for=\"[2001:db8:1::5]:443\";proto=https")],
                "2001:db8:1::5",
                false,
            ),
            (
                "10.0.0.1:1",
                &[("forwarded", "for=127.0.0.1, proto=https;For=198.51.100.1:80")],
                "198.51.100.1",
                false,
            ),
            // Two that disagree: one of them is forged.
            (
                "10.0.0.1:1",
                &[("forwarded", "for=127.0.0.1"), ("x-forwarded-for", "198.51.100.1")],
                "10.0.0.1",
                false,
            ),
            (
                "10.0.0.1:1",
                &[("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "198.51.100.1")],
                "198.51.100.1",
                false,
            ),
        ];
        for (peer, lines, address, is_direct) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_static(value),
                );
            }
            let client = Client::of(Some(Peer(peer.parse().unwrap())), &headers, &trusted);
            let expected = Client {
                address: address.parse().unwrap(),
                is_direct,
            };
            assert_eq!(client, expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_request_from_nowhere_is_nobodys() {
        let client = Client::of(None, &HeaderMap::new(), &[]);
        assert!(!client.is_this_machine() && !client.is_direct);
    }
}
