//! Endpoints that are given by name.

use std::{
    env, io,
    net::{SocketAddr, SocketAddrV6, ToSocketAddrs as _},
    time::Duration,
};

use wg::conf::{Endpoint, Host};

use super::{Error, interrupt::Ear};

/// How often a resolver that does not answer is asked again, as `wg` has it: at boot it may come up later.
const RETRIES: u32 = 15;

/// `wg`'s variable for another number of retries, or `infinity`.
const RETRIES_VARIABLE: &str = "WG_ENDPOINT_RESOLUTION_RETRIES";

/// The wait before the first retry; each is longer by a fifth.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// An endpoint has no address.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint {endpoint} has no address: {cause}")]
pub struct EndpointError {
    /// The endpoint.
    pub endpoint: String,
    /// The resolver's answer.
    pub cause: io::Error,
}

/// The address of an endpoint; asks the system's resolver for names, and so many times again, or as often as `wg` would,
/// while it does not answer. A signal ends that.
pub(super) fn resolve(
    endpoint: &Endpoint,
    retries: Option<u32>,
    ear: Ear<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<SocketAddr, Error> {
    let mut retries = retries.unwrap_or_else(|| match env::var(RETRIES_VARIABLE) {
        Ok(text) if text == "infinity" => u32::MAX,
        Ok(text) => text.parse().unwrap_or(RETRIES),
        Err(_) => RETRIES,
    });
    let mut wait = FIRST_WAIT;
    loop {
        let looked_up = match endpoint.host {
            Host::Name(_) => ear.beside({
                let endpoint = endpoint.clone();
                move || look_up(&endpoint)
            })?,
            Host::Ip(_) | Host::Zoned(..) => look_up(endpoint),
        };
        match looked_up {
            Ok(address) => return Ok(address),
            Err(cause) if retries > 0 && is_passing(&cause) => {
                say(&format!(
                    "{endpoint}: {cause}; trying again in {:.1} s",
                    wait.as_secs_f32()
                ));
                ear.wait(wait)?;
                retries -= 1;
                wait = wait * 6 / 5;
            }
            Err(cause) => {
                return Err(EndpointError {
                    endpoint: endpoint.to_string(),
                    cause,
                }
                .into());
            }
        }
    }
}

fn look_up(endpoint: &Endpoint) -> io::Result<SocketAddr> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has none");
    match &endpoint.host {
        Host::Ip(address) => Ok((*address, endpoint.port).into()),
        Host::Zoned(address, zone) => {
            let index = zone.parse().ok().or_else(|| crate::uapi::zone_index(zone));
            let index = index.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such interface"))?;
            Ok(SocketAddrV6::new(*address, endpoint.port, 0, index).into())
        }
        Host::Name(name) => (name.as_str(), endpoint.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(none),
    }
}

/// Whether the resolver said "not now" (`EAI_AGAIN`), which the standard library gives as text only.
fn is_passing(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("Temporary failure") || text.contains("Try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_zones_become_addresses() {
        for (text, expected) in [
            ("192.0.2.1:5", Some("192.0.2.1:5")),
            ("[::1]:5", Some("[::1]:5")),
            ("[fe80::1%lo]:5", Some("[fe80::1%1]:5")),
            ("[fe80::1%7]:5", Some("[fe80::1%7]:5")),
            ("[fe80::1%nosuchlink]:5", None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            let found = resolve(&endpoint, None, Ear(None), &mut |_| {}).ok();
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{text}");
        }
        let local = resolve(&"localhost:5".parse().unwrap(), None, Ear(None), &mut |_| {}).unwrap();
        assert!(local.ip().is_loopback());
    }
}
