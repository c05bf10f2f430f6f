//! Docker networks of the driver `adit`: containers have their tunnel before their first process runs.

use std::time::Duration;

use netlab::wait_until;

use crate::stage::{ASK, IMAGE, SOON, Stage};

/// Makes a network of tunnels, with `more` of `docker network create`.
fn create(stage: &Stage, name: &str, more: &[&str]) {
    let create = ["network", "create", "--driver", "adit", "--opt", "conf=pool"];
    stage.engine.docker(&create).args(more).arg(name).run();
}

fn run(stage: &Stage, network: &str, options: &[&str], script: &str) -> netlab::Command {
    let run = stage.engine.docker(&["run", "--network", network]).args(options);
    run.args([IMAGE, "sh", "-c", script])
}

#[test]
fn a_network_s_containers_reach_the_other_end_at_the_first_attempt() {
    crate::needs_containers!();
    let stage = Stage::new(2);
    let leaks = stage.leaks();
    create(&stage, "own", &["--ipam-driver", "adit"]);
    // As people type it who leave the addresses to Docker.
    create(&stage, "plain", &[]);
    for network in ["own", "plain"] {
        for _ in 0..5 {
            let script = format!("{ASK} || exit 1; cat /etc/resolv.conf | grep nameserver; ls /sys/class/net");
            let said = run(&stage, network, &["--rm"], &script).run();
            assert_eq!(said, "hello\nnameserver 10.77.0.1\nlo\nwg0\n", "{network}");
        }
        stage.wait_until_nothing_is_left();
    }
    stage.engine.docker(&["network", "rm", "own", "plain"]).run();
    assert_eq!(leaks.seen(), []);
}

#[test]
fn a_network_s_container_outlives_the_daemon_and_its_own_restart() {
    crate::needs_containers!();
    let mut stage = Stage::new(2);
    let leaks = stage.leaks();
    create(&stage, "own", &["--ipam-driver", "adit"]);
    create(&stage, "plain", &[]);
    for name in ["own", "plain"] {
        run(
            &stage,
            name,
            &["--detach", "--name", name],
            &format!("{ASK}; sleep 600"),
        )
        .run();
        let status = stage.wait_for_state(name, "up");
        assert!(status["error"].is_null(), "{status}");
    }
    let before = ["own", "plain"].map(|name| stage.wait_for_state(name, "up"));
    stage.kill_daemon();
    for name in ["own", "plain"] {
        assert_eq!(stage.exec(name, ASK).stdout, "hello\n");
    }
    stage.start_daemon();
    for before in &before {
        let name = before["container"].as_str().expect("it is a text");
        let after = stage.wait_for_state(name, "up");
        assert_eq!(
            (&before["tunnel"], &before["server"], &before["addresses"]),
            (&after["tunnel"], &after["server"], &after["addresses"])
        );
    }
    let log = stage.daemon.as_ref().expect("it runs").log();
    for name in ["own", "plain"] {
        assert!(log.contains(&format!("{name}: goes on with its tunnel to ")), "{log}");
    }
    for name in ["own", "plain"] {
        let restart = stage.engine.docker(&["restart", "--time", "0", name]);
        restart.limit(Duration::from_secs(120)).run();
        wait_until("it has its answer again", SOON, || {
            (stage.engine.docker(&["logs", name]).run() == "hello\nhello\n").then_some(())
        });
        stage.wait_for_state(name, "up");
    }
    stage.engine.docker(&["rm", "--force", "own", "plain"]).run();
    stage.wait_until_nothing_is_left();
    assert_eq!(leaks.seen(), []);
}

#[test]
fn a_network_of_tunnels_goes_together_with_one_of_neighbours() {
    crate::needs_containers!();
    let stage = Stage::new(2);
    let leaks = stage.leaks();
    create(&stage, "own", &["--ipam-driver", "adit"]);
    stage.engine.docker(&["network", "create", "near"]).run();
    let serve = ["--detach", "--name", "web"];
    run(&stage, "near", &serve, "nc -ll -p 99 -e /bin/cat").run();
    run(
        &stage,
        "own",
        &["--detach", "--name", "one"],
        &format!("{ASK}; sleep 600"),
    )
    .run();
    stage.wait_for_state("one", "up");
    stage.engine.docker(&["network", "connect", "near", "one"]).run();
    let inspect = [
        "inspect",
        "--format",
        "{{.NetworkSettings.Networks.near.IPAddress}}",
        "web",
    ];
    let neighbour = stage.engine.docker(&inspect).run();
    wait_until("it reaches its neighbour", SOON, || {
        let script = format!("echo near | nc -w 5 {} 99", neighbour.trim());
        (stage.exec("one", &script).stdout == "near\n").then_some(())
    });
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    stage.engine.docker(&["network", "disconnect", "own", "one"]).run();
    wait_until("it is closed", SOON, || {
        (stage.exec("one", ASK).stdout.is_empty()).then_some(())
    });
    stage.engine.docker(&["rm", "--force", "one", "web"]).run();
    stage.wait_until_nothing_is_left();
    assert_eq!(leaks.seen(), []);
}

#[test]
fn a_container_that_runs_already_gets_its_tunnel_when_it_is_connected() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    create(&stage, "plain", &[]);
    stage.start_plain("one", &["--network", "bridge"], &["sleep", "600"]);
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n", "it is not closed");
    stage.engine.docker(&["network", "connect", "plain", "one"]).run();
    stage.wait_for_state("one", "up");
    let leaks = stage.leaks();
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    assert_eq!(leaks.seen(), []);
    stage.engine.docker(&["rm", "--force", "one"]).run();
    stage.wait_until_nothing_is_left();
}

#[test]
fn docker_prints_why_a_container_of_a_network_has_no_tunnel() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let refused = |arguments: &[&str]| {
        let output = stage.engine.docker(arguments).output();
        assert!(!output.status.success(), "{}", output.stdout);
        output.stderr
    };
    let said = refused(&["network", "create", "-d", "adit", "-o", "provider=pia", "swiss"]);
    assert!(said.contains("the provider pia is not set up"), "{said}");
    create(&stage, "own", &["--ipam-driver", "adit"]);
    run(&stage, "own", &["--detach", "--name", "one"], "sleep 600").run();
    let said = refused(&["run", "--network", "own", IMAGE, "ls"]);
    assert!(said.contains("is in use by another container"), "{said}");
    stage.engine.docker(&["rm", "--force", "one"]).run();
    stage.wait_until_nothing_is_left();
}
