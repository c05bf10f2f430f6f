//! `adit attach` beside a real Docker Engine: containers whose only way out is their tunnel.

use std::time::{Duration, Instant};

use netlab::wait_until;

use crate::stage::{ASK, IMAGE, SOON, Stage};

#[test]
fn a_container_without_networks_has_its_tunnel_before_its_first_instruction() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let script = format!("{ASK} || exit 1; cat /etc/resolv.conf; ip route");
    let said = stage.run("one", "one", &["--rm", "--network", "none"], &script).run();
    assert_eq!(
        said,
        "hello\nnameserver 10.77.0.1\ndefault dev wg0 scope link \n".to_owned()
    );
    stage.wait_until_nothing_is_left();
}

#[test]
fn a_container_on_a_bridge_reaches_its_neighbours_and_all_else_by_its_tunnel() {
    crate::needs_containers!();
    let mut stage = Stage::new(2);
    let leaks = stage.leaks();
    let script = format!("{ASK}; nc -ll -p 99 -e /bin/cat");
    stage.run("one", "one", &["--detach"], &script).run();
    let status = stage.wait_for_state("one", "up");
    assert_eq!(
        (&status["server"], &status["addresses"][0]),
        (&"one.conf".into(), &"10.77.1.0".into())
    );
    wait_until("the first question was answered", SOON, || {
        let log = stage.engine.docker(&["logs", "one"]).run();
        (log == "hello\n").then_some(())
    });
    let inspect = ["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "one"];
    let neighbour = stage.engine.docker(&inspect).run();
    let script = format!("echo near | nc -w 5 {} 99", neighbour.trim());
    let said = stage.run("two", "pool", &["--rm"], &script).run();
    assert_eq!(said, "near\n");
    // The server dies: everything is closed, and opens again when it is back.
    let mut server = stage.server.take().expect("it runs");
    server.signal(libc::SIGKILL);
    server.wait(SOON);
    assert_eq!(stage.exec("one", ASK).stdout, "");
    stage.start_server();
    wait_until("the tunnel is back", Duration::from_secs(60), || {
        (stage.exec("one", ASK).stdout == "hello\n").then_some(())
    });
    stage.engine.docker(&["rm", "--force", "one"]).run();
    stage.wait_until_nothing_is_left();
    assert_eq!(leaks.seen(), []);
}

#[test]
fn containers_that_die_in_the_middle_leave_nothing() {
    crate::needs_containers!();
    let stage = Stage::new(3);
    let leaks = stage.leaks();
    for network in ["none", "bridge", "none", "bridge"] {
        stage
            .run("short", "pool", &["--rm", "--network", network], "exit 0")
            .run();
        stage
            .run("killed", "pool", &["--detach", "--network", network], "sleep 600")
            .run();
        stage.engine.docker(&["rm", "--force", "killed"]).run();
    }
    stage.wait_until_nothing_is_left();
    // No configuration is lost to them.
    for name in ["aa", "bb", "cc"] {
        stage
            .run(name, "pool", &["--detach", "--network", "none"], "sleep 600")
            .run();
        stage.wait_for_state(name, "up");
    }
    assert_eq!(leaks.seen(), []);
}

#[test]
fn a_container_that_is_not_closed_is_seen_to_leak() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    let said = stage.engine.docker(&["run", "--rm", IMAGE, "sh", "-c", ASK]).run();
    assert_eq!(said, "hello\n");
    assert!(!leaks.seen().is_empty());
}

