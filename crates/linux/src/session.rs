//! Starts programs that are to outlive the one that starts them.
#![allow(unsafe_code, reason = "what happens between fork and exec has no safe interface")]

use std::{os::unix::process::CommandExt as _, process::Command};

/// Starts a program in a session of its own: no terminal's Ctrl-C and no hang-up reaches it from its first moment on.
pub fn start_in_own(command: &mut Command) -> &mut Command {
    let lead = || match rustix::process::setsid() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    };
    // SAFETY: between fork and exec the child calls setsid alone, which is async-signal-safe; it allocates nothing.
    unsafe { command.pre_exec(lead) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_leads_its_own_session() {
        // The sixth field of proc_pid_stat(5) is the session's number, which is that of its first process.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "read pid name state parent group session rest < /proc/self/stat; echo $session $$",
        ]);
        let session = |command: &mut Command| {
            let output = command.output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (session, own) = text.trim().split_once(' ').unwrap();
            (session.to_owned(), own.to_owned())
        };
        let (inherited, own) = session(&mut command);
        assert_ne!(inherited, own);
        let (led, own) = session(start_in_own(&mut command));
        assert_eq!(led, own);
    }
}
