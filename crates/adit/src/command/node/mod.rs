//! `adit node`: the gateway of a lease, wherever it runs. A launcher tells it what it is to be.
//!
//! ```text
//!   launcher ─ questions ─▶ socket ─▶ Desk ─▶ gateway
//!       └──── its tunnel ────▲
//!   clock, signals ──────────────────▶ its end
//!   kernel's timer ──────────────────▶ the process's end, should the clock be held up
//! ```

mod desk;
mod member;
pub(crate) mod processes;
mod state;

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, ensure};
use gateway::{
    daemon::{Line, Socket},
    key,
    launcher::Launcher,
    server::GatewayError,
};
use launch::{
    LeaseId, Moment,
    node::{
        Answer, FAULT, MAX_QUESTION, Question, READY, Ready,
        link::{ASK_PORT, Link},
    },
    order::MAX_PEERS,
};
use linux::signal::{Signal, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tunnel::Unavailable;
use wg::PublicKey;

use self::{
    desk::Desk,
    state::{Begun, Place, State},
};
use crate::{
    duration,
    failure::{self, Kind},
    limit::Limit,
    log, moment, node_socket,
    opening::Opening,
    options::GatewayOptions,
    output,
};

/// Least lifetime by the time of day, which may be wrong: in it the launcher can say how long it really is.
const LEAST: Duration = Duration::from_secs(120);

/// How often the gateway is looked at.
const TICK: Duration = Duration::from_secs(1);

/// The arguments of `adit node`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, as a launcher starts it:\n  \
    adit node --lease 01kb2w0v9hq3k1yv8s4n6t2m5e --lifetime 1800 --socket /run/adit/leases/hub/01kb…/socket\n\n\
    Without --state it writes nothing but its socket; its key is in its memory and goes with it. Should it hang, the kernel \
    ends it 5 s after its time, with SIGKILL.\n\
    Exit code: 0 when its time is over, or it was asked to end, or by SIGTERM, SIGINT or SIGHUP; 1 if it could not be \
    opened or could not go on; 2 for wrong usage; 137 if the kernel had to end it.")]
pub(crate) struct Arguments {
    /// The lease that it belongs to, by which its interface is named.
    #[arg(long, value_name = "ID")]
    lease: LeaseId,
    /// Seconds after which it ends by itself, 1 to 2678400; the launcher may tell it otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=desk::MAX_REMAINING_SECS))]
    lifetime: u64,
    /// Moment, as in 2026-11-21T04:00:00Z, at which it is over even if it is started anew: its first lifetime is what is left
    /// until then if that is less, but 120 s at least, for this machine's clock may be wrong.
    ///
    /// The launcher may tell it otherwise, as it may of the lifetime.
    #[arg(long, value_name = "MOMENT")]
    until: Option<Moment>,
    /// Where it answers; its directory is made if it is missing, and has to be its user's alone.
    ///
    /// Default: /run/adit/node/socket, or where that cannot be made, one that `adit ask` of the same user finds.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Public key of a launcher that asks through the gateway's own UDP port, too: it may ask and reaches nothing else.
    ///
    /// The two have addresses of 198.19.0.0/16 for it, which follow from the key.
    #[arg(long, value_name = "PUBLIC_KEY", env = "ADIT_NODE_LAUNCHER")]
    launcher: Option<PublicKey>,
    /// Where it keeps its key, its peers and its end, so that it goes on with them when it is started anew: a folder, or a
    /// container of Azure's blobs as `blob:https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER`.
    ///
    /// It is sealed with the key in ADIT_STATE_KEY, such as `adit genpsk` prints, in a file or blob that is named after the
    /// lease, and removed when the gateway's time is over. Blobs are reached by AZURE_STORAGE_CONNECTION_STRING, or as the
    /// identity of this machine. Peers and end that are kept come before --until and --lifetime.
    #[arg(long, value_name = "PLACE", env = "ADIT_NODE_STATE")]
    state: Option<Place>,
    #[command(flatten)]
    gateway: GatewayOptions,
}

/// Runs the gateway until its end.
pub(crate) fn run(arguments: &Arguments, started: Instant) -> anyhow::Result<()> {
    serve(arguments, started).inspect_err(|error| log::line(&format!("{FAULT}{}", code(error))))
}

/// How long it lives unless the launcher says otherwise.
fn first_lifetime(lifetime: Duration, until: Option<Moment>, now: Moment) -> Duration {
    until.map_or(lifetime, |until| lifetime.min(until.since(now).max(LEAST)))
}

/// A word for programs.
fn code(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref() {
        Some(GatewayError::PortTaken { .. }) => return "port_taken",
        Some(
            GatewayError::Open(_)
            | GatewayError::Apply(_)
            | GatewayError::Ended(_)
            | GatewayError::Taken(_)
            | GatewayError::Dns(_)
            | GatewayError::Launcher { .. }
            | GatewayError::Firewall(_)
            | GatewayError::NotUndone { .. },
        )
        | None => {}
    }
    if error.downcast_ref::<Unavailable>().is_some() {
        "plane_unavailable"
    } else if failure::kind(error) == Kind::Usage {
        "bad_options"
    } else {
        "start_failed"
    }
}

fn serve(arguments: &Arguments, started: Instant) -> anyhow::Result<()> {
    let lifetime = Duration::from_secs(arguments.lifetime);
    let lifetime = first_lifetime(lifetime, arguments.until, Moment::from_system(SystemTime::now()));
    let limit = Limit::behind(moment::since_boot() + lifetime)?;
    // Before the first thread: every thread leaves the signals to this one.
    let signals = Signals::take(&Signal::ALL).context("cannot take signals")?;
    let begun = arguments
        .state
        .as_ref()
        .map(|place| state::begin(place, arguments.lease, &signals));
    let (loading, kept) = match begun.transpose()? {
        None => (None, None),
        Some(Begun::Loaded(loading, kept)) => (Some(loading), kept),
        Some(Begun::Ended(reason)) => {
            log::line(&format!("no gateway was opened: {reason}"));
            return Ok(());
        }
    };
    let (kept_key, kept) = kept.unzip();
    let lifetime = kept.as_ref().map_or(lifetime, |kept| {
        kept.remaining(SystemTime::now(), LEAST, Duration::from_secs(desk::MAX_REMAINING_SECS))
    });
    let due = moment::since_boot() + lifetime;
    limit.follow(due)?;
    let random = *key::random()?;
    let mut opening = Opening::new(&arguments.gateway, MAX_PEERS, random)?;
    if let Some(kept) = &kept {
        opening.resume(&kept.subnets, kept.listen_port);
    }
    if let Some(key) = &arguments.launcher {
        let link = Link::of(key).network();
        let subnet = opening.subnets.iter().find(|subnet| subnet.contains(&link));
        ensure!(
            subnet.is_none(),
            failure::usage(format!(
                "the peers' network must not hold {link}, which is for the launcher"
            ))
        );
    }
    // Whoever started it by a link of the kernel's has no name for it.
    let _unnamed = rustix::thread::set_name(c"adit");
    let path = node_socket::prepare(arguments.socket.as_deref())?;
    let mut say = |line: &str| log::line(line);
    let site = opening.site(&mut say)?;
    let private_key = kept_key.map_or_else(key::private, Ok)?;
    let launcher = arguments.launcher.map(|key| launcher(key, &path));
    let name = interface(arguments.lease);
    let gateway = opening.open(&site, name, &private_key, &[], launcher.as_ref(), &mut say)?;
    let knocking = gateway.launcher_listener();
    let public_key = private_key.public_key();
    let mut desk = Desk::new(gateway, public_key, site.into_network(), due);
    if let Some(kept) = &kept {
        desk.resume(kept).context("cannot go on with what is kept")?;
        log::line(&format!("it goes on with the {} peers that it had", kept.peers.len()));
    }
    let mut state = loading.map(|loading| loading.of(private_key.clone(), kept));
    drop(private_key);
    keep(&mut state, &mut desk);
    let mut socket = Socket::at(&path, MAX_QUESTION)?;
    if let (Some(listener), Some(launcher)) = (knocking, &launcher) {
        socket.admit_launcher(listener, launcher.address);
    }
    let after = started.elapsed();
    log::line(&format!(
        "{READY} in {}.{:03} s · {} plane · udp {} · ends in {}",
        after.as_secs(),
        after.subsec_millis(),
        desk.gateway().plane(),
        desk.gateway().listen_port(),
        duration::humane(lifetime),
    ));
    let ready = Ready {
        public_key,
        listen_port: desk.gateway().listen_port(),
        plane: desk.gateway().plane().to_string(),
    };
    // Whoever reads its log knows by this whom to ask.
    let _unread = output::bytes(format!("{}\n", ready.line()).as_bytes());
    let end = watch(&mut desk, &mut socket, &signals, &limit, &mut state)?;
    desk.close();
    if let Some(state) = state {
        state.close(end.is_last);
    }
    log::line(&format!("the gateway is gone: {}", end.reason));
    Ok(())
}

/// Why a gateway is not watched any more.
struct End {
    reason: String,
    /// Whether it is not to go on when it is started anew.
    is_last: bool,
}

/// Has what a gateway has become kept.
fn keep(state: &mut Option<State>, desk: &mut Desk) {
    if let Some(state) = state {
        state.keep(desk.kept(moment::since_boot(), SystemTime::now()));
    }
}

/// The launcher with this key, which asks at the same socket as everybody.
fn launcher(public_key: PublicKey, socket: &Path) -> Launcher {
    let link = Link::of(&public_key);
    Launcher {
        public_key,
        address: link.launcher.into(),
        own: link.network(),
        port: ASK_PORT,
        socket: socket.to_owned(),
    }
}

/// The interface's name, which is no other lease's: the random part of the lease's id, as much of it as fits.
fn interface(lease: LeaseId) -> String {
    let id = lease.to_string();
    format!("adit-{}", &id[id.len() - 10..])
}

/// Answers until it is to end.
fn watch(
    desk: &mut Desk,
    socket: &mut Socket,
    signals: &Signals,
    limit: &Limit,
    state: &mut Option<State>,
) -> anyhow::Result<End> {
    let end = |reason: &str, is_last| End {
        reason: reason.to_owned(),
        is_last,
    };
    let mut tick = Instant::now();
    loop {
        let rest = desk.due().saturating_sub(moment::since_boot());
        if rest.is_zero() {
            return Ok(end("its time is over", true));
        }
        let longest = if socket.has_more() {
            Duration::ZERO
        } else {
            rest.min(tick.saturating_duration_since(Instant::now()))
        };
        wait(signals, socket, longest).context("cannot wait for questions")?;
        if let Some(signal) = signals.try_next().context("cannot wait for signals")? {
            return Ok(end(&signal.to_string(), false));
        }
        for (asker, line) in socket.lines(Instant::now()) {
            let before = desk.due();
            let answer = answer(desk, line);
            if desk.due() != before {
                limit.follow(desk.due())?;
            }
            keep(state, desk);
            socket.reply(asker, answer.line(), Instant::now());
            if answer == (Answer::Ending {}) {
                return Ok(end("it was asked to end", true));
            }
        }
        if tick <= Instant::now() {
            tick = Instant::now() + TICK;
            if desk.look()? {
                log::line("somebody removed the gateway's rules from nf_tables; they were made again");
            }
            if !socket.is_there() {
                return Ok(end(
                    "its socket was removed, so that nobody can reach it any more",
                    false,
                ));
            }
        }
    }
}

fn answer(desk: &mut Desk, line: Line) -> Answer {
    let question = line
        .map_err(|error| error.to_string())
        .and_then(|line| Question::read(&line));
    let answered = question.and_then(|question| desk.handle(question, moment::since_boot()));
    answered.unwrap_or_else(|message| Answer::Refused { message })
}

fn wait(signals: &Signals, socket: &Socket, limit: Duration) -> io::Result<()> {
    let mut polled = vec![PollFd::new(signals, PollFlags::IN)];
    polled.extend(socket.waits().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_started_anew_gets_no_whole_lifetime_anew() {
        let now = Moment::from_millis(1_795_000_000_000);
        // (seconds from now until its moment, its first lifetime of at most 1800 s)
        for (until, expected) in [
            (None, 1_800),
            (Some(3_600), 1_800),
            (Some(1_800), 1_800),
            (Some(600), 600),
            (Some(121), 121),
            (Some(30), 120),
            (Some(-86_400), 120),
        ] {
            let moment =
                until.map(|secs: i64| Moment::from_millis(now.as_millis().saturating_add_signed(secs * 1_000)));
            let lifetime = first_lifetime(Duration::from_secs(1_800), moment, now);
            assert_eq!(lifetime, Duration::from_secs(expected), "{until:?}");
        }
        // A lifetime that is shorter than the least is what was asked for.
        let short = first_lifetime(Duration::from_secs(5), Some(now), now);
        assert_eq!(short, Duration::from_secs(5));
    }

    #[test]
    fn an_interface_has_its_lease_s_name() {
        let lease = "01kb2w0v9hq3k1yv8s4n6t2m5e".parse().unwrap();
        assert_eq!(interface(lease), "adit-8s4n6t2m5e");
    }
}
