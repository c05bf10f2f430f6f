//! What a caller makes of the engine's errors.

use bollard::errors::Error as EngineError;

/// Most characters of the engine's own words that are passed on.
const MOST: usize = 300;

/// Why the engine did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody answers at its socket: nothing was done.
    #[error("the container engine does not answer: {0}")]
    Unreachable(String),
    /// It answered nothing, or nothing that can be read: whether it was done cannot be told.
    #[error("the container engine gave no answer: {0}")]
    Unclear(String),
    /// There is no such container, image or network, and the engine is sure of it.
    #[error("{0}")]
    Missing(String),
    /// It cannot be done as things are: the name is taken, the container does not run, its removal is under way.
    #[error("{0}")]
    Conflict(String),
    /// The engine failed in doing it.
    #[error("{0}")]
    Failed(String),
    /// The engine does not do such a thing.
    #[error("{0}")]
    Refused(String),
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's client has many errors: after all that are not named here, nothing is certain"
)]
impl From<EngineError> for CallError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::SocketNotFoundError(path) => Self::Unreachable(format!("there is no socket {path}")),
            EngineError::HyperLegacyError { err } if err.is_connect() => Self::Unreachable(cause(&err)),
            EngineError::RequestTimeoutError => Self::Unclear("it took too long".to_owned()),
            EngineError::DockerResponseServerError { status_code, message } => {
                let message = plain(&message);
                match status_code {
                    404 => Self::Missing(message),
                    409 => Self::Conflict(message),
                    400..=499 => Self::Refused(message),
                    _ => Self::Failed(message),
                }
            }
            EngineError::DockerStreamError { error } => Self::Failed(plain(&error)),
            other => Self::Unclear(plain(&other.to_string())),
        }
    }
}

/// The innermost error: "Permission denied" says more than "client error".
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    plain(&innermost.to_string())
}

/// The engine's words, in one line of bounded length.
pub(super) fn plain(message: &str) -> String {
    let line: Vec<&str> = message.split_whitespace().collect();
    let line = line.join(" ");
    line.chars().filter(|letter| !letter.is_control()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_what_is_certain() {
        let answer = |status_code| {
            CallError::from(EngineError::DockerResponseServerError {
                status_code,
                message: "No such\n\x1b[31mcontainer: x".to_owned(),
            })
        };
        let message = || "No such [31mcontainer: x".to_owned();
        for (status, expected) in [
            (404, CallError::Missing(message())),
            (409, CallError::Conflict(message())),
            (400, CallError::Refused(message())),
            (403, CallError::Refused(message())),
            (500, CallError::Failed(message())),
            (503, CallError::Failed(message())),
        ] {
            assert_eq!(answer(status), expected);
        }
        let timeout = CallError::from(EngineError::RequestTimeoutError);
        assert!(matches!(timeout, CallError::Unclear(_)), "{timeout}");
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_from_one_that_breaks_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let ask = async || {
            let engine = crate::Engine::new(&path);
            engine.find("x").await.unwrap_err()
        };
        assert!(matches!(ask().await, CallError::Unreachable(_)));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert_eq!(
            ask().await,
            CallError::Unreachable("Connection refused (os error 111)".to_owned())
        );
        std::fs::remove_file(&path).unwrap();
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        assert!(matches!(ask().await, CallError::Unclear(_)));
    }
}
