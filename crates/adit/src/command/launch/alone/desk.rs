//! Where the process that drives a lease is asked by others: one JSON value a line, on a socket of mode 0600.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use hub::api::words::Lease;
use launch::node::Secret;
use serde::{Deserialize, Serialize};
use wg::PublicKey;
use zeroize::Zeroizing;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 256 * 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// How the lease is.
    Read {},
    /// It is to live longer.
    Extend {
        /// By so many seconds.
        by_secs: u64,
    },
    /// It is to end.
    End {},
    /// Another peer is to be let in.
    AddPeer {
        /// Its name.
        name: String,
        /// Its key; `None` if the gateway makes it.
        public_key: Option<PublicKey>,
    },
    /// A peer is to have another key.
    ReplaceKey {
        /// Whose.
        name: String,
        /// The key.
        public_key: PublicKey,
    },
    /// A peer is to be let in no more.
    RemovePeer {
        /// Who.
        name: String,
    },
    /// The configuration of a peer whose key the gateway makes.
    HandOver {
        /// Whose.
        name: String,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The lease, once what was asked is done.
    Lease {
        /// As it is.
        lease: Box<Lease>,
        /// Where its configurations are, if whoever drives it has written them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<PathBuf>,
    },
    /// A configuration, with its private key: for the person, and nobody else.
    Configuration {
        /// Its text.
        text: Secret,
    },
    /// Nothing is done.
    Refused {
        /// Why.
        message: String,
    },
}

/// A question, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) reply: Sender<Reply>,
}

/// Takes questions while it lives.
#[derive(Debug)]
pub(crate) struct Desk {
    path: PathBuf,
    asked: Receiver<Asked>,
}

impl Desk {
    /// Opens the socket; what a killed process has left there goes.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let (sender, asked) = channel();
        thread::Builder::new().name("desk".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                // One that cannot be served waits in vain, and the lease goes on.
                let _refused = thread::Builder::new()
                    .name("asker".to_owned())
                    .spawn(move || serve(&stream, &sender));
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            asked,
        })
    }

    /// The next question, once there is one; `None` if there will be none.
    pub(crate) fn wait(&self) -> Option<Asked> {
        self.asked.recv().ok()
    }

    /// The next question, if one waits.
    pub(crate) fn next(&self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

fn serve(stream: &UnixStream, sender: &Sender<Asked>) {
    let _by_default = stream.set_read_timeout(Some(LIMIT));
    let mut line = String::new();
    if BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).is_err() {
        return;
    }
    let reply = match serde_json::from_str(&line) {
        Ok(ask) => ask_driver(ask, sender),
        Err(error) => Reply::Refused {
            message: format!("not a question of this version of adit: {error}"),
        },
    };
    let room = match &reply {
        Reply::Configuration { text } => 2 * text.danger_text().len() + 256,
        Reply::Lease { .. } | Reply::Refused { .. } => 4096,
    };
    // A buffer that grows leaves copies of a key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    if serde_json::to_writer(&mut *text, &reply).is_ok() {
        text.push(b'\n');
        let mut stream = stream;
        // Who asked may have gone.
        let _unheard = stream.write_all(&text);
    }
}

fn ask_driver(ask: Ask, sender: &Sender<Asked>) -> Reply {
    let (reply, answer) = channel();
    let over = || Reply::Refused {
        message: "the lease is over".to_owned(),
    };
    if sender.send(Asked { ask, reply }).is_err() {
        return over();
    }
    answer.recv_timeout(LIMIT).unwrap_or_else(|_| over())
}

/// Asks the driver behind a socket; `None` if there is none.
pub(crate) fn ask(path: &Path, ask: &Ask) -> Option<Reply> {
    let stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let mut line = serde_json::to_string(ask).ok()?;
    line.push('\n');
    (&stream).write_all(line.as_bytes()).ok()?;
    let mut answer = Zeroizing::new(String::new());
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer).ok()?;
    serde_json::from_str(&answer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_answers_until_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        assert_eq!(ask(&path, &Ask::Read {}), None);
        let desk = Desk::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let answered = thread::spawn({
            let path = path.clone();
            move || ask(&path, &Ask::Extend { by_secs: 60 })
        });
        let asked = loop {
            if let Some(asked) = desk.next() {
                break asked;
            }
            thread::yield_now();
        };
        assert_eq!(asked.ask, Ask::Extend { by_secs: 60 });
        let reply = Reply::Refused {
            message: "no".to_owned(),
        };
        asked.reply.send(reply.clone()).unwrap();
        assert_eq!(answered.join().unwrap(), Some(reply));
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"{\"do\":\"fly\"}\n").unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert!(line.contains("not a question"), "{line}");
        drop(desk);
        assert!(!path.exists());
    }
}
