//! Right and wrong values of every variable.

use super::*;

fn texts(variables: &[(&str, &str)]) -> Texts {
    Texts::read(variables.iter().map(|(name, value)| (name.into(), value.into()))).unwrap()
}

fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
    Environment::read(variables.iter().map(|(name, value)| (name.into(), value.into())))
}

#[test]
fn peers_are_a_number_or_names() {
    for (value, expected) in [
        ("3", vec!["peer1", "peer2", "peer3"]),
        ("0", vec![]),
        ("laptop,phone,7", vec!["peer_laptop", "peer_phone", "peer7"]),
        (
            "laptop, phone ,,my-tablet_2,laptop",
            vec!["peer_laptop", "peer_phone", "peer_my-tablet_2"],
        ),
    ] {
        let peers = read(&[("PEERS", value)]).unwrap().peers.unwrap();
        assert_eq!(
            peers.iter().map(PeerId::file_name).collect::<Vec<_>>(),
            expected,
            "{value}"
        );
    }
}

#[test]
fn an_unset_an_empty_and_an_unknown_variable_ask_for_nothing() {
    for variables in [
        &[][..],
        &[("PEERS", ""), ("SERVERURL", " "), ("TZ", "Etc/UTC"), ("PATH", "/bin")],
        &[("SERVERURL", "auto"), ("PEERDNS", "Auto"), ("FILE__PEERS", "")],
    ] {
        let expected = Environment {
            texts: texts(variables),
            ..Environment::default()
        };
        assert_eq!(read(variables), Ok(expected));
    }
}

#[test]
fn a_subnet_is_a_slash_24_unless_it_says_otherwise() {
    for (value, expected) in [
        ("10.13.13.0", "10.13.13.0/24"),
        ("192.168.7.9", "192.168.7.0/24"),
        ("10.13.0.0/16", "10.13.0.0/16"),
        ("10.13.13.8/30", "10.13.13.8/30"),
    ] {
        let subnet = read(&[("INTERNAL_SUBNET", value)]).unwrap().internal_subnet.unwrap();
        assert_eq!(subnet.to_string(), expected);
    }
}

#[test]
fn an_ipv6_subnet_is_a_slash_64_unless_it_says_otherwise() {
    for (value, expected) in [
        ("none", Subnet6::Off),
        ("fd00:1::", Subnet6::Network("fd00:1::/64".parse().unwrap())),
        ("fd00:1::7/112", Subnet6::Network("fd00:1::/112".parse().unwrap())),
    ] {
        assert_eq!(
            read(&[("INTERNAL_SUBNET6", value)]).unwrap().internal_subnet6,
            Some(expected)
        );
    }
}

#[test]
fn keepalives_go_to_all_if_that_comes_first_or_to_those_that_are_named() {
    // (value, who of `all`, `phone` and `1` gets keepalives)
    for (value, expected) in [
        ("all", [true, true, true]),
        ("all,phone", [true, true, true]),
        ("phone,all", [true, true, false]),
        (",all", [true, false, false]),
        (",", [false, false, false]),
        (",phone,,1,", [false, true, true]),
    ] {
        let keepalive = read(&[("PERSISTENTKEEPALIVE_PEERS", value)]).unwrap().keepalive;
        let covered = ["all", "phone", "1"].map(|peer| keepalive.covers(&peer.parse().unwrap()));
        assert_eq!(covered, expected, "{value}");
    }
}

#[test]
fn the_other_variables_are_read() {
    let environment = read(&[
        ("SERVERURL", "vpn.example.com"),
        ("SERVERPORT", "443"),
        ("ALLOWEDIPS", "0.0.0.0/0,::/0, 192.0.2.7, 10.1.2.3/8"),
        ("PEERDNS", "1.1.1.1, corp.example"),
        ("PERSISTENTKEEPALIVE_PEERS", "phone, 1"),
        ("SERVER_ALLOWEDIPS_PEER_phone", "192.168.1.0/24,192.168.2.0/24"),
        ("LOG_CONFS", "False"),
        ("USE_COREDNS", "false"),
        ("DNS_UPSTREAM", "192.0.2.53, [2001:db8::53]:5353"),
        ("ALLOWED_DESTINATIONS", "10.0.0.0/8"),
        ("ALLOWED_DESTINATIONS_PEER_phone", "none"),
        ("PEER_TO_PEER", "false"),
        ("METRICS", ":9586"),
        ("LOG_FORMAT", "JSON"),
        ("PUID", "1000"),
        ("PGID", "0"),
        ("UMASK", "0027"),
    ])
    .unwrap();
    let text = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let phone: PeerId = "phone".parse().unwrap();
    assert_eq!(environment.server_url.unwrap().to_string(), "vpn.example.com");
    assert_eq!(environment.server_port, Some(443));
    assert_eq!(
        text(&environment.allowed_ips.unwrap()),
        "0.0.0.0/0 ::/0 192.0.2.7/32 10.0.0.0/8"
    );
    assert_eq!(environment.peer_dns.unwrap().len(), 2);
    assert!(environment.keepalive.covers(&phone) && environment.keepalive.covers(&PeerId::numbered(1)));
    assert!(!environment.keepalive.covers(&PeerId::numbered(2)));
    assert_eq!(
        text(&environment.server_allowed_ips[&phone]),
        "192.168.1.0/24 192.168.2.0/24"
    );
    assert_eq!((environment.log_confs, environment.dns), (Some(false), Some(false)));
    let upstreams = environment.dns_upstream.unwrap();
    assert_eq!(
        upstreams,
        ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:5353".parse().unwrap()]
    );
    let destinations = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(
        (&environment.destinations, environment.peer_to_peer),
        (&destinations, Some(false))
    );
    assert_eq!(environment.peer_destinations[&phone], []);
    assert_eq!(environment.metrics, Some("[::]:9586".parse().unwrap()));
    assert_eq!(environment.log_format, Some(LogFormat::Json));
    assert_eq!(
        (environment.user, environment.group, environment.umask),
        (Some(1000), Some(0), Some(0o027))
    );
    let all = read(&[("PERSISTENTKEEPALIVE_PEERS", "all,phone")]).unwrap();
    assert!(all.keepalive.covers(&phone));
}

