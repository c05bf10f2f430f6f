//! `adit link listen` and `adit link dial`: two hosts, two tokens on a command line, no daemon and no Docker.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Child, Command as Program},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use clap::Args;
use link::{
    HostName, LinkName, Token,
    addresses::{Addresses, DEFAULT_POOL},
    control::{self, Answer, Command, Part},
    daemon::{self, Settings},
    link::{LIFETIME, Settings as Taking},
    secret::Secret,
    status::LinkStatus,
};
use linux::signal::{self, Signal, Signals};
use tokio::sync::oneshot;
use wg::{Ipv4Net, PublicKey};

use super::{run, say};
use crate::{duration, failure, output};

/// How often it is looked whether the other host is there.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long the program may take to end once it is told to.
const GRACE: Duration = Duration::from_secs(10);

/// Where such a link is kept while it lasts.
const FOLDER: &str = "/run/adit";

/// What both take.
#[derive(Debug, Args)]
struct Common {
    /// What the link is called, which names its interface adit-LINK.
    #[arg(long, value_name = "LINK", default_value = "direct")]
    link: LinkName,
    /// The UDP port of the tunnel on this host [default: the first that is free, from 51820 on].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Who handles the tunnel's packets: auto, kernel or tun.
    #[arg(long, value_name = "PLANE", env = "ADIT_PLANE", default_value_t)]
    plane: tunnel::Choice,
    /// A program to run on top, with its arguments: it finds the tunnel's addresses in $ADIT_HERE and $ADIT_THERE, and the
    /// tunnel ends with it.
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// How to listen.
#[derive(Debug, Args)]
pub(super) struct ListenArguments {
    /// Where the other host reaches this one [default: the address that this host's packets have].
    #[arg(long, value_name = "HOST[:PORT]")]
    endpoint: Option<String>,
    /// The addresses of the tunnel [default: the first free of 10.77.0.0/16, 10.78.0.0/16 …].
    #[arg(long, value_name = "CIDR")]
    subnet: Option<Ipv4Net>,
    #[command(flatten)]
    common: Common,
}

/// Whom to dial.
#[derive(Debug, Args)]
pub(super) struct DialArguments {
    /// The first token that the other host printed: its public key.
    #[arg(value_name = "TOKEN1")]
    key: PublicKey,
    /// The second token: a secret for this one connection.
    #[arg(value_name = "TOKEN2")]
    secret: String,
    /// Where the other host is; UDP port 51820 unless another is named.
    #[arg(value_name = "HOST[:PORT]")]
    endpoint: String,
    /// The addresses of the tunnel, if the other host printed this.
    #[arg(long, value_name = "CIDR", default_value = DEFAULT_POOL)]
    subnet: Ipv4Net,
    #[command(flatten)]
    common: Common,
}

/// A daemon for this one link, on a thread of this process.
struct Daemon {
    link: LinkName,
    folder: PathBuf,
    socket: PathBuf,
    end: oneshot::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
    /// Whose names differ, for both hosts may call themselves alike.
    host: HostName,
}

impl Daemon {
    fn start(common: &Common, role: &str) -> anyhow::Result<Self> {
        let folder = Path::new(FOLDER).join(format!("link-{}", common.link));
        let socket = folder.join("socket");
        daemon::clear(&folder, &socket)?;
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host = HostName::of_host(&format!("{role}-{name}"));
        let settings = Settings {
            plane: tunnel::choose_interface(common.plane)?.plane,
            folder: folder.clone(),
            socket: socket.clone(),
            engine: None,
            driver: PathBuf::new(),
            namespaces: PathBuf::new(),
            host: host.clone(),
        };
        let (end, ended) = oneshot::channel();
        let (sender, ready) = mpsc::channel();
        let thread = thread::Builder::new().name("link".into()).spawn(move || {
            let ready = move || {
                let _waits = sender.send(());
            };
            run::run_until(settings, quiet, ready, async {
                let _told_or_gone = ended.await;
            })
        });
        let thread = thread.context("cannot start a thread")?;
        // It says nothing if it has failed, and then its thread says why.
        if ready.recv().is_err() {
            match thread.join() {
                Ok(ended) => ended?,
                Err(_) => bail!("the link's thread ended"),
            }
            bail!("the link ended");
        }
        Ok(Self {
            link: common.link.clone(),
            folder,
            socket,
            end,
            thread,
            host,
        })
    }

    fn ask(&self, command: &Command) -> anyhow::Result<Answer> {
        Ok(control::ask(&self.socket, command)?)
    }

    fn part(&self, common: &Common, endpoint: Option<String>) -> Part {
        Part {
            name: Some(self.host.clone()),
            endpoint,
            port: common.port,
            settings: Taking {
                plain: true,
                internal: false,
            },
        }
    }

    fn status(&self) -> anyhow::Result<LinkStatus> {
        let link = Some(self.link.clone());
        match self.ask(&Command::Status { link })? {
            Answer::Status { links } => links.into_iter().next().context("the link is gone"),
            Answer::Done { .. } | Answer::Token(_) | Answer::Joined(_) | Answer::Failed { .. } => {
                bail!("the link answers something else")
            }
        }
    }

    /// Goes on until a signal or the program ends it; then clears all away.
    fn stay(self, signals: &Signals, program: &[OsString], wait: bool) -> anyhow::Result<()> {
        let done = self.watch(signals, program, wait);
        let link = self.link.clone();
        if let Err(error) = self.ask(&Command::Leave { link }) {
            say(&format!("note: {error:#}"));
        }
        // The other host is told, and the interface goes, before the link does.
        let gone = (0..).take_while(|_| self.status().is_ok()).take(50);
        gone.for_each(|_| thread::sleep(INTERVAL));
        let _waits = self.end.send(());
        let _said_already = self.thread.join();
        let _as_far_as_it_goes = daemon::clear(&self.folder, &self.socket);
        done
    }

