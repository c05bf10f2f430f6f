//! Speaks to the API of a gateway: HTTP over TLS 1.3 to the one certificate that the token names.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::TLS13,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::TlsConnector;
use wg::{PublicKey, Token};
use zeroize::Zeroizing;

use super::ProviderError;

/// How long a gateway may take for its connection and TLS.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take to answer: it may be busy with thousands of peers' files.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Requests at once; a gateway takes 16 connections of one host.
const MAX_REQUESTS: usize = 8;

/// Asks gateways.
#[derive(Debug)]
pub(super) struct Client {
    room: Semaphore,
    provider: Arc<CryptoProvider>,
}

/// What a gateway answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Zeroizing<Vec<u8>>,
    /// Where it answered.
    pub(super) from: SocketAddr,
}

/// Why a gateway did not do what it was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// The token is not that of the gateway at this address, or not any more.
    Token(String),
    /// The gateway does not want it.
    Refused(String),
    /// It may go better later.
    Unavailable(String),
}

impl Failure {
    /// As the provider says it: `file` is where the token is.
    pub(super) fn at(self, file: &Path) -> ProviderError {
        match self {
            Self::Token(problem) => ProviderError::Refused(format!(
                "{}: {problem}; print a token by `adit peer token` on the gateway and put it into that file",
                file.display()
            )),
            Self::Refused(problem) => ProviderError::Refused(problem),
            Self::Unavailable(problem) => ProviderError::Unavailable(problem),
        }
    }
}

impl Default for Client {
    fn default() -> Self {
        Self {
            room: Semaphore::new(MAX_REQUESTS),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        }
    }
}

impl Client {
    /// Has a peer with this key, new or in place of its earlier key.
    pub(super) async fn put(&self, token: &Token, peer: &str, key: PublicKey) -> Result<Answer, Failure> {
        let body = json!({ "public_key": key.to_string() }).to_string();
        match self.ask(token, Method::PUT, peer, body).await? {
            (StatusCode::OK, answer) => Ok(answer),
            (status, answer) => Err(failure(token, status, &answer.body)),
        }
    }

    /// Has a peer removed; nothing if it is none.
    pub(super) async fn delete(&self, token: &Token, peer: &str) -> Result<(), Failure> {
        match self.ask(token, Method::DELETE, peer, String::new()).await? {
            (StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _) => Ok(()),
            (status, answer) => Err(failure(token, status, &answer.body)),
        }
    }

    async fn ask(
        &self,
        token: &Token,
        method: Method,
        peer: &str,
        body: String,
    ) -> Result<(StatusCode, Answer), Failure> {
        let endpoint = &token.endpoint;
        let unavailable = |problem: &dyn std::fmt::Display| Failure::Unavailable(format!("{endpoint}: {problem}"));
        // It is never closed.
        let _permit = self.room.acquire().await.map_err(|error| unavailable(&error))?;
        let connecting = async {
            let stream = TcpStream::connect(endpoint.to_string()).await?;
            let from = stream.peer_addr()?;
            let tls = TlsConnector::from(self.config(token)?);
            // The certificate is compared, not its name, and none is asked for.
            let name = ServerName::from(from.ip());
            Ok::<_, io::Error>((tls.connect(name, stream).await?, from))
        };
        let (stream, from) = match timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) if is_another(&error) => {
                let problem = format!("what answers at {endpoint} is not the gateway that the token is from");
                return Err(Failure::Token(problem));
            }
            Ok(Err(error)) => return Err(unavailable(&error)),
            Err(_) => return Err(unavailable(&"no answer")),
        };
        let asking = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let request = request(token, method, peer, body);
            let answering = async {
                let response = sender.send_request(request).await?;
                let status = response.status();
                Ok::<_, hyper::Error>((status, Limited::new(response.into_body(), MAX_ANSWER).collect().await))
            };
            tokio::pin!(answering, connection);
            tokio::select! {
                biased;
                answer = &mut answering => answer,
                // The connection's own end comes first only with an error, or when all has been read.
                ended = &mut connection => match ended {
                    Ok(()) => answering.await,
                    Err(error) => Err(error),
                },
            }
        };
        match timeout(ANSWER_LIMIT, asking).await {
            Ok(Ok((status, Ok(body)))) => {
                let body = Zeroizing::new(body.to_bytes().to_vec());
                Ok((status, Answer { body, from }))
            }
            Ok(Ok((_, Err(error)))) => Err(unavailable(&error)),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(_) => Err(unavailable(&"no answer")),
        }
    }

    fn config(&self, token: &Token) -> io::Result<Arc<ClientConfig>> {
        let pin = Pin {
            fingerprint: token.fingerprint,
            provider: Arc::clone(&self.provider),
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pin))
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn request(token: &Token, method: Method, peer: &str, body: String) -> Request<Full<Bytes>> {
    let secret = token.secret.danger_text();
    let bearer = Zeroizing::new(format!("Bearer {}", *secret));
    let mut authorization = header::HeaderValue::from_str(&bearer).expect("base64url is plain text");
    authorization.set_sensitive(true);
    Request::builder()
        .method(method)
        .uri(format!("/v1/peers/{peer}"))
        .header(header::HOST, token.endpoint.to_string())
        .header(header::AUTHORIZATION, authorization)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .expect("a peer's name is plain text, and so is an endpoint")
}

fn failure(token: &Token, status: StatusCode, body: &[u8]) -> Failure {
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = value.as_ref().and_then(|value| value["error"].as_str());
    let said = said.map_or_else(|| format!("status {status}"), ToOwned::to_owned);
    let problem = format!("{}: {said}", token.endpoint);
    match status {
        StatusCode::UNAUTHORIZED => Failure::Token(format!("{} does not take this token", token.endpoint)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Failure::Unavailable(problem),
        status if status.is_client_error() => Failure::Refused(problem),
        _ => Failure::Unavailable(problem),
    }
}

/// Whether TLS failed because the certificate is not the one that is pinned.
fn is_another(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>());
    matches!(
        tls,
        Some(TlsError::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure
        ))
    )
}

/// Takes one certificate and no other. That the server has its key is shown by the handshake's signature.
#[derive(Debug)]
struct Pin {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let fingerprint: [u8; 32] = Sha256::digest(end_entity).into();
        if fingerprint == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
