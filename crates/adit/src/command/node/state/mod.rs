//! What a gateway keeps beyond its own end, so that it goes on where it was when its container is started anew: its key, its
//! peers, its end. Sealed: whoever has the storage has none of it.

mod file;
mod keeper;
mod kept;
mod place;
mod seal;

use std::{
    env, io,
    os::fd::OwnedFd,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use launch::LeaseId;
use linux::signal::Signals;
use rustix::{
    event::{PollFd, PollFlags, poll},
    pipe::{PipeFlags, pipe_with},
};
use wg::PrivateKey;
use zeroize::Zeroizing;

use self::{
    keeper::{Found, Keeper, Order},
    seal::{KEY_VARIABLE, Key},
};
pub(super) use self::{
    kept::{Gone, Kept, KeptPeer},
    place::Place,
};
use crate::failure;

/// How long the end of the gateway waits for storage.
const END_LIMIT: Duration = Duration::from_secs(4);

/// What the gateway keeps, and who writes it.
#[derive(Debug)]
pub(super) struct State {
    orders: Sender<Order>,
    private_key: PrivateKey,
    /// What was told to be written last.
    last: Option<Kept>,
}

/// How the beginning went.
#[derive(Debug)]
pub(super) enum Begun {
    /// With what was there; `None`: nothing was.
    Loaded(Box<Loading>, Option<(PrivateKey, Kept)>),
    /// A signal came while storage was waited for.
    Ended(String),
}

/// A state that has been read.
#[derive(Debug)]
pub(super) struct Loading {
    orders: Sender<Order>,
}

impl Loading {
    /// What is kept from here on, of a gateway with this key.
    pub(super) fn of(self, private_key: PrivateKey, last: Option<Kept>) -> State {
        State {
            orders: self.orders,
            private_key,
            last,
        }
    }
}

/// Reads what is kept of a lease; a signal ends the wait.
pub(super) fn begin(place: &Place, lease: LeaseId, signals: &Signals) -> anyhow::Result<Begun> {
    let key = key()?;
    let store = place.store(lease, |name| env::var(name).ok())?;
    let (orders, received) = mpsc::channel();
    let (find, found) = mpsc::channel::<Found>();
    let (waits, ends) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let keeper = Keeper::new(store, lease, key).context("cannot keep the state")?;
    thread::Builder::new()
        .name("adit-state".to_owned())
        .spawn(move || {
            let ends: OwnedFd = ends;
            let mut ends = Some(ends);
            keeper.run(
                &mut |read| {
                    let is_heard = find.send(read).is_ok();
                    drop(ends.take());
                    is_heard
                },
                &received,
            );
        })
        .context("cannot start a thread")?;
    loop {
        let mut polled = [PollFd::new(signals, PollFlags::IN), PollFd::new(&waits, PollFlags::IN)];
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error)).context("cannot wait for the state"),
        }
        if let Some(signal) = signals.try_next().context("cannot wait for signals")? {
            return Ok(Begun::Ended(signal.to_string()));
        }
        match found.recv_timeout(Duration::ZERO) {
            Ok(read) => return Ok(Begun::Loaded(Box::new(Loading { orders }), read?)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the thread that reads the state has ended"),
        }
    }
}

impl State {
    /// Has this written if it is other than what was.
    pub(super) fn keep(&mut self, kept: Kept) {
        if self.last.as_ref().is_some_and(|last| !kept.differs(last)) {
            return;
        }
        self.last = Some(kept.clone());
        // The keeper goes on as long as this is there.
        let _unheard = self.orders.send(Order::Keep(self.private_key.clone(), kept));
    }

    /// The end: what is not yet written is, unless the gateway's time is over, when nothing stays.
    pub(super) fn close(self, removes: bool) {
        let (done, ended) = mpsc::sync_channel(1);
        if self.orders.send(Order::End { removes, done }).is_ok() {
            let _late = ended.recv_timeout(END_LIMIT);
        }
    }
}

/// The key, of the environment: arguments are seen by others.
fn key() -> anyhow::Result<Key> {
    let text = env::var(KEY_VARIABLE)
        .ok()
        .filter(|text| !text.is_empty())
        .map(Zeroizing::new);
    let text = text.ok_or_else(|| {
        failure::usage(format!(
            "--state needs a key in {KEY_VARIABLE}, such as `adit genpsk` prints"
        ))
    })?;
    Key::read(&text).ok_or_else(|| {
        failure::usage(format!(
            "{KEY_VARIABLE} is no key of 32 bytes in base64, such as `adit genpsk` prints"
        ))
    })
}
