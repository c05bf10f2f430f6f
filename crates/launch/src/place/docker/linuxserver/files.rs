//! What the image writes into `/config`.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use wg::{
    AllowedIpChange, PublicKey,
    conf::{Conf, Dns, Key, Setting},
};

use crate::node::{Secret, Terms};

/// Length of the clients' network, which is always this.
const PREFIX_LEN: u8 = 24;

/// Seconds between keepalives: clients sit behind NAT, and whether they are there is shown.
const KEEPALIVE: u16 = 25;

/// What stands before a peer's name in the gateway's configuration.
const PEER: &str = "peer_";

/// The gateway as its configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) public_key: PublicKey,
    pub(super) addresses: Vec<IpNet>,
    pub(super) peers: Vec<Listed>,
}

/// A peer in the gateway's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) public_key: PublicKey,
    pub(super) addresses: Vec<IpAddr>,
}

/// Reads the gateway's configuration; `None` while it is not complete.
pub(super) fn server(text: &[u8]) -> Option<Server> {
    let conf = Conf::parse("wg0.conf", std::str::from_utf8(text).ok()?).ok()?;
    let interface = conf.interface();
    let listed = |peer: wg::conf::Peer| {
        let is_address = |network: &&IpNet| network.prefix_len() == network.max_prefix_len();
        Some(Listed {
            name: peer.name?.strip_prefix(PEER)?.to_owned(),
            public_key: peer.public_key,
            addresses: peer.allowed_ips.iter().filter(is_address).map(IpNet::addr).collect(),
        })
    };
    Some(Server {
        public_key: interface.private_key?.public_key(),
        addresses: interface.addresses.into_iter().map(with_network).collect(),
        peers: conf.peers().filter_map(listed).collect(),
    })
}

/// The image writes its address without its network.
fn with_network(address: IpNet) -> IpNet {
    match address {
        IpNet::V4(v4) if v4.prefix_len() == 32 => Ipv4Net::new(v4.addr(), PREFIX_LEN).map_or(address, IpNet::V4),
        IpNet::V4(_) | IpNet::V6(_) => address,
    }
}

/// A client's configuration with the lease's terms in place of the image's; `None` if it is not complete, or the terms
/// cannot be written.
pub(in crate::place) fn client(text: &[u8], terms: &Terms) -> Option<(PublicKey, Secret)> {
    let mut conf = Conf::parse("configuration", std::str::from_utf8(text).ok()?).ok()?;
    let public_key = conf.interface().private_key?.public_key();
    let gateway = conf.peers().next().map(|peer| peer.public_key)?;
    // Two tunnels of a client could not have one port.
    conf.unset_interface(Key::ListenPort);
    let dns: Vec<Dns> = terms
        .dns
        .iter()
        .map(|item| item.parse().map_or_else(|_| Dns::Search(item.clone()), Dns::Server))
        .collect();
    if dns.is_empty() {
        conf.unset_interface(Key::Dns);
    } else {
        conf.set_interface(Setting::Dns(dns)).ok()?;
    }
    if let Some(mtu) = terms.mtu {
        conf.set_interface(Setting::Mtu(mtu)).ok()?;
    }
    let networks = terms.allowed_ips.iter().copied().map(AllowedIpChange::Add).collect();
    conf.set_peer(&gateway, Setting::AllowedIps(networks)).ok()?;
    conf.set_endpoint(&gateway, terms.endpoint.parse().ok()?).ok()?;
    conf.set_peer(&gateway, Setting::PersistentKeepalive(KEEPALIVE)).ok()?;
    Some((public_key, Secret::new(conf.render())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    const OF_PRIVATE: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    const PHONE: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    const LAPTOP: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

    fn server_conf() -> String {
        format!(
            "[Interface]\nAddress = 10.13.13.1\nListenPort = 51820\nPrivateKey = {PRIVATE}\nPostUp = iptables -A FORWARD\n\n\
             [Peer]\n# peer_phone\nPublicKey = {PHONE}\nPresharedKey = {PRIVATE}\nAllowedIPs = 10.13.13.2/32,192.168.1.0/24\n\n\
             [Peer]\n# peer_laptop\nPublicKey = {LAPTOP}\nAllowedIPs = 10.13.13.3/32\n\n"
        )
    }

    #[test]
    fn the_gateway_s_configuration_tells_its_peers() {
        let read = server(server_conf().as_bytes()).unwrap();
        assert_eq!(read.public_key.to_string(), OF_PRIVATE);
        assert_eq!(read.addresses, ["10.13.13.1/24".parse().unwrap()]);
        let peers: Vec<_> = read
            .peers
            .iter()
            .map(|peer| (peer.name.as_str(), peer.public_key.to_string()))
            .collect();
        assert_eq!(peers, [("phone", PHONE.to_owned()), ("laptop", LAPTOP.to_owned())]);
        assert_eq!(read.peers[0].addresses, [IpAddr::from([10, 13, 13, 2])]);
        for incomplete in [
            "",
            "[Interface]\nAddress = 10.13.13.1\n",
            "[Interface]\nPrivateKey = x\n",
            "\u{0}",
        ] {
            assert_eq!(server(incomplete.as_bytes()), None, "{incomplete}");
        }
    }

    #[test]
    fn a_client_s_configuration_has_the_lease_s_terms() {
        let text = format!(
            "[Interface]\nAddress = 10.13.13.2\nPrivateKey = {PRIVATE}\nListenPort = 51820\nDNS = 10.13.13.1\n\n\
             [Peer]\nPublicKey = {PHONE}\nPresharedKey = {PRIVATE}\nEndpoint = vpn.example.com:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n"
        );
        let mut terms = Terms {
            endpoint: "203.0.113.2:49153".to_owned(),
            dns: vec!["10.0.0.53".to_owned(), "example.com".to_owned()],
            allowed_ips: vec!["198.51.100.0/24".parse().unwrap()],
            mtu: Some(1300),
        };
        let (public_key, secret) = client(text.as_bytes(), &terms).unwrap();
        assert_eq!(public_key.to_string(), OF_PRIVATE);
        let read = secret.danger_text();
        for line in [
            "Address = 10.13.13.2\n",
            "DNS = 10.0.0.53, example.com\n",
            "MTU = 1300\n",
            "Endpoint = 203.0.113.2:49153\n",
            "AllowedIPs = 198.51.100.0/24\n",
            "PersistentKeepalive = 25\n",
            "PresharedKey = ",
        ] {
            assert!(read.contains(line), "{line} is not in\n{read}");
        }
        assert!(!read.contains("ListenPort") && !read.contains("51820"), "{read}");
        terms.dns.clear();
        assert!(!client(text.as_bytes(), &terms).unwrap().1.danger_text().contains("DNS"));
        for cut in [0, 40, 120] {
            assert_eq!(client(&text.as_bytes()[..cut], &terms), None, "{cut}");
        }
        terms.endpoint = "nowhere".to_owned();
        assert_eq!(client(text.as_bytes(), &terms), None);
    }
}
