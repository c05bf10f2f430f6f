//! Hosts of a link: they pair up by tokens, find each other, and lose nobody for long.
//!
//! ```text
//!   host-a 203.0.113.11  2001:db8:3::11 ─┐
//!   host-b 203.0.113.12  2001:db8:3::12 ─┤
//!   host-c 203.0.113.13  2001:db8:3::13 ─┼─ internet
//!   host-d 203.0.113.14  2001:db8:3::14 ─┤
//!   host-e 10.9.9.2 ── nat 203.0.113.15 ─┘
//! ```

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use netlab::recording::Recording;
use netlab::{Host, Lab, serve, traffic, wait_until};
use serde_json::Value;

use crate::member::{Member, SOON, connect, token, two};

/// How long it may take until a host that was away is back.
fn back() -> Duration {
    Duration::from_secs(10) * netlab::slowness()
}

/// Each of two hosts reaches the other by both families, and is seen with its own address.
#[track_caller]
fn talk(one: &Member, other: &Member) {
    let _server = serve::tcp(&other.host, 8, |mut stream| {
        let seen = stream.peer_addr()?.ip().to_canonical();
        stream.write_all(seen.to_string().as_bytes())
    });
    for (from, to) in one.addresses().into_iter().zip(other.addresses()) {
        let to = SocketAddr::new(to, 8);
        let seen = wait_until(&format!("{from} reaches {to}"), back(), || {
            one.host.run(|| seen_by(to)).ok()
        });
        assert_eq!(seen, from.to_string());
    }
}

/// As whom somebody is seen.
fn seen_by(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(1) * netlab::slowness())?;
    stream.set_read_timeout(Some(Duration::from_secs(1) * netlab::slowness()))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text)
}

#[test]
fn two_hosts_pair_up_by_one_token_that_nobody_uses_again() {
    crate::needs_a_lab!();
    let (lab, internet, a, b) = two();
    let token = a.create(&["--endpoint", "203.0.113.11"]);
    let said = b.join(&token);
    assert!(said.contains("paired with host-a (handshake 0."), "{said}");
    assert!(said.contains("10.77.1.0/24 here, 10.77.0.0/24 there"), "{said}");
    talk(&a, &b);
    talk(&b, &a);
    // It was for one host.
    let thief = Member::new(&lab, &internet, "thief", 13);
    let refused = thief.try_join(&token);
    assert!(
        refused.stderr.contains("the token was used already"),
        "{}",
        refused.stderr
    );
    assert!(!refused.status.success());
    assert!(
        a.log()
            .contains("thief at 203.0.113.13:51820 is refused: the token was used"),
        "{}",
        a.log()
    );
    assert_eq!(a.up(), ["host-b"]);
    talk(&a, &b);
    // And for a while.
    let late = self::token(&a.adit(&["invite", "blue", "--lifetime", "1s"]).run());
    std::thread::sleep(Duration::from_millis(1100));
    let refused = thief.try_join(&late);
    assert!(refused.stderr.contains("the token has expired"), "{}", refused.stderr);
    // No key is in what anybody was told.
    for member in [&a, &b] {
        let files = std::fs::read_to_string(member.state.join("blue.json")).expect("the link is kept");
        let link: Value = serde_json::from_str(&files).expect("it is JSON");
        for secret in [&link["key"], &link["secret"]] {
            let secret = secret.as_str().expect("a secret");
            assert!(!member.log().contains(secret) && !token.contains(secret));
        }
        assert!(!member.log().contains(&token));
    }
}

#[test]
fn of_two_hosts_with_one_token_at_once_one_is_in() {
    crate::needs_a_lab!();
    let (lab, internet, a, b) = two();
    let c = Member::new(&lab, &internet, "host-c", 13);
    let token = a.create(&["--endpoint", "203.0.113.11"]);
    let outputs = std::thread::scope(|scope| {
        let joins = [&b, &c].map(|member| scope.spawn(|| member.try_join(&token)));
        joins.map(|join| join.join().expect("it ends"))
    });
    let joined = outputs.iter().filter(|output| output.status.success()).count();
    assert_eq!(joined, 1, "{} {}", outputs[0].stderr, outputs[1].stderr);
    let refused = outputs
        .iter()
        .find(|output| !output.status.success())
        .expect("one is refused");
    assert!(refused.stderr.contains("used already"), "{}", refused.stderr);
    assert!(a.log().contains("is refused: the token was used"), "{}", a.log());
    a.wait_for(1, SOON);
}

