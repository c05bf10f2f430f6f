//! Which plane handles a tunnel's packets.

use std::{fmt, str::FromStr};

use linux::tun::{self, TunError};

/// Who handles a tunnel's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plane {
    /// adit itself, on a TUN device.
    Tun,
    /// adit itself, on sockets alone.
    Netstack,
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tun => "tun",
            Self::Netstack => "netstack",
        })
    }
}

/// Which plane a person wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first that works here.
    #[default]
    Auto,
    /// This one.
    Only(Plane),
}

/// A word that names no plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the planes are auto, tun and netstack")]
pub struct ChoiceError;

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "tun" => Ok(Self::Only(Plane::Tun)),
            "netstack" => Ok(Self::Only(Plane::Netstack)),
            _ => Err(ChoiceError),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Only(plane) => plane.fmt(f),
        }
    }
}

/// A plane and why it is this one, in words that follow its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The plane.
    pub plane: Plane,
    /// Why, as `since /dev/net/tun may not be opened`.
    pub reason: String,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} plane, {}", self.plane, self.reason)
    }
}

/// Finds the plane that is wanted, or the first that works in the calling thread's network namespace.
///
/// On the tun plane a gateway hands its peers' packets to this host, which has to forward them; the netstack plane needs
/// nothing of the host.
///
/// # Errors
///
/// Why there is no TUN device, if that plane and no other is wanted.
pub fn choose(choice: Choice) -> Result<Chosen, TunError> {
    let as_asked = |plane| Chosen {
        plane,
        reason: "as asked for".to_owned(),
    };
    match choice {
        Choice::Only(Plane::Netstack) => Ok(as_asked(Plane::Netstack)),
        Choice::Only(Plane::Tun) => tun::probe().map(|_| as_asked(Plane::Tun)),
        Choice::Auto => Ok(match tun::probe() {
            Ok(_) => Chosen {
                plane: Plane::Tun,
                reason: "since TUN devices can be made here".to_owned(),
            },
            Err(error) => Chosen {
                plane: Plane::Netstack,
                reason: format!("since {error}"),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for text in ["auto", "tun", "netstack"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        assert_eq!("kernel ".parse::<Choice>(), Err(ChoiceError));
    }

    #[test]
    fn the_netstack_plane_is_had_anywhere_and_the_tun_plane_where_it_works() {
        assert_eq!(choose(Choice::Only(Plane::Netstack)).unwrap().plane, Plane::Netstack);
        let auto = choose(Choice::Auto).unwrap();
        assert_eq!(
            auto.plane == Plane::Tun,
            choose(Choice::Only(Plane::Tun)).is_ok(),
            "{auto}"
        );
    }
}