#[test]
fn tunnels_outlive_the_daemon_and_are_taken_up_by_the_next() {
    crate::needs_containers!();
    let mut stage = Stage::new(2);
    stage.run("one", "one", &["--detach"], "sleep 600").run();
    let before = stage.wait_for_state("one", "up");
    stage.kill_daemon();
    assert_eq!(stage.exec("one", ASK).stdout, "hello\n");
    // It comes while nobody watches.
    let script = format!("while ! {ASK}; do sleep 0.1; done; sleep 600");
    stage
        .run("two", "pool", &["--detach", "--network", "none"], &script)
        .run();
    stage.start_daemon();
    let after = stage.wait_for_state("one", "up");
    assert_eq!(before["endpoint"], after["endpoint"]);
    let log = stage.daemon.as_ref().expect("it runs").log();
    assert!(log.contains("one: goes on with its tunnel to one.conf"), "{log}");
    stage.wait_for_state("two", "up");
    wait_until("the newcomer speaks", SOON, || {
        (stage.engine.docker(&["logs", "two"]).run() == "hello\n").then_some(())
    });
    stage.kill_daemon();
    stage.engine.docker(&["rm", "--force", "one", "two"]).run();
    stage.start_daemon();
    stage.wait_until_nothing_is_left();
}

#[test]
fn a_tunnel_whose_process_is_killed_comes_back_as_it_was() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    stage.run("one", "one", &["--detach"], "sleep 600").run();
    stage.wait_for_state("one", "up");
    let signal = |signal: &str, whom: &str| stage.engine.beside("pkill").args([signal, "-f", whom]).run();
    // It would make another at once.
    signal("-STOP", "adit attach");
    signal("-KILL", "adit device");
    assert_eq!(stage.exec("one", ASK).stdout, "", "it is closed");
    signal("-CONT", "adit attach");
    wait_until("the tunnel is back", SOON, || {
        (stage.exec("one", ASK).stdout == "hello\n").then_some(())
    });
    assert_eq!(leaks.seen(), []);
}

#[test]
fn wrong_labels_leave_a_container_closed_and_say_why() {
    crate::needs_containers!();
    let stage = Stage::new(1);
    let leaks = stage.leaks();
    for (name, label, error) in [
        (
            "aa",
            "adit.dns=one.one",
            "label adit.dns=one.one: it takes IP addresses, separated by commas",
        ),
        (
            "bb",
            "adit.regoin=swiss",
            "label adit.regoin: there is none of this name; ",
        ),
        ("cc", "adit.provider=pia", "the provider pia is not set up: "),
        ("dd", "adit.region=swiss", "the provider file has no regions: "),
        (
            "ee",
            "adit.conf=none",
            "adit.conf=none: there is neither none.conf nor a directory",
        ),
    ] {
        let run = stage.engine.docker(&["run", "--detach", "--name", name]);
        let run = run.args(["--label", "adit.enable=true", "--label", label]);
        run.args([IMAGE, "sh", "-c", &format!("{ASK}; sleep 600")]).run();
        let status = wait_until(&format!("{name} has an error"), SOON, || {
            stage.status_of(name).filter(|status| status["error"].is_string())
        });
        let said = status["error"].as_str().expect("it is a text");
        assert!(said.starts_with(error), "{said}");
        assert_eq!(stage.exec(name, ASK).stdout, "", "{name}");
        assert_eq!(stage.engine.docker(&["logs", name]).run(), "", "{name}");
    }
    assert_eq!(leaks.seen(), []);
}