#[test]
fn five_hosts_know_each_other_whoever_invited_them() {
    crate::needs_a_lab!();
    let (lab, internet, a, b) = two();
    let c = Member::new(&lab, &internet, "host-c", 13);
    let d = Member::new(&lab, &internet, "host-d", 14);
    let e = Member::behind_nat(&lab, &internet, "host-e", 15);
    b.join(&a.create(&[]));
    // Any member invites.
    c.join(&b.invite());
    e.join(&c.invite());
    d.join(&a.invite());
    let all = [&a, &b, &c, &d, &e];
    for member in all {
        member.wait_for(4, SOON);
    }
    let mut networks: Vec<String> = all.iter().map(|member| member.addresses()[0].to_string()).collect();
    networks.sort();
    assert_eq!(
        networks,
        ["10.77.0.1", "10.77.1.1", "10.77.2.1", "10.77.3.1", "10.77.4.1"]
    );
    for one in all {
        for other in all {
            if one.host.name() != other.host.name() {
                talk(one, other);
            }
        }
    }
    // Who is removed is out everywhere.
    let begun = Instant::now();
    d.adit(&["remove", "blue", "host-c"]).run();
    for member in [&a, &b, &d, &e] {
        wait_until("it is out", Duration::from_secs(60), || {
            let status = member.status();
            let is_listed = status["hosts"].as_array()?.iter().any(|host| host["host"] == "host-c");
            let peers = member.host.command("wg").args(["show", "adit-blue", "peers"]).run();
            let count = peers.lines().filter(|line| !line.is_empty()).count();
            (!is_listed && count == 3 + tokens(member)).then_some(())
        });
    }
    eprintln!("removed everywhere after {:?}", begun.elapsed());
    wait_until("it knows", SOON, || {
        let problems = c.status()["problems"].to_string();
        problems.contains("was removed by host-d").then_some(())
    });
    assert!(
        c.host
            .run(|| traffic::echo(SocketAddr::new(a.addresses()[0], 7), b"x"))
            .is_err()
    );
    // Who leaves leaves nothing.
    e.adit(&["leave", "blue"]).run();
    wait_until("it has left", SOON, || {
        let links = e.adit(&["list", "--json"]).run();
        (links.trim() == "[]").then_some(())
    });
    for command in [["link", "show", "adit-blue"], ["-4", "route", "show"]] {
        let shown = e.host.command("ip").args(command).output();
        assert!(!shown.stdout.contains("adit-blue"), "{}", shown.stdout);
    }
    assert_eq!(e.host.command("nft").args(["list", "ruleset"]).run(), "");
    a.wait_for(2, SOON);
}

/// Tokens that are told of for a while, as peers of the tunnel.
fn tokens(member: &Member) -> usize {
    let text = std::fs::read_to_string(member.state.join("blue.json")).expect("the link is kept");
    let link: Value = serde_json::from_str(&text).expect("it is JSON");
    link["invitations"].as_array().map(Vec::len).unwrap_or_default()
}

#[test]
fn a_host_that_was_killed_or_moved_is_back_by_itself() {
    crate::needs_a_lab!();
    let (_lab, internet, mut a, mut b) = two();
    b.join(&a.create(&[]));
    talk(&a, &b);
    // With its disk.
    b.die();
    let begun = Instant::now();
    b.start();
    a.wait_for(1, back());
    b.wait_for(1, back());
    talk(&a, &b);
    talk(&b, &a);
    eprintln!("back with its disk after {:?}", begun.elapsed());
    // The one that invited, too.
    a.die();
    let begun = Instant::now();
    a.start();
    talk(&b, &a);
    b.wait_for(1, back());
    eprintln!("the other is back after {:?}", begun.elapsed());
    // To another address, of both families.
    let begun = Instant::now();
    b.host.ip("address add 203.0.113.22/32 dev eth0");
    b.host.ip("address del 203.0.113.12/32 dev eth0");
    internet.route("203.0.113.22 dev to-host-b");
    b.host.ip("route replace 192.0.2.254 dev eth0");
    b.host.ip("route replace default via 192.0.2.254");
    talk(&b, &a);
    talk(&a, &b);
    wait_until("it is known to be elsewhere", back(), || {
        let status = a.status();
        (status["hosts"][1]["endpoint"] == "203.0.113.22:51820").then_some(())
    });
    eprintln!("back from another address after {:?}", begun.elapsed());
    // The daemon alone: what it made goes on.
    let mut daemon = b.daemon.take().expect("it runs");
    daemon.signal(9);
    daemon.wait(SOON);
    talk_without_daemon(&a, &b);
    b.start();
    b.wait_for(1, back());
    // Without its disk it is nobody, and says so.
    b.die();
    std::fs::remove_dir_all(&b.state).expect("the disk goes");
    b.start();
    let said = b.adit(&["status", "blue"]).output();
    assert!(
        said.stderr.contains("there is no link blue on this host"),
        "{}",
        said.stderr
    );
    wait_until("it is missed", SOON, || a.up().is_empty().then_some(()));
    // Its name is taken until it is removed.
    let refused = b.try_join(&a.invite());
    assert!(
        refused.stderr.contains("adit link remove blue host-b"),
        "{}",
        refused.stderr
    );
    a.adit(&["remove", "blue", "host-b"]).run();
    b.join(&a.invite());
    talk(&a, &b);
}

