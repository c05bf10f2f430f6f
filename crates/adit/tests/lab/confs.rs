//! Files of `wg_confs` that are edited while their tunnels are up.
//!
//! ```text
//!   client: adit serve, client mode ══ office ══ gateway: adit launch ── server: HTTP
//!             └─ wg_confs/office.conf, edited
//! ```

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netlab::{Host, Process, traffic};

use crate::gateway::{Gateway, adit};
use crate::network::{self, Network};

const LIMIT: Duration = Duration::from_secs(30);

/// Another peer, which nobody is.
const ANOTHER: &str = "\n[Peer]\nPublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n\
    Endpoint = 192.0.2.8:51820\nAllowedIPs = 10.77.0.0/24\n";

/// A directory with the tunnel `office`, whose configuration this gives too.
fn directory(gateway: &Gateway, host: &Host) -> (PathBuf, String) {
    let conf = std::fs::read_to_string(gateway.file("peer1")).expect("read a peer's file");
    let directory = host.folder().join("config");
    std::fs::create_dir_all(directory.join("wg_confs")).expect("make a directory");
    write(&directory, "office", &conf);
    (directory, conf)
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(format!("wg_confs/{name}.conf")), text).expect("write a file");
}

fn serve(host: &Host, directory: &Path) -> Process {
    let command = host.command(adit(host)).args(["serve", "--config-dir"]).arg(directory);
    let mut process = command.spawn();
    process.wait_for("office is up", LIMIT);
    process
}

fn health(host: &Host, directory: &Path) -> (bool, String) {
    let command = host.command(adit(host)).args(["health", "--config-dir"]);
    let said = command.arg(directory).output();
    (said.status.success(), said.stdout + &said.stderr)
}

fn said(host: &Host, command: &str) -> String {
    let mut words = command.split(' ');
    let program = words.next().expect("a program");
    host.command(program).args(words).run()
}

/// A download through the tunnel that has no end.
fn download(host: &Host) -> TcpStream {
    let server = network::server_v4(80);
    host.run(|| {
        let mut stream = traffic::connect(server).expect("connect through the tunnel");
        write!(stream, "GET /bytes/100000000000 HTTP/1.1\r\nHost: {server}\r\n\r\n").expect("ask");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        stream
    })
}

/// The download goes on: more than what was under way comes.
fn goes_on(mut stream: &TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    while bytes < 16 << 20 {
        let read = stream.read(&mut buffer).expect("the download goes on");
        assert!(read > 0, "the download has ended");
        bytes += read;
    }
}

#[test]
fn a_peer_is_added_to_a_file_while_a_transfer_goes_on_and_a_typo_changes_nothing() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let client = &network.client;
    let (directory, conf) = directory(&gateway, client);
    let mut process = serve(client, &directory);
    let stream = download(client);
    goes_on(&stream);
    let identity = || {
        (
            said(client, "cat /sys/class/net/office/ifindex"),
            said(client, "wg show office latest-handshakes"),
        )
    };
    let before = identity();

    write(&directory, "office", &(conf.clone() + ANOTHER));
    process.wait_for("office: changed as its file has it", LIMIT);
    goes_on(&stream);
    assert_eq!(said(client, "wg show office peers").lines().count(), 2);
    assert!(said(client, "ip route").contains("10.77.0.0/24 dev office"));
    let after = identity();
    assert_eq!(before.0, after.0, "the interface is the same");
    assert!(after.1.contains(before.1.trim()), "the session lives on");

    write(
        &directory,
        "office",
        &(conf.clone() + ANOTHER + "AllowedIPz = 10.78.0.0/24\n"),
    );
    process.wait_for("office.conf:", LIMIT);
    goes_on(&stream);
    let (healthy, line) = health(client, &directory);
    assert!(healthy, "what was up is up: {line}");

    write(&directory, "office", &conf);
    netlab::wait_until("the peer is gone, and its route", LIMIT, || {
        let gone = said(client, "wg show office peers").lines().count() == 1
            && !said(client, "ip route").contains("10.77.0.0/24");
        gone.then_some(())
    });
    goes_on(&stream);
    assert_eq!(before.0, identity().0, "the interface is the same");
}

