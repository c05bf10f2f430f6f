//! What up and down do when something is in the way, and what they save.

use netlab::{Lab, Output};

use crate::{ADIT, everything, host, private, public, state, write};

fn failed(output: &Output, expected: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(
        output.stderr.contains(expected),
        "{expected:?} is not in {}",
        output.stderr
    );
}

#[test]
fn a_step_that_fails_undoes_all_before_it() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let before = state(&host);
    // (added to [Interface], what the error says)
    for (line, expected) in [
        (
            "PreUp = echo no >&2; exit 3",
            "PreUp = echo no >&2; exit 3: exit status: 3",
        ),
        ("Address = 10.9.0.2/24", "adding the address 10.9.0.2/24: File exists"),
        (
            "PostUp = ip rule add table 77; ip rule delete table 77; false",
            "PostUp = ip rule",
        ),
    ] {
        let text = everything().replace("[Interface]\n", &format!("[Interface]\n{line}\n"));
        let path = write(&host, "wg0", &text);
        failed(&host.command(ADIT).arg("up").arg(&path).output(), expected);
        assert_eq!(state(&host), before, "{line}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_done() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let path = write(&host, "wg0", &everything());
    let up = || host.command(ADIT).arg("up").arg(&path).output();
    let before = state(&host);
    failed(&host.command(ADIT).args(["up", "./none.conf"]).output(), "No such file");
    failed(&host.command(ADIT).args(["down", "wg0"]).output(), "wg0 is not up");
    let wrong = write(&host, "wg1", "[Interface]\nAddres = 10.0.0.1/24\n");
    failed(&host.command(ADIT).arg("up").arg(&wrong).output(), "Address");
    assert_eq!(state(&host), before);

    host.command("ip")
        .args(["link", "add", "wg0", "type", "veth", "peer", "name", "other"])
        .run();
    let with_link = state(&host);
    failed(&up(), "there is an interface wg0, and it is no tunnel");
    failed(&host.command(ADIT).args(["down", "wg0"]).output(), "wg0 is not up");
    assert_eq!(state(&host), with_link);
    host.ip("link delete wg0");

    assert!(up().status.success());
    let with_tunnel = state(&host);
    failed(&up(), "wg0 is up already; `adit down wg0` takes it down");
    assert_eq!(state(&host), with_tunnel);
    host.command(ADIT).args(["down", "wg0"]).run();
    assert_eq!(state(&host), before);
}

#[test]
fn down_goes_on_after_commands_that_fail_and_says_each() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let before = state(&host);
    let text = everything().replace("[Interface]\n", "[Interface]\nPreDown = exit 4\nPostDown = exit 5\n");
    let path = write(&host, "wg0", &text);
    host.command(ADIT).arg("up").arg(&path).run();
    let down = host.command(ADIT).args(["down", "wg0"]).output();
    failed(&down, "PreDown = exit 4: exit status: 4");
    failed(&down, "PostDown = exit 5: exit status: 5");
    assert_eq!(state(&host), before);
}

#[test]
fn commands_run_around_the_tunnel_in_their_order() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let log = host.folder().join("log");
    let hook = |word: &str, number: u8| {
        let shown = "$(ip -brief link show %i 2>/dev/null | wc -l)";
        format!("{word} = echo {word}{number} %i {shown} >> {}\n", log.display())
    };
    let hooks: String = ["PreUp", "PostUp", "PreDown", "PostDown"]
        .iter()
        .flat_map(|word| [hook(word, 1), hook(word, 2)])
        .collect();
    let path = write(
        &host,
        "wg0",
        &everything().replace("[Interface]\n", &format!("[Interface]\n{hooks}")),
    );
    host.command(ADIT).arg("up").arg(&path).run();
    host.command(ADIT).args(["down", "wg0"]).run();
    let expected = "PreUp1 wg0 0\nPreUp2 wg0 0\nPostUp1 wg0 1\nPostUp2 wg0 1\n\
                    PreDown1 wg0 1\nPreDown2 wg0 1\nPostDown1 wg0 0\nPostDown2 wg0 0\n";
    assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
}

#[test]
fn save_config_writes_what_wg_changed() {
    netlab::requires!("root", "/dev/net/tun", "wg", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let text = everything().replace("[Interface]\n", "# by hand\n[Interface]\nSaveConfig = true\n");
    let path = write(&host, "wg0", &text);
    host.command(ADIT).arg("up").arg(&path).run();
    host.command(ADIT).args(["down", "wg0"]).run();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was changed");

    // The file may be a link into somebody's collection.
    let target = host.folder().join("collected");
    std::fs::rename(&path, &target).unwrap();
    std::os::unix::fs::symlink("collected", &path).unwrap();
    host.command(ADIT).arg("up").arg(&path).run();
    let added = public(7);
    host.command("wg")
        .args(["set", "wg0", "peer", &added, "allowed-ips", "10.99.0.0/16"])
        .run();
    host.command("wg").args(["set", "wg0", "listen-port", "4500"]).run();
    host.ip("address add 10.9.9.9/32 dev wg0");
    host.command(ADIT).args(["down", "wg0"]).run();
    assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
    let saved = std::fs::read_to_string(&target).unwrap();
    for expected in [
        "# by hand\n",
        &added,
        "10.99.0.0/16",
        "ListenPort = 4500",
        "10.9.9.9/32",
        "fd09::2/64",
        &private(1),
    ] {
        assert!(saved.contains(expected), "{expected:?} is not in {saved}");
    }
    assert!(!saved.contains("FwMark"), "{saved}");
    host.command(ADIT).arg("up").arg(&path).run();
    host.command(ADIT).args(["down", "wg0"]).run();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), saved);
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let path = write(&host, "wg0", &everything());
    let before = state(&host);
    let taken = host.run(|| std::net::UdpSocket::bind("0.0.0.0:51820").unwrap());
    let up = host.command(ADIT).arg("up").arg(&path).output();
    failed(&up, "ListenPort = 51820");
    failed(&up, "ss -lunp sport = :51820");
    assert_eq!(state(&host), before);
    drop(taken);
}
