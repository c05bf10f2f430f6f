//! Answers on the control socket of a client how its tunnels are. It has no peers that could be changed.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::socket::{Socket, SocketError};
use crate::{
    control::{Reply, Request, line},
    http::Pages as _,
    watcher::Board,
};

/// How often idle connections are looked at.
const TICK: Duration = Duration::from_secs(10);

/// A control socket with a thread of its own. Dropping it removes it.
#[derive(Debug)]
pub struct Reception {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// No control socket can be had.
#[derive(Debug, thiserror::Error)]
pub enum ReceptionError {
    /// There is no place for it.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// There is no thread or descriptor for it.
    #[error("cannot serve a control socket: {0}")]
    Start(#[from] io::Error),
}

impl Reception {
    /// Listens for the client with this directory.
    ///
    /// # Errors
    ///
    /// [`ReceptionError`]; nothing is left behind then.
    pub fn open(directory: &Path, board: Arc<Board>) -> Result<Self, ReceptionError> {
        let socket = Socket::open(directory)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("adit-control".into())
            .spawn(move || serve(socket, &board, &stopped))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        // It fails only if it is readable already.
        let _stopping = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic in that thread has already been reported by the panic hook.
            let _panicked = thread.join();
        }
    }
}

fn serve(mut socket: Socket, board: &Board, stop: &OwnedFd) {
    loop {
        let limit = if socket.has_more() { Duration::ZERO } else { TICK };
        let Ok(limit) = Timespec::try_from(limit) else { return };
        let mut polled = vec![PollFd::new(stop, PollFlags::IN)];
        polled.extend(socket.waits().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        match poll(&mut polled, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if !polled[0].revents().is_empty() {
            return;
        }
        for (asker, asked) in socket.lines(Instant::now()) {
            let reply = answer(Request::of_line(asked), board);
            socket.reply(asker, line(&reply).into(), Instant::now());
        }
    }
}

fn answer(request: Result<Request, String>, board: &Board) -> Reply {
    let message = match request {
        Ok(Request::Health {}) => return Reply::Health { health: board.health() },
        Ok(_) => "this is client mode: the tunnels of wg_confs have no peers to be changed here".to_owned(),
        Err(message) => message,
    };
    Reply::Refused { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Client, in_directory};

    #[test]
    fn a_client_answers_how_it_is_and_changes_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let board = Arc::new(Board::new("wg_confs", "client"));
        let reception = Reception::open(directory.path(), Arc::clone(&board)).unwrap();
        let mut client = Client::connect(&in_directory(directory.path())).unwrap();
        for healthy in [true, false] {
            if !healthy {
                board.set_servers(Vec::new(), Vec::new(), vec![("office".to_owned(), "gone".to_owned())]);
            }
            let reply = client.ask(&Request::Health {}).unwrap();
            assert!(matches!(reply, Reply::Health { health } if health.healthy == healthy));
        }
        let reply = client.ask(&Request::List { names: Vec::new() }).unwrap();
        assert!(matches!(reply, Reply::Refused { message } if message.contains("client mode")));
        drop(reception);
        Client::connect(&in_directory(directory.path())).unwrap_err();
    }
}