#[test]
fn many_containers_come_and_go_at_once_and_leave_nothing() {
    crate::needs_containers!();
    let count = std::env::var("ADIT_TEST_CONTAINERS").map_or(12, |text| text.parse().expect("a number"));
    let wanted = std::env::var("ADIT_TEST_NETWORK").ok();
    let mut stage = Stage::alone(count);
    let leaks = stage.leaks();
    let names: Vec<_> = (0..count).map(|number| format!("c{number}")).collect();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                let by_turns = if name.ends_with(['0', '2', '4', '6', '8']) {
                    "none"
                } else {
                    "bridge"
                };
                let network = wanted.as_deref().unwrap_or(by_turns);
                let run = stage.run(
                    name,
                    "pool",
                    &["--detach", "--network", network],
                    &format!("while ! {ASK}; do sleep 0.1; done; sleep 600"),
                );
                run.limit(Duration::from_secs(900)).run();
            });
        }
    });
    let start = Instant::now();
    let began = begin.elapsed();
    for name in &names {
        let status = stage.wait_for_state(name, "up");
        assert!(status["error"].is_null(), "{status}");
        wait_until(&format!("{name} has its answer"), SOON, || {
            (stage.engine.docker(&["logs", name]).run() == "hello\n").then_some(())
        });
    }
    eprintln!(
        "{count} containers started in {began:?}; all tunnels were seen to be up {:?} later",
        start.elapsed()
    );
    // They lose their tunnels, and get them again.
    let mut server = stage.server.take().expect("it runs");
    server.signal(libc::SIGKILL);
    server.wait(SOON);
    for name in &names {
        assert_eq!(
            stage.exec(name, "echo hello | nc -w 1 198.51.100.2 7").stdout,
            "",
            "{name}"
        );
    }
    stage.start_server();
    for name in &names {
        wait_until("the tunnel is back", Duration::from_secs(60), || {
            (stage.exec(name, ASK).stdout == "hello\n").then_some(())
        });
    }
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                let remove = stage.engine.docker(&["rm", "--force", name]);
                remove.limit(Duration::from_secs(300)).run();
            });
        }
    });
    stage.wait_until_nothing_is_left();
    assert_eq!(leaks.seen(), []);
}

#[test]
fn containers_one_after_the_other_answer_at_once_and_leave_nothing() {
    crate::needs_containers!();
    let count = std::env::var("ADIT_TEST_SEQUENCE").map_or(6, |text| text.parse().expect("a number"));
    let stage = Stage::new(2);
    let memory = || {
        let daemon = stage.engine.beside("pgrep").args(["-f", "adit attach --name"]).run();
        let status = stage
            .engine
            .beside("cat")
            .arg(format!("/proc/{}/status", daemon.trim()))
            .run();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .expect("it has memory")
    };
    let (mut delays, mut after_ten) = (Vec::new(), 0);
    for number in 0..count {
        let name = format!("c{number}");
        let run = stage.run(&name, "pool", &["--detach", "--network", "none"], ASK);
        run.run();
        wait_until("it has its answer", SOON, || {
            stage
                .engine
                .docker(&["logs", &name])
                .run()
                .contains("hello")
                .then_some(())
        });
        let (answered, started) = (moment_of_log(&stage, &name), moment_of_start(&stage, &name));
        delays.push((answered - started) / 1_000_000);
        stage.engine.docker(&["rm", "--force", &name]).run();
        if number == 9 {
            after_ten = memory();
        }
    }
    stage.wait_until_nothing_is_left();
    delays.sort_unstable();
    eprintln!(
        "{count} containers: first answer {} ms after the start (median; 9 in 10 within {}, worst {}); the daemon \
         had {after_ten} kB after ten and has {} kB",
        delays[count / 2],
        delays[count * 9 / 10],
        delays[count - 1],
        memory()
    );
}

/// When the engine got the first line of a container, in nanoseconds of the clock.
fn moment_of_log(stage: &Stage, name: &str) -> i64 {
    let log = stage.engine.docker(&["logs", "--timestamps", name]).run();
    nanoseconds(stage, log.split_whitespace().next().expect("it has a line"))
}

/// When the engine started a container's process, of which its event tells just after that.
fn moment_of_start(stage: &Stage, name: &str) -> i64 {
    let inspect = ["inspect", "--format", "{{.State.StartedAt}}", name];
    nanoseconds(stage, stage.engine.docker(&inspect).run().trim())
}

fn nanoseconds(stage: &Stage, time: &str) -> i64 {
    let date = stage.engine.host.command("date").args(["+%s%N", "--date", time]).run();
    date.trim().parse().expect("a number")
}

/// What every test here needs of the machine.
#[macro_export]
macro_rules! needs_containers {
    () => {
        $crate::needs_a_lab!();
        netlab::requires!(
            "dockerd",
            "containerd",
            "runc",
            "iptables",
            "docker",
            "busybox",
            "nsenter",
            "pkill"
        );
    };
}
