//! The user's own commands around up and down.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use linux::signal::{self, Signals};
use rustix::process::{Pid, kill_process};

use super::interrupt::{Ear, Interrupted};

/// How long a command may take to end when a signal has ended `up`, until it is killed.
const LIMIT: Duration = Duration::from_secs(5);

/// How often it is looked whether it has ended.
const INTERVAL: Duration = Duration::from_millis(10);

/// A user's command failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is no shell, as in an image with nothing but adit in it.
    #[error(
        "{word} = {command}: this needs a shell, and there is none here; take the line out of {}, or use an image with a \
         shell", file.display()
    )]
    NoShell {
        /// The configuration that has the command.
        file: PathBuf,
        /// `PreUp`, `PostUp`, `PreDown` or `PostDown`.
        word: &'static str,
        /// The command, as run.
        command: String,
    },
    /// The shell could not be started.
    #[error("{word} = {command}: {cause}")]
    Start {
        /// As in [`HookError::NoShell`].
        word: &'static str,
        /// The command, as run.
        command: String,
        /// The error.
        cause: io::Error,
    },
    /// The command said no.
    #[error("{word} = {command}: {status}")]
    Failed {
        /// As in [`HookError::NoShell`].
        word: &'static str,
        /// The command, as run.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A signal came while it ran, and ended it.
    #[error("{word} = {command}: {cause}")]
    Interrupted {
        /// As in [`HookError::NoShell`].
        word: &'static str,
        /// The command, as run.
        command: String,
        /// The signal.
        cause: Interrupted,
    },
}

/// Runs a command of the configuration `file` with `sh -c`, `%i` replaced by the tunnel's name, and waits for it. It hears
/// all signals, whichever this process has taken; one of `signals` ends it.
///
/// # Errors
///
/// [`HookError`].
pub fn run(
    word: &'static str,
    command: &str,
    (name, file): (&str, &Path),
    signals: Option<&Signals>,
    say: &mut dyn FnMut(&str),
) -> Result<(), HookError> {
    let command = command.replace("%i", name);
    say(&command);
    let mut shell = Command::new("sh");
    let child = signal::unblock_in(shell.arg("-c").arg(&command)).spawn();
    match child.and_then(|child| end(child, Ear(signals))) {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HookError::Failed { word, command, status }),
        Ok(Err(cause)) => Err(HookError::Interrupted { word, command, cause }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HookError::NoShell {
            file: file.to_owned(),
            word,
            command,
        }),
        Err(cause) => Err(HookError::Start { word, command, cause }),
    }
}

/// Waits for the end of a command, or for a signal, which ends it.
fn end(mut child: Child, ear: Ear<'_>) -> io::Result<Result<ExitStatus, Interrupted>> {
    if ear.0.is_none() {
        return child.wait().map(Ok);
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ok(status));
        }
        let Err(interrupted) = ear.wait(INTERVAL) else { continue };
        // From a terminal it has the signal as well; from elsewhere it has not.
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(process) = process {
            kill_process(process, rustix::process::Signal::TERM)?;
        }
        let limit = Instant::now() + LIMIT;
        while child.try_wait()?.is_none() {
            if Instant::now() > limit {
                child.kill()?;
                child.wait()?;
                break;
            }
            std::thread::sleep(INTERVAL);
        }
        return Ok(Err(interrupted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_takes_the_place_of_percent_i() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("said");
        let mut said = Vec::new();
        let command = format!("echo %i up %i > {}", file.display());
        run("PostUp", &command, ("wg0", Path::new("wg0.conf")), None, &mut |line| {
            said.push(line.to_owned())
        })
        .unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "wg0 up wg0\n");
        assert_eq!(said, [format!("echo wg0 up wg0 > {}", file.display())]);
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let error = run("PreUp", "exit 3", ("wg0", Path::new("wg0.conf")), None, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "PreUp = exit 3: exit status: 3");
    }
}
