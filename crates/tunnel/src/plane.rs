//! Which plane handles a tunnel's packets.

use std::{fmt, str::FromStr};

use linux::{
    tun::{self, TunError},
    wireguard,
};

/// Who handles a tunnel's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plane {
    /// The kernel's own WireGuard.
    Kernel,
    /// adit itself, on a TUN device.
    Tun,
    /// adit itself, on sockets alone.
    Netstack,
}

impl Plane {
    /// Whether there is an interface, whose packets this host routes.
    pub fn has_interface(self) -> bool {
        match self {
            Self::Kernel | Self::Tun => true,
            Self::Netstack => false,
        }
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Tun => "tun",
            Self::Netstack => "netstack",
        })
    }
}

/// Which plane a person wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first that works here: kernel, tun, netstack.
    #[default]
    Auto,
    /// This one.
    Only(Plane),
}

/// A word that names no plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the planes are auto, kernel, tun and netstack")]
pub struct ChoiceError;

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Only(Plane::Kernel)),
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
    /// Why, as `since there is no /dev/net/tun`.
    pub reason: String,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} plane, {}", self.plane, self.reason)
    }
}

/// The plane that is wanted is not to be had here, or none is.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The kernel's WireGuard.
    #[error(transparent)]
    Kernel(wireguard::Error),
    /// TUN devices.
    #[error(transparent)]
    Tun(TunError),
    /// Neither, and nothing else makes an interface.
    #[error("no interface can be made: {kernel}; {tun}")]
    Both {
        /// Why not the kernel's WireGuard.
        kernel: wireguard::Error,
        /// Why not a TUN device.
        tun: TunError,
    },
    /// An interface is needed.
    #[error("the netstack plane makes no interface; choose auto, kernel or tun")]
    NoInterface,
}

/// Finds the plane that is wanted for a gateway, or the first that works in the calling thread's network namespace. It
/// makes nothing, and takes microseconds.
///
/// On the kernel and tun planes a gateway hands its peers' packets to this host, which has to forward them: `forwards`
/// says why it cannot, in words that follow "since". It is asked only where the choice is free.
///
/// # Errors
///
/// Why the one plane that is wanted does not work.
pub fn choose(choice: Choice, forwards: impl FnOnce() -> Result<(), String>) -> Result<Chosen, Unavailable> {
    if let Choice::Only(plane) = choice {
        return match plane {
            Plane::Netstack => Ok(as_asked(plane)),
            Plane::Kernel | Plane::Tun => choose_interface(choice),
        };
    }
    let netstack = |reason| Chosen {
        plane: Plane::Netstack,
        reason: format!("since {reason}"),
    };
    match choose_interface(choice) {
        Ok(chosen) => Ok(match forwards() {
            Ok(()) => chosen,
            Err(reason) => netstack(reason),
        }),
        Err(Unavailable::Both { kernel, tun }) => Ok(netstack(reason_against_both(&kernel, &tun))),
        Err(error) => Err(error),
    }
}

/// Finds the plane that is wanted for a tunnel of this host itself, which needs an interface: the kernel's WireGuard, or
/// else a TUN device.
///
/// # Errors
///
/// Why no interface can be made.
pub fn choose_interface(choice: Choice) -> Result<Chosen, Unavailable> {
    match choice {
        Choice::Only(Plane::Netstack) => Err(Unavailable::NoInterface),
        Choice::Only(Plane::Kernel) => match wireguard::probe() {
            Ok(()) => Ok(as_asked(Plane::Kernel)),
            Err(error) => Err(Unavailable::Kernel(error)),
        },
        Choice::Only(Plane::Tun) => match tun::check() {
            Ok(()) => Ok(as_asked(Plane::Tun)),
            Err(error) => Err(Unavailable::Tun(error)),
        },
        Choice::Auto => {
            let kernel = match wireguard::probe() {
                Ok(()) => {
                    return Ok(Chosen {
                        plane: Plane::Kernel,
                        reason: "since the kernel has WireGuard".to_owned(),
                    });
                }
                Err(error) => error,
            };
            match tun::check() {
                Ok(()) => Ok(Chosen {
                    plane: Plane::Tun,
                    reason: format!("since {}", reason_against_kernel(&kernel)),
                }),
                Err(tun) => Err(Unavailable::Both { kernel, tun }),
            }
        }
    }
}

fn as_asked(plane: Plane) -> Chosen {
    Chosen {
        plane,
        reason: "as asked for".to_owned(),
    }
}

/// Why there is no kernel plane, without the remedy.
fn reason_against_kernel(error: &wireguard::Error) -> String {
    match error {
        wireguard::Error::Missing => "the kernel has no WireGuard".to_owned(),
        wireguard::Error::NotPermitted { .. } => "this process lacks the capability NET_ADMIN".to_owned(),
        wireguard::Error::Gone | wireguard::Error::OtherKind { .. } | wireguard::Error::Kernel(_) => error.to_string(),
    }
}

/// Why there is neither plane. What keeps from both is said once.
fn reason_against_both(kernel: &wireguard::Error, tun: &TunError) -> String {
    let against_kernel = reason_against_kernel(kernel);
    if matches!(kernel, wireguard::Error::NotPermitted { .. }) {
        return against_kernel;
    }
    let tun = tun.to_string();
    // What mends it follows a colon.
    let against_tun = tun.split_once(": ").map_or(&*tun, |(what, _)| what);
    format!("{against_kernel}, and {against_tun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for text in ["auto", "kernel", "tun", "netstack"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        assert_eq!("kernel ".parse::<Choice>(), Err(ChoiceError));
    }

    #[test]
    fn the_netstack_plane_is_had_anywhere_and_the_others_where_they_work() {
        let unasked = || panic!("nobody asks about forwarding where the plane is given");
        let netstack = choose(Choice::Only(Plane::Netstack), unasked).unwrap();
        assert_eq!(netstack.plane, Plane::Netstack);
        let works = |plane| choose(Choice::Only(plane), || Ok(())).is_ok();
        let expected = [Plane::Kernel, Plane::Tun].into_iter().find(|plane| works(*plane));
        let auto = choose(Choice::Auto, || Ok(())).unwrap();
        assert_eq!(auto.plane, expected.unwrap_or(Plane::Netstack), "{auto}");
        let interface = choose_interface(Choice::Auto).map(|chosen| chosen.plane).ok();
        assert_eq!(interface, expected);
        assert!(choose_interface(Choice::Only(Plane::Netstack)).is_err());
    }

    #[test]
    fn a_host_that_does_not_forward_has_its_gateways_on_the_netstack_plane() {
        let chosen = choose(Choice::Auto, || Err("forwarding is off".to_owned())).unwrap();
        assert_eq!(chosen.plane, Plane::Netstack);
    }

    #[test]
    fn the_reason_for_the_netstack_plane_is_short() {
        let not_permitted = wireguard::Error::NotPermitted { action: "it".into() };
        for (kernel, tun, expected) in [
            (
                not_permitted,
                TunError::Missing,
                "this process lacks the capability NET_ADMIN",
            ),
            (
                wireguard::Error::Missing,
                TunError::Missing,
                "the kernel has no WireGuard, and there is no /dev/net/tun",
            ),
        ] {
            assert_eq!(reason_against_both(&kernel, &tun), expected);
        }
    }
}
