//! A signal that comes before the tunnel is up ends `adit up`, and nothing is left of it.

use std::{
    net::UdpSocket,
    os::unix::process::ExitStatusExt as _,
    time::{Duration, Instant},
};

use netlab::{Lab, wait_until};

use crate::{ADIT, everything, host, signalled_at_any_moment, state, write};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_signal_ends_up_in_a_command_and_undoes_all() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, _router) = host(&lab);
    let before = state(&host);
    let mark = host.folder().join("mark");
    // (the word, what the command does, the signal, the exit code)
    for (word, command, signal, code) in [
        ("PreUp", "exec sleep 600", libc::SIGTERM, 143),
        ("PostUp", "exec sleep 600", libc::SIGTERM, 143),
        ("PostUp", "exec sleep 600", libc::SIGINT, 130),
        ("PostUp", "exec sleep 600", libc::SIGHUP, 129),
        // One that does not end by itself.
        ("PostUp", "trap '' TERM; while :; do :; done", libc::SIGTERM, 143),
    ] {
        let line = format!("{word} = touch {}; {command}", mark.display());
        let text = everything().replace("[Interface]\n", &format!("[Interface]\n{line}\n"));
        let path = write(&host, "wg0", &text);
        let mut process = host.command(ADIT).arg("up").arg(&path).spawn();
        wait_until("the command runs", LIMIT, || mark.exists().then_some(()));
        process.signal(signal);
        let status = process.wait(LIMIT);
        assert_eq!(status.code(), Some(code), "{}", process.stderr());
        assert!(
            process.stderr().contains("came before the tunnel was up"),
            "{}",
            process.stderr()
        );
        assert_eq!(state(&host), before, "{line}");
        std::fs::remove_file(&mark).unwrap();
    }
}

#[test]
fn a_signal_ends_up_while_it_waits_for_an_endpoint_s_address() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    let lab = Lab::new();
    let (host, router) = host(&lab);
    host.set_resolv_conf("nameserver 192.0.2.254\noptions timeout:30\n");
    let before = state(&host);
    let text = everything().replace("Endpoint = 192.0.2.254", "Endpoint = gateway.example.org");
    let path = write(&host, "wg0", &text);
    let silent = router.run(|| UdpSocket::bind("192.0.2.254:53").unwrap());
    silent.set_read_timeout(Some(LIMIT)).unwrap();
    let mut process = host.command(ADIT).arg("up").arg(&path).spawn();
    silent.recv(&mut [0; 512]).expect("a question comes");
    let asked = Instant::now();
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait(LIMIT).code(), Some(143), "{}", process.stderr());
    assert!(asked.elapsed() < Duration::from_secs(10), "it waited for the answer");
    assert_eq!(state(&host), before);
}

#[test]
fn a_signal_at_any_moment_leaves_the_tunnel_up_or_nothing() {
    netlab::requires!("root", "/dev/net/tun", "ip");
    signalled_at_any_moment(libc::SIGTERM, |host, round, process| {
        let status = process.wait(LIMIT);
        match (status.code(), status.signal()) {
            (Some(143), _) => true,
            // It had not begun.
            (None, Some(libc::SIGTERM)) => false,
            (Some(0), _) => {
                host.command(ADIT).args(["down", "wg0"]).run();
                false
            }
            _ => panic!("round {round}: {status}: {}", process.stderr()),
        }
    });
}
