//! Client mode, and the other tunnels of a server: every `.conf` in `wg_confs` is brought up, and down at the end.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use gateway::{
    daemon::Reception,
    environment::Environment,
    http,
    notify::{self, Notifier},
    servers::Servers,
};
use linux::signal::{Signal, Signals};
use tunnel::{
    Choice,
    quick::{self, Options},
};
use zeroize::Zeroizing;

use crate::{failure, log};

/// How often the directory is looked at.
const TICK: Duration = Duration::from_secs(2);

/// Where the configurations are in the directory.
const DIRECTORY: &str = "wg_confs";

/// What a file must have to be a tunnel's.
const MARK: &str = "[Interface]";

/// The tunnels of a directory, in the order of their names, which is that of a shell's `*.conf`.
#[derive(Debug)]
pub(super) struct Tunnels {
    directory: PathBuf,
    /// The file that is not a tunnel's but the gateway's own.
    except: Option<&'static str>,
    up: Vec<Conf>,
    /// A state that could not be reached: it is not tried again before a file changes.
    failed: Option<Vec<Conf>>,
}

/// A configuration as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conf {
    path: PathBuf,
    text: Zeroizing<String>,
}

/// Brings the tunnels up, follows the changes of their files, and takes them down when a signal comes.
pub(super) fn run(config_dir: &Path, environment: &Environment, started: Instant) -> anyhow::Result<()> {
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let notifier = Notifier::new(std::env::var_os(notify::VARIABLE).as_deref()).context("NOTIFY_SOCKET is wrong")?;
    gateway::move_old_conf(config_dir)
        .with_context(|| format!("cannot move wg0.conf to {DIRECTORY} in {}", config_dir.display()))?;
    let mut tunnels = Tunnels::new(config_dir, None);
    if tunnels.wanted()?.is_empty() {
        return Err(failure::usage(format!(
            "PEERS is not set, so this is client mode, and no .conf with an {MARK} is in {}: put one there, or give \
             the number of peers or their names for a server, PEERS=3 or --peers laptop,phone",
            tunnels.directory.display()
        )));
    }
    // Before the tunnels come up, which may change the system's resolvers.
    let mut servers = Servers::new(log::entry);
    let pages = || Arc::clone(servers.board()) as Arc<dyn http::Pages>;
    let serve = |address| http::Server::start(address, pages());
    let _metrics = environment.metrics.map(serve).transpose()?;
    log::line("client mode: PEERS is not set");
    tunnels.bring_in_line()?;
    if let Err(error) = gateway::give_to(config_dir, environment.user, environment.group) {
        log::line(&format!("note: not every file belongs to PUID and PGID: {error}"));
    }
    let _reception = Reception::open(config_dir, Arc::clone(servers.board()))
        .inspect_err(|error| log::line(&format!("note: {error}; `adit health` cannot ask")))
        .ok();
    let after = started.elapsed();
    let summary = format!("{} up", tunnels.names());
    log::line(&format!(
        "{summary} after {}.{:03} s",
        after.as_secs(),
        after.subsec_millis()
    ));
    notifier
        .ready(&summary)
        .context("cannot tell the service manager that the tunnels are up")?;
    let watched = watch(&mut tunnels, &mut servers, &signals);
    // It may have gone before us.
    let _unheard = notifier.stopping();
    let down = tunnels.take_down();
    watched.and(down)
}

/// Applies what changes in the directory, and follows the servers, until a signal comes.
fn watch(tunnels: &mut Tunnels, servers: &mut Servers, signals: &Signals) -> anyhow::Result<()> {
    loop {
        servers.follow(tunnels.texts());
        servers.look(Instant::now());
        if signals.wait(Some(TICK)).context("cannot wait for signals")?.is_some() {
            return Ok(());
        }
        if let Err(error) = tunnels.bring_in_line() {
            log::line(&format!("{error:#}; the files are tried again when they change"));
        }
    }
}

impl Tunnels {
    /// The tunnels of the configuration directory; none is up.
    pub(super) fn new(config_dir: &Path, except: Option<&'static str>) -> Self {
        Self {
            directory: config_dir.join(DIRECTORY),
            except,
            up: Vec::new(),
            failed: None,
        }
    }

