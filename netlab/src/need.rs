//! What a test needs of the machine, and what happens when it is not there.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Leaves the test unless every need is met: `"root"`, a device path such as `"/dev/net/tun"`, the name of a program, or
/// `"npm:NAME"` for a package that [`crate::node`] imports, or `"openapi:FILE"` for the description of an API.
///
/// A test that leaves says `skipped: NAME: needs X` and passes; with `ADIT_TEST_ALL=1` it fails.
#[macro_export]
macro_rules! requires {
    ($($need:expr),+ $(,)?) => {
        if let Some(missing) = $crate::missing(&[$($need),+]) {
            $crate::skip(&missing);
            return;
        }
    };
}

/// The first of `needs` that this machine does not meet.
#[must_use]
pub fn missing(needs: &[&str]) -> Option<String> {
    needs.iter().find(|need| !met(need)).map(|need| (*need).to_owned())
}

fn met(need: &str) -> bool {
    match need {
        "root" => crate::namespace::may_create(),
        path if path.starts_with('/') => Path::new(path).exists(),
        other => match other.split_once(':') {
            Some(("npm", package)) => crate::node::has(package),
            Some(("openapi", file)) => description(file).is_file(),
            _ => tool(other).is_some(),
        },
    }
}

/// Says that the running test was skipped for want of `need`, past the capture of test output.
///
/// # Panics
///
/// With `ADIT_TEST_ALL=1`, where nothing may be skipped.
#[track_caller]
pub fn skip(need: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: needs {need}\n", thread.name().unwrap_or("test"));
    assert!(
        std::env::var_os("ADIT_TEST_ALL").is_none_or(|value| value != "1"),
        "{line}"
    );
    // `eprint!` would be captured, and a passing test's capture is thrown away.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Where `program` is: in `$ADIT_TOOLS`, where `cargo xtask` unpacks and compiles programs, else on the `PATH`.
#[must_use]
pub fn tool(program: &str) -> Option<PathBuf> {
    let unpacked = tools();
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["usr/bin", "bin"]
        .map(|folder| unpacked.join(folder))
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Where the description `file` of an API is.
pub(crate) fn description(file: &str) -> PathBuf {
    tools().join("openapi").join(file)
}

/// The folder of what `cargo xtask` installs for tests only.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("ADIT_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools"),
        PathBuf::from,
    )
}
