//! HTTPS requests for providers: one a connection, limited in time and size, and never redirected.

use std::{fmt, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// How long a request may take, from the first packet to the last byte of the answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const MAX_BODY: usize = 4 << 20;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// How much of what a server says is shown to people, in characters.
const MAX_QUOTE: usize = 160;

/// What is sent.
pub(super) type Question = Request<Full<Bytes>>;

/// Why there is no answer. Holds nothing of the question.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpsError {
    #[error("{host} cannot be looked up: {cause}")]
    Lookup { host: String, cause: io::Error },
    #[error("no connection to {name}: {cause}")]
    Connect { name: String, cause: io::Error },
    #[error("the certificate of the server at the address of {name} is not for {name}")]
    OtherName { name: String },
    #[error("no TLS with {name}: {cause}")]
    Tls { name: String, cause: String },
    #[error("{name} does not speak HTTP: {cause}")]
    Http { name: String, cause: String },
    #[error("{name} answers with more than {MAX_BODY} bytes")]
    TooLong { name: String },
    #[error("{name} has not answered in {} seconds", LIMIT.as_secs())]
    TimedOut { name: String },
}

/// What came back, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The header `Retry-After`, if it is a number of seconds.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// Where something is served: `https://HOST[:PORT]/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
    address: Option<SocketAddr>,
}

/// A text that names no place for HTTPS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form https://HOST[:PORT]/PATH")]
pub struct EndpointError(String);

impl Endpoint {
    /// Reads `https://HOST[:PORT]/PATH`; the default port is 443.
    ///
    /// # Errors
    ///
    /// If it is another scheme, or there is a user name or a query in it.
    pub fn new(url: &str) -> Result<Self, EndpointError> {
        let bad = || EndpointError(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let is_plain = uri.scheme_str() == Some("https") && uri.query().is_none() && !authority.as_str().contains('@');
        if !is_plain || ServerName::try_from(authority.host()).is_err() {
            return Err(bad());
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(443),
            path: uri.path().trim_end_matches('/').to_owned(),
            address: None,
        })
    }

    /// The same, reached at `address` whatever the name servers say. The certificate is still the host's.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The path of something below it.
    pub(super) fn path(&self, below: &str) -> String {
        format!("{}{below}", self.path)
    }

    /// Asks.
    pub(super) async fn ask(&self, tls: &Arc<ClientConfig>, question: Question) -> Result<Answer, HttpsError> {
        let connect = async {
            let connected = match self.address {
                Some(address) => TcpStream::connect(address).await,
                None => {
                    let found = tokio::net::lookup_host((&*self.host, self.port)).await;
                    let host = self.host.clone();
                    let found = found.map_err(|cause| HttpsError::Lookup { host, cause })?;
                    TcpStream::connect(&*found.collect::<Vec<_>>()).await
                }
            };
            let name = self.host.clone();
            connected.map_err(|cause| HttpsError::Connect { name, cause })
        };
        limited(&self.host, exchange(connect, &self.host, tls, question)).await
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => write!(f, "https://{}{}", self.host, self.path),
            port => write!(f, "https://{}:{port}{}", self.host, self.path),
        }
    }
}

/// Asks the server `name` on a connection that `connect` opens.
pub(super) async fn ask(
    connect: impl Future<Output = io::Result<TcpStream>>,
    name: &str,
    tls: &Arc<ClientConfig>,
    question: Question,
) -> Result<Answer, HttpsError> {
    let connect = async {
        let name = name.to_owned();
        connect.await.map_err(|cause| HttpsError::Connect { name, cause })
    };
    limited(name, exchange(connect, name, tls, question)).await
}

async fn limited<T>(name: &str, work: impl Future<Output = Result<T, HttpsError>>) -> Result<T, HttpsError> {
    let late = |_| HttpsError::TimedOut { name: name.to_owned() };
    timeout(LIMIT, work).await.map_err(late)?
}

