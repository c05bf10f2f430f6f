//! Scripts for Node, with the packages that `cargo xtask test` installs.
//!
//! A script imports such a package by its name, wherever the script is. What it has to say it prints, a line of JSON
//! for each thing; a test needs `"node"`, and `"npm:NAME"` for each package (see [`crate::requires!`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Command, Host, need};

/// What tells Node where the packages are.
pub(crate) const PACKAGES: &str = "NETLAB_PACKAGES";

/// A command that will run the script `file` on `host`, with [`Command`]'s limit of time, input and arguments.
///
/// ```no_run
/// netlab::requires!("root", "node", "npm:axe-core");
/// let host = netlab::Lab::new().host("host");
/// let said = netlab::node::lines(&netlab::node::script(&host, "tests/page.mjs").run());
/// ```
#[must_use]
pub fn script(host: &Host, file: impl AsRef<Path>) -> Command {
    let command = host.command("node").args(arguments(file.as_ref()));
    command.env(PACKAGES, packages())
}

/// The lines of JSON in `output`.
///
/// # Panics
///
/// If one is none.
#[track_caller]
#[must_use]
pub fn lines(output: &str) -> Vec<Value> {
    let read =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("a script said {line:?}, not JSON: {error}"));
    output.lines().map(read).collect()
}

/// Where the packages are.
pub(crate) fn packages() -> PathBuf {
    need::tools().join("node")
}

/// Whether the package `name` is there.
pub(crate) fn has(name: &str) -> bool {
    packages()
        .join("node_modules")
        .join(name)
        .join("package.json")
        .is_file()
}

/// What Node takes to run `file` so that it finds the packages.
pub(crate) fn arguments(file: &Path) -> [OsString; 3] {
    let finder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node/packages.mjs");
    let file = std::path::absolute(file).expect("a script has a path");
    ["--import".into(), finder.into(), file.into()]
}
