//! The trees that `adit serve` writes, for environments as people have them.
//!
//! A case is a file in `cases`: variables, what is done to the directory before (`!write`, `!append`, `!rm`, `!mv`), and
//! `---` between one start and the next. The tree beside it is what linuxserver's image writes, but for the improvements
//! that [`IMPROVEMENTS`] names. A start without `PEERS` is a client's, in a network of its own. `ADIT_UPDATE_SNAPSHOTS=1` writes the trees anew.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use netlab::{Host, Lab};
use rustix::process::{Pid, Signal, kill_process};

/// Every case whose tree is not the image's, and why.
const IMPROVEMENTS: [(&str, &str); 7] = [
    ("a_peer_more", PRIVATE),
    ("client_mode_of_before_2023", PRIVATE),
    ("keys_without_a_preshared_key", PRIVATE),
    ("new_keys_for_a_peer", PRIVATE),
    ("no_saved_variables", PRIVATE),
    (
        "ipv6_by_default",
        "an IPv6 address beside each IPv4 address, which no template need name",
    ),
    (
        "names_with_dashes_and_blanks",
        "such names have their peers, where the image passes them over",
    ),
];

/// The image does so at the first start; what it writes later is open to everybody, by the umask.
const PRIVATE: &str = "what holds keys is for its owner alone";

/// One start of the gateway, and what is done to its directory before.
#[derive(Debug, Default)]
struct Start {
    acts: Vec<(Vec<String>, String)>,
    variables: BTreeMap<String, String>,
}

fn starts(text: &str) -> Vec<Start> {
    let mut starts = vec![Start::default()];
    for line in text.lines() {
        let start = starts.last_mut().unwrap();
        if line == "---" {
            starts.push(Start::default());
        } else if let Some(words) = line.strip_prefix('!') {
            let words = words.split(' ').map(str::to_owned).collect();
            start.acts.push((words, String::new()));
        } else if let Some(content) = line.strip_prefix('|') {
            let (_, text) = start.acts.last_mut().unwrap();
            *text += content;
            text.push('\n');
        } else if let Some((name, value)) = line.split_once('=') {
            start.variables.insert(name.to_owned(), value.to_owned());
        }
    }
    starts
}

fn act(root: &Path, words: &[String], text: &str) {
    let path = root.join(&words[1]);
    match words[0].as_str() {
        "write" => {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        "append" => fs::write(&path, fs::read_to_string(&path).unwrap() + text).unwrap(),
        "rm" if path.is_dir() => fs::remove_dir_all(path).unwrap(),
        "rm" => fs::remove_file(path).unwrap(),
        "mv" => fs::rename(path, root.join(&words[2])).unwrap(),
        other => panic!("no such act: {other}"),
    }
}

/// Runs the gateway until it is ready.
fn run(root: &Path, variables: &BTreeMap<String, String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(["serve", "--plane", "netstack", "--listen", "0", "--config-dir"])
        .arg(root)
        .env_clear()
        .env("INTERNAL_SUBNET6", "none")
        .env("SERVERPORT", "51820")
        .env("UMASK", "022")
        .envs(variables)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("gateway ready") {
        assert!(log.read_line(&mut said).unwrap() > 0, "{said}");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{said}{rest}");
}

/// Brings a client's tunnels up and down.
fn run_client(host: &Host, root: &Path, variables: &BTreeMap<String, String>) {
    let program = host.install(env!("CARGO_BIN_EXE_adit"));
    let command = host.command(program).args(["serve", "--config-dir"]).arg(root);
    let command = variables
        .iter()
        .fold(command.env("UMASK", "022"), |command, (name, value)| {
            command.env(name, value)
        });
    let mut process = command.spawn();
    process.wait_for(" up after ", Duration::from_secs(30));
    assert!(
        process.terminate(Duration::from_secs(10)).success(),
        "{}",
        process.log()
    );
}

/// Every file and directory below, in order, but for adit's own.
fn paths(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(".adit") {
            continue;
        }
        if path.is_dir() {
            found.extend(paths(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// Modes, paths and texts, with the names of keys in their place.
fn tree(root: &Path) -> String {
    let paths = paths(root);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let is_key = |path: &&PathBuf| {
        ["privatekey-", "publickey-", "presharedkey-"]
            .iter()
            .any(|kind| name(path).starts_with(kind))
    };
    let keys = paths.iter().filter(is_key);
    let keys: Vec<(String, String)> = keys
        .map(|path| {
            (
                fs::read_to_string(path).unwrap().trim().to_owned(),
                format!("<{}>", name(path)),
            )
        })
        .collect();
    let mut tree = String::new();
    for path in &paths {
        let mode = fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        let relative = path.strip_prefix(root).unwrap().display();
        if path.is_dir() {
            writeln!(tree, "{mode:04o} {relative}/").unwrap();
            continue;
        }
        writeln!(tree, "{mode:04o} {relative}").unwrap();
        let bytes = fs::read(path).unwrap();
        if name(path).ends_with(".png") {
            assert!(bytes.starts_with(b"\x89PNG"), "{relative}");
            tree += "    (picture)\n";
            continue;
        }
        let mut text = String::from_utf8(bytes).unwrap();
        for (key, name) in &keys {
            text = text.replace(key, name);
        }
        for line in text.lines() {
            writeln!(tree, "    {line}").unwrap();
        }
        if !text.ends_with('\n') {
            tree += "    (no line break)\n";
        }
    }
    tree
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases")
}

/// The cases of clients, or the others, each with its starts.
fn cases_of(clients: bool) -> Vec<(PathBuf, Vec<Start>)> {
    let files = fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "case"));
    let cases = files.map(|path| {
        let starts = starts(&fs::read_to_string(&path).unwrap());
        (path, starts)
    });
    let is_client = |start: &Start| !start.variables.contains_key("PEERS");
    let mut cases: Vec<_> = cases
        .filter(|(_, starts)| starts.iter().all(is_client) == clients)
        .collect();
    cases.sort_by(|(one, _), (other, _)| one.cmp(other));
    cases
}

/// Carries out the starts of each case, and compares what there is then.
fn compare(cases: &[(PathBuf, Vec<Start>)], run: impl Fn(&Path, &BTreeMap<String, String>)) {
    let mut wrong = String::new();
    for (file, starts) in cases {
        let root = tempfile::tempdir().unwrap();
        for start in starts {
            for (words, text) in &start.acts {
                act(root.path(), words, text);
            }
            run(root.path(), &start.variables);
        }
        let found = tree(root.path());
        let expected = file.with_extension("tree");
        if std::env::var_os("ADIT_UPDATE_SNAPSHOTS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != found {
            write!(wrong, "{} differs:\n{found}\n", expected.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_clients_tree_is_the_images() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let cases = cases_of(true);
    assert!(!cases.is_empty());
    let lab = Lab::new();
    let host = lab.host("client");
    compare(&cases, |root, variables| run_client(&host, root, variables));
}

#[test]
fn the_tree_is_the_images() {
    let files = cases_of(false);
    assert!(files.len() >= 20);
    compare(&files, run);
    for (case, _) in IMPROVEMENTS {
        assert!(cases().join(format!("{case}.case")).exists(), "{case}");
    }
}
