//! The loop around a [`Daemon`]: waits, turns what comes into events, and writes the answers.

use std::{
    io,
    time::{Duration, Instant},
};

use linux::signal::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd as _;

use super::{
    Action, Daemon, Event, TICK,
    socket::Socket,
    watch::{Pending, Watch},
};
use crate::{
    api::{Api, Call},
    control::{Request, line},
    server::GatewayError,
};

/// Why a daemon ended that nobody had asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The gateway ended.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The kernel refused to say what happens.
    #[error("cannot wait for events: {0}")]
    Wait(io::Error),
}

/// Runs a daemon until a signal ends it, and gives it back for its end. Without a socket it takes no commands.
///
/// # Errors
///
/// [`RunError`] if it ended by itself.
pub fn run(daemon: &mut Daemon, signals: &Signals, mut socket: Option<Socket>) -> Result<(), RunError> {
    // Without it, files are read at the next start only.
    let mut watch = Watch::new(daemon.directories(), daemon.files()).ok();
    let mut pending = Pending::default();
    let mut tick = Instant::now();
    loop {
        let now = Instant::now();
        let due = [Some(tick), pending.due(), daemon.poll_timeout()];
        let due = due.into_iter().flatten().min().unwrap_or(tick);
        let busy = socket.as_ref().is_some_and(Socket::has_more);
        let limit = if busy {
            Duration::ZERO
        } else {
            due.saturating_duration_since(now)
        };
        wait(signals, socket.as_ref(), watch.as_ref(), daemon.api.as_ref(), limit).map_err(RunError::Wait)?;

        let now = Instant::now();
        let mut events = Vec::new();
        events.extend(signals.try_next().map_err(RunError::Wait)?.map(Event::Signal));
        if let Some(socket) = &mut socket {
            let lines = socket.lines(now).into_iter();
            events.extend(lines.map(|(asker, line)| Event::Control(asker, Request::of_line(line))));
        }
        let calls = daemon.api.as_mut().map(Api::calls).unwrap_or_default();
        for Call { request, asker } in calls {
            if let Action::Answer(answer) = daemon.handle(Event::Api(request), now) {
                // Who has gone in the meantime is not told.
                let _gone = asker.send(answer);
            }
        }
        if let Some(watch) = &mut watch {
            pending.add(watch.changed(), now);
        }
        let paths = pending.take(now);
        if !paths.is_empty() {
            events.push(Event::FilesChanged(paths));
        }
        if tick <= now {
            tick = now + TICK;
            if let Some(watch) = &mut watch {
                watch.look_again();
                pending.add(watch.replaced(), now);
            }
            events.push(Event::Tick);
        }
        for event in events {
            match daemon.handle(event, now) {
                // The API's answers are sent above, each to whom it belongs.
                Action::Nothing | Action::Answer(_) => {}
                Action::Reply(asker, reply) => {
                    if let Some(socket) = &mut socket {
                        socket.reply(asker, line(&reply).into(), Instant::now());
                    }
                }
                Action::End(result) => return Ok(result?),
            }
        }
        daemon.handle_timeout(Instant::now());
    }
}

fn wait(
    signals: &Signals,
    socket: Option<&Socket>,
    watch: Option<&Watch>,
    api: Option<&Api>,
    limit: Duration,
) -> io::Result<()> {
    let mut polled = vec![PollFd::new(signals, PollFlags::IN)];
    polled.extend(watch.map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)));
    polled.extend(api.map(|api| PollFd::from_borrowed_fd(api.as_fd(), PollFlags::IN)));
    let waits = socket.into_iter().flat_map(Socket::waits);
    polled.extend(waits.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
