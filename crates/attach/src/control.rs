//! The socket by which `adit attach status` reads: whoever connects gets the status as one line of JSON.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::UnixListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::status::Status;

/// Where the daemon's socket is unless it is put elsewhere.
pub const SOCKET: &str = "/run/adit/attach.sock";

/// How long a reader may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest status that is read, in bytes: some 100,000 containers.
const MAX_STATUS: u64 = 64 << 20;

/// How long it is waited after the kernel had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The daemon cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no adit attach runs: nobody listens at {} ({cause}); start it (adit attach)", path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The socket is root's.
    #[error("{} may not be opened: ask as root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("the answer of adit attach: {0}")]
    Broken(#[from] io::Error),
    /// It is another version's.
    #[error("the answer of adit attach makes no sense, it may be of another version: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Asks the daemon at `path` how its containers are.
///
/// # Errors
///
/// [`ControlError`].
pub fn ask(path: &Path) -> Result<Status, ControlError> {
    let stream = UnixStream::connect(path).map_err(|cause| {
        let path = path.to_owned();
        if cause.kind() == io::ErrorKind::PermissionDenied {
            ControlError::Forbidden { path }
        } else {
            ControlError::Nobody { path, cause }
        }
    })?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut text = Vec::new();
    stream.take(MAX_STATUS).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The socket, which goes with this.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, for root alone. What a killed daemon left is replaced.
    ///
    /// # Errors
    ///
    /// If another daemon listens, or the socket cannot be made.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another adit attach runs: end it, or give this one another --socket",
            ));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let _was_never_there = fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers everybody with what `ask` brings, for ever.
    pub(crate) async fn serve(&self, ask: mpsc::UnboundedSender<oneshot::Sender<Status>>) {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let ask = ask.clone();
            tokio::spawn(timeout(LIMIT, async move {
                let (sender, answer) = oneshot::channel();
                let _ends_with_the_daemon = ask.send(sender);
                if let Ok(status) = answer.await
                    && let Ok(mut text) = serde_json::to_vec(&status)
                {
                    text.push(b'\n');
                    let _reader_went = stream.write_all(&text).await;
                }
            }));
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Entry;

    #[tokio::test]
    async fn whoever_connects_reads_the_status() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/attach.sock");
        assert!(matches!(ask(&path), Err(ControlError::Nobody { .. })));
        let socket = Socket::bind(&path).unwrap();
        assert!(
            Socket::bind(&path)
                .unwrap_err()
                .to_string()
                .contains("another adit attach runs")
        );
        let wanted = Status {
            engine: true,
            containers: vec![Entry {
                container: "web".to_owned(),
                ..Entry::default()
            }],
        };
        let (sender, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<Status>>();
        let reader = tokio::task::spawn_blocking({
            let path = path.clone();
            move || ask(&path)
        });
        let told = wanted.clone();
        let answering = async {
            while let Some(answer) = asked.recv().await {
                let _who_only_looked_went = answer.send(told.clone());
            }
        };
        tokio::select! {
            () = socket.serve(sender) => unreachable!("it serves for ever"),
            () = answering => unreachable!("somebody may always ask"),
            read = reader => assert_eq!(read.unwrap().unwrap(), wanted),
        }
        drop(socket);
        assert!(!path.exists());
    }
}
