//! Asks a gateway at its socket.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};
use zeroize::Zeroizing;

use super::{Answer, MAX_ANSWER, Question};

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// A gateway gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no gateway answers at {}: {cause}", path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What connecting to it said.
        cause: io::Error,
    },
    /// The connection ended before the answer, or nothing came in time.
    #[error("the gateway gave no answer: {0}")]
    Lost(io::Error),
    /// What came is no answer.
    #[error("the gateway gave {0}")]
    Foreign(String),
}

/// A connection to a gateway.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    deadline: Instant,
}

impl Client {
    /// Connects to a socket. All answers have to come within `limit` from now on.
    ///
    /// # Errors
    ///
    /// [`AskError::Nobody`], or [`AskError::Lost`] if somebody listens and does not let it in.
    pub fn connect(path: &Path, limit: Duration) -> Result<Self, AskError> {
        let deadline = Instant::now() + limit;
        match connect(path, limit).map_err(in_time) {
            Ok(stream) => Ok(Self { stream, deadline }),
            Err(cause) if cause.kind() == io::ErrorKind::TimedOut => Err(AskError::Lost(cause)),
            Err(cause) => Err(AskError::Nobody {
                path: path.to_owned(),
                cause,
            }),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`AskError::Lost`] or [`AskError::Foreign`]. A refusal is an answer.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, AskError> {
        let line = self.exchange(&question.line()).map_err(AskError::Lost)?;
        Answer::read(&line).map_err(AskError::Foreign)
    }

    fn exchange(&mut self, question: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        self.stream.set_write_timeout(Some(self.rest()?))?;
        self.stream.write_all(question).map_err(in_time)?;
        let mut answer = Zeroizing::new(Vec::with_capacity(CHUNK));
        let mut chunk = Zeroizing::new([0; CHUNK]);
        loop {
            self.stream.set_read_timeout(Some(self.rest()?))?;
            let count = match self.stream.read(&mut *chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(in_time(error)),
            };
            let chunk = &chunk[..count];
            let end = chunk.iter().position(|byte| *byte == b'\n');
            answer.extend_from_slice(&chunk[..end.unwrap_or(count)]);
            if end.is_some() {
                return Ok(answer);
            }
            if answer.len() > MAX_ANSWER {
                return Err(io::Error::other("it is too long"));
            }
        }
    }

    /// How much time is left, more than none: a limit of zero is none at all.
    fn rest(&self) -> io::Result<Duration> {
        let rest = self.deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(rest)
        }
    }
}

/// Asks one question.
///
/// # Errors
///
/// [`AskError`].
pub fn ask(path: &Path, question: &Question, limit: Duration) -> Result<Answer, AskError> {
    Client::connect(path, limit)?.ask(question)
}

/// Connects within a limit: to a gateway that stands still only so many connect at once, and the next would wait for ever.
fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(limit))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// A socket's time limit shows as an operation that would block.
fn in_time(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn an_answer_comes_whole_and_in_time_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        // (what the gateway says, and whether it goes on listening; a word of the result)
        for (index, (said, stays, expected)) in [
            (&b"{\"answer\":\"ending\"}\n"[..], false, "Ending"),
            (b"{\"answer\":\"end", false, "Lost"),
            (b"", false, "Lost"),
            (b"{\"answer\":\"end", true, "TimedOut"),
            (b"hello\n", false, "Foreign"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = folder.path().join(index.to_string());
            let listener = UnixListener::bind(&path).unwrap();
            let gateway = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = [0; 17];
                stream.read_exact(&mut question).unwrap();
                assert_eq!(&question, b"{\"ask\":\"report\"}\n");
                stream.write_all(said).unwrap();
                if stays {
                    assert_eq!(stream.read(&mut question).unwrap(), 0, "the other one gives up");
                }
            });
            let answer = ask(
                &path,
                &Question::Report {},
                Duration::from_millis(if stays { 50 } else { 5_000 }),
            );
            let answer = format!("{answer:?}");
            assert!(answer.contains(expected), "{expected}: {answer}");
            gateway.join().unwrap();
        }
        let nobody = ask(
            &folder.path().join("none"),
            &Question::Report {},
            Duration::from_secs(1),
        );
        assert!(matches!(nobody, Err(AskError::Nobody { .. })), "{nobody:?}");
    }
}
