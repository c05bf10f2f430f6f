//! `adit link run`: the daemon.

use anyhow::Context as _;
use clap::Args;
use gateway::{
    entry::Entry,
    environment::{self, LogFormat},
    notify::{self, Notifier},
};
use link::{
    HostName,
    daemon::{self, Settings},
};
use linux::signal::{Signal, Signals};

use super::DaemonArguments;
use crate::log;

/// Set for a daemon that a command has started, which is to live on when the person's terminal goes.
pub(super) const CHILD_VARIABLE: &str = "ADIT_LINK_CHILD";

/// How the daemon runs.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    daemon: DaemonArguments,
    /// How the log is written, `text` or `json`.
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT", default_value = "text", value_parser = environment::log_format)]
    log_format: LogFormat,
}

impl DaemonArguments {
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let name = rustix::system::uname();
        Ok(Settings {
            plane: tunnel::choose_interface(self.plane)?.plane,
            folder: self.state.clone(),
            socket: self.socket.clone(),
            engine: (self.engine.as_os_str() != "none").then(|| self.engine.clone()),
            driver: self.driver.clone(),
            namespaces: self.namespaces.clone(),
            host: HostName::of_host(&name.nodename().to_string_lossy()),
        })
    }
}

/// A line of the log.
fn say(link: Option<&str>, text: &str) {
    match link {
        Some(name) => log::entry(&Entry::new("link", format!("{name}: {text}")).with("link", name)),
        None => log::line(text),
    }
}

/// Runs the daemon until a signal ends it. Links live on.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    if std::env::var_os(CHILD_VARIABLE).is_some() {
        rustix::process::setsid().context("cannot leave the terminal")?;
    }
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    log::set_format(arguments.log_format);
    let settings = arguments.daemon.settings()?;
    let notifier = Notifier::new(std::env::var_os(notify::VARIABLE).as_deref()).context("NOTIFY_SOCKET is wrong")?;
    let ready = move || {
        if let Err(error) = notifier.ready("keeps this host's links") {
            log::line(&format!(
                "note: the service manager cannot be told that this is ready: {error}"
            ));
        }
    };
    serve(settings, signals, ready)?;
    log::line("adit link ends; the links stay as they are");
    Ok(())
}

/// Runs a daemon until a signal ends it.
pub(super) fn serve(settings: Settings, signals: Signals, ready: impl FnOnce() + 'static) -> anyhow::Result<()> {
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            while !matches!(signals.wait(None), Ok(Some(_)) | Err(_)) {}
            let _ends_already = sender.send(());
        })
        .context("cannot start a thread")?;
    run_until(settings, say, ready, async {
        let _told_or_gone = ended.await;
    })
}

/// Runs a daemon until `end` is over.
pub(super) fn run_until(
    settings: Settings,
    say: daemon::Say,
    ready: impl FnOnce() + 'static,
    end: impl Future<Output = ()> + 'static,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let done = runtime.block_on(daemon::run(settings, say, Box::new(ready), Box::pin(end)));
    runtime.shutdown_background();
    done.context("cannot run")
}
