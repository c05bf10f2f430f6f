//! The switches under `/proc/sys` without which a kernel forwards nothing.
//!
//! A switch that is off is switched on, and off again at the end unless somebody else forwards by then. An interface that
//! learns its routes from routers would stop to do so on a host that forwards: it is told to go on.
//!
//! What was switched on is every tunnel's that was there meanwhile: the last one to end switches it off.

use std::{fs, fs::OpenOptions, io, path::PathBuf};

use ipnet::IpNet;

use crate::{Family, netlink::Netlink, route, sysctl};

/// Forwarding is off, and cannot be switched on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{setting} is 0 and cannot be set here ({cause}); set it to 1 from outside, as by `docker run --sysctl {setting}=1`, \
     or use the netstack plane, which does without"
)]
pub struct ForwardingError {
    /// The setting.
    pub setting: &'static str,
    /// Why it cannot be changed.
    pub cause: io::Error,
}

/// Where interfaces have their settings for IPv6.
const INTERFACES: &str = "/proc/sys/net/ipv6/conf";

fn setting(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    }
}

/// What was switched on, to be switched off again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The families.
    pub switched: Vec<Family>,
    /// Interfaces that were told to go on learning routes.
    pub learning: Vec<String>,
}

/// Whether forwarding is on, or can be switched on, for all families of a tunnel's addresses that lead anywhere.
///
/// # Errors
///
/// Which one cannot.
pub fn check(addresses: &[IpNet]) -> Result<(), ForwardingError> {
    for family in needed(addresses) {
        writable(family)?;
    }
    Ok(())
}

fn is_off(family: Family) -> bool {
    sysctl::read(setting(family)).is_ok_and(|value| value == "0")
}

/// Whether the switch is on, or would move.
fn writable(family: Family) -> Result<(), ForwardingError> {
    if !is_off(family) {
        return Ok(());
    }
    let path = PathBuf::from("/proc/sys").join(setting(family).replace('.', "/"));
    match OpenOptions::new().write(true).open(path) {
        Ok(_) => Ok(()),
        Err(cause) => Err(ForwardingError {
            setting: setting(family),
            cause,
        }),
    }
}

/// The families of the addresses, but for IPv6 where this host has no way out by it: in most containers it has none, and
/// its switch does not move.
fn needed(addresses: &[IpNet]) -> Vec<Family> {
    let has = |family| addresses.iter().any(|net| Family::of(net.addr()) == family);
    Family::ALL
        .into_iter()
        .filter(|family| has(*family))
        .filter(|family| *family == Family::V4 || writable(*family).is_ok() || has_way_out(*family))
        .collect()
}

fn has_way_out(family: Family) -> bool {
    let routes = Netlink::route().and_then(|mut netlink| route::list(&mut netlink, family, route::MAIN));
    routes.is_ok_and(|routes| {
        routes
            .iter()
            .any(|route| route.destination.prefix_len() == 0 && (route.interface.is_some() || route.router.is_some()))
    })
}

impl Forwarding {
    /// Switches on what is off. What `others` have switched on, those that were killed and those that live, becomes this
    /// one's, too.
    ///
    /// # Errors
    ///
    /// Which switch does not move; then none has been moved.
    pub fn switch_on(addresses: &[IpNet], others: &Self) -> Result<Self, ForwardingError> {
        let mut forwarding = others.clone();
        forwarding.switched.retain(|family| !is_off(*family));
        for family in needed(addresses).into_iter().filter(|family| is_off(*family)) {
            if family == Family::V6 {
                forwarding.learning.extend(keep_learning());
            }
            if let Err(error) = sysctl::write(setting(family), "1") {
                // The others' stays, as long as they are there.
                forwarding.switched.retain(|family| !others.switched.contains(family));
                forwarding
                    .learning
                    .retain(|interface| !others.learning.contains(interface));
                forwarding.switch_back();
                return Err(ForwardingError {
                    setting: setting(family),
                    cause: error.cause,
                });
            }
            forwarding.switched.push(family);
        }
        Ok(forwarding)
    }

    /// Adds what another one has switched on.
    pub fn add(&mut self, other: Self) {
        for family in other.switched {
            if !self.switched.contains(&family) {
                self.switched.push(family);
            }
        }
        for interface in other.learning {
            if !self.learning.contains(&interface) {
                self.learning.push(interface);
            }
        }
    }

    /// Switches off what was switched on.
    pub fn switch_back(&mut self) {
        for family in self.switched.drain(..) {
            let _best_effort = sysctl::write(setting(family), "0");
        }
        for interface in self.learning.drain(..) {
            let setting = format!("net/ipv6/conf/{interface}/accept_ra");
            // Unless somebody has said otherwise since.
            if sysctl::read(&setting).is_ok_and(|value| value == "2") {
                let _best_effort = sysctl::write(&setting, "1");
            }
        }
    }
}

/// Tells interfaces that learn from routers to go on although the host forwards (`accept_ra` 2); gives their names.
fn keep_learning() -> Vec<String> {
    let Ok(interfaces) = fs::read_dir(INTERFACES) else {
        return Vec::new();
    };
    let names = interfaces
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok());
    names
        // `all` is asked by nobody, `default` is for interfaces to come.
        .filter(|name| name != "all" && name != "lo")
        .filter(|name| {
            let setting = format!("net/ipv6/conf/{name}/accept_ra");
            sysctl::read(&setting).is_ok_and(|value| value == "1") && sysctl::write(&setting, "2").is_ok()
        })
        .collect()
}