    /// Takes down what is gone or has changed, in reverse order, and brings up what is new or has changed. Tunnels whose
    /// files are as they were are not touched.
    ///
    /// If one does not come up, those that were brought up before it are taken down, and what was there before stays.
    pub(super) fn bring_in_line(&mut self) -> anyhow::Result<()> {
        let wanted = self.wanted()?;
        if wanted == self.up || self.failed.as_ref() == Some(&wanted) {
            return Ok(());
        }
        self.failed = None;
        let (kept, gone): (Vec<Conf>, Vec<Conf>) = self.up.drain(..).partition(|conf| wanted.contains(conf));
        self.up = kept;
        for conf in gone.iter().rev() {
            down(&conf.path).unwrap_or_else(|error| log::line(&format!("{error:#}")));
        }
        let mut new: Vec<Conf> = Vec::new();
        for conf in &wanted {
            if self.up.contains(conf) {
                continue;
            }
            if let Err(error) = up(&conf.path) {
                for conf in new.iter().rev() {
                    down(&conf.path).unwrap_or_else(|error| log::line(&format!("{error:#}")));
                }
                self.failed = Some(wanted);
                return Err(error);
            }
            new.push(conf.clone());
        }
        self.up = wanted;
        Ok(())
    }

    /// Takes all down, the last first. Goes on after an error.
    pub(super) fn take_down(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(conf) = self.up.pop() {
            if let Err(error) = down(&conf.path) {
                log::line(&format!("{error:#}"));
                result = result.and(Err(error));
            }
        }
        result
    }

    /// The configurations in the directory, in order.
    fn wanted(&self) -> anyhow::Result<Vec<Conf>> {
        let read = || -> io::Result<Vec<Conf>> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(&self.directory)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().as_bytes();
                let is_conf = name.ends_with(b".conf") && !name.starts_with(b".");
                if is_conf && self.except.is_none_or(|except| name != except.as_bytes()) && path.is_file() {
                    paths.push(path);
                }
            }
            paths.sort_by(|one, other| one.as_os_str().as_bytes().cmp(other.as_os_str().as_bytes()));
            let mut confs = Vec::new();
            for path in paths {
                let text = Zeroizing::new(fs::read_to_string(&path)?);
                if text.contains(MARK) {
                    confs.push(Conf { path, text });
                }
            }
            Ok(confs)
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.with_context(|| format!("cannot read {}", self.directory.display())),
        }
    }

    /// The names and configurations of the tunnels that are up.
    pub(super) fn texts(&self) -> Vec<(String, &str)> {
        self.up
            .iter()
            .map(|conf| (name(&conf.path), conf.text.as_str()))
            .collect()
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.up.iter().map(|conf| name(&conf.path)).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("{} {verb}", names.join(", "))
    }
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn up(path: &Path) -> anyhow::Result<()> {
    log::line(&format!("bringing {} up", name(path)));
    let up = quick::up(Options {
        target: path,
        plane: Choice::Auto,
        resolv_conf: Path::new(linux::resolv::PATH),
        say: &mut log::line,
    });
    up.map(drop)
        .with_context(|| format!("cannot bring {} up", path.display()))
}

fn down(path: &Path) -> anyhow::Result<()> {
    log::line(&format!("taking {} down", name(path)));
    let down = quick::down(Options {
        target: path,
        plane: Choice::Auto,
        resolv_conf: Path::new(linux::resolv::PATH),
        say: &mut log::line,
    });
    down.with_context(|| format!("cannot take {} down cleanly", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_the_files_that_a_shell_finds_and_in_its_order() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(DIRECTORY);
        fs::create_dir(&directory).unwrap();
        for (file, text) in [
            ("b.conf", "[Interface]\n"),
            ("a.conf", "# mine\n[Interface]\n"),
            ("B.conf", "[Interface]\n"),
            ("wg0.conf", "[Interface]\n"),
            ("notes.conf", "nothing\n"),
            (".hidden.conf", "[Interface]\n"),
            ("a.conf.bak", "[Interface]\n"),
        ] {
            fs::write(directory.join(file), text).unwrap();
        }
        let names = |except| -> Vec<String> {
            let wanted = Tunnels::new(root.path(), except).wanted().unwrap();
            wanted.iter().map(|conf| name(&conf.path)).collect()
        };
        assert_eq!(names(None), ["B", "a", "b", "wg0"]);
        assert_eq!(names(Some("wg0.conf")), ["B", "a", "b"]);
        let nowhere = Tunnels::new(&root.path().join("nowhere"), None);
        assert!(nowhere.wanted().unwrap().is_empty());
    }
}
