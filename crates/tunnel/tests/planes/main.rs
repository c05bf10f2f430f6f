//! Tunnels on planes that a test machine may lack.

mod kernel;

use std::path::Path;

use linux::{link, netlink::Netlink, wireguard};
use netlab::Lab;
use tunnel::{OpenError, Place, Spec, Tunnel};

#[test]
fn without_the_kernels_wireguard_the_error_names_the_module() {
    netlab::requires!("root");
    if Path::new(kernel::WIREGUARD).exists() {
        return;
    }
    Lab::new().host("host").run(|| {
        let error = Tunnel::open(&kernel::bare("wg0")).unwrap_err();
        assert!(
            matches!(error, OpenError::Wireguard(wireguard::Error::Missing)),
            "{error}"
        );
        assert!(error.to_string().contains("modprobe wireguard"), "{error}");
        assert!(wireguard::probe().is_err());
        let mut netlink = Netlink::route().unwrap();
        let error = wireguard::create(&mut netlink, "wg0", 0).unwrap_err();
        assert!(matches!(error, wireguard::Error::Missing), "{error}");
        assert_eq!(link::find(&mut netlink, "wg0").unwrap(), None);
    });
}

#[test]
fn an_interface_has_ipv6_though_it_is_off_elsewhere() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let host = Lab::new().host("host");
    for scope in ["all", "default"] {
        host.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "1");
    }
    let addresses = ["10.9.0.1/24", "fd09::1/64"].map(|text| text.parse().unwrap());
    let spec = Spec {
        name: "wg0".into(),
        mtu: 1420,
        place: Place::Tun {
            addresses: addresses.into(),
        },
    };
    let tunnel = host.run(|| Tunnel::open(&spec)).unwrap();
    assert_eq!(tunnel.addresses(), addresses);
    for address in ["10.9.0.1/24", "fd09::1/64"] {
        assert!(host.ip("address show wg0").contains(address));
    }
}
