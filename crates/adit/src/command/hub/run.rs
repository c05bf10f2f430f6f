//! `adit hub`: opens the store, starts the launcher, listens, and stops when it is told to.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    thread,
};

use anyhow::{Context as _, bail};
use gateway::notify::{self, Notifier};
use hub::{
    App,
    audit::Audit,
    sign_in::{Given, Secret, SignIn},
};
use launch::{Clock, Launcher, launcher, store::Database};
use linux::signal::{Signal, Signals};
use tokio::{net::TcpListener, sync::oneshot};

use super::{
    config::{DataArguments, HubArguments, Setup},
    monitor::monitor,
    trace,
};
use crate::output;

/// The name of the store in the data's directory.
pub(super) const STORE: &str = "hub.db";

/// Runs a hub until a signal ends it. Its gateways go on.
pub(super) fn run(arguments: HubArguments, data: DataArguments) -> anyhow::Result<()> {
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let (format, level, token_file) = (arguments.log_format, arguments.log_level, arguments.token_file.clone());
    let Setup { config, places, data } = arguments.setup(data)?;
    let token = token_file.map(|file| read_token(&file)).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let trace = trace::start(format, level, config.otlp_endpoint.as_deref(), runtime.handle())?;
    let (sender, ended) = oneshot::channel();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            while !matches!(signals.wait(None), Ok(Some(_)) | Err(_)) {}
            let _ends_already = sender.send(());
        })
        .context("cannot start a thread")?;
    let (database, _lock) = open(&data)?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", config.listen))?;
        let config = config.listening_at(listener.local_addr().context("cannot listen")?);
        let audit = Audit::open(Arc::clone(&database), Clock::system()).context("cannot open the audit")?;
        let authorities = match config.oidc.as_ref().and_then(|oidc| oidc.authorities_file.as_deref()) {
            Some(file) => fs::read(file).with_context(|| format!("oidc.authorities_file: {}", file.display()))?,
            None => Vec::new(),
        };
        let chosen = token.is_some();
        let given = Given {
            token,
            authorities,
            clock: Clock::system(),
        };
        let (sign_in, printed) = SignIn::open(&config, given, Arc::clone(&database), audit.clone())?;
        let settings = launcher::Config {
            policy: config.policy.clone(),
            profiles: config.profiles.clone(),
            ..launcher::Config::new(launch::instance(&data).with_context(|| format!("cannot find {}", data.display()))?)
        };
        let launcher = Launcher::start(settings, database, places).context("cannot go on with the leases")?;
        let welcome = welcome(&config, printed.filter(|_| !chosen).as_ref());
        let monitor = monitor(config.azure_monitor.as_ref())?;
        let app = App::new(config, launcher, sign_in, audit).with_monitor(monitor);
        let serve = hub::serve(app, listener, async {
            let _told_or_gone = ended.await;
        });
        welcome?;
        Ok(serve.await?)
    });
    trace.finish();
    runtime.shutdown_background();
    served
}

/// Says where the hub is: the link that signs in on standard output, where people and programs find it.
fn welcome(config: &hub::Config, token: Option<&Secret>) -> anyhow::Result<()> {
    let origin = &config.origin;
    let (link, advice) = match token {
        Some(token) => (
            format!("{origin}/login?token={}", token.expose()),
            "Open this link to sign in. It is good until the hub ends, for whoever has it:",
        ),
        None => (origin.to_string(), "The hub is at:"),
    };
    // There is nobody to tell if standard error is closed.
    let _unreachable = writeln!(std::io::stderr(), "{advice}");
    output::secret_line(&link)?;
    let notifier = Notifier::new(std::env::var_os(notify::VARIABLE).as_deref()).context("NOTIFY_SOCKET is wrong")?;
    notifier.ready("answers").context("cannot tell the service manager")
}

/// Makes the data's directory if it is missing, for its owner alone.
pub(super) fn make_folder(data: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("cannot make {}", data.display()))
}

/// Opens the store, for this process alone as long as the lock lives.
pub(super) fn open(data: &Path) -> anyhow::Result<(Arc<Database>, File)> {
    make_folder(data)?;
    let path = data.join("hub.lock");
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another hub runs on {}", data.display()),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok((open_beside(data)?, lock))
}

/// Opens the store that a hub may have open, too.
pub(super) fn open_beside(data: &Path) -> anyhow::Result<Arc<Database>> {
    let file = data.join(STORE);
    let database = Database::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
    Ok(Arc::new(database))
}

fn read_token(file: &Path) -> anyhow::Result<Secret> {
    let text =
        zeroize::Zeroizing::new(fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?);
    Ok(Secret::new(text.trim().to_owned()))
}
