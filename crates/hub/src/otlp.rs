//! Spans to a collector: OTLP 1.x over HTTP, as JSON.
//!
//! [`Exporter`] is a layer of tracing's registry: it notes when each span begins and ends and what is recorded in it, and
//! hands those that are over to a task, which sends them in batches. Nothing waits for the collector: what it does not take
//! in time is counted and dropped.

mod encode;
mod layer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::encode::Span;
pub use self::layer::Exporter;

/// Spans that wait to be sent.
const WAITING: usize = 4_096;

/// Spans that are sent at once.
const BATCH: usize = 512;

/// How long a span waits for others.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the collector may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The client cannot be set up.
    #[error("cannot set up a client: {0}")]
    Client(#[from] reqwest::Error),
}

/// The task that sends spans.
#[derive(Debug)]
pub struct Spans {
    task: JoinHandle<()>,
    runtime: Handle,
}

impl Exporter {
    /// Sends spans to the collector at `endpoint`, such as `http://127.0.0.1:4318`, from a task on `runtime`.
    ///
    /// # Errors
    ///
    /// [`OtlpError`].
    pub fn start(endpoint: &str, runtime: &Handle) -> Result<(Self, Spans), OtlpError> {
        let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(LIMIT)
            .build()?;
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let (sender, receiver) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let task = runtime.spawn(send(client, url, receiver, Arc::clone(&lost)));
        let spans = Spans {
            task,
            runtime: runtime.clone(),
        };
        Ok((Self::new(sender, lost), spans))
    }
}

impl Spans {
    /// Waits a moment, until the spans that are over have been sent. Blocks, and is not to be called on the runtime.
    pub fn finish(self) {
        let Self { task, runtime } = self;
        let abort = task.abort_handle();
        runtime.block_on(async {
            // The layer lives as long as the process: what has come is sent after a pause, and then nothing comes.
            let _late = tokio::time::timeout(PAUSE + Duration::from_secs(1), task).await;
        });
        abort.abort();
    }
}

/// Sends spans in batches for ever.
async fn send(client: reqwest::Client, url: String, mut spans: mpsc::Receiver<Span>, lost: Arc<AtomicU64>) {
    let mut batch = Vec::new();
    let mut is_heard = true;
    while let Some(span) = spans.recv().await {
        batch.push(span);
        let until = Instant::now() + PAUSE;
        while batch.len() < BATCH
            && let Ok(Some(span)) = timeout_at(until, spans.recv()).await
        {
            batch.push(span);
        }
        let sent = client.post(&url).json(&encode::request(&batch)).send().await;
        let sent = sent.and_then(reqwest::Response::error_for_status);
        if let Err(error) = &sent {
            lost.fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
            // Said once, until it works again.
            if is_heard {
                tracing::warn!(error = %error, "the collector of spans does not take them; they are dropped");
            }
        } else if !is_heard {
            let lost = lost.swap(0, Ordering::Relaxed);
            tracing::info!(lost, "the collector of spans takes them again");
        }
        is_heard = sent.is_ok();
        batch.clear();
    }
}
