//! Names: neighbours are found by theirs, and all other questions go through the tunnel.

use netlab::wait_until;

use crate::network::NAME;
use crate::stage::{ASK, IMAGE, SOON, Stage};

/// Asks for the address of a name, and prints what there is but the server's own.
fn look_up(name: &str) -> String {
    format!("nslookup -type=a {name} 2>&1 | grep -A9 Name: | grep Address")
}

#[test]
fn neighbours_have_names_and_no_other_question_is_seen_outside_the_tunnel() {
    crate::needs_containers!();
    let mut stage = Stage::new(1);
    let leaks = stage.leaks();
    let docker = |words: &[&str]| stage.engine.docker(words).run();
    docker(&["network", "create", "home"]);
    stage.start_plain(
        "web",
        &["--network", "home", "--network-alias", "www"],
        &["sleep", "600"],
    );
    let inspect = [
        "inspect",
        "--format",
        "{{.NetworkSettings.Networks.home.IPAddress}}",
        "web",
    ];
    let web = format!("Address: {}\n", docker(&inspect).trim());
    let outside = "Address: 198.51.100.2\n";
    // At once, as its first process.
    let script = format!("{ASK}; {}; {}; sleep 600", look_up("www"), look_up(NAME));
    stage
        .run("one", "one", &["--detach", "--network", "home"], &script)
        .run();
    wait_until("it has looked up all", SOON, || {
        (stage.engine.docker(&["logs", "one"]).run() == format!("hello\n{web}{outside}")).then_some(())
    });
    assert_eq!(stage.exec("one", &look_up("web.home")).stdout, web);
    assert_eq!(
        stage.exec("one", "cat /etc/resolv.conf | head -1").stdout,
        "nameserver 127.0.0.11\n"
    );
    // One who comes later, and goes.
    stage.start_plain("late", &["--network", "home"], &["sleep", "600"]);
    let sees = |name: &str| !stage.exec("one", &look_up(name)).stdout.is_empty();
    wait_until("the newcomer is seen", SOON, || sees("late").then_some(()));
    docker(&["rm", "--force", "late"]);
    wait_until("it is seen no more", SOON, || (!sees("late")).then_some(()));
    // A long answer takes TCP.
    let question = r"\0\44\0\7\1\0\0\1\0\0\0\0\0\0\3big\6server\7example\0\0\20\0\1";
    let long = stage.exec(
        "one",
        &format!("printf '{question}' | timeout 9 nc 127.0.0.11 53 | wc -c"),
    );
    let long = long.stdout;
    assert!(long.trim().parse::<usize>().expect("a number") > 2000, "{long}");
    // Docker's resolver itself is not reached, wherever it listens.
    let ports = stage.exec("one", "cat /proc/net/udp").stdout;
    let docker_s = ports
        .lines()
        .find_map(|line| line.split_whitespace().nth(1)?.strip_prefix("0B00007F:"));
    let port = u16::from_str_radix(docker_s.expect("it listens"), 16).expect("a port");
    let past = stage.exec(
        "one",
        &format!("nslookup -port={port} -timeout=2 -retry=1 {NAME} 127.0.0.11; true"),
    );
    assert!(!past.stdout.contains("198.51.100.2"), "{}", past.stdout);
    // Without the daemon nobody answers, and nothing leaves either.
    stage.kill_daemon();
    assert_eq!(stage.exec("one", &look_up(NAME)).stdout, "");
    stage.start_daemon();
    wait_until("it resolves again", SOON, || {
        (stage.exec("one", &look_up(NAME)).stdout == outside).then_some(())
    });
    assert_eq!(stage.exec("one", &look_up("www")).stdout, web);
    assert_eq!(leaks.seen(), []);
}

#[test]
fn a_question_of_a_container_that_is_not_closed_is_seen() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    stage.engine.docker(&["network", "create", "home"]).run();
    let run = stage
        .engine
        .docker(&["run", "--rm", "--network", "home", IMAGE, "sh", "-c", &look_up(NAME)]);
    assert_eq!(run.run(), "Address: 198.51.100.2\n");
    assert!(
        leaks
            .seen()
            .iter()
            .any(|packet| packet.ports.is_some_and(|(_, to)| to == 53))
    );
}

#[test]
fn what_asks_docker_s_resolver_in_a_network_of_tunnels_is_answered() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    stage
        .engine
        .docker(&["network", "create", "-d", "adit", "-o", "conf=pool", "own"])
        .run();
    // As in a configuration of nginx.
    let script = format!("nslookup -type=a {NAME} 127.0.0.11 | grep -A9 Name: | grep Address");
    let run = stage
        .engine
        .docker(&["run", "--rm", "--network", "own", IMAGE, "sh", "-c", &script]);
    assert_eq!(run.run(), "Address: 198.51.100.2\n");
    assert_eq!(leaks.seen(), []);
}
