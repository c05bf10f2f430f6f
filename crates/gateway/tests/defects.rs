//! What linuxserver's image gets wrong, one test each, named after the defect. adit does not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{collections::BTreeMap, fs, path::Path};

use gateway::{
    client::Terms,
    directory::{Directory, DirectoryError},
    environment::{self, Environment, Keepalive, Texts},
    form::{EndpointOf, Form},
    pictures::Pictures,
    roster::{DEFAULT_SUBNET, Roster, Wish, WithoutIpv6},
};
use wg::access::Access;

fn wish(peers: &str) -> Wish {
    Wish {
        peers: environment::peers(peers).unwrap(),
        subnets: vec![DEFAULT_SUBNET.into()],
        without_ipv6: WithoutIpv6::Obey,
        keepalive: Keepalive::Off,
        networks: BTreeMap::new(),
        access: Access::OPEN,
        destinations: BTreeMap::new(),
    }
}

/// One start as `adit serve` makes it: `url` is `SERVERURL`, or what is found for `auto`.
fn start(root: &Path, peers: &str, url: &str, endpoint: EndpointOf) -> Result<(), DirectoryError> {
    start_with(root, &wish(peers), &[("PEERS", peers)], url, endpoint)
}

fn start_with(
    root: &Path,
    wish: &Wish,
    variables: &[(&str, &str)],
    url: &str,
    endpoint: EndpointOf,
) -> Result<(), DirectoryError> {
    let directory = Directory::open(root)?;
    let roster = Roster::new(&directory, wish).unwrap();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let form = Form::load(root, Texts::read(variables).unwrap(), endpoint, &roster.addresses())?;
    let terms = form.of(Terms {
        server_key: roster.private_key().public_key(),
        endpoint: (url.parse().unwrap(), 51820),
        dns: vec!["10.13.13.1".parse().unwrap()],
        allowed_ips: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        mtu: None,
        listen_port: Some(51820),
        form: None,
    })?;
    let form = terms.form.as_ref().unwrap();
    form.server_settings(roster.private_key(), &terms)?;
    let pictures = Pictures::new(|_| None, |_| {}).unwrap();
    roster.keep(&directory, &terms, 51820, &pictures.turn()).map(drop)
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap()
}

fn addresses(root: &Path, peers: &[&str]) -> Vec<String> {
    let address = |peer: &&str| {
        let conf = read(root, &format!("{peer}/{peer}.conf"));
        let line = conf
            .lines()
            .find_map(|line| line.strip_prefix("Address = ").map(str::to_owned));
        line.unwrap()
    };
    peers.iter().map(address).collect()
}

#[test]
fn an_address_that_is_not_found_makes_no_endpoint_without_a_host() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "1", "192.0.2.1", EndpointOf::Nobody).unwrap();
    // What that image has written is not taken for an address.
    let conf = read(root.path(), "peer1/peer1.conf").replace("Endpoint = 192.0.2.1:51820", "Endpoint = :51820");
    fs::write(root.path().join("peer1/peer1.conf"), conf).unwrap();
    fs::remove_file(root.path().join("wg_confs/wg0.conf")).unwrap();
    start(root.path(), "1", "192.0.2.7", EndpointOf::Nobody).unwrap();
    assert!(read(root.path(), "peer1/peer1.conf").contains("Endpoint = 192.0.2.7:51820\n"));
}

#[test]
fn a_changed_public_address_does_not_rewrite_the_clients_configurations() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "1", "192.0.2.1", EndpointOf::Nobody).unwrap();
    let before = read(root.path(), "peer1/peer1.conf");
    start(root.path(), "2", "192.0.2.99", EndpointOf::Nobody).unwrap();
    assert_eq!(read(root.path(), "peer1/peer1.conf"), before);
    assert!(read(root.path(), "peer2/peer2.conf").contains("Endpoint = 192.0.2.99:51820\n"));
    // Who says it means it.
    start(root.path(), "2", "vpn.example.com", EndpointOf::User).unwrap();
    assert!(read(root.path(), "peer1/peer1.conf").contains("Endpoint = vpn.example.com:51820\n"));
}

#[test]
fn saved_variables_are_not_run() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "1", "vpn.example.com", EndpointOf::User).unwrap();
    let pwned = root.path().join("PWN");
    let saved = root.path().join(".donoteditthisfile");
    fs::write(&saved, format!("ORIG_SERVERURL=\"$(touch {})h\"\n", pwned.display())).unwrap();
    start(root.path(), "1", "vpn.example.com", EndpointOf::User).unwrap();
    assert!(!pwned.exists());
    assert!(read(root.path(), ".donoteditthisfile").starts_with("ORIG_SERVERURL=\"vpn.example.com\"\n"));
    // Nor can such a value get in.
    let environment = Environment::read([("SERVERURL".into(), "$(touch PWN)h".into())]);
    assert!(environment.unwrap_err().to_string().contains("SERVERURL"));
}

