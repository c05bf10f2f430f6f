//! Programs that are run in a container, and what a container has said.

use std::time::Duration;

use bollard::{container::LogOutput, exec::StartExecResults, models::ExecConfig, query_parameters::LogsOptions};
use futures_util::StreamExt as _;
use zeroize::Zeroizing;

use super::{CallError, Engine, error::plain};

/// Most bytes that a program may say.
const MOST: usize = 4 << 20;

/// What is set aside for its output, so that a secret in it is not left behind where the text grew.
const USUAL: usize = 32 << 10;

/// How often it is asked whether a program that has said all has ended, and how often in a row.
const INTERVAL: Duration = Duration::from_millis(20);
const ATTEMPTS: u32 = 100;

/// What became of a program. `Debug` shows none of its output, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; 126 and 127 if it cannot be run. `None` if the engine does not tell.
    pub code: Option<i64>,
    /// What it wrote to standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// What it wrote to standard error.
    pub complaint: Zeroizing<Vec<u8>>,
}

impl Ran {
    /// Whether there is no such program in the container.
    pub fn is_unknown(&self) -> bool {
        matches!(self.code, Some(126 | 127))
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ran").field("code", &self.code).finish_non_exhaustive()
    }
}

impl Engine {
    /// Runs a program in a container as the container's user, and waits until it has ended, `limit` at most. The program
    /// goes on beyond that.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`] without the container, [`CallError::Conflict`] if it does not run.
    pub async fn exec(&self, container: &str, words: &[&str], limit: Duration) -> Result<Ran, CallError> {
        match tokio::time::timeout(limit, self.run(container, words)).await {
            Ok(ran) => ran,
            Err(_elapsed) => Err(CallError::Unclear(format!(
                "`{}` in the container has not ended after {} seconds",
                words.first().copied().unwrap_or_default(),
                limit.as_secs()
            ))),
        }
    }

    async fn run(&self, container: &str, words: &[&str]) -> Result<Ran, CallError> {
        let client = self.client().await?;
        let config = ExecConfig {
            cmd: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let id = client.create_exec(container, config).await?.id;
        let (mut output, mut complaint) = (buffer(), buffer());
        match client.start_exec(&id, None).await? {
            StartExecResults::Attached { output: mut stream, .. } => {
                while let Some(piece) = stream.next().await {
                    let (into, piece) = match piece? {
                        LogOutput::StdErr { message } => (&mut complaint, message),
                        LogOutput::StdOut { message }
                        | LogOutput::StdIn { message }
                        | LogOutput::Console { message } => (&mut output, message),
                    };
                    if into.len() + piece.len() > MOST {
                        return Err(CallError::Unclear("the program says too much".to_owned()));
                    }
                    into.extend_from_slice(&piece);
                }
            }
            StartExecResults::Detached => {}
        }
        // The engine closes the output a moment before it knows of the end.
        for _ in 0..ATTEMPTS {
            let state = client.inspect_exec(&id).await?;
            if state.running != Some(true) {
                let code = state.exit_code;
                return Ok(Ran {
                    code,
                    output,
                    complaint,
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(Ran {
            code: None,
            output,
            complaint,
        })
    }

    /// The last line that a container has said, in bounded length; `None` if it has said nothing or the engine does not
    /// tell.
    pub async fn last_words(&self, container: &str) -> Option<String> {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: "5".to_owned(),
            ..LogsOptions::default()
        };
        let mut stream = std::pin::pin!(self.client().await.ok()?.logs(container, Some(options)));
        let mut last = None;
        while let Some(Ok(piece)) = stream.next().await {
            let text = String::from_utf8_lossy(&piece.into_bytes()).into_owned();
            last = text.lines().map(plain).rfind(|line| !line.is_empty()).or(last);
        }
        last
    }
}

fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(USUAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_is_not_shown() {
        let ran = Ran {
            code: Some(127),
            output: Zeroizing::new(b"PrivateKey".to_vec()),
            complaint: buffer(),
        };
        assert_eq!(format!("{ran:?}"), "Ran { code: Some(127), .. }");
        assert!(ran.is_unknown());
    }
}
