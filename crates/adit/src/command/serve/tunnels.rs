//! The tunnels of `wg_confs`: each is kept as its file has it, and a file with an error changes nothing.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use linux::{
    link,
    netlink::Netlink,
    signal::{Signal, Signals},
};
use rustix::process::{WaitOptions, wait};
use tunnel::{
    Choice,
    quick::{self, Errors, Options},
};
use zeroize::Zeroizing;

use crate::log;

/// Where the configurations are in the directory.
pub(super) const DIRECTORY: &str = "wg_confs";

/// What a file must have to be a tunnel's.
pub(super) const MARK: &str = "[Interface]";

/// After how long a tunnel that did not come up, or does not stay up, is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The tunnels of a directory, in the order of their names, which is that of a shell's `*.conf`.
#[derive(Debug)]
pub(super) struct Tunnels {
    pub(super) directory: PathBuf,
    /// The file that is not a tunnel's but the gateway's own.
    except: Option<&'static str>,
    /// Who shall handle their packets.
    plane: Choice,
    /// What is up, with the text that it was brought up with.
    up: Vec<Conf>,
    /// What could not be put in force.
    failed: Vec<Failed>,
    /// When the tunnels of these files had lost their interfaces last.
    lost: HashMap<PathBuf, Instant>,
    /// Why the directory could not be read, when that was tried last.
    unreadable: Option<String>,
}

/// A configuration as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conf {
    path: PathBuf,
    text: Zeroizing<String>,
}

#[derive(Debug)]
struct Failed {
    conf: Conf,
    why: String,
    /// When it is tried again, though its file is as it was: what is in the way may have passed. `None` for a file that is
    /// wrong in itself.
    due: Option<Instant>,
}

impl Failed {
    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }
}

impl Tunnels {
    /// The tunnels of the configuration directory; none is up.
    pub(super) fn new(config_dir: &Path, except: Option<&'static str>, plane: Choice) -> Self {
        Self {
            directory: config_dir.join(DIRECTORY),
            except,
            plane,
            up: Vec::new(),
            failed: Vec::new(),
            lost: HashMap::new(),
            unreadable: None,
        }
    }

    /// Brings all up at the start. Those of a process that was killed are taken down before. Gives the signal that came
    /// before all were up, if one did; none is up then.
    ///
    /// # Errors
    ///
    /// The first that cannot be used or does not come up; none is up then.
    pub(super) fn start(&mut self, signals: &Signals) -> anyhow::Result<Option<Signal>> {
        let wanted = self.wanted()?;
        for conf in &wanted {
            conf.check()
                .with_context(|| format!("cannot bring {} up", conf.name()))?;
        }
        self.clear_away();
        for conf in wanted {
            // At boot a resolver may come up later than this.
            if let Err(error) = self.up(&conf, None, Some(signals)) {
                if let Some(signal) = error.signal() {
                    log::line(&error.to_string());
                    return self.take_down().map(|()| Some(signal));
                }
                let error = Err(error).with_context(|| format!("cannot bring {} up", conf.path.display()));
                let _said = self.take_down();
                return error;
            }
            self.up.push(conf);
        }
        Ok(None)
    }

    /// Takes down what an earlier process has brought up from this directory and left.
    fn clear_away(&self) {
        let directory = std::path::absolute(&self.directory).unwrap_or_else(|_| self.directory.clone());
        for path in quick::brought_up().unwrap_or_default() {
            let is_ours = path.parent() == Some(&directory)
                && path.file_name().map(OsStrExt::as_bytes) != self.except.map(str::as_bytes);
            if is_ours {
                log::line(&format!(
                    "taking {} down, which a process that was killed has left",
                    name(&path)
                ));
                if let Err(error) = quick::down(self.options(&path, None, &mut log::line)) {
                    log::line(&format!("note: {error}"));
                }
            }
        }
    }

    /// Whether nothing is to be done for these: they are in force, or were tried in vain.
    pub(super) fn are_in_line(&self, wanted: &[Conf]) -> bool {
        let is_known = |conf: &Conf| self.up.contains(conf) || self.failed.iter().any(|failed| failed.conf == *conf);
        wanted.iter().all(is_known)
            && self
                .up
                .iter()
                .all(|conf| wanted.iter().any(|wanted| wanted.path == conf.path))
            && self
                .failed
                .iter()
                .all(|failed| wanted.contains(&failed.conf) && !failed.is_due())
    }