#[test]
fn templates_are_not_run() {
    let root = tempfile::tempdir().unwrap();
    let pwned = root.path().join("PWN");
    fs::create_dir(root.path().join("templates")).unwrap();
    let template = format!(
        "[Interface]\nAddress = ${{CLIENT_IP}}\n# $(touch {})\n",
        pwned.display()
    );
    fs::write(root.path().join("templates/peer.conf"), template).unwrap();
    let error = start(root.path(), "1", "vpn.example.com", EndpointOf::User)
        .unwrap_err()
        .to_string();
    assert!(error.contains("templates/peer.conf:3:3: `$(touch "), "{error}");
    assert!(!pwned.exists());
}

#[test]
fn a_template_reads_no_file_outside_of_the_directory() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "secret").unwrap();
    fs::create_dir(root.path().join("templates")).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
    for path in [
        outside.path().to_str().unwrap(),
        "/config/../etc/hostname",
        "/config/link",
        "/etc/hostname",
    ] {
        let template = format!("[Interface]\n# $(cat {path})\nPresharedKey\n");
        fs::write(root.path().join("templates/peer.conf"), template).unwrap();
        let error = start(root.path(), "1", "vpn.example.com", EndpointOf::User)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("only files of the configuration directory"),
            "{path}: {error}"
        );
    }
}

#[test]
fn peers_0_is_a_gateway_that_waits_for_peers() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "0", "vpn.example.com", EndpointOf::User).unwrap();
    assert!(!read(root.path(), "wg_confs/wg0.conf").contains("[Peer]"));
    start(root.path(), "1", "vpn.example.com", EndpointOf::User).unwrap();
    assert!(read(root.path(), "wg_confs/wg0.conf").contains("# peer1\n"));
}

#[test]
fn every_comma_of_a_list_counts() {
    let environment = Environment::read([("PERSISTENTKEEPALIVE_PEERS".into(), "a,b, c".into())]).unwrap();
    for peer in ["a", "b", "c"] {
        assert!(environment.keepalive.covers(&peer.parse().unwrap()), "{peer}");
    }
}

#[test]
fn a_name_behind_a_blank_is_a_peer() {
    let peers = environment::peers("laptop, phone").unwrap();
    assert_eq!(peers.len(), 2);
}

#[test]
fn a_removed_peer_does_not_hold_its_address() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "laptop,phone", "vpn.example.com", EndpointOf::User).unwrap();
    start(root.path(), "tablet,phone", "vpn.example.com", EndpointOf::User).unwrap();
    assert_eq!(
        addresses(root.path(), &["peer_tablet", "peer_phone"]),
        ["10.13.13.2", "10.13.13.3"]
    );
}

#[test]
fn an_address_is_free_although_another_begins_with_it() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "25", "vpn.example.com", EndpointOf::User).unwrap();
    fs::remove_dir_all(root.path().join("peer1")).unwrap();
    let peers = (2..=25).map(|number| number.to_string()).collect::<Vec<_>>().join(",") + ",new";
    start(root.path(), &peers, "vpn.example.com", EndpointOf::User).unwrap();
    assert_eq!(addresses(root.path(), &["peer_new"]), ["10.13.13.2"]);
}

#[test]
fn no_two_peers_get_one_address() {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let error = Roster::new(&directory, &wish("255")).unwrap_err().to_string();
    assert!(error.contains("no address is left in 10.13.13.0/24"), "{error}");
}

#[test]
fn networks_behind_peers_and_edited_templates_are_noticed() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "1", "vpn.example.com", EndpointOf::User).unwrap();
    let template = read(root.path(), "templates/peer.conf") + "PersistentKeepalive = 25\n";
    fs::write(root.path().join("templates/peer.conf"), template).unwrap();
    start(root.path(), "1", "vpn.example.com", EndpointOf::User).unwrap();
    assert!(read(root.path(), "peer1/peer1.conf").ends_with("PersistentKeepalive = 25\n"));
}

/// The last field of the lines of a client's configuration that match `Address`: what the image keeps of them.
fn kept_by_the_image(conf: &str) -> Vec<&str> {
    conf.lines()
        .filter(|line| line.contains("Address"))
        .filter_map(|line| line.split_whitespace().last())
        .collect()
}

#[test]
fn who_returns_to_the_image_keeps_every_address() {
    let root = tempfile::tempdir().unwrap();
    let with_ipv6 = Wish {
        subnets: vec![DEFAULT_SUBNET.into(), "fd00:1::/64".parse().unwrap()],
        ..wish("2")
    };
    start_with(root.path(), &with_ipv6, &[], "vpn.example.com", EndpointOf::User).unwrap();
    for (file, address) in [
        ("peer1/peer1.conf", "10.13.13.2"),
        ("peer2/peer2.conf", "10.13.13.3"),
        ("wg_confs/wg0.conf", "10.13.13.1"),
    ] {
        let conf = read(root.path(), file);
        assert!(conf.contains("Address = fd00:1::"), "{conf}");
        assert_eq!(kept_by_the_image(&conf), [address], "{conf}");
    }
    // A configuration that has them the other way round is as good, and stays.
    let other = "Address = 10.13.13.2, fd00:1::2";
    let conf = read(root.path(), "peer1/peer1.conf").replace("Address = fd00:1::2, 10.13.13.2", other);
    assert!(conf.contains(other));
    fs::write(root.path().join("peer1/peer1.conf"), &conf).unwrap();
    start_with(root.path(), &with_ipv6, &[], "vpn.example.com", EndpointOf::User).unwrap();
    assert_eq!(read(root.path(), "peer1/peer1.conf"), conf);
}

