//! Routes to networks behind peers, which the interface's own addresses do not lead to.

use ipnet::IpNet;
use linux::{
    Family,
    netlink::{Error, Netlink},
    route::{self, Route},
};
use rustix::io::Errno;

/// The routes out of a gateway's interface; they go with it.
#[derive(Debug)]
pub(super) struct Routes {
    netlink: Netlink,
    interface: u32,
    subnets: Vec<IpNet>,
}

impl Routes {
    /// No route yet, for an interface that leads to these subnets by itself.
    pub(super) fn new(netlink: Netlink, interface: u32, subnets: &[IpNet]) -> Self {
        Self {
            netlink,
            interface,
            subnets: subnets.to_vec(),
        }
    }

    /// Whether a network needs a route. A default route stays this host's own: a peer may answer for all addresses, but
    /// this host does not go out by it.
    pub(super) fn is_needed(&self, network: &IpNet) -> bool {
        network.prefix_len() != 0 && !self.subnets.iter().any(|subnet| subnet.contains(network))
    }

    fn is_ours(&mut self, network: IpNet) -> Result<bool, Error> {
        let family = Family::of(network.addr());
        let routes = route::list(&mut self.netlink, family, route::MAIN)?;
        let mut routes = routes.iter().filter(|route| route.destination == network);
        Ok(routes.any(|route| route.interface == Some(self.interface)))
    }

    /// Adds a route, unless there is one out of this interface, or the interface has no addresses of its family. One that
    /// leads elsewhere is an error: whose packets these are is for people to say.
    pub(super) fn add(&mut self, network: IpNet) -> Result<(), Error> {
        match route::add(&mut self.netlink, &Route::direct(network, self.interface)) {
            Err(error) if error.is_there_already() && self.is_ours(network)? => Ok(()),
            Err(error) if matches!(network, IpNet::V6(_)) && is_off(&error) => Ok(()),
            done => done,
        }
    }

    /// Removes a route, if it is there.
    pub(super) fn remove(&mut self, network: IpNet) -> Result<(), Error> {
        match route::delete(&mut self.netlink, &Route::direct(network, self.interface)) {
            Err(error) if error.is_missing() || is_off(&error) => Ok(()),
            done => done,
        }
    }
}

/// Whether IPv6 is off: in the kernel (`ipv6.disable=1`), or on the interface, for which the kernel says `EACCES`.
fn is_off(error: &Error) -> bool {
    let answer = error.cause.raw_os_error().map(Errno::from_raw_os_error);
    matches!(answer, Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::ACCESS))
}
