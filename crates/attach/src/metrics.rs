//! `/metrics` for Prometheus and `/healthz` of the daemon, over HTTP.

use std::{convert::Infallible, fmt::Write as _, io, net::SocketAddr, time::Duration};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::status::{Entry, Status};

/// How long a client may take for its request and its answer.
const LIMIT: Duration = Duration::from_secs(30);

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A metric of each container: its name, kind and help, and its value.
type Family = (&'static str, &'static str, &'static str, fn(&Entry) -> Option<u64>);

/// Asks the daemon.
type Ask = mpsc::UnboundedSender<oneshot::Sender<Status>>;

/// Listens at `address`.
///
/// # Errors
///
/// What the kernel says.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers everybody, for ever.
pub(crate) async fn serve(listener: TcpListener, ask: Ask) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let ask = ask.clone();
        tokio::spawn(timeout(LIMIT, async move {
            let service = service_fn(move |request| answer(request, ask.clone()));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).max_buf_size(16 << 10).keep_alive(false);
            let _client_went = server.serve_connection(TokioIo::new(stream), service).await;
        }));
    }
}

async fn answer(request: Request<Incoming>, ask: Ask) -> Result<Response<Full<Bytes>>, Infallible> {
    let (sender, told) = oneshot::channel();
    let _ends_with_the_daemon = ask.send(sender);
    let status = told.await.unwrap_or_default();
    let (code, text) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, page(&status)),
        "/healthz" => health(&status),
        _ => (StatusCode::NOT_FOUND, "there are /metrics and /healthz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    Ok(response)
}

/// Healthy is a daemon whose engine answers and whose containers all have their tunnels.
fn health(status: &Status) -> (StatusCode, String) {
    if !status.engine {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the container engine does not answer\n".to_owned(),
        );
    }
    let without: Vec<_> = status
        .containers
        .iter()
        .filter(|entry| entry.state != "up")
        .map(|entry| format!("{} {}", entry.container, entry.state))
        .collect();
    match &without[..] {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, without.join("\n") + "\n"),
    }
}

/// The page in Prometheus' text format 0.0.4.
fn page(status: &Status) -> String {
    let mut page = String::new();
    family(
        &mut page,
        "adit_attach_engine_up",
        "gauge",
        "Whether the container engine answers.",
    );
    let _written = writeln!(page, "adit_attach_engine_up {}", u8::from(status.engine));
    let families: [Family; 5] = [
        (
            "adit_attach_up",
            "gauge",
            "Whether the container's tunnel is up.",
            |entry| Some(u64::from(entry.state == "up")),
        ),
        (
            "adit_attach_handshake_age_seconds",
            "gauge",
            "Seconds since the last handshake of the container's tunnel.",
            |entry| entry.handshake_age_secs,
        ),
        (
            "adit_attach_received_bytes_total",
            "counter",
            "Bytes that the container received through its tunnel.",
            |entry| Some(entry.received_bytes),
        ),
        (
            "adit_attach_sent_bytes_total",
            "counter",
            "Bytes that the container sent through its tunnel.",
            |entry| Some(entry.sent_bytes),
        ),
        (
            "adit_attach_forwarded_port",
            "gauge",
            "The port that the provider forwards to the container.",
            |entry| entry.forwarded_port.map(u64::from),
        ),
    ];
    for (name, kind, help, value) in families {
        family(&mut page, name, kind, help);
        for entry in &status.containers {
            if let Some(value) = value(entry) {
                let server = entry.server.as_deref().unwrap_or_default();
                let _written = writeln!(
                    page,
                    "{name}{{container=\"{}\",server=\"{}\"}} {value}",
                    escaped(&entry.container),
                    escaped(server)
                );
            }
        }
    }
    page
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    let _written = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            engine: true,
            containers: vec![
                Entry {
                    container: "a\"b".to_owned(),
                    state: "up".to_owned(),
                    server: Some("zurich401".to_owned()),
                    handshake_age_secs: Some(3),
                    received_bytes: 5,
                    ..Entry::default()
                },
                Entry {
                    container: "c".to_owned(),
                    state: "failed".to_owned(),
                    ..Entry::default()
                },
            ],
        }
    }

    #[test]
    fn the_page_names_each_container() {
        let page = page(&status());
        for line in [
            "adit_attach_engine_up 1",
            "adit_attach_up{container=\"a\\\"b\",server=\"zurich401\"} 1",
            "adit_attach_up{container=\"c\",server=\"\"} 0",
            "adit_attach_handshake_age_seconds{container=\"a\\\"b\",server=\"zurich401\"} 3",
            "adit_attach_received_bytes_total{container=\"a\\\"b\",server=\"zurich401\"} 5",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        assert!(!page.contains("age_seconds{container=\"c\""));
    }

    #[test]
    fn health_names_who_has_no_tunnel() {
        let (code, text) = health(&status());
        assert_eq!((code.as_u16(), text.as_str()), (503, "c failed\n"));
        let mut status = status();
        status.containers.pop();
        assert_eq!(health(&status).0.as_u16(), 200);
        status.engine = false;
        assert_eq!(health(&status).0.as_u16(), 503);
    }
}
