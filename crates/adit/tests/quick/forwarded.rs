//! Commands of templates by which a host forwards for a tunnel: done natively, left to the shell, or not enough.

use std::{path::PathBuf, time::Duration};

use netlab::{Host, Lab, wait_until};

use crate::{ADIT, host, private, state, write};

const LIMIT: Duration = Duration::from_secs(20);

/// A configuration of a server, with these lines.
fn server(host: &Host, name: &str, lines: &[String]) -> PathBuf {
    let key = private(1);
    write(
        host,
        name,
        &format!("[Interface]\nPrivateKey = {key}\n{}\n", lines.join("\n")),
    )
}

fn hook(word: &str, verb: &str) -> String {
    format!(
        "{word} = iptables {verb} FORWARD -i %i -j ACCEPT; iptables {verb} FORWARD -o %i -j ACCEPT; \
         iptables -t nat {verb} POSTROUTING -o eth+ -j MASQUERADE"
    )
}

#[test]
fn another_tunnel_that_ends_leaves_the_rules_of_one_that_comes_up() {
    netlab::requires!("root", "/dev/net/tun", "ip", "nft");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let before = state(&host);
    let (mark, go) = (host.folder().join("mark"), host.folder().join("go"));
    let waits = format!(
        "PreUp = touch {}; while ! test -e {}; do sleep 0.05; done",
        mark.display(),
        go.display()
    );
    host.command(ADIT).arg("up").arg(server(&host, "wg0", &[])).run();
    let path = server(&host, "wg1", &[waits, hook("PreUp", "-A")]);
    let mut process = host.command(ADIT).arg("up").arg(&path).spawn();
    wait_until("the command runs", LIMIT, || mark.exists().then_some(()));
    host.command(ADIT).args(["down", "wg0"]).run();
    std::fs::write(&go, "").unwrap();
    assert!(process.wait(LIMIT).success(), "{}", process.stderr());
    let rules = host.command("nft").args(["list", "ruleset"]).run();
    assert!(rules.contains("table inet adit-wg1"), "{rules}");
    host.command(ADIT).args(["down", "wg1"]).run();
    assert_eq!(state(&host), before);
}

#[test]
fn what_may_drop_what_a_tunnel_forwards_is_named_with_its_remedy() {
    netlab::requires!("root", "/dev/net/tun", "ip", "nft");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let path = server(&host, "wg0", &[hook("PostUp", "-A")]);
    let up = || {
        let said = host.command(ADIT).arg("up").arg(&path).output();
        assert!(said.status.success(), "{}", said.stderr);
        host.command(ADIT).args(["down", "wg0"]).run();
        said.stderr
    };
    let doctor = || host.command(ADIT).arg("doctor").output().stdout;
    assert!(!up().contains("warning"));
    assert!(!doctor().contains("inet fw passing"));
    host.command("nft")
        .arg("table inet fw { chain passing { type filter hook forward priority 0; ct state established accept; drop; }; }")
        .run();
    let remedy = "nft insert rule inet fw passing iifname wg0 accept";
    for said in [up(), doctor()] {
        assert!(
            said.contains("inet fw passing drops") && said.contains(remedy),
            "{said}"
        );
    }
    for way in ["iifname", "oifname"] {
        host.command("nft")
            .arg(format!("insert rule inet fw passing {way} wg0 accept"))
            .run();
    }
    assert!(!up().contains("warning"));
    assert!(!doctor().contains("inet fw passing"));
}

#[test]
fn where_the_old_iptables_has_rules_its_program_does_what_templates_ask() {
    netlab::requires!("root", "/dev/net/tun", "ip", "iptables", "iptables-legacy");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let path = server(&host, "wg0", &[hook("PostUp", "-A"), hook("PostDown", "-D")]);
    host.command("iptables-legacy")
        .args(["-A", "FORWARD", "-j", "DROP"])
        .run();
    let rules = || host.command("iptables").arg("-S").run();
    let before = rules();
    let up = host.command(ADIT).arg("up").arg(&path).output();
    assert!(up.status.success(), "{}", up.stderr);
    let there = rules();
    for rule in ["-A FORWARD -i wg0 -j ACCEPT", "-A FORWARD -o wg0 -j ACCEPT"] {
        assert!(there.contains(rule), "{rule} is not in {there}");
    }
    host.command(ADIT).args(["down", "wg0"]).run();
    assert_eq!(rules(), before);
}
