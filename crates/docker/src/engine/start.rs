//! The start of a container, and what it says first: of one that goes when it ends there is nothing else to be had.

use std::{pin::Pin, time::Duration};

use bollard::{container::LogOutput, errors::Error as EngineError, query_parameters::AttachContainerOptions};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::{CallError, Engine, error::plain};

/// Most lines that are kept, the last ones.
const MOST: usize = 50;

/// Longest line that is looked at, in bytes.
const LONGEST: usize = 16 << 10;

impl Engine {
    /// Starts a container; nothing if it runs.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] if a port is taken, a device is missing or the command cannot be run. The engine removes a
    /// container of ours that it could not start.
    pub async fn start(&self, container: &str) -> Result<(), CallError> {
        Ok(self.client().await?.start_container(container, None).await?)
    }

    /// Starts a container that does not run, and listens until it says a line that is enough, it ends, or `limit` is over.
    /// Gives the last lines, each of bounded length.
    ///
    /// # Errors
    ///
    /// As for [`Engine::start`].
    pub async fn start_and_hear(
        &self,
        container: &str,
        limit: Duration,
        is_enough: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, CallError> {
        let options = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let attached = self.client().await?.attach_container(container, Some(options)).await?;
        self.start(container).await?;
        Ok(hear(attached.output, Instant::now() + limit, is_enough).await)
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<LogOutput, EngineError>> + Send>>;

async fn hear(mut pieces: Pieces, until: Instant, is_enough: impl Fn(&str) -> bool) -> Vec<String> {
    let mut said = Vec::new();
    let mut begun = Vec::new();
    let mut keep = |line: &[u8]| {
        let line = plain(&String::from_utf8_lossy(line));
        let is_enough = is_enough(&line);
        said.push(line);
        if said.len() > MOST {
            said.remove(0);
        }
        is_enough
    };
    // Who asks the container next will see why it says no more: it ended, the engine broke off, or the time is over.
    while let Ok(Some(Ok(piece))) = timeout_at(until, pieces.next()).await {
        begun.extend_from_slice(&piece.into_bytes());
        let mut lines: Vec<&[u8]> = begun.split(|byte| *byte == b'\n').collect();
        let rest = lines.pop().unwrap_or_default();
        let is_enough = lines.into_iter().filter(|line| keep(line)).count() > 0;
        begun = if rest.len() > LONGEST {
            Vec::new()
        } else {
            rest.to_vec()
        };
        if is_enough {
            break;
        }
    }
    if !begun.is_empty() {
        keep(&begun);
    }
    said
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn it_is_listened_to_until_it_has_said_enough_or_ended() {
        // (pieces, whether it goes on after them, lines)
        for (pieces, goes_on, lines) in [
            (
                &["beg", "in\nrea", "dy\nmore"][..],
                true,
                &["begin", "ready", "more"][..],
            ),
            (&["begin\n"], true, &["begin"]),
            (&["error: no\n", "such thing"], false, &["error: no", "such thing"]),
            (&[], false, &[]),
        ] {
            let said = stream::iter(pieces.iter().map(|piece| {
                Ok(LogOutput::StdErr {
                    message: piece.as_bytes().to_vec().into(),
                })
            }));
            let pieces: Pieces = if goes_on {
                Box::pin(said.chain(stream::pending()))
            } else {
                Box::pin(said)
            };
            let limit = Duration::from_millis(if lines == ["begin"] { 50 } else { 60_000 });
            assert_eq!(
                hear(pieces, Instant::now() + limit, |line| line == "ready").await,
                lines
            );
        }
    }
}
