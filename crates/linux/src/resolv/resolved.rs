//! systemd-resolved, which is told of a link's servers and domains over D-Bus (`org.freedesktop.resolve1(5)`).

use std::{io, net::IpAddr, path::Path};

use super::{
    Error, Resolv,
    dbus::{Body, Bus, Method},
};
use crate::{link, netlink::Netlink};

/// `AF_INET` and `AF_INET6`, as the bus takes them.
const V4: u32 = 2;
const V6: u32 = 10;

/// Makes a tunnel's servers those of its link. If it has any, they answer for all names that no other link claims, and
/// this link claims the root: `~.`, as `resolvconf -x` has it there.
pub(super) fn set(bus: &Path, tunnel: &str, wanted: &Resolv) -> Result<(), Error> {
    tell(bus, tunnel, wanted).map_err(|cause| Error::Resolved {
        tunnel: tunnel.to_owned(),
        cause,
    })
}

fn tell(bus: &Path, tunnel: &str, wanted: &Resolv) -> io::Result<()> {
    let found = Netlink::route().and_then(|mut netlink| link::find(&mut netlink, tunnel));
    let link = found.map_err(io::Error::other)?;
    let index = link.ok_or(io::ErrorKind::NotFound)?.index;
    let mut bus = Bus::connect(bus)?;
    let mut call = |member: &'static str, signature: &'static str, body: &Body| {
        let method = Method {
            destination: "org.freedesktop.resolve1",
            path: "/org/freedesktop/resolve1",
            interface: "org.freedesktop.resolve1.Manager",
            member,
            signature,
        };
        bus.call(method, body).map(drop)
    };
    let (servers, domains) = (servers(index, wanted), domains(index, wanted));
    call("SetLinkDNS", "ia(iay)", &servers)?;
    call("SetLinkDomains", "ia(sb)", &domains)
}

fn servers(index: u32, wanted: &Resolv) -> Body {
    let mut body = Body::default();
    body.number(index);
    body.structures(&wanted.servers, |body, server| match &server.address {
        IpAddr::V4(address) => {
            body.number(V4);
            body.octets(&address.octets());
        }
        IpAddr::V6(address) => {
            body.number(V6);
            body.octets(&address.octets());
        }
    });
    body
}

fn domains(index: u32, wanted: &Resolv) -> Body {
    // Each with whether it only says which names are asked here, and is not searched.
    let mut domains: Vec<(&str, bool)> = wanted.search.iter().map(|domain| (&**domain, false)).collect();
    domains.extend((!wanted.servers.is_empty()).then_some((".", true)));
    let mut body = Body::default();
    body.number(index);
    body.structures(&domains, |body, (domain, is_route_only)| {
        body.text(domain);
        body.boolean(*is_route_only);
    });
    body
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Child, Command},
        time::Duration,
    };

    use super::{
        super::dbus::{CALL, RETURN},
        *,
    };

    /// A bus of the test's own.
    struct Daemon(Child);

    impl Drop for Daemon {
        fn drop(&mut self) {
            let _ended = self.0.kill();
            let _ended = self.0.wait();
        }
    }

    const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
        "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
        <busconfig><type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
        <policy context="default"><allow send_destination="*"/><allow eavesdrop="false"/><allow own="*"/></policy>
        </busconfig>"#;

    #[test]
    fn a_real_bus_hands_the_calls_over() {
        netlab::requires!("dbus-daemon");
        let directory = std::env::temp_dir().join(format!("adit-resolved-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (socket, config) = (directory.join("bus"), directory.join("bus.conf"));
        fs::write(&config, CONFIG.replace("SOCKET", &socket.to_string_lossy())).unwrap();
        let argument = format!("--config-file={}", config.display());
        let daemon = Command::new("dbus-daemon")
            .args([&argument, "--nofork", "--nopidfile"])
            .spawn();
        let _daemon = Daemon(daemon.unwrap());
        netlab::wait_until("the bus listens", Duration::from_secs(10), || {
            Bus::connect(&socket).ok()
        });

        let mut service = Bus::connect(&socket).unwrap();
        let mut name = Body::default();
        name.text("org.freedesktop.resolve1");
        name.number(0);
        let own = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "RequestName",
            signature: "su",
        };
        service.call(own, &name).unwrap();
        let serve = std::thread::spawn(move || {
            let mut calls = Vec::new();
            while calls.len() < 2 {
                let message = service.receive().unwrap();
                if message.kind == CALL {
                    let destination = (6, "s", &*message.sender);
                    service
                        .send(RETURN, Some(message.serial), &[destination], &Body::default())
                        .unwrap();
                    calls.push((message.member, message.body));
                }
            }
            // It stays on the bus until its last answer has been read.
            (calls, service)
        });
        let wanted = Resolv {
            servers: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            search: vec!["lan".to_owned()],
            options: Vec::new(),
        };
        set(&socket, "lo", &wanted).unwrap();
        let (calls, service) = serve.join().unwrap();
        let expected = [
            ("SetLinkDNS", servers(1, &wanted)),
            ("SetLinkDomains", domains(1, &wanted)),
        ];
        for ((member, body), (expected_member, expected)) in calls.iter().zip(&expected) {
            assert_eq!((&**member, &**body), (*expected_member, expected.as_bytes()));
        }
        drop(service);
        netlab::wait_until("the bus knows that it has gone", Duration::from_secs(10), || {
            let error = set(&socket, "lo", &wanted).unwrap_err().to_string();
            error.contains("org.freedesktop.resolve1").then_some(())
        });
        let error = set(&socket, "no such link", &wanted).unwrap_err().to_string();
        assert!(error.contains("no such link"), "{error}");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_bodies_are_laid_out_as_the_bus_wants_them() {
        let wanted = Resolv {
            servers: vec!["192.0.2.1".parse().unwrap()],
            search: vec!["lan".to_owned()],
            options: Vec::new(),
        };
        assert_eq!(
            servers(7, &wanted).as_bytes(),
            [
                &[7, 0, 0, 0][..],
                &[12, 0, 0, 0],
                &[2, 0, 0, 0],
                &[4, 0, 0, 0],
                &[192, 0, 2, 1],
            ]
            .concat()
        );
        assert_eq!(
            domains(7, &wanted).as_bytes(),
            [
                &[7, 0, 0, 0][..],
                &[28, 0, 0, 0],
                &[3, 0, 0, 0],
                b"lan\0",
                &[0, 0, 0, 0],
                &[0, 0, 0, 0],
                &[1, 0, 0, 0],
                b".\0\0\0",
                &[1, 0, 0, 0],
            ]
            .concat()
        );
    }
}
