//! The user's own commands around up and down.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

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
}

/// Runs a command of the configuration `file` with `sh -c`, `%i` replaced by the tunnel's name, and waits for it.
///
/// # Errors
///
/// [`HookError`].
pub fn run(
    word: &'static str,
    command: &str,
    (name, file): (&str, &Path),
    say: &mut dyn FnMut(&str),
) -> Result<(), HookError> {
    let command = command.replace("%i", name);
    say(&command);
    match Command::new("sh").arg("-c").arg(&command).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(HookError::Failed { word, command, status }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HookError::NoShell {
            file: file.to_owned(),
            word,
            command,
        }),
        Err(cause) => Err(HookError::Start { word, command, cause }),
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
        run("PostUp", &command, ("wg0", Path::new("wg0.conf")), &mut |line| {
            said.push(line.to_owned())
        })
        .unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "wg0 up wg0\n");
        assert_eq!(said, [format!("echo wg0 up wg0 > {}", file.display())]);
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let error = run("PreUp", "exit 3", ("wg0", Path::new("wg0.conf")), &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "PreUp = exit 3: exit status: 3");
    }
}
