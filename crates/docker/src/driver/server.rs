//! Docker's calls over HTTP/1.1 on a unix socket, one call a connection.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::{net::UnixListener, sync::Semaphore, time::timeout};

use super::{Answer, LIMIT, message};

/// Longest call, in bytes: Docker lists each published port of a container in it, and there may be 65,535 twice.
const MAX_CALL: usize = 16 << 20;

/// Connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 128;

/// How long a call may take to arrive.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may last: its call, two limits of the tunnels, and its answer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(4 * LIMIT.as_secs());

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What Docker's own drivers say of their answers.
const CONTENT: HeaderValue = HeaderValue::from_static("application/vnd.docker.plugins.v1.1+json");

/// The driver's socket, which goes with this.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, for root alone; the folder is made. What a killed daemon left is replaced.
    ///
    /// # Errors
    ///
    /// If another daemon listens, or the socket cannot be made.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another daemon of adit serves as network driver: end it",
            ));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Docker may look at any time: it finds the socket under its name once only root may open it.
        let beside = path.with_extension("new");
        let _was_never_there = fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&beside, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Has Docker's calls answered by `driver`, for ever.
    pub async fn serve<A: Answer>(&self, driver: &Arc<A>) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // It is never closed.
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let driver = Arc::clone(driver);
            tokio::spawn(async move {
                let service = service_fn(move |request| respond(Arc::clone(&driver), request));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(CALL_LIMIT)
                    // Docker would find a kept connection broken after the daemon's restart, and wait a second.
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                let _client_went = timeout(CONNECTION_LIMIT, connection).await;
                drop(permit);
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

async fn respond<A: Answer, B>(driver: Arc<A>, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (status, body) = call(driver, request).await;
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    Ok(response)
}

async fn call<A: Answer, B>(driver: Arc<A>, request: Request<B>) -> (StatusCode, Value)
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let refused = |status: StatusCode, text: &str| (status, message::error(text));
    if request.method() != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "calls come by POST");
    }
    let too_long = || refused(StatusCode::PAYLOAD_TOO_LARGE, "the call is longer than 16 MiB");
    if request.body().size_hint().lower() > MAX_CALL as u64 {
        return too_long();
    }
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let body = match timeout(CALL_LIMIT, Limited::new(request.into_body(), MAX_CALL).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_long(),
        Ok(Err(error)) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "the call did not arrive within 10 seconds"),
    };
    // On a task of its own: a caller that goes leaves nothing half done.
    let work = tokio::spawn(async move { driver.answer(&method, &body).await });
    work.await
        .unwrap_or_else(|panic| refused(StatusCode::INTERNAL_SERVER_ERROR, &panic.to_string()))
}
