//! openresolv, and Debian's resolvconf, which keep `resolv.conf` from what programs hand in.
//!
//! Their interface is the program `resolvconf`, so this is run: without a shell, as wg-quick runs it.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Error, Resolv};
use crate::signal;

/// Where the program may be.
const PROGRAMS: [&str; 4] = [
    "/sbin/resolvconf",
    "/usr/sbin/resolvconf",
    "/usr/local/sbin/resolvconf",
    "/usr/bin/resolvconf",
];

/// Where Debian's resolvconf has its order of interfaces, by patterns; openresolv has none.
const ORDER: &str = "/etc/resolvconf/interface-order";

/// The program, if there is one.
pub(super) fn program() -> Option<PathBuf> {
    PROGRAMS.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Hands in a tunnel's resolvers, alone in charge: `-a NAME -m 0 -x`.
pub(super) fn set(program: &Path, tunnel: &str, wanted: &Resolv) -> Result<(), Error> {
    let mut text = String::new();
    for server in &wanted.servers {
        let _infallible = writeln!(text, "nameserver {server}");
    }
    if !wanted.search.is_empty() {
        let _infallible = writeln!(text, "search {}", wanted.search.join(" "));
    }
    let mut arguments = vec!["-a".to_owned(), name(tunnel)];
    if !wanted.servers.is_empty() {
        arguments.extend(["-m", "0", "-x"].map(str::to_owned));
    }
    run(program, tunnel, &arguments, &text)
}

/// Takes them out again, if they are there: `-d NAME -f`.
pub(super) fn restore(program: &Path, tunnel: &str) -> Result<(), Error> {
    run(program, tunnel, &["-d".to_owned(), name(tunnel), "-f".to_owned()], "")
}

/// Under which name: Debian's puts those first that its patterns name first, and has one for tunnels, `tun*`.
fn name(tunnel: &str) -> String {
    let order = fs::read_to_string(ORDER).unwrap_or_default();
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let first = order
        .lines()
        .find_map(|line| line.strip_suffix('*').filter(|word| !word.is_empty()).filter(is_word));
    match first {
        Some(word) => format!("{word}.{tunnel}"),
        None => tunnel.to_owned(),
    }
}

fn run(program: &Path, tunnel: &str, arguments: &[String], input: &str) -> Result<(), Error> {
    let run = || {
        let mut child = signal::unblock_in(&mut Command::new(program))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input.as_bytes()) {
                // It may not want to read.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{}: {}", output.status, said.trim())))
    };
    run().map_err(|cause| Error::Program {
        program: program.to_owned(),
        tunnel: tunnel.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_program_is_told_as_wg_quick_tells_it() {
        let directory = std::env::temp_dir().join(format!("adit-openresolv-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (program, log) = (directory.join("resolvconf"), directory.join("log"));
        let script = format!(
            "#!/bin/sh\n{{ echo \"$@\"; cat; }} >> {}\n[ \"$2\" != bad ]\n",
            log.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let both = Resolv {
            servers: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            search: vec!["lan".to_owned(), "example.com".to_owned()],
            options: Vec::new(),
        };
        let domains = Resolv {
            servers: Vec::new(),
            ..both.clone()
        };
        set(&program, "wg0", &both).unwrap();
        set(&program, "wg1", &domains).unwrap();
        restore(&program, "wg0").unwrap();
        assert!(matches!(restore(&program, "bad"), Err(Error::Program { .. })));
        let (first, second) = (name("wg0"), name("wg1"));
        let expected = format!(
            "-a {first} -m 0 -x\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch lan example.com\n\
             -a {second}\nsearch lan example.com\n-d {first} -f\n-d {} -f\n",
            name("bad")
        );
        assert_eq!(fs::read_to_string(&log).unwrap(), expected);
        fs::remove_dir_all(&directory).unwrap();
    }
}
