//! What may happen to a container's tunnel beside its server's death: another server, another engine, no daemon at all.

use std::time::Duration;

use netlab::wait_until;

use crate::examples::example;
use crate::stage::{ASK, IMAGE, SOON, Stage};

/// Asks the server for an echo over IPv6, once.
const ASK_V6: &str = "echo hello | timeout 10 nc -w 5 2001:db8:2::2 7";

#[test]
fn a_gateway_gives_a_container_a_tunnel_for_a_key_made_here() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    let server = &stage.network.internet;
    let folder = server.folder().join("gateway");
    let adit = || {
        server
            .command(env!("CARGO_BIN_EXE_adit"))
            .env("XDG_RUNTIME_DIR", server.folder())
    };
    let serve = [
        "serve",
        "--plane",
        "netstack",
        "--peers",
        "0",
        "--listen",
        "51821",
        "--api",
        "192.0.2.254:8443",
        "--config-dir",
    ];
    let mut gateway = adit()
        .args(serve)
        .arg(&folder)
        .args(["--endpoint", "192.0.2.254:51821"])
        .spawn();
    gateway.wait_for("gateway ready", SOON);
    let token = adit().args(["peer", "token", "--config-dir"]).arg(&folder).run();
    std::fs::create_dir_all(stage.engine.path("gateways")).expect("make a folder");
    std::fs::write(stage.engine.path("gateways/home.token"), token).expect("write a token");
    let labels = ["--label", "adit.enable=true", "--label", "adit.provider=gateway"];
    let run = stage
        .engine
        .docker(&["run", "--detach", "--name", "one", "--network", "none"])
        .args(labels);
    // The gateway has to be asked first.
    let _echo = netlab::serve::tcp_echo(&stage.network.client, 7);
    let ask = ASK.replace("198.51.100.2", "192.0.2.7");
    let script = format!("while ! {ask}; do sleep 0.1; done; sleep 600");
    run.args([IMAGE, "sh", "-c", &script]).run();
    let status = stage.wait_for_state("one", "up");
    assert_eq!(status["provider"], "gateway");
    wait_until("its question was answered", SOON, || {
        (stage.engine.docker(&["logs", "one"]).run() == "hello\n").then_some(())
    });
    let peers = || {
        let list = adit().args(["peer", "list", "--config-dir"]).arg(&folder).run();
        list.lines().filter(|line| line.contains("one-")).count()
    };
    assert_eq!(peers(), 1);
    stage.engine.docker(&["rm", "--force", "one"]).run();
    wait_until("the gateway knows it no more", SOON, || (peers() == 0).then_some(()));
    stage.wait_until_nothing_is_left();
    let strays: Vec<_> = leaks
        .seen()
        .into_iter()
        .filter(|packet| !is_of_the_gateway(packet))
        .collect();
    assert_eq!(strays, []);
}

/// The daemon's own talk with the gateway's API, and the tunnel to it.
fn is_of_the_gateway(packet: &netlab::capture::Seen) -> bool {
    packet
        .ports
        .is_some_and(|(from, to)| [51821, 8443].iter().any(|port| from == *port || to == *port))
}

#[test]
fn ipv6_goes_through_the_tunnel_or_nowhere() {
    crate::needs_containers!();
    let stage = Stage::new(2);
    let leaks = stage.leaks();
    let docker = |words: &[&str]| stage.engine.docker(words).run();
    docker(&["network", "create", "--ipv6", "--subnet", "fd07::/64", "home"]);
    stage.start_plain(
        "web",
        &["--network", "home"],
        &["nc", "-ll", "-p", "99", "-e", "/bin/cat"],
    );
    let inspect = [
        "inspect",
        "--format",
        "{{.NetworkSettings.Networks.home.GlobalIPv6Address}}",
        "web",
    ];
    let web = docker(&inspect);
    let near = format!("echo near | timeout 10 nc -w 5 {} 99", web.trim());
    for (name, conf, answer) in [("four", "one", ""), ("six", "six", "hello\n")] {
        stage
            .run(name, conf, &["--detach", "--network", "home"], "sleep 600")
            .run();
        stage.wait_for_state(name, "up");
        assert_eq!(stage.exec(name, ASK_V6).stdout, answer, "{name}");
        assert_eq!(stage.exec(name, ASK).stdout, "hello\n", "{name}");
        wait_until("its neighbour is reached", SOON, || {
            (stage.exec(name, &near).stdout == "near\n").then_some(())
        });
    }
    assert_eq!(leaks.seen(), []);
}

#[test]
fn a_server_that_stays_silent_is_left_for_another() {
    crate::needs_containers!();
    let stage = Stage::new(2);
    let leaks = stage.leaks();
    // The pool's first leads to nobody.
    let first = stage.folder.join("pool/000.conf");
    let text = std::fs::read_to_string(&first).expect("read a configuration");
    std::fs::write(&first, text.replace(":51820", ":51822")).expect("write a configuration");
    stage
        .run("one", "pool", &["--detach", "--network", "none"], "sleep 600")
        .run();
    let status = wait_until("it has another server", Duration::from_secs(60), || {
        stage.status_of("one").filter(|status| status["state"] == "up")
    });
    assert_eq!(status["server"], "pool/001.conf");
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    let strays: Vec<_> = leaks
        .seen()
        .into_iter()
        .filter(|packet| packet.ports.is_none_or(|(_, to)| to != 51822))
        .collect();
    assert_eq!(strays, []);
}

