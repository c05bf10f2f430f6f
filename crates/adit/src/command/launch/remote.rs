//! Leases of a hub, over its API.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use hub::api::words::{
    Configuration, Extension, KeyReplacement, Lease, LeasePage, LeaseRequest, Notice, NoticeList, Offers, PeerRequest,
};
use launch::{LeaseId, node::Secret};
use reqwest::{Client, Method, Response, StatusCode, Url, header, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wg::PublicKey;
use zeroize::Zeroizing;

use super::leases::Leases;
use crate::failure;

/// How long the hub may take for an answer.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a connection to it may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// A hub.
pub(super) struct Remote {
    base: Url,
    client: Client,
    token: Option<Zeroizing<String>>,
}

/// What a hub says when it does not do what was asked (RFC 9457).
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
    field: Option<String>,
    remedy: Option<String>,
}

impl Remote {
    pub(super) fn new(hub: &str, token: Option<String>, authorities: Option<&Path>) -> anyhow::Result<Self> {
        let mut base = Url::parse(hub).map_err(|error| failure::usage(format!("--hub {hub}: {error}")))?;
        let is_safe = base.scheme() == "https" || (base.scheme() == "http" && is_loopback(&base));
        if !is_safe {
            return Err(failure::usage(format!(
                "--hub {hub}: give an address that begins with https://; plain http:// is for a hub on this machine"
            )));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(file) = authorities {
            let wrong = || format!("--hub-ca {}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).with_context(wrong)? {
                roots.add(certificate.with_context(wrong)?).with_context(wrong)?;
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .timeout(LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")));
        // What is on this machine is not asked through a proxy.
        let builder = if is_loopback(&base) {
            builder.no_proxy()
        } else {
            builder
        };
        let client = builder.build().context("cannot set up TLS")?;
        Ok(Self {
            base,
            client,
            token: token.map(Zeroizing::new),
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<Response> {
        let url = self.base.join(&format!("api/v1/{path}")).context("the hub's address")?;
        let mut request = self.client.request(method.clone(), url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        if method == Method::POST {
            // An answer that was lost on the way does not make a second lease.
            request = request.header("Idempotency-Key", launch_key()?);
        }
        request = request.header(header::ACCEPT, "application/json, application/problem+json, text/plain");
        if let Some(body) = body {
            request = request.json(body);
        }
        // The key makes a repeated request for a lease the same one; nothing else that changes something is asked for twice.
        let is_same_twice = method != Method::POST || path == "leases";
        let again = request.try_clone().filter(|_| is_same_twice);
        let response = match (request.send().await, again) {
            (Err(error), Some(again)) if error.is_connect() || error.is_request() => again.send().await,
            (result, _) => result,
        };
        let response = response
            .map_err(|error| anyhow!(error.without_url()).context(format!("cannot reach the hub at {}", self.base)))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.problem(response).await)
        }
    }

    async fn problem(&self, response: Response) -> anyhow::Error {
        let status = response.status();
        let Some(problem) = read(response)
            .await
            .ok()
            .and_then(|body| serde_json::from_slice::<Problem>(&body).ok())
        else {
            return anyhow!(
                "{} answered {status}, which is not how a hub answers: is this its address?",
                self.base
            );
        };
        let field = problem.field.map(|field| format!("{field}: ")).unwrap_or_default();
        let detail = problem.detail.unwrap_or(problem.title);
        let remedy = match (problem.remedy.filter(|remedy| !remedy.is_empty()), status) {
            (Some(remedy), _) => format!("; {remedy}"),
            (None, StatusCode::UNAUTHORIZED) => {
                "; make a personal token on the hub's page, and name its file with --hub-token-file".to_owned()
            }
            (None, _) => String::new(),
        };
        anyhow!("the hub: {field}{detail}{remedy}")
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<T> {
        let body = read(self.send(method, path, body).await?).await?;
        serde_json::from_slice(&body).context("the hub's answer is of another version of adit")
    }

    async fn read_path<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, None::<&()>).await
    }
}

#[async_trait]
impl Leases for Remote {
    async fn create(&self, request: &LeaseRequest) -> anyhow::Result<Lease> {
        self.ask(Method::POST, "leases", Some(request)).await
    }

    async fn read(&self, id: LeaseId) -> anyhow::Result<Lease> {
        self.read_path(&format!("leases/{id}")).await
    }

    async fn list(&self, all: bool) -> anyhow::Result<Vec<Lease>> {
        let filter = if all { "" } else { "&running=true" };
        let mut leases = Vec::new();
        let mut cursor = String::new();
        loop {
            let page: LeasePage = self.read_path(&format!("leases?limit=100{filter}{cursor}")).await?;
            leases.extend(page.items);
            match page.next {
                Some(next) if leases.len() < 1_000 => cursor = format!("&cursor={next}"),
                Some(_) | None => return Ok(leases),
            }
        }
    }

    async fn extend(&self, id: LeaseId, by_secs: u64) -> anyhow::Result<Lease> {
        self.ask(
            Method::POST,
            &format!("leases/{id}/extend"),
            Some(&Extension { by_secs }),
        )
        .await
    }

    async fn end(&self, id: LeaseId) -> anyhow::Result<Lease> {
        self.ask(Method::DELETE, &format!("leases/{id}"), None::<&()>).await
    }

    async fn add_peer(&self, id: LeaseId, peer: &PeerRequest) -> anyhow::Result<Lease> {
        self.send(Method::POST, &format!("leases/{id}/peers"), Some(peer))
            .await?;
        self.read(id).await
    }

    async fn replace_key(&self, id: LeaseId, name: &str, public_key: PublicKey) -> anyhow::Result<Lease> {
        let replacement = KeyReplacement { public_key };
        self.ask(Method::PUT, &format!("leases/{id}/peers/{name}"), Some(&replacement))
            .await
    }

    async fn remove_peer(&self, id: LeaseId, name: &str) -> anyhow::Result<Lease> {
        self.send(Method::DELETE, &format!("leases/{id}/peers/{name}"), None::<&()>)
            .await?;
        self.read(id).await
    }

    async fn notices(&self, id: LeaseId, after: u64) -> anyhow::Result<Vec<Notice>> {
        let list: NoticeList = self.read_path(&format!("leases/{id}/events")).await?;
        Ok(list.items.into_iter().filter(|notice| notice.number > after).collect())
    }

    async fn configuration(&self, id: LeaseId, peer: &str) -> anyhow::Result<Configuration> {
        self.read_path(&format!("leases/{id}/peers/{peer}/configuration")).await
    }

    async fn hand_over(&self, id: LeaseId, peer: &str) -> anyhow::Result<Secret> {
        let response = self
            .send(
                Method::POST,
                &format!("leases/{id}/peers/{peer}/hand-over"),
                None::<&()>,
            )
            .await?;
        let body = Zeroizing::new(read(response).await?);
        let text = std::str::from_utf8(&body).context("the hub's answer is not text")?;
        Ok(Secret::new(Zeroizing::new(text.to_owned())))
    }

    async fn folder(&self, _id: LeaseId) -> Option<std::path::PathBuf> {
        None
    }

    async fn usual(&self, place: &str) -> Option<Duration> {
        let offers: Offers = self.read_path("places").await.ok()?;
        let place = offers.places.into_iter().find(|offer| offer.name == place)?;
        Some(Duration::from_secs(place.usual_secs))
    }

    async fn close(&self) {}
}

async fn read(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the hub's answer broke off")? {
        if body.len() + chunk.len() > MAX_ANSWER {
            bail!("the hub's answer is too long");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            bare.parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

fn launch_key() -> anyhow::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).context("cannot read this system's random source")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_travels_only_where_nobody_reads_it() {
        for (hub, is_taken) in [
            ("https://vpn.example.com", true),
            ("https://vpn.example.com/adit", true),
            ("http://127.0.0.1:8790", true),
            ("http://[::1]:8790", true),
            ("http://localhost:8790/", true),
            ("http://vpn.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("ftp://vpn.example.com", false),
            ("vpn.example.com", false),
        ] {
            assert_eq!(Remote::new(hub, None, None).is_ok(), is_taken, "{hub}");
        }
    }
}