async fn exchange(
    connect: impl Future<Output = Result<TcpStream, HttpsError>>,
    name: &str,
    tls: &Arc<ClientConfig>,
    mut question: Question,
) -> Result<Answer, HttpsError> {
    let http = |cause: hyper::Error| HttpsError::Http {
        name: name.to_owned(),
        cause: cause.to_string(),
    };
    let no_tls = |cause: String| HttpsError::Tls {
        name: name.to_owned(),
        cause,
    };
    let peer =
        ServerName::try_from(name.to_owned()).map_err(|_| no_tls("that is not the name of a host".to_owned()))?;
    let headers = question.headers_mut();
    let host = HeaderValue::from_str(name).map_err(|_| no_tls("that is not the name of a host".to_owned()))?;
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("adit/", env!("CARGO_PKG_VERSION"))),
    );

    let stream = connect.await?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let stream = connector.connect(peer, stream).await.map_err(|error| {
        if is_for_another_name(&error) {
            return HttpsError::OtherName { name: name.to_owned() };
        }
        no_tls(error.to_string())
    })?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
    let answer = async move {
        let response = sender.send_request(question).await.map_err(http)?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| {
            let name = name.to_owned();
            match error.is::<LengthLimitError>() {
                true => HttpsError::TooLong { name },
                false => HttpsError::Http {
                    name,
                    cause: error.to_string(),
                },
            }
        })?;
        Ok(Answer {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body: body.to_bytes(),
        })
    };
    // The connection may be over before its last bytes are read from its buffer.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_ended, answer)) => answer.await,
    }
}

fn is_for_another_name(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ))
    )
}

/// Trusts the public certificate authorities, as of Mozilla's list.
pub(super) fn web_trust() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    client(roots)
}

/// Trusts one certificate authority alone.
pub(super) fn trust_in(authority: CertificateDer<'_>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.into_owned())?;
    Ok(client(roots))
}

fn client(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A text as a part of a query: everything but letters, digits and `-._~` as `%XX` (RFC 3986, section 2.1).
pub(super) fn encode(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// What a server says, for people: short, of one line, and not at all if one of `secrets` is in it.
pub(super) fn quote(text: &str, secrets: &[&str]) -> String {
    let holds = |secret: &str| !secret.is_empty() && (text.contains(secret) || text.contains(&encode(secret)));
    if secrets.iter().any(|secret| holds(secret)) {
        return "(hidden, for it repeats a secret)".to_owned();
    }
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut shown: String = text.trim().chars().take(MAX_QUOTE).map(plain).collect();
    if text.trim().chars().count() > MAX_QUOTE {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_place_for_https_and_nothing_else() {
        // (text, as it is shown; None: refused)
        for (text, shown) in [
            ("https://a.example/x/", Some("https://a.example/x")),
            ("https://a.example", Some("https://a.example")),
            ("https://a.example:8443/x/y", Some("https://a.example:8443/x/y")),
            ("http://a.example/x", None),
            ("https://user:secret@a.example/x", None),
            ("https://a.example/x?y", None),
            ("/x", None),
            ("https://", None),
            ("", None),
        ] {
            let read = Endpoint::new(text).map(|endpoint| endpoint.to_string());
            assert_eq!(read.ok().as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn what_a_query_may_not_hold_is_encoded() {
        for (text, encoded) in [
            ("aZ09-._~", "aZ09-._~"),
            ("a+b/c=", "a%2Bb%2Fc%3D"),
            ("&?# ü\n", "%26%3F%23%20%C3%BC%0A"),
        ] {
            assert_eq!(encode(text), encoded);
        }
    }

    #[test]
    fn what_a_server_says_is_shown_without_secrets_and_control_characters() {
        let long = "x".repeat(MAX_QUOTE + 1);
        // (said, shown)
        for (said, shown) in [
            (" Login failed!\n", "Login failed!".to_owned()),
            ("a\x1b[31mb", "a [31mb".to_owned()),
            (&*long, format!("{}…", "x".repeat(MAX_QUOTE))),
            ("you sent a+b", "(hidden, for it repeats a secret)".to_owned()),
            ("you sent a%2Bb", "(hidden, for it repeats a secret)".to_owned()),
        ] {
            assert_eq!(quote(said, &["", "a+b"]), shown);
        }
    }
}
