//! Whatever moment adit is killed at, the next `down` or `up` mends it.

use std::time::Duration;

use netlab::{Lab, wait_until};

use crate::{ADIT, everything, host, signalled_at_any_moment, state, write};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn down_mends_an_up_that_was_killed_at_any_moment() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    signalled_at_any_moment(libc::SIGKILL, |host, round, process| {
        process.wait(LIMIT);
        let down = host.command(ADIT).args(["down", "wg0"]).output();
        let was_not_up = down.stderr.contains("is not up");
        assert!(down.status.success() || was_not_up, "round {round}: {}", down.stderr);
        !was_not_up
    });
}

#[test]
fn up_and_down_mend_a_tunnel_whose_process_was_killed() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let path = write(&host, "wg0", &everything());
    let before = state(&host);
    let bring_up_and_kill = || {
        host.command(ADIT).args(["up", "--plane", "tun"]).arg(&path).run();
        let pid = host.processes()[0].pid.to_string();
        host.command("kill").args(["-9", &pid]).run();
        wait_until("the interface is gone", LIMIT, || {
            (!host.links().contains(&"wg0".to_owned())).then_some(())
        });
    };
    bring_up_and_kill();
    assert_ne!(state(&host), before);
    host.command(ADIT).args(["down", "wg0"]).run();
    assert_eq!(state(&host), before);

    bring_up_and_kill();
    let again = host.command(ADIT).args(["up", "--plane", "tun"]).arg(&path).output();
    assert!(
        again.status.success() && again.stderr.contains("left behind"),
        "{}",
        again.stderr
    );
    assert!(host.ip("-4 rule").matches("lookup 51820").count() == 1);
    host.command(ADIT).args(["down", "wg0"]).run();
    assert_eq!(state(&host), before);
}

#[test]
fn down_that_was_killed_is_finished_by_the_next() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let before = state(&host);
    for line in [
        "PreDown = kill -9 $PPID",
        "PostDown = test -e /run/second || { touch /run/second; kill -9 $PPID; }",
    ] {
        let text = everything().replace("[Interface]\n", &format!("[Interface]\n{line}\n"));
        let path = write(&host, "wg0", &text);
        host.command(ADIT).arg("up").arg(&path).run();
        assert!(!host.command(ADIT).args(["down", "wg0"]).output().status.success());
        write(&host, "wg0", &text.replace("kill -9 $PPID", "true"));
        host.command(ADIT).args(["down", "wg0"]).run();
        assert_eq!(state(&host), before, "{line}");
    }
}
