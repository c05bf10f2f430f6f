//! Tunnels on planes that a test machine may lack.

mod kernel;

use std::path::Path;

use linux::{link, netlink::Netlink, wireguard};
use netlab::Lab;
use tunnel::{OpenError, Tunnel};

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