#[test]
fn a_wrong_value_gives_an_error_that_names_the_variable() {
    let cases = [
        ("PEERS", "99999", "at most 65533 peers"),
        ("PEERS", "99999999999999999999", "at most 65533 peers"),
        ("PEERS", "laptop,my phone", "`my phone` cannot name a peer"),
        ("PEERS", "-3", "`-3` cannot name a peer"),
        (
            "SERVERURL",
            "https://vpn.example.com",
            "neither an IP address nor a host name",
        ),
        ("SERVERURL", "vpn.example.com:51820", "SERVERPORT"),
        ("SERVERURL", "$(touch x)h", "neither an IP address nor a host name"),
        ("SERVERPORT", "0", "between 1 and 65535"),
        ("SERVERPORT", "65536", "between 1 and 65535"),
        ("SERVERPORT", "+443", "between 1 and 65535"),
        ("PUID", "+1000", "not the number of a user"),
        ("PEERS", ",", "names no peer"),
        ("ALLOWEDIPS", ",", "names nothing"),
        ("PEERDNS", " , ", "names nothing"),
        ("SERVER_ALLOWEDIPS_PEER_phone", ",", "names nothing"),
        ("INTERNAL_SUBNET", "0.0.0.0", "peers can have"),
        ("INTERNAL_SUBNET", "127.0.0.0", "peers can have"),
        ("INTERNAL_SUBNET", "224.0.0.0", "peers can have"),
        ("INTERNAL_SUBNET", "255.255.255.0", "peers can have"),
        ("INTERNAL_SUBNET", "10.13.13", "not an IPv4 network"),
        ("INTERNAL_SUBNET", "10.13.13.0/31", "/30"),
        ("INTERNAL_SUBNET", "fd00::/64", "not an IPv4 network"),
        ("ALLOWEDIPS", "0.0.0.0/0, ::0/0/0", "`::0/0/0` is not a network"),
        ("PEERDNS", "1.1.1.1,-x", "`-x`"),
        ("PERSISTENTKEEPALIVE_PEERS", "a b", "`a b` cannot name a peer"),
        ("SERVER_ALLOWEDIPS_PEER_phone", "office", "`office` is not a network"),
        ("SERVER_ALLOWEDIPS_PEER_", "10.0.0.0/8", "cannot name a peer"),
        ("LOG_CONFS", "maybe", "neither true nor false"),
        ("USE_COREDNS", "coredns", "neither true nor false"),
        ("INTERNAL_SUBNET6", "10.13.13.0", "not an IPv6 network"),
        ("INTERNAL_SUBNET6", "fd00::/127", "/126"),
        ("INTERNAL_SUBNET6", "fe80::/64", "one of fd00::/8"),
        (
            "DNS_UPSTREAM",
            "192.0.2.1, dns.example",
            "`dns.example` is not a resolver",
        ),
        ("ALLOWED_DESTINATIONS", "10.0.0.0/8, office", "`office`"),
        ("ALLOWED_DESTINATIONS_PEER_phone", "10.0.0.1:99999", "10.0.0.1:99999"),
        ("ALLOWED_DESTINATIONS_PEER_a b", "10.0.0.1", "cannot name a peer"),
        ("PEER_TO_PEER", "sometimes", "neither true nor false"),
        ("METRICS", "9586", "not ADDRESS:PORT"),
        ("METRICS", ":0", "not ADDRESS:PORT"),
        ("LOG_FORMAT", "xml", "neither text nor json"),
        ("PUID", "abc", "not the number of a user"),
        ("PGID", "-1", "not the number of a user"),
        ("UMASK", "8", "not an octal number"),
        ("UMASK", "777", "077 is the strictest"),
        ("TZ", "Etc/UTC; rm", "not a time zone"),
        ("FILE__SERVERURL", "/nonexistent/secret", "cannot be read"),
    ];
    for variable in VARIABLES {
        let beginning = variable.name.split('<').next().unwrap();
        let is_tried = cases.iter().any(|(name, ..)| name.starts_with(beginning));
        assert!(is_tried, "{} has no wrong value here", variable.name);
    }
    for (variable, value, problem) in cases {
        let message = read(&[(variable, value)]).unwrap_err().to_string();
        assert!(message.contains(problem), "{variable}={value}: {message}");
        assert!(
            message.starts_with(&format!("the environment variable {variable} is `{value}`")),
            "{message}"
        );
    }
}