#[test]
fn networks_that_stay_direct_are_reached_beside_the_tunnel() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    // The server's second address is in a network of the operator's, as it were.
    stage.network.server.add_address("eth0", "198.51.100.99/32");
    stage.network.internet.route("198.51.100.99 dev to-server");
    let lan = ["--detach", "--label", "adit.lan=198.51.100.99/32"];
    stage.run("one", "one", &lan, "sleep 600").run();
    stage.wait_for_state("one", "up");
    let leaks = stage.leaks();
    let direct = "echo direct | timeout 10 nc -w 5 198.51.100.99 7";
    assert_eq!(stage.exec("one", direct).stdout, "direct\n");
    let seen = leaks.seen();
    let is_direct = |packet: &netlab::capture::Seen| packet.ports.is_some_and(|(from, to)| from == 7 || to == 7);
    assert!(!seen.is_empty() && seen.iter().all(is_direct), "{seen:?}");
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    let strays: Vec<_> = leaks.seen().into_iter().filter(|packet| !is_direct(packet)).collect();
    assert_eq!(strays, []);
}

#[test]
fn one_container_has_its_tunnel_without_a_daemon() {
    crate::needs_containers!();
    let mut stage = Stage::new(1);
    stage.kill_daemon();
    let leaks = stage.leaks();
    stage
        .engine
        .docker(&[
            "run",
            "--detach",
            "--name",
            "one",
            "--network",
            "none",
            IMAGE,
            "sleep",
            "600",
        ])
        .run();
    assert_eq!(stage.exec("one", ASK).stdout, "");
    let once = |conf: &str| {
        let conf = stage.folder.join(conf);
        stage
            .adit(&["attach", "once", "one", "--plane", "tun", "--conf"])
            .arg(conf)
            .output()
    };
    let said = once("nobody.conf");
    assert!(
        !said.status.success() && said.stderr.contains("nobody.conf"),
        "{}",
        said.stderr
    );
    for _ in 0..2 {
        let said = once("one.conf");
        assert!(said.status.success(), "{}", said.stderr);
        assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    }
    stage.engine.docker(&["rm", "--force", "one"]).run();
    stage.wait_until_nothing_is_left();
    assert_eq!(leaks.seen(), []);
}

#[test]
fn an_engine_s_restart_leaves_tunnels_and_closes_what_comes_after() {
    crate::needs_containers!();
    let stage = Stage::new(2);
    let leaks = stage.leaks();
    stage
        .run(
            "one",
            "pool",
            &["--detach", "--restart", "always", "--network", "none"],
            "sleep 600",
        )
        .run();
    let before = stage.wait_for_state("one", "up");
    stage.engine.restart();
    // It started the container anew, and the daemon heard of it.
    let after = stage.wait_for_state("one", "up");
    assert_eq!(after["container"], before["container"]);
    wait_until("it speaks", SOON, || {
        (stage.exec("one", ASK).stdout == "hello\n").then_some(())
    });
    let said = stage.run("two", "pool", &["--rm"], ASK).run();
    assert_eq!(said, "hello\n");
    stage.engine.docker(&["rm", "--force", "one"]).run();
    stage.wait_until_nothing_is_left();
    assert_eq!(leaks.seen(), []);
}

#[test]
fn the_daemon_runs_as_a_container() {
    crate::needs_an_engine!();
    crate::needs_containers!();
    netlab::requires!("docker-compose");
    let mut stage = Stage::new(2);
    stage.kill_daemon();
    stage.engine.load();
    let leaks = stage.leaks();
    let (config, state) = (stage.engine.path("config"), stage.engine.path("state"));
    std::fs::create_dir_all(&config).expect("make a folder");
    std::fs::rename(&stage.folder, config.join("tunnels")).expect("move the configurations");
    let compose = |words: &[&str]| {
        let command = stage
            .engine
            .tool("docker-compose")
            .arg("--file")
            .arg(example("attach.yml"));
        let command = command
            .env("DOCKER_SOCKET", stage.engine.path("socket").display().to_string())
            .env("DOCKER_NETNS", stage.engine.path("exec/netns").display().to_string())
            .env("DOCKER_ROOT", stage.engine.path("data").display().to_string())
            .env("ADIT_CONFIG", config.display().to_string())
            .env("ADIT_STATE", state.display().to_string())
            .env("ADIT_ATTACH_PROBE", "198.51.100.2:7")
            .env("ADIT_ATTACH_PROBE_NAME", "none");
        command.args(words).run()
    };
    compose(&["up", "--detach"]);
    let ready = || stage.engine.docker(&["logs", "adit-attach"]).output();
    wait_until("it watches", SOON, || {
        let said = ready();
        (said.stdout + &said.stderr)
            .contains("adit attach watches")
            .then_some(())
    });
    let script = format!("{ASK} || exit 1; cat /etc/resolv.conf");
    let said = stage
        .run("first", "pool", &["--rm", "--network", "none"], &script)
        .run();
    assert_eq!(said, "hello\nnameserver 10.77.0.1\n");
    stage.run("one", "pool", &["--detach"], "sleep 600").run();
    wait_until("it has its tunnel", SOON, || {
        (stage.exec("one", ASK).stdout == "hello\n").then_some(())
    });
    stage.engine.docker(&["restart", "--time", "1", "adit-attach"]).run();
    wait_until("it has its tunnel again", SOON, || {
        (stage.exec("one", ASK).stdout == "hello\n").then_some(())
    });
    let said = stage
        .engine
        .docker(&["exec", "adit-attach", "adit", "attach", "status"])
        .run();
    assert!(said.contains("one"), "{said}");
    stage.engine.docker(&["rm", "--force", "one"]).run();
    compose(&["down"]);
    assert_eq!(leaks.seen(), []);
}