    /// Takes down what is gone, in reverse order, and puts in force what is new or has changed: on the tunnel while it is
    /// up, as far as that can be. Tunnels whose files are as they were are not touched. What goes wrong is in the log,
    /// and with that tunnel everything stays as it was.
    pub(super) fn bring_in_line(&mut self) {
        let unreadable = match self.wanted() {
            Ok(wanted) => {
                self.apply(wanted);
                None
            }
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(error) = unreadable.as_ref().filter(|_| unreadable != self.unreadable) {
            log::line(error);
        }
        self.unreadable = unreadable;
    }

    /// Brings tunnels up again whose interfaces are gone, as they are when their processes were killed: at once, or after
    /// [`RETRY`] what does not stay up. To be called every few seconds, where no other thread has children of its own.
    ///
    /// What is left of such a tunnel is taken down before, with its commands.
    pub(super) fn mend(&mut self) {
        // Nobody waits for the processes of interfaces, nor, in a container, for those that their parents left behind.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let mut at = 0;
        while at < self.up.len() {
            if !is_gone(&self.up[at].name()) {
                at += 1;
                continue;
            }
            let conf = self.up.remove(at);
            let why = "its interface is gone";
            log::line(&format!("{}: {why}, as after the end of its process", conf.name()));
            self.down(&conf)
                .unwrap_or_else(|error| log::line(&format!("{error:#}")));
            let before = self.lost.insert(conf.path.clone(), Instant::now());
            let due = before.map(|before| before + RETRY).filter(|due| *due > Instant::now());
            let (why, due) = match due {
                Some(due) => (why.to_owned(), due),
                None => match self.up(&conf, Some(0), None) {
                    Ok(()) => {
                        self.up.insert(at, conf);
                        at += 1;
                        continue;
                    }
                    Err(error) => (error.to_string(), Instant::now() + RETRY),
                },
            };
            log::line(&format!(
                "{}: {why}; it is down, and is tried again within a minute",
                conf.name()
            ));
            let due = Some(due);
            self.failed.push(Failed { conf, why, due });
        }
    }

    /// Whether a tunnel that did not come up is to be tried again.
    pub(super) fn are_due(&self) -> bool {
        self.failed.iter().any(Failed::is_due)
    }

    fn apply(&mut self, wanted: Vec<Conf>) {
        let (kept, gone): (Vec<Conf>, Vec<Conf>) = self
            .up
            .drain(..)
            .partition(|conf| wanted.iter().any(|wanted| wanted.path == conf.path));
        self.up = kept;
        for conf in gone.iter().rev() {
            self.down(conf).unwrap_or_else(|error| log::line(&format!("{error:#}")));
        }
        self.failed
            .retain(|failed| wanted.contains(&failed.conf) && !failed.is_due());
        for conf in wanted {
            let is_failed = self.failed.iter().any(|failed| failed.conf == conf);
            if is_failed || self.up.contains(&conf) {
                continue;
            }
            if let Err(error) = self.put_in_force(&conf) {
                let why = format!("{error:#}");
                let stays = if self.is_up(&conf.path) {
                    "it stays as it was"
                } else {
                    "it is down"
                };
                let due = conf.check().is_ok().then(|| Instant::now() + RETRY);
                let when = if due.is_some() {
                    "in a minute"
                } else {
                    "when the file changes"
                };
                log::line(&format!("{}: {why}; {stays}, and is tried again {when}", conf.name()));
                self.failed.push(Failed { conf, why, due });
            }
        }
        self.up
            .sort_by(|one, other| one.path.as_os_str().as_bytes().cmp(other.path.as_os_str().as_bytes()));
    }

    fn put_in_force(&mut self, conf: &Conf) -> anyhow::Result<()> {
        conf.check()?;
        let Some(at) = self.up.iter().position(|up| up.path == conf.path) else {
            self.up(conf, Some(0), None)?;
            self.up.push(conf.clone());
            return Ok(());
        };
        let mut say = log::line;
        let options = Options {
            retries: Some(0),
            ..self.options(&conf.path, Some(&conf.text), &mut say)
        };
        if quick::change(options, &self.up[at].text)? {
            log::line(&format!("{}: changed as its file has it, while it is up", conf.name()));
            self.up[at] = conf.clone();
            return Ok(());
        }
        let before = self.up.remove(at);
        self.down(&before)
            .unwrap_or_else(|error| log::line(&format!("{error:#}")));
        match self.up(conf, Some(0), None) {
            Ok(()) => {
                self.up.push(conf.clone());
                Ok(())
            }
            Err(error) => {
                match self.up(&before, Some(0), None) {
                    Ok(()) => self.up.push(before),
                    Err(again) => log::line(&format!("{}: not as it was before either: {again}", conf.name())),
                }
                Err(error.into())
            }
        }
    }

    fn options<'a>(&self, target: &'a Path, text: Option<&'a str>, say: &'a mut dyn FnMut(&str)) -> Options<'a> {
        Options {
            target,
            text,
            plane: self.plane,
            retries: None,
            resolv_conf: Path::new(linux::resolv::PATH),
            signals: None,
            say,
        }
    }

    /// Brings a tunnel up, and says on which plane. While other things wait, names are asked for without `retries`.
    /// One of `signals` ends that.
    fn up(&self, conf: &Conf, retries: Option<u32>, signals: Option<&Signals>) -> Result<(), Errors> {
        log::line(&format!("bringing {} up", conf.name()));
        let up = quick::up(Options {
            retries,
            signals,
            ..self.options(&conf.path, Some(&conf.text), &mut log::line)
        })?;
        log::line(&format!("{}: {}", up.name, up.chosen));
        Ok(())
    }

    /// Takes a tunnel down as it was brought up. Its file is written, if it asks for that, only where nobody has edited it.
    fn down(&self, conf: &Conf) -> anyhow::Result<()> {
        log::line(&format!("taking {} down", conf.name()));
        let is_edited = fs::read(&conf.path)
            .ok()
            .is_none_or(|bytes| bytes != conf.text.as_bytes());
        let text = is_edited.then_some(conf.text.as_str());
        let down = quick::down(self.options(&conf.path, text, &mut log::line));
        down.with_context(|| format!("cannot take {} down cleanly", conf.path.display()))
    }

    fn is_up(&self, path: &Path) -> bool {
        self.up.iter().any(|up| up.path == path)
    }

    /// Takes all down, the last first. Goes on after an error.
    pub(super) fn take_down(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(conf) = self.up.pop() {
            if let Err(error) = self.down(&conf) {
                log::line(&format!("{error:#}"));
                result = result.and(Err(error));
            }
        }
        result
    }

    /// The configurations in the directory, in order. A file that cannot be read, and one of a tunnel that is up that
    /// has no more the mark of one, is among them, as what it is not: a configuration.
    pub(super) fn wanted(&self) -> anyhow::Result<Vec<Conf>> {
        let paths = match self.paths() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.with_context(|| format!("cannot read {}", self.directory.display())),
        }?;
        let mut confs = Vec::new();
        for path in paths {
            let text = match fs::read(&path) {
                Ok(bytes) => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            if text.contains(MARK) || self.is_up(&path) {
                confs.push(Conf { path, text });
            }
        }
        Ok(confs)
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
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
        Ok(paths)
    }

    /// The names and configurations of the tunnels that are up.
    pub(super) fn texts(&self) -> Vec<(String, &str)> {
        self.up.iter().map(|conf| (conf.name(), conf.text.as_str())).collect()
    }

    /// The names of the tunnels that are down and should not be, each with the reason.
    pub(super) fn missing(&self) -> Vec<(String, String)> {
        let down = self.failed.iter().filter(|failed| !self.is_up(&failed.conf.path));
        down.map(|failed| (failed.conf.name(), failed.why.clone())).collect()
    }

    pub(super) fn names(&self) -> String {
        let names: Vec<String> = self.up.iter().map(Conf::name).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("{} {verb}", names.join(", "))
    }
}

impl Conf {
    fn name(&self) -> String {
        name(&self.path)
    }

    /// # Errors
    ///
    /// Says in which line what is wrong.
    fn check(&self) -> anyhow::Result<()> {
        quick::check(&self.path, &self.text)?;
        anyhow::ensure!(self.text.contains(MARK), "{} has no {MARK}", self.path.display());
        Ok(())
    }
}

/// Whether there is no interface of this name. Where that cannot be asked, there is.
fn is_gone(name: &str) -> bool {
    Netlink::route()
        .and_then(|mut netlink| link::find(&mut netlink, name))
        .is_ok_and(|link| link.is_none())
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
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
            let wanted = Tunnels::new(root.path(), except, Choice::Auto).wanted().unwrap();
            wanted.iter().map(Conf::name).collect()
        };
        assert_eq!(names(None), ["B", "a", "b", "wg0"]);
        assert_eq!(names(Some("wg0.conf")), ["B", "a", "b"]);
        let nowhere = Tunnels::new(&root.path().join("nowhere"), None, Choice::Auto);
        assert!(nowhere.wanted().unwrap().is_empty());
    }
}
