//! What wg-quick does: a tunnel from its configuration file, with addresses, routes, resolvers and commands.
//!
//! ```text
//! up    PreUp ─ interface ─ templates' rules ─ keys and peers ─ addresses ─ MTU ─ on ─ resolvers ─ routes and rules
//!       ─ PostUp
//! down  PreDown ─ SaveConfig ─ resolvers ─ rules ─ interface, and with it addresses and routes ─ PostDown
//! change   keys and peers ─ routes; nothing else of the tunnel is touched
//! ```
//!
//! `up` checks all that can be checked, then acts, and undoes everything at the first error or signal. `down` goes on
//! after errors and gathers them. Whatever outlives the interface is written down before it is done, so that `down`, or
//! the next `up`, finds it after any kind of end.

mod change;
mod down;
mod endpoint;
mod error;
mod guard;
pub mod hook;
mod interrupt;
mod journal;
mod mtu;
mod native;
mod routes;
mod source;
mod undo;
mod up;

use std::path::Path;

use linux::signal::Signals;

use crate::Choice;

pub use self::{
    change::{change, check},
    down::down,
    endpoint::EndpointError,
    error::{Error, Errors},
    hook::HookError,
    interrupt::Interrupted,
    journal::{JournalError, brought_up},
    native::{is_native, is_shells},
    source::SourceError,
    up::{Up, up},
};

/// What `up` and `down` are told.
pub struct Options<'a> {
    /// A configuration file, or the NAME of `/etc/wireguard/NAME.conf`.
    pub target: &'a Path,
    /// What the configuration says, if it is not to be read from the file, which may say something else by now. `down`
    /// then leaves the file as it is, whatever `SaveConfig` says.
    pub text: Option<&'a str>,
    /// Who shall handle the tunnel's packets; the netstack plane has no interface and cannot. `down` takes it as it is.
    pub plane: Choice,
    /// How often a resolver that does not answer is asked again for an endpoint's name; `None` as `wg` has it, which may
    /// take minutes.
    pub retries: Option<u32>,
    /// The file that this process's namespace reads its resolvers from, normally [`linux::resolv::PATH`].
    pub resolv_conf: &'a Path,
    /// Signals that end `up` before it is done: it then fails, and undoes all that it did. The first that arrives is taken
    /// out. `None` if signals do what they do to the process anyhow. `down` and `change` go on to their end.
    pub signals: Option<&'a Signals>,
    /// Is told each command of the configuration before it runs, and each warning.
    pub say: &'a mut dyn FnMut(&str),
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