    fn watch(&self, signals: &Signals, program: &[OsString], wait: bool) -> anyhow::Result<()> {
        let mut running = None;
        let mut was_up = !wait;
        loop {
            let status = self.status()?;
            let here = address(&status, true);
            let there = address(&status, false);
            let up = status.hosts.iter().find(|host| !host.here && host.up);
            if let (Some(other), false) = (up, was_up) {
                was_up = true;
                say(&format!(
                    "paired with {}: {} here, {} there",
                    other.host,
                    here.as_deref().unwrap_or_default(),
                    there.as_deref().unwrap_or_default()
                ));
            }
            if running.is_none() && !program.is_empty() {
                running = Some(start(program, here.as_deref(), there.as_deref())?);
            }
            if let Some(child) = &mut running
                && let Some(ended) = child.try_wait().context("cannot wait for the program")?
            {
                return if ended.success() {
                    Ok(())
                } else {
                    Err(anyhow::anyhow!("the program ended with {ended}"))
                };
            }
            if signals
                .wait(Some(INTERVAL))
                .context("cannot wait for a signal")?
                .is_some()
            {
                return running.map_or(Ok(()), end);
            }
        }
    }
}

/// The daemon's own lines say nothing that is not said here, but for what goes wrong.
fn quiet(_link: Option<&str>, text: &str) {
    if text.contains("refused") || text.contains("not whole") {
        say(&format!("note: {text}"));
    }
}

/// A host's own address in the tunnel.
fn address(status: &LinkStatus, here: bool) -> Option<String> {
    let host = status.hosts.iter().find(|host| host.here == here)?;
    host.addresses.first().map(ToString::to_string)
}

fn start(program: &[OsString], here: Option<&str>, there: Option<&str>) -> anyhow::Result<Child> {
    let (name, arguments) = program.split_first().context("there is no program")?;
    let mut command = Program::new(name);
    command
        .args(arguments)
        .env("ADIT_HERE", here.unwrap_or_default())
        .env("ADIT_THERE", there.unwrap_or_default());
    signal::unblock_in(&mut command)
        .spawn()
        .with_context(|| format!("cannot run {}", name.display()))
}

/// Ends the program, which a terminal has told so already.
fn end(mut child: Child) -> anyhow::Result<()> {
    let until = std::time::Instant::now() + GRACE;
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    while std::time::Instant::now() < until {
        if child.try_wait().context("cannot wait for the program")?.is_some() {
            return Ok(());
        }
        thread::sleep(INTERVAL);
    }
    child.kill().context("cannot end the program")?;
    child.wait().context("cannot wait for the program")?;
    Ok(())
}

/// Listens.
pub(super) fn listen(arguments: ListenArguments) -> anyhow::Result<()> {
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let ListenArguments {
        endpoint,
        subnet,
        common,
    } = arguments;
    let daemon = Daemon::start(&common, "listener")?;
    let command = Command::Create {
        link: common.link.clone(),
        pool: subnet,
        host: daemon.part(&common, endpoint),
        lifetime: LIFETIME,
    };
    let answer = daemon.ask(&command)?;
    let Answer::Token(invited) = answer else {
        bail!("the link answers something else");
    };
    let token: Token = invited.token.parse()?;
    let status = daemon.status()?;
    let here = address(&status, true).unwrap_or_default();
    let lifetime = duration::humane(Duration::from_secs(invited.lifetime));
    say(&format!(
        "{} is up: {here} here.  On the other host, within {lifetime}, once:",
        status.interface
    ));
    let place = token
        .endpoints
        .first()
        .context("this host has no address: name one by --endpoint")?;
    let pool = token.addresses.pool;
    let more = match DEFAULT_POOL.parse::<Ipv4Net>() {
        Ok(usual) if usual == pool => String::new(),
        Ok(_) | Err(_) => format!(" --subnet {pool}"),
    };
    let secret = token.secret.danger_text();
    let text = format!("  adit link dial {} {} {place}{more}", token.key, &*secret);
    output::secret_line(&zeroize::Zeroizing::new(text))?;
    for note in &invited.notes {
        say(&format!("note: {note}"));
    }
    daemon.stay(&signals, &common.program, true)
}

/// Dials.
pub(super) fn dial(arguments: DialArguments) -> anyhow::Result<()> {
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let DialArguments {
        key,
        secret,
        endpoint,
        subnet,
        common,
    } = arguments;
    let secret = Secret::from_text(&secret).ok_or_else(|| {
        failure::usage("the second token is damaged: copy both whole, as adit link listen prints them".to_owned())
    })?;
    let endpoint = control::endpoint(&endpoint, link::LISTEN_PORT).map_err(failure::usage)?;
    let addresses = Addresses::new(subnet, &key).map_err(|error| failure::usage(error.to_string()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let token = Token {
        link: common.link.clone(),
        addresses,
        member: 0,
        key,
        endpoints: vec![endpoint],
        // The other host's clock says when it is too late.
        expires: now.as_secs() + LIFETIME,
        secret,
    };
    let daemon = Daemon::start(&common, "dialler")?;
    let command = Command::Join {
        token: token.danger_text().to_string(),
        host: daemon.part(&common, None),
    };
    let answer = daemon.ask(&command)?;
    let Answer::Joined(joined) = answer else {
        bail!("the link answers something else");
    };
    let status = daemon.status()?;
    say(&format!(
        "paired with {} (handshake {:.2} s): {} here, {} there",
        joined.host,
        joined.handshake,
        address(&status, true).unwrap_or_default(),
        address(&status, false).unwrap_or_default(),
    ));
    daemon.stay(&signals, &common.program, false)
}