#[test]
fn a_tunnel_goes_down_as_it_was_brought_up_and_one_that_does_not_come_up_is_no_health() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let client = &network.client;
    let (directory, conf) = directory(&gateway, client);
    let marker = client.folder().join("old-post-down");
    let with_hook = conf.replacen(
        "[Interface]\n",
        &format!("[Interface]\nPostDown = touch {}\n", marker.display()),
        1,
    );
    write(&directory, "office", &with_hook);
    let mut process = serve(client, &directory);
    assert!(health(client, &directory).0);
    let wrong = "[Interface]\nAddress = 10.66.0.1/24\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n\
        PostUp = exit 7\n";
    write(&directory, "home", wrong);
    process.wait_for("home: PostUp", LIMIT);
    let line = netlab::wait_until("it is no health", LIMIT, || {
        let (healthy, line) = health(client, &directory);
        (!healthy).then_some(line)
    });
    assert!(line.contains("home: down, PostUp = exit 7"), "{line}");
    client.run(|| traffic::echo(network::server_v4(7), b"hello").expect("the other tunnel works"));
    std::fs::remove_file(directory.join("wg_confs/home.conf")).expect("remove a file");
    netlab::wait_until("it is healthy again", LIMIT, || {
        health(client, &directory).0.then_some(())
    });

    write(&directory, "office", &conf);
    netlab::wait_until("the old command has run", LIMIT, || marker.exists().then_some(()));
    // What is sent before it is up has another source, and waits for long.
    netlab::wait_until("the tunnel is up again", LIMIT, || {
        let command = client.command("ip").args(["route", "get", "198.51.100.2"]);
        command.output().stdout.contains("dev office").then_some(())
    });
    client.run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
}

#[test]
fn what_a_killed_process_has_left_does_not_stop_the_next_start() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let client = &network.client;
    let before = client.network_state();
    let (directory, _) = directory(&gateway, client);
    let mut process = serve(client, &directory);
    process.signal(9);
    process.wait(LIMIT);
    let mut process = serve(client, &directory);
    client.run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
    assert!(process.terminate(LIMIT).success());
    assert_eq!(client.network_state(), before, "nothing is left behind");
    // What a person has brought up is theirs.
    let own = client.folder().join("office.conf");
    std::fs::copy(gateway.file("peer1"), &own).expect("copy a file");
    client.command(adit(client)).arg("up").arg(&own).run();
    let command = client.command(adit(client)).args(["serve", "--config-dir"]);
    let refused = command.arg(&directory).output();
    assert!(
        !refused.status.success() && refused.stderr.contains("is up already"),
        "{refused:?}"
    );
    client.command(adit(client)).arg("down").arg(&own).run();
}

#[test]
fn a_tunnel_whose_process_is_killed_comes_up_again_and_leaves_no_zombie() {
    crate::needs_a_lab!();
    let network = Network::new();
    let gateway = Gateway::launch(&network);
    let client = &network.client;
    let before = client.network_state();
    let (directory, conf) = directory(&gateway, client);
    let marker = client.folder().join("post-down");
    let with_hook = format!("[Interface]\nPostDown = touch {}\n", marker.display());
    write(&directory, "office", &conf.replacen("[Interface]\n", &with_hook, 1));
    let command = client
        .command(adit(client))
        .args(["serve", "--plane", "tun", "--config-dir"]);
    let mut process = command.arg(&directory).spawn();
    process.wait_for("office is up", LIMIT);
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", process.pid());
        let listed = std::fs::read_to_string(path).expect("list the process's children");
        listed.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let [device] = children().try_into().expect("one interface, one process");
    said(client, &format!("kill -9 {device}"));
    netlab::wait_until("another process has the interface", LIMIT, || {
        let children = children();
        let is_another = children.len() == 1 && children[0] != device;
        // The last that is done.
        let leads_there = client.command("ip").args(["route", "get", "198.51.100.2"]).output();
        (is_another && leads_there.stdout.contains("dev office")).then_some(())
    });
    netlab::wait_until("it is healthy", LIMIT, || health(client, &directory).0.then_some(()));
    assert!(marker.exists(), "its commands have run");
    client.run(|| traffic::echo(network::server_v4(7), b"hello").expect("the tunnel works"));
    assert!(process.terminate(LIMIT).success());
    assert_eq!(client.network_state(), before, "nothing is left behind");
}

