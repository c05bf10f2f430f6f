//! What is done inside a container's network namespace, and to the tunnel that is moved there.

pub mod carrier;
pub mod guard;
pub mod place;
pub mod probe;
pub mod resolv;

use std::{io, path::Path};

use linux::netns::{Identity, Namespace};
use tunnel::Plane;

use self::{
    carrier::CarrierError,
    place::{PlaceError, Surroundings},
};
use crate::{Container, Offer};

/// A container's network namespace.
#[derive(Debug)]
pub struct Inside {
    namespace: Namespace,
}

impl From<Namespace> for Inside {
    fn from(namespace: Namespace) -> Self {
        Self { namespace }
    }
}

impl Inside {
    /// The namespace whose file this is.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Namespace::open(path).map(Self::from)
    }

    /// The namespace of a running container: by its process, or else by the engine's file.
    ///
    /// # Errors
    ///
    /// If it has neither, it has ended, or it has this process's own namespace (`--network host`), which is no container's
    /// to be closed.
    pub fn of(container: &Container) -> io::Result<Self> {
        let by_process = container
            .pid
            .map(|pid| Self::open(Path::new(&format!("/proc/{pid}/ns/net"))));
        let by_file = || match &container.namespace {
            Some(path) => Self::open(path),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "it has no network namespace")),
        };
        let inside = match by_process {
            Some(Ok(inside)) => inside,
            Some(Err(_)) | None => by_file()?,
        };
        if inside.identity()? == Namespace::current()?.identity()? {
            return Err(io::Error::other(
                "it uses the host's network: a tunnel of its own needs a network of its own, as --network none",
            ));
        }
        Ok(inside)
    }

    /// Which namespace it is.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn identity(&self) -> io::Result<Identity> {
        self.namespace.identity()
    }

    /// The namespace itself.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Does something inside, on a thread of its own.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        self.namespace.run(work)
    }
}

/// A tunnel could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The interface, its keys or its peers.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    /// Its addresses or routes.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// Sees to it that the tunnel `name` is there, and is what the offer says. One that works is changed in place.
///
/// # Errors
///
/// [`SetUpError`]. What was done is done; a repeat goes on from there.
pub fn set_up(
    inside: &Inside,
    name: &str,
    plane: Plane,
    offer: &Offer,
    surroundings: &Surroundings,
) -> Result<(), SetUpError> {
    if place::look(inside)?.is_none() || carrier::status(name, inside).is_err() {
        carrier::make(name, plane, inside)?;
    }
    carrier::configure(name, inside, offer)?;
    Ok(place::place(inside, offer, surroundings)?)
}
