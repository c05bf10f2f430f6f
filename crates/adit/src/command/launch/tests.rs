//! Tables of arguments: what they mean, and which are refused.

use clap::Parser as _;

use super::config::{Config, ShowQr};
use crate::{
    cli::{Cli, Command},
    failure::{self, Kind},
    opening::Listen,
    options::PlaneChoice,
};

/// What a person has typed after `adit launch`.
fn config(words: &str) -> anyhow::Result<Config> {
    let words = ["adit", "launch"].into_iter().chain(words.split_whitespace());
    let Command::Launch(arguments) = Cli::try_parse_from(words)?.command else {
        panic!("not a launch")
    };
    Config::new(*arguments, [1, 2, 3, 4, 5, 6, 7])
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn without_arguments_there_is_a_default_for_everything() {
    let config = config("").unwrap();
    assert_eq!(texts(&config.peers), ["peer1"]);
    assert_eq!(config.lifetime.as_secs(), 1_800);
    let opening = config.opening;
    assert_eq!((config.endpoint, opening.listen), (None, Listen::Prefer(51_820)));
    assert_eq!(texts(&opening.subnets), ["10.13.13.0/24", "fd01:203:405:607::/64"]);
    assert_eq!(texts(&config.allowed_ips), ["0.0.0.0/0", "::/0"]);
    assert_eq!((config.dns, opening.dns_upstream, opening.mtu), (None, vec![], None));
    assert_eq!(
        (opening.plane, config.json, config.qr),
        (PlaneChoice::Auto, false, ShowQr::Auto)
    );
    assert_eq!(config.output.to_str(), Some("./adit"));
}

#[test]
fn arguments_mean_what_they_say() {
    let config = config(
        "--peer phone --peer my-laptop --lifetime 1h30m --endpoint [2001:db8::1]:443 --listen 0 \
         --subnet 10.99.0.0/16 --subnet fd00:9::/64 --dns 9.9.9.9,corp.example --dns-upstream 1.1.1.1 \
         --dns-upstream [2606:4700:4700::1111]:5353 --allowed-ips 10.0.0.0/8,192.0.2.7 --mtu 1280 \
         --plane netstack --output /tmp/x --json --no-qr",
    )
    .unwrap();
    assert_eq!(texts(&config.peers), ["phone", "my-laptop"]);
    assert_eq!(config.lifetime.as_secs(), 5_400);
    let endpoint = config.endpoint.unwrap();
    assert_eq!(
        (endpoint.host.to_string().as_str(), endpoint.port),
        ("[2001:db8::1]", Some(443))
    );
    let opening = config.opening;
    assert_eq!((opening.listen, opening.instead), (Listen::Exactly(0), None));
    assert_eq!(texts(&opening.subnets), ["10.99.0.0/16", "fd00:9::/64"]);
    assert_eq!(texts(&config.dns.unwrap()), ["9.9.9.9", "corp.example"]);
    assert_eq!(
        texts(&opening.dns_upstream),
        ["1.1.1.1:53", "[2606:4700:4700::1111]:5353"]
    );
    assert_eq!(texts(&config.allowed_ips), ["10.0.0.0/8", "192.0.2.7/32"]);
    assert_eq!((opening.mtu, opening.plane), (Some(1_280), PlaneChoice::Netstack));
    assert!(config.json && config.qr == ShowQr::Never);
    assert_eq!(
        texts(&self::config("--peers 3").unwrap().peers),
        ["peer1", "peer2", "peer3"]
    );
    assert_eq!(self::config("--dns none").unwrap().dns, Some(vec![]));
    assert_eq!(self::config("--qr").unwrap().qr, ShowQr::Always);
}

#[test]
fn a_wrong_argument_is_refused_with_its_reason() {
    for (words, reason) in [
        ("--peer a/b", "cannot name a peer"),
        ("--peer sixteen-letters1", "15 characters at most"),
        ("--peer a --peer A", "given twice"),
        ("--peer a --peers 2", "cannot be used with"),
        ("--peers 0", "0 is not in 1..=1000"),
        ("--peers 1001", "1001 is not in 1..=1000"),
        ("--lifetime 30", "45s, 30m, 2h"),
        ("--lifetime 0s", "between 1s and 30d"),
        ("--lifetime 31d", "between 1s and 30d"),
        ("--endpoint https://vpn.example.com", "is not a port"),
        ("--endpoint vpn.example.com:0", "`0` is not a port"),
        ("--listen 65536", "65536 is not in 0..=65535"),
        ("--subnet 10.0.0.0", "not a network"),
        ("--subnet 10.0.0.1/24", "10.0.0.0/24 is the network"),
        ("--subnet 10.0.0.0/31", "no room"),
        ("--subnet 10.0.0.0/8 --subnet 10.1.0.0/16", "overlaps"),
        ("--subnet 10.0.0.0/30 --peers 2", "room for 1 peer"),
        ("--dns 1.1.1.1,-x", "`-x`"),
        ("--dns ,", "names nothing"),
        ("--dns-upstream resolver.example", "is not a resolver"),
        ("--dns-upstream tls://192.0.2.1#a.example,192.0.2.2", "cannot be mixed"),
        ("--allowed-ips everything", "`everything` is not a network"),
        ("--mtu 1279", "1279 is not in 1280..=9000"),
        ("--mtu 9001", "9001 is not in 1280..=9000"),
        ("--plane paper", "invalid value 'paper'"),
        ("--qr --no-qr", "cannot be used with"),
        ("--qr --json", "cannot be used with"),
        ("phone", "unrecognized subcommand 'phone'"),
    ] {
        let error = config(words).unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains(reason), "{words}: {message}");
        let is_usage = failure::kind(&error) == Kind::Usage || error.downcast_ref::<clap::Error>().is_some();
        assert!(is_usage, "{words}");
    }
}

#[test]
fn peers_of_a_lease_are_named_and_where_it_is_may_stand_behind_them() {
    // (what is typed after `adit launch`, what is wrong with it)
    for (words, reason) in [
        ("peer add 01x phone tablet --output here", None),
        ("peer rekey 01x phone --no-qr --hub https://vpn.example.com", None),
        (
            "peer remove 01x phone --json --data here --docker /run/other.sock",
            None,
        ),
        ("peer list 01x --hub https://vpn.example.com", None),
        ("config 01x phone --qr", None),
        ("peer", Some("Usage: adit launch peer")),
        ("peer add 01x", Some("<NAME>...")),
        ("peer add 01x a/b", Some("cannot name a peer")),
        ("peer rekey 01x", Some("<NAME>")),
        ("peer rekey 01x phone tablet", Some("unexpected argument 'tablet'")),
        ("peer add 01x phone --qr --json", Some("cannot be used with")),
    ] {
        let typed = ["adit", "launch"].into_iter().chain(words.split_whitespace());
        let parsed = Cli::try_parse_from(typed).map_err(|error| error.to_string());
        match reason {
            None => assert!(parsed.is_ok(), "{words}: {parsed:?}"),
            Some(reason) => assert!(
                parsed.as_ref().is_err_and(|said| said.contains(reason)),
                "{words}: {parsed:?}"
            ),
        }
    }
}