#[test]
fn what_a_gateway_cannot_be_is_refused_with_its_line() {
    let settings = "[Interface]\nAddress = ${INTERFACE}.1\nPrivateKey = $(cat /config/server/privatekey-server)\n";
    for (more, problem) in [
        ("MTU = many", "templates/server.conf:4:"),
        ("PostUp", "templates/server.conf:4:"),
        ("Address = 10.99.0.1", "10.99.0.1 is none of them"),
        (
            "\n[Peer]\nPublicKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
            "templates/server.conf:5:1: [Peer]",
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("templates")).unwrap();
        fs::write(root.path().join("templates/server.conf"), format!("{settings}{more}\n")).unwrap();
        let error = start(root.path(), "1", "vpn.example.com", EndpointOf::User)
            .unwrap_err()
            .to_string();
        assert!(error.contains(problem), "{more}: {error}");
        assert!(!root.path().join("wg_confs/wg0.conf").exists());
    }
}

#[test]
fn the_line_of_an_error_is_that_of_the_users_own_template() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("templates")).unwrap();
    let template = "[Interface]\nAddress = ${CLIENT_IP}\n[Peer]\nEndpoint = x:1\n# $(id)\n";
    fs::write(root.path().join("templates/peer.conf"), template).unwrap();
    let error = start(root.path(), "1", "vpn.example.com", EndpointOf::User)
        .unwrap_err()
        .to_string();
    assert!(error.contains("templates/peer.conf:5:3: "), "{error}");
}

#[test]
fn the_gateways_template_has_the_variables_with_their_defaults() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("templates")).unwrap();
    let template = "[Interface]\nAddress = ${INTERFACE}.1\n# ${SERVERURL} ${SERVERPORT} ${ALLOWEDIPS} ${PEERDNS}\n";
    fs::write(root.path().join("templates/server.conf"), template).unwrap();
    start(root.path(), "1", "192.0.2.1", EndpointOf::Nobody).unwrap();
    let conf = read(root.path(), "wg_confs/wg0.conf");
    assert!(
        conf.contains("# 192.0.2.1 51820 0.0.0.0/0, ::/0 10.13.13.1\n"),
        "{conf}"
    );
}

/// A directory as the image leaves it: adit's own files are not there.
fn forget(root: &Path) {
    fs::remove_file(root.join(".adit.state")).unwrap();
}

#[test]
fn a_directory_is_taken_over_without_another_address() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "2", "vpn.example.com", EndpointOf::User).unwrap();
    forget(root.path());
    let before = ["peer1/peer1.conf", "peer2/peer2.conf", "wg_confs/wg0.conf"].map(|file| read(root.path(), file));
    // That image passes over the prefix length.
    let larger = Wish {
        subnets: vec!["10.13.0.0/16".parse().unwrap()],
        ..wish("2")
    };
    start_with(
        root.path(),
        &larger,
        &[("PEERS", "2")],
        "vpn.example.com",
        EndpointOf::User,
    )
    .unwrap();
    let after = ["peer1/peer1.conf", "peer2/peer2.conf", "wg_confs/wg0.conf"].map(|file| read(root.path(), file));
    assert_eq!(after, before);
}

#[test]
fn a_peer_outside_of_the_subnet_is_not_moved_at_a_takeover() {
    let root = tempfile::tempdir().unwrap();
    start(root.path(), "2", "vpn.example.com", EndpointOf::User).unwrap();
    forget(root.path());
    let conf = read(root.path(), "peer2/peer2.conf").replace("10.13.13.3", "10.99.0.3");
    fs::write(root.path().join("peer2/peer2.conf"), &conf).unwrap();
    let directory = Directory::open(root.path()).unwrap();
    let error = Roster::new(&directory, &wish("2")).unwrap_err().to_string();
    assert!(
        error.contains("peer2 has the address 10.99.0.3, which is not in 10.13.13.0/24"),
        "{error}"
    );
    assert_eq!(read(root.path(), "peer2/peer2.conf"), conf);
    // A gateway that moves takes its peers along, as there.
    let other = Wish {
        subnets: vec!["10.20.0.0/24".parse().unwrap()],
        ..wish("2")
    };
    let roster = Roster::new(&directory, &other).unwrap();
    let moved: Vec<String> = roster
        .members()
        .map(|member| member.client.addresses[0].to_string())
        .collect();
    assert_eq!(moved, ["10.20.0.2", "10.20.0.3"]);
}
