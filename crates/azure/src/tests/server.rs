//! A server that plays what a test says, one request a connection.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    /// `PUT /subscriptions…` without the query.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap_or_default())
    }
}

/// What a request gets.
pub(crate) enum Play {
    Answer(Reply),
    /// The request arrives; no answer does.
    Lose,
    /// An answer whose body never ends to come.
    Stall,
    /// An answer whose body has no end.
    Flood,
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

pub(crate) fn reply(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: String::new(),
    }
}

impl Reply {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn text(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    #[allow(clippy::needless_pass_by_value, reason = "tests read better without a borrow")]
    pub(crate) fn json(self, body: Value) -> Self {
        self.text(&body.to_string())
    }

    /// Azure's envelope.
    pub(crate) fn error(self, code: &str) -> Self {
        self.json(serde_json::json!({"error": {"code": code, "message": "so it is"}}))
    }
}

impl From<Reply> for Play {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply)
    }
}

/// A server on this machine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// `http://127.0.0.1:…`
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(play: impl FnMut(&Asked) -> Play + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (log, play) = (Arc::clone(&asked), Arc::new(Mutex::new(play)));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (log, play) = (Arc::clone(&log), Arc::clone(&play));
                tokio::spawn(async move {
                    let mut stream = stream;
                    let Some(asked) = read(&mut stream).await else { return };
                    let played = {
                        let played = play.lock().unwrap()(&asked);
                        log.lock().unwrap().push(asked);
                        played
                    };
                    // A client that goes is none of the server's business.
                    let _ = answer(&mut stream, played).await;
                });
            }
        });
        Self { address, asked, task }
    }

    /// All that came.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The lines of all that came but for tokens.
    pub(crate) fn lines(&self) -> Vec<String> {
        let asked = self.asked();
        asked
            .iter()
            .filter(|asked| asked.target != super::TOKEN_PATH)
            .map(Asked::line)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut asked = Asked {
        method,
        target,
        headers,
        body: String::new(),
    };
    let length: usize = asked
        .header("content-length")
        .map_or(Some(0), |length| length.parse().ok())?;
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    asked.body = String::from_utf8(bytes[head + 4..].to_vec()).ok()?;
    Some(asked)
}

async fn answer(stream: &mut TcpStream, play: Play) -> std::io::Result<()> {
    match play {
        Play::Answer(reply) => {
            let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
            for (name, value) in &reply.headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            if reply.status != 204 {
                text.push_str(&format!("content-length: {}\r\n", reply.body.len()));
            }
            text.push_str("\r\n");
            text.push_str(&reply.body);
            stream.write_all(text.as_bytes()).await
        }
        Play::Lose => Ok(()),
        Play::Stall => {
            stream
                .write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"value\": [")
                .await?;
            // Until the client has had enough.
            stream.read_u8().await.map(drop)
        }
        Play::Flood => {
            stream.write_all(b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n").await?;
            let much = vec![b' '; 1 << 20];
            loop {
                stream.write_all(&much).await?;
            }
        }
    }
}