/// One host's daemon does not run; its addresses are known.
#[track_caller]
fn talk_without_daemon(one: &Member, other: &Member) {
    let server = serve::tcp_echo(&other.host, 7);
    let hosts = one.status()["hosts"].clone();
    let there: Vec<IpAddr> = hosts[1]["addresses"]
        .as_array()
        .expect("it has addresses")
        .iter()
        .map(|address| address.as_str().and_then(|text| text.parse().ok()).expect("an address"))
        .collect();
    for to in there {
        one.host
            .run(|| traffic::echo(SocketAddr::new(to, 7), b"hello"))
            .expect("the tunnel goes on");
    }
    assert_eq!(server.served(), 2);
}

#[test]
fn two_hosts_without_a_daemon_need_two_tokens_and_leave_nothing() {
    crate::needs_a_lab!();
    let lab = Lab::new();
    let internet = lab.router("internet");
    let [a, b] = [("host-a", 11), ("host-b", 12)].map(|(name, number)| {
        let host = lab.host(name);
        connect(&internet, &host, number);
        host
    });
    let before = [&a, &b].map(Host::network_state);
    let adit = |host: &Host, words: &[&str]| host.command(env!("CARGO_BIN_EXE_adit")).arg("link").args(words);
    let mut listener = adit(&a, &["listen", "--", "sh", "-c", "echo here is $ADIT_HERE; sleep 600"]).spawn();
    listener.wait_for("adit link dial", SOON);
    listener.wait_for("here is 10.77.0.1", SOON);
    let printed = listener.stdout();
    let line = printed.lines().find(|line| line.contains("adit link dial"));
    let words: Vec<&str> = line.expect("it says what to type").split_whitespace().skip(2).collect();
    // A program on top ends the tunnel with it.
    let script = "echo $ADIT_HERE to $ADIT_THERE; ping -c1 -W5 $ADIT_THERE | grep -c ' 0% packet loss'";
    let dial = adit(&b, &words).args(["--", "sh", "-c", script]).run();
    assert_eq!(dial, "10.77.1.1 to 10.77.0.1\n1\n");
    assert_eq!(b.network_state(), before[1]);
    let refused = adit(&b, &words).output();
    assert!(
        refused.stderr.contains("the token was used already"),
        "{}",
        refused.stderr
    );
    listener.terminate(SOON);
    assert_eq!(a.network_state(), before[0]);
    // What a killed one left is mended by the next.
    let mut killed = adit(&a, &["listen"]).spawn();
    killed.wait_for("adit link dial", SOON);
    killed.signal(9);
    killed.wait(SOON);
    let mut listener = adit(&a, &["listen"]).spawn();
    listener.wait_for("adit-direct is up: 10.77.0.1", SOON);
    listener.terminate(SOON);
    assert_eq!(a.network_state(), before[0]);
}

#[test]
fn who_listens_on_the_wire_and_who_steals_the_token_gets_nothing() {
    crate::needs_a_lab!();
    let (lab, internet, a, b) = two();
    let thief = Member::new(&lab, &internet, "thief", 13);
    let token = a.create(&["--endpoint", "203.0.113.11"]);
    let capture = Recording::start(&b.host);
    b.join(&token);
    talk(&b, &a);
    // The link's secret, and the hosts' names, travelled inside alone.
    let text = std::fs::read_to_string(a.state.join("blue.json")).expect("the link is kept");
    let link: Value = serde_json::from_str(&text).expect("it is JSON");
    let secret = link["secret"].as_str().expect("a secret").to_owned();
    for word in [secret.as_str(), "host-a", "register", "hello", &token[10..]] {
        assert!(!capture.contains(word.as_bytes()), "{word} is on the wire");
    }
    assert!(capture.payloads().len() > 10, "the wire was listened to");
    // What was sent is sent again, from where it was sent and from elsewhere.
    let before = a.status()["hosts"].as_array().map(Vec::len);
    for host in [&thief.host, &b.host] {
        capture.replay(host, "203.0.113.11:51820".parse().expect("an address"));
    }
    talk(&b, &a);
    assert_eq!(a.status()["hosts"].as_array().map(Vec::len), before);
    // With the token after its use: a handshake, a refusal, and no way to anything.
    let refused = thief.try_join(&token);
    assert!(refused.stderr.contains("used already"), "{}", refused.stderr);
    assert!(
        !thief
            .host
            .command("wg")
            .args(["show", "interfaces"])
            .run()
            .contains("adit-blue")
    );
}
