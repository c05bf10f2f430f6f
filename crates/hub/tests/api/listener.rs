//! A hub on real sockets: limits, slow clients, TLS, a graceful stop.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use hub::{
    config::{Limits, Typed, TypedTls},
    server,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::stage::{Hub, KEY, LIMIT, TOKEN};

/// A hub that listens.
pub(crate) struct Listening {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) served: JoinHandle<Result<(), server::ServeError>>,
}

pub(crate) async fn listen(hub: Hub) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let app = Arc::clone(&hub.app);
    let served = tokio::spawn(async move {
        server::serve(app, listener, async {
            let _dropped_is_stopped = stopped.await;
        })
        .await
    });
    Listening {
        hub,
        address,
        stop,
        served,
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that has refused may reset what it did not read.
    let _reset = timeout(LIMIT, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_and_refuses_what_is_too_large() {
    let listening = listen(Hub::new()).await;
    let ask = async |request: &str| talk(TcpStream::connect(listening.address).await.unwrap(), request).await;
    assert!(ask(&get("/api/v1/me")).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let head = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: {}\r\n\r\n",
        "x".repeat(20 << 10)
    );
    assert!(ask(&head).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert!(ask(&many).await.starts_with("HTTP/1.1 431 "));
    let body = "POST /api/v1/leases HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000000\r\n\r\n";
    let answer = ask(body).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"too_large\""),
        "{answer}"
    );
    let chunk = format!("{:x}\r\n{}\r\n", 70_000, "x".repeat(70_000));
    let chunked = format!(
        "POST /api/v1/leases HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    assert!(ask(&chunked).await.starts_with("HTTP/1.1 413 "));
    assert!(ask("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let two_hosts = get("/api/v1/me").replace("Host: 127.0.0.1", "Host: 127.0.0.1\r\nHost: evil.example");
    assert!(ask(&two_hosts).await.contains("\"wrong_host\""));
    assert!(ask("GET /api/v1/me HTTP/1.0\r\n\r\n").await.contains("\"wrong_host\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_his_time_with_a_request_is_not_waited_for() {
    let short = Duration::from_millis(300);
    let listening = listen(Hub::limited(Limits {
        header: short,
        answer: short,
        ..Limits::default()
    }))
    .await;
    let head = "POST /api/v1/leases HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    // (what is sent, how the answer begins; nothing: the connection ends)
    for (what, sent, begins) in [
        ("nothing", String::new(), ""),
        ("half a head", head.to_owned(), ""),
        (
            "half a body",
            format!("{head}Content-Length: 9\r\nConnection: close\r\n\r\n{{"),
            "HTTP/1.1 408 ",
        ),
        (
            "half a chunk",
            format!("{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n9\r\n{{"),
            "HTTP/1.1 408 ",
        ),
        (
            "one request, and then nothing",
            get("/healthz").replace("Connection: close\r\n", ""),
            "HTTP/1.1 200 OK\r\n",
        ),
    ] {
        let begun = Instant::now();
        let answer = talk(TcpStream::connect(listening.address).await.unwrap(), &sent).await;
        assert!(
            answer.starts_with(begins) && answer.is_empty() == begins.is_empty(),
            "{what}: {answer}"
        );
        assert!(begun.elapsed() >= short, "{what}");
    }
}

/// A port that is free, or was a moment ago.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_on_a_listener_of_their_own_are_for_who_brings_their_token() {
    let folder = tempfile::tempdir().unwrap();
    let (files, certificate) = write(folder.path(), "localhost");
    let token = folder.path().join("token");
    fs::write(&token, "what-prometheus-brings\n").unwrap();
    // (address, whether it is encrypted)
    for (address, is_encrypted) in [("127.0.0.1", false), ("0.0.0.0", true)] {
        let port = free_port().await;
        let listening = listen(Hub::with(Typed {
            tls: Some(files.clone()),
            public_url: Some("https://localhost:8790".to_owned()),
            metrics_listen: Some(format!("{address}:{port}")),
            metrics_token_file: Some(token.clone()),
            ..Typed::default()
        }))
        .await;
        let place = SocketAddr::from(([127, 0, 0, 1], port));
        let ask = async |request: &str| {
            if is_encrypted {
                talk(
                    connect_tls(place, "localhost", certificate.clone()).await.unwrap(),
                    request,
                )
                .await
            } else {
                talk(TcpStream::connect(place).await.unwrap(), request).await
            }
        };
        // It takes connections once the hub does.
        let up = async {
            while TcpStream::connect(place).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, up).await.unwrap();
        let right = get("/metrics").replace(TOKEN, "what-prometheus-brings");
        let nobody = get("/metrics").replace(&format!("Authorization: Bearer {TOKEN}\r\n"), "");
        for (request, begins) in [
            (&right, "HTTP/1.1 200 OK\r\n"),
            // The hub's own token is another one.
            (&get("/metrics"), "HTTP/1.1 401 "),
            (&nobody, "HTTP/1.1 401 "),
            (&get("/healthz"), "HTTP/1.1 200 OK\r\n"),
            (&get("/api/v1/me"), "HTTP/1.1 404 "),
        ] {
            let answer = ask(request).await;
            assert!(answer.starts_with(begins), "{address} {request}: {answer}");
            assert!(answer.contains("x-request-id: "), "{answer}");
        }
        if is_encrypted {
            let answer = talk(TcpStream::connect(place).await.unwrap(), &right).await;
            assert!(!answer.contains("HTTP/1.1"), "{answer}");
        }
        let _gone = listening.stop.send(());
        timeout(LIMIT, listening.served).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_hub_finishes_what_it_answers_and_takes_nothing_new() {
    let Listening {
        hub,
        address,
        stop,
        served,
    } = listen(Hub::new()).await;
    let lease = hub.ready_lease().await;
    let path = format!("/api/v1/leases/{}/events", lease["id"].as_str().unwrap());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = get(&path).replace("Connection: close", "Accept: text/event-stream");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("event: ready") {
        let mut buffer = [0; 4096];
        let read = timeout(LIMIT, stream.read(&mut buffer)).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    // Asked, and not answered yet.
    let body = json!({"peers": [{"name": "phone", "public_key": KEY}]}).to_string();
    let mut asking = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/leases HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    asking.write_all(head.as_bytes()).await.unwrap();
    // The server has the head once it answers another connection that came later.
    assert!(
        talk(TcpStream::connect(address).await.unwrap(), &get("/healthz"))
            .await
            .contains("ok")
    );
    let begun = Instant::now();
    stop.send(()).unwrap();
    let answer = talk(asking, &body).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let mut rest = String::new();
    timeout(LIMIT, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    TcpStream::connect(address).await.unwrap_err();
}

fn write(folder: &Path, name: &str) -> (TypedTls, rustls::pki_types::CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let files = TypedTls {
        certificate: Some(folder.join("cert.pem")),
        key: Some(folder.join("key.pem")),
    };
    fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    (files, cert.der().clone())
}

async fn connect_tls(
    address: SocketAddr,
    name: &str,
    certificate: rustls::pki_types::CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    connector
        .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_tls_and_follows_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (files, certificate) = write(folder.path(), "localhost");
    let hub = Hub::with(Typed {
        tls: Some(files),
        public_url: Some("https://localhost:8790".to_owned()),
        ..Typed::default()
    });
    let listening = listen(hub).await;
    let stream = connect_tls(listening.address, "localhost", certificate.clone())
        .await
        .unwrap();
    let answer = talk(stream, &get("/api/v1/me")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");

    // A half that is written already leaves the certificate that there is.
    let (_, fresh) = write(folder.path(), "localhost");
    let renewed = async {
        while connect_tls(listening.address, "localhost", fresh.clone())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(30), renewed).await.unwrap();
    connect_tls(listening.address, "localhost", certificate)
        .await
        .unwrap_err();
    let _gone = listening.stop.send(());
    timeout(LIMIT, listening.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn it_does_not_start_with_a_certificate_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = write(folder.path(), "localhost");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let (own, own_key) = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    write(folder.path(), "localhost");
    let other_key = fs::read(&key).unwrap();
    for (what, one, two) in [
        ("empty", &b""[..], &own_key[..]),
        ("no key", &own[..], &own[..]),
        ("another's key", &own[..], &other_key[..]),
    ] {
        fs::write(&certificate, one).unwrap();
        fs::write(&key, two).unwrap();
        let typed = Typed {
            tls: Some(files.clone()),
            ..Typed::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = server::serve(Arc::clone(&Hub::with(typed).app), listener, std::future::pending()).await;
        assert!(matches!(served, Err(server::ServeError::Tls(_))), "{what}");
    }
}
