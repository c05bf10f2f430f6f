//! Serves `/healthz` and `/metrics` over HTTP/1.1, one answer a connection.
//!
//! A connection has a few seconds and a few kilobytes for its request, and few connections are served at once: who keeps
//! them all busy keeps others from the numbers, but nobody from the gateway.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use crate::{health::Health, listening::Listening, metrics};

/// Longest request that is read, in bytes.
const MAX_REQUEST: usize = 8 * 1024;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;

/// Connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 32;

/// How long a client may take to send its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How long a client may take to read its answer.
const RESPONSE_LIMIT: Duration = Duration::from_secs(30);

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The numbers cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve health and metrics on {address}: {cause}")]
pub struct HttpError {
    /// Where.
    pub address: SocketAddr,
    /// What the kernel said.
    pub cause: io::Error,
}

/// What is served.
pub trait Pages: Send + Sync + 'static {
    /// How the gateway is.
    fn health(&self) -> Health;

    /// The page for Prometheus.
    ///
    /// Whoever asks for the same numbers gets the same page: it can be long, and slow readers hold on to it.
    fn metrics(&self) -> Arc<str>;
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Server(Listening);

impl Server {
    /// Starts to serve on this address. `[::]` is all addresses of both families.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; nothing is left behind then.
    pub fn start(address: SocketAddr, pages: Arc<dyn Pages>) -> Result<Self, HttpError> {
        let listening = Listening::start("adit-http", address, |listener| serve(listener, pages));
        listening.map(Self).map_err(|cause| HttpError { address, cause })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// Where there is no IPv6, all addresses are those of IPv4.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let bound = std::net::TcpListener::bind(address);
    match &bound {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_no_family(error) => {
            std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        _ => bound,
    }
}

fn is_no_family(error: &io::Error) -> bool {
    let families = [rustix::io::Errno::AFNOSUPPORT, rustix::io::Errno::ADDRNOTAVAIL];
    families
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

async fn serve(listener: std::net::TcpListener, pages: Arc<dyn Pages>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = Arc::clone(&pages);
                tokio::spawn(async move {
                    // Nobody is there to be told of a broken connection.
                    let _broken = answer(stream, pages).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn answer(mut stream: TcpStream, pages: Arc<dyn Pages>) -> io::Result<()> {
    let request = match timeout(REQUEST_LIMIT, read(&mut stream)).await {
        Ok(request) => request?,
        Err(_) => Request::Wrong(Status::TOO_SLOW),
    };
    let with_body = !matches!(request, Request::Page { head: true, .. });
    // A long page must not hold up the other connections.
    let response = tokio::task::spawn_blocking(move || respond(request, &*pages)).await;
    let response = response.map_err(io::Error::other)?;
    timeout(RESPONSE_LIMIT, async {
        stream.write_all(response.head().as_bytes()).await?;
        if with_body {
            stream.write_all(response.body.as_bytes()).await?;
        }
        stream.shutdown().await
    })
    .await?
}

/// A request, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Page {
        path: String,
        /// Without the page itself.
        head: bool,
    },
    Wrong(Status),
}

/// A status code and what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status(u16, &'static str);

impl Status {
    const OK: Self = Self(200, "OK");
    const MALFORMED: Self = Self(400, "Bad Request");
    const NOT_FOUND: Self = Self(404, "Not Found");
    const METHOD: Self = Self(405, "Method Not Allowed");
    const TOO_SLOW: Self = Self(408, "Request Timeout");
    const TOO_LONG: Self = Self(431, "Request Header Fields Too Large");
    const UNHEALTHY: Self = Self(503, "Service Unavailable");
}

struct Response {
    status: Status,
    kind: &'static str,
    body: Arc<str>,
}

impl Response {
    fn text(status: Status, body: impl Into<Arc<str>>) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    fn head(&self) -> String {
        let Status(code, reason) = self.status;
        let allow = if self.status == Status::METHOD {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{allow}Connection: close\r\n\r\n",
            self.kind,
            self.body.len()
        )
    }
}

/// Reads up to the end of the head. What follows it is not looked at.
async fn read(stream: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(request) = parse(&bytes) {
            return Ok(request);
        }
        if bytes.len() >= MAX_REQUEST {
            return Ok(Request::Wrong(Status::TOO_LONG));
        }
        let room = MAX_REQUEST - bytes.len();
        if (&mut *stream).take(room as u64).read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The request that these bytes begin with; `None` if it is not all there.
fn parse(bytes: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    Some(match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {
            let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
            let path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
            match method {
                "GET" => Request::Page { path, head: false },
                "HEAD" => Request::Page { path, head: true },
                _ => Request::Wrong(Status::METHOD),
            }
        }
        Err(httparse::Error::TooManyHeaders) => Request::Wrong(Status::TOO_LONG),
        Err(_) => Request::Wrong(Status::MALFORMED),
    })
}

fn respond(request: Request, pages: &dyn Pages) -> Response {
    let path = match request {
        Request::Page { path, .. } => path,
        Request::Wrong(status) => return Response::text(status, format!("{}\n", status.1)),
    };
    match &*path {
        "/healthz" => {
            let health = pages.health();
            let status = if health.healthy { Status::OK } else { Status::UNHEALTHY };
            Response::text(status, health.line() + "\n")
        }
        "/metrics" => Response {
            status: Status::OK,
            kind: metrics::CONTENT_TYPE,
            body: pages.metrics(),
        },
        _ => Response::text(Status::NOT_FOUND, "there are /healthz and /metrics\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream as Client,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::health::Check;

    #[derive(Default)]
    struct Fixed {
        sick: AtomicBool,
    }

    impl Pages for Fixed {
        fn health(&self) -> Health {
            let healthy = !self.sick.load(Ordering::SeqCst);
            Health {
                healthy,
                checks: vec![Check {
                    name: "tunnel".into(),
                    healthy,
                    detail: "of this test".into(),
                }],
            }
        }

        fn metrics(&self) -> Arc<str> {
            "adit_gateway_peers 2\n".repeat(100_000).into()
        }
    }

    fn start() -> (Server, Arc<Fixed>) {
        let pages = Arc::new(Fixed::default());
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&pages) as Arc<dyn Pages>);
        (server.unwrap(), pages)
    }

    /// Sends bytes, and gives all that comes back.
    fn ask(server: &Server, request: &[u8]) -> String {
        let mut client = Client::connect(server.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.write_all(request).unwrap();
        let mut answer = Vec::new();
        // What was sent too much makes the kernel reset the connection, after the answer.
        let _reset = client.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn requests_get_what_they_ask_for() {
        let (server, pages) = start();
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(MAX_REQUEST));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        for (request, begin, end) in [
            (
                "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
                "HTTP/1.1 200 OK\r\n",
                "healthy · tunnel: of this test\n",
            ),
            (
                "GET /healthz?verbose HTTP/1.0\r\n\r\n",
                "HTTP/1.1 200 OK\r\n",
                "this test\n",
            ),
            ("HEAD /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "/metrics\n"),
            (
                "POST /metrics HTTP/1.1\r\n\r\n",
                "HTTP/1.1 405 ",
                "Method Not Allowed\n",
            ),
            ("GET /metrics\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n"),
            ("\x16\x03\x01\x02\x00\x01\r\n\r\n", "HTTP/1.1 400 ", "Bad Request\n"),
            (&long, "HTTP/1.1 431 ", "Too Large\n"),
            (&many, "HTTP/1.1 431 ", "Too Large\n"),
        ] {
            let answer = ask(&server, request.as_bytes());
            assert!(
                answer.starts_with(begin) && answer.ends_with(end),
                "{:?}: {answer}",
                &request[..request.len().min(60)]
            );
        }
        let answer = ask(&server, b"GET /metrics HTTP/1.1\r\n\r\n");
        assert!(
            answer.contains("Content-Type: text/plain; version=0.0.4"),
            "{answer:.300}"
        );
        assert!(answer.contains("Content-Length: 2100000\r\n"), "{answer:.300}");
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 2_100_000);
        pages.sick.store(true, Ordering::SeqCst);
        let answer = ask(&server, b"GET /healthz HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("unhealthy · tunnel: of this test\n"), "{answer}");
    }

    #[test]
    fn a_request_in_pieces_is_understood_and_a_slow_one_keeps_nobody_waiting() {
        let (server, _) = start();
        let _idle: Vec<Client> = (0..MAX_CONNECTIONS - 1)
            .map(|_| Client::connect(server.address()).unwrap())
            .collect();
        let mut client = Client::connect(server.address()).unwrap();
        client.set_nodelay(true).unwrap();
        for piece in ["GET /hea", "lthz HT", "TP/1.1\r", "\n\r\n"] {
            client.write_all(piece.as_bytes()).unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[test]
    fn dropping_the_server_frees_its_port() {
        let (server, _) = start();
        let address = server.address();
        let _open = Client::connect(address).unwrap();
        drop(server);
        Client::connect(address).unwrap_err();
    }

    #[test]
    fn a_taken_address_is_an_error_that_names_it() {
        let (server, pages) = start();
        let error = Server::start(server.address(), pages).unwrap_err();
        assert!(error.to_string().contains(&server.address().to_string()), "{error}");
    }
}
