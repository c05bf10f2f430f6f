//! An engine that answers what a test says.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

/// What it answers.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A status with a body.
    Status(u16, Vec<u8>),
    /// What a program or a container says: standard output, standard error.
    Says(&'static str, &'static str),
}

/// A status with JSON.
pub(super) fn json(status: u16, text: &str) -> Reply {
    Reply::Status(status, text.as_bytes().to_vec())
}

/// A status with a message.
pub(super) fn refusal(status: u16, message: &str) -> Reply {
    Reply::Status(
        status,
        serde_json::json!({ "message": message }).to_string().into_bytes(),
    )
}

/// The engine, until it is dropped.
pub(super) struct Fake {
    folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Fake {
    /// Answers each request, `METHOD /path` without version and query, with its replies in turn, the last again and again.
    /// What is not named gets 501.
    pub(super) fn start(replies: &[(&str, &[Reply])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let mut queues: HashMap<String, Vec<Reply>> = HashMap::new();
        for (request, replies) in replies {
            queues.insert((*request).to_owned(), replies.iter().rev().cloned().collect());
        }
        queues.insert("GET /version".to_owned(), vec![json(200, r#"{"ApiVersion":"1.41"}"#)]);
        let (queues, seen) = (Arc::new(Mutex::new(queues)), Arc::default());
        let fake = Self {
            folder,
            seen: Arc::clone(&seen),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&queues), Arc::clone(&seen)));
            }
        });
        fake
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The requests so far, without those for the version.
    pub(super) fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|(request, _)| request.clone())
            .filter(|request| request != "GET /version")
            .collect()
    }

    /// What the last request of this name said.
    pub(super) fn body(&self, request: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(request)).unwrap()
    }

    /// The same as text.
    pub(super) fn text(&self, request: &str) -> String {
        let seen = self.seen.lock().unwrap();
        let (_, body) = seen.iter().rfind(|(seen, _)| seen == request).unwrap();
        body.clone()
    }
}

async fn serve(
    mut stream: UnixStream,
    queues: Arc<Mutex<HashMap<String, Vec<Reply>>>>,
    seen: Arc<Mutex<Vec<(String, String)>>>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let (request, body) = read(&mut stream, &mut buffer).await?;
        seen.lock().unwrap().push((request.clone(), body));
        let reply = match queues.lock().unwrap().get_mut(&request) {
            Some(queue) if queue.len() > 1 => queue.pop(),
            Some(queue) => queue.last().cloned(),
            None => None,
        };
        match reply.unwrap_or_else(|| refusal(501, &format!("nobody said what to answer to {request}"))) {
            Reply::Status(status, body) => {
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
                let head = if status == 204 {
                    "HTTP/1.1 204 x\r\n\r\n".to_owned()
                } else {
                    head
                };
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&body).await.ok()?;
            }
            Reply::Says(output, complaint) => {
                let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
                stream.write_all(head.as_bytes()).await.ok()?;
                for (kind, text) in [(1, output), (2, complaint)] {
                    let len = u32::try_from(text.len()).unwrap().to_be_bytes();
                    stream
                        .write_all(&[&[kind, 0, 0, 0][..], &len, text.as_bytes()].concat())
                        .await
                        .ok()?;
                }
                return None;
            }
        }
    }
}

/// The next request: its name and its body.
async fn read(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            });
            let length: usize = length.unwrap_or(0);
            if body.len() >= length {
                let body = body[..length].to_owned();
                let mut words = head.split(' ');
                let (method, path) = (words.next()?, words.next()?);
                let path = path.split('?').next()?;
                let path = match path.strip_prefix("/v1.") {
                    Some(rest) => &rest[rest.find('/')?..],
                    None => path,
                };
                let request = format!("{method} {path}");
                buffer.drain(..head.len() + 4 + length);
                return Some((request, body));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