#[test]
fn a_gateway_that_cannot_go_on_takes_back_what_its_commands_did() {
    crate::needs_a_lab!();
    let network = Network::new();
    let host = &network.gateway;
    let before = host.network_state();
    // (what is wrong, the file with it, further arguments)
    for (what, wrong, arguments) in [
        ("a tunnel beside it", Some("PostUp = false"), &[][..]),
        ("metrics' address", None, &["--metrics", "203.0.113.77:9"][..]),
    ] {
        let directory = host.folder().join(what.replace([' ', '\''], "-"));
        std::fs::create_dir_all(directory.join("templates")).expect("make a directory");
        std::fs::create_dir_all(directory.join("wg_confs")).expect("make a directory");
        let log = directory.join("log");
        let hook = |word: &str| format!("{word} = echo {word} >> {}\n", log.display());
        let hooks: String = ["PostUp", "PreDown", "PostDown"].map(hook).concat();
        let template = format!(
            "[Interface]\nAddress = ${{INTERFACE}}.1\nListenPort = 51820\n\
             PrivateKey = $(cat /config/server/privatekey-server)\n{hooks}"
        );
        std::fs::write(directory.join("templates/server.conf"), template).expect("write a template");
        if let Some(line) = wrong {
            let text = format!(
                "[Interface]\nAddress = 10.66.0.1/24\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n{line}\n"
            );
            write(&directory, "home", &text);
        }
        let command = host
            .command(adit(host))
            .args(["serve", "--plane", "tun", "--peers", "1"]);
        let command = command.args(["--endpoint", "192.0.2.1", "--config-dir"]);
        let ended = command.arg(&directory).args(arguments).output();
        assert_eq!(ended.status.code(), Some(1), "{what}: {ended:?}");
        let ran = std::fs::read_to_string(&log).unwrap_or_default();
        assert_eq!(ran, "PostUp\nPreDown\nPostDown\n", "{what}: {ended:?}");
        assert_eq!(host.network_state(), before, "{what}: nothing is left behind");
    }
}

#[test]
fn a_signal_ends_the_start_while_a_name_is_waited_for() {
    crate::needs_a_lab!();
    let network = Network::new();
    let client = &network.client;
    let before = client.network_state();
    let text = "[Interface]\nAddress = 10.66.0.1/24\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n\
        [Peer]\nPublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\nEndpoint = vpn.example:51820\n\
        AllowedIPs = 10.66.0.0/24\n";
    // (the directory, what makes it a gateway)
    for (name, gateway) in [
        ("client-mode", &[][..]),
        ("server-mode", &["--peers", "1", "--endpoint", "192.0.2.1"]),
    ] {
        let directory = client.folder().join(name);
        std::fs::create_dir_all(directory.join("wg_confs")).expect("make a directory");
        write(&directory, "home", text);
        let command = client.command(adit(client)).args(["serve", "--plane", "tun"]);
        let command = command.args(gateway).arg("--config-dir").arg(&directory);
        let mut process = command.spawn();
        process.wait_for("trying again in", LIMIT);
        assert!(process.terminate(LIMIT).success(), "{name}: {}", process.log());
        assert!(!process.log().contains("gateway ready"), "{name}: {}", process.log());
        assert_eq!(client.network_state(), before, "{name}: nothing is left behind");
    }
}
