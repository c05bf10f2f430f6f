//! What is done inside a container's network namespace, and to the tunnel that is there.

pub mod carrier;
pub mod guard;
pub mod place;
pub mod probe;
pub mod resolv;

pub use docker::Inside;
use tunnel::Plane;
use wg::IpNet;

use self::{
    carrier::CarrierError,
    place::{PlaceError, Surroundings},
};
use crate::Offer;

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

/// Sees to it that the tunnel `name` is there, and is what the offer says. One that works is changed in place; one that the
/// engine is about to move here is waited for: `arrival` is the last route that the engine gives it.
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
    arrival: Option<IpNet>,
) -> Result<(), SetUpError> {
    if let Some(last) = arrival {
        place::wait_for(inside, last)?;
    }
    if place::look(inside)?.is_none() || carrier::status(name, inside).is_err() {
        carrier::make(name, plane, inside)?;
    }
    carrier::configure(name, inside, offer)?;
    Ok(place::place(inside, offer, surroundings)?)
}
