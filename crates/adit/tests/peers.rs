//! `adit peer` and `adit serve` as people use them, and as machines fail them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(clippy::print_stderr, reason = "the seed of a failed run is needed to repeat it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use gateway::{
    control::{self, Changed, Client, Listed, NewPeer, Reply, Request},
    record::Settings,
    text::Text,
};
use serde_json::Value;

/// More than enough for anything that the program does, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(30);

/// A gateway on the netstack plane, killed when dropped.
struct Serve {
    child: Child,
    config: PathBuf,
}

impl Serve {
    /// Starts one, and waits until it takes commands.
    fn start(config: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_with_log(config, variables, Stdio::null())
    }

    fn start_with_log(config: &Path, variables: &[(&str, &str)], log: Stdio) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args([
                "serve",
                "--plane",
                "netstack",
                "--listen",
                "0",
                "--endpoint",
                "192.0.2.1:51820",
            ])
            .arg("--config-dir")
            .arg(config)
            .env_clear()
            .env("LOG_CONFS", "false")
            .envs(variables.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut serve = Self {
            child,
            config: config.to_owned(),
        };
        serve.wait_for("commands are taken", |serve| serve.try_connect().is_some());
        serve
    }

    fn try_connect(&self) -> Option<Client> {
        Client::connect(&control::in_directory(&self.config)).ok()
    }

    fn connect(&self) -> Client {
        self.try_connect().unwrap()
    }

    fn wait_for(&mut self, what: &str, fact: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + LIMIT;
        while !fact(self) {
            assert!(Instant::now() < limit, "never: {what}");
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "the gateway has ended before: {what}"
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn peers(&self) -> Peers {
        let Reply::Peers { peers } = self.connect().ask(&Request::List { names: Vec::new() }).unwrap() else {
            panic!("no list");
        };
        peers.into_iter().map(|peer| (peer.name.clone(), peer)).collect()
    }

    fn names(&self) -> BTreeSet<String> {
        self.peers().into_keys().collect()
    }

    /// `adit peer …` for this gateway.
    fn peer(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_adit"))
            .arg("peer")
            .args(arguments)
            .env_clear()
            .env("ADIT_CONFIG_DIR", &self.config)
            .output()
            .unwrap()
    }

    /// What it prints; it has to succeed.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.peer(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(arguments)).unwrap()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn peers_come_and_go_by_command() {
    let root = tempfile::tempdir().unwrap();
    let serve = Serve::start(root.path(), &[("PEERS", "laptop")]);
    let text = serve.says(&["add", "phone", "tablet", "--allow", "10.0.0.0/8:443/tcp"]);
    assert!(text.contains("phone: added · 10.13.13.3"), "{text}");
    assert!(text.contains("peer_phone/peer_phone.conf"), "{text}");
    assert!(serve.says(&["add", "laptop"]).contains("there already"));

    let list = serve.says(&["list"]);
    assert_eq!(list.lines().count(), 4, "{list}");
    let listed = serve.json(&["list", "phone", "--json"]);
    assert_eq!(listed["peers"][0]["settings"]["allow"][0], "10.0.0.0/8:443/tcp");
    assert_eq!(listed["peers"][0]["connected"], false);

    let conf = serve.says(&["show", "phone"]);
    assert_eq!(
        conf,
        fs::read_to_string(root.path().join("peer_phone/peer_phone.conf")).unwrap()
    );
    assert!(serve.says(&["qr", "phone", "--plain"]).lines().count() > 20);

    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let printed = serve.says(&["add", "own", "--public-key", key]);
    assert!(
        printed.contains("[Interface]") && !printed.contains("\nPrivateKey"),
        "{printed}"
    );
    assert_eq!(serve.peer(&["qr", "own"]).status.code(), Some(1));

    let moved = serve.json(&["set", "phone", "--address", "10.13.13.99", "--json"]);
    assert_eq!(moved["peers"][0]["change"], "moved");
    let removed = serve.json(&["remove", "phone", "laptop", "--json"]);
    assert_eq!(removed["peers"][1]["change"], "removed");
    assert_eq!(serve.names(), set(&["own", "tablet"]));
    assert!(!root.path().join("peer_phone").exists());

    for (arguments, code, reason) in [
        (&["remove", "phone"][..], 1, "there is no peer phone"),
        (&["add", "my phone"], 1, "cannot name a peer"),
        (&["add", "a", "--address", "10.13.13.1"], 1, "the gateway's"),
        (&["add", "a", "--networks", "office"], 2, "not a network"),
        (&["add", "a", "b", "--public-key", key], 2, "one by one"),
        (&["set", "own"], 2, "say what to change"),
        (&["add"], 2, "NAME"),
    ] {
        let output = serve.peer(arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(reason), "{arguments:?}: {message}");
    }
    drop(serve);
    let serve = Serve::start(root.path(), &[("PEERS", "laptop")]);
    assert_eq!(
        serve.names(),
        set(&["own", "tablet"]),
        "a restart has what commands have said"
    );
}

#[test]
fn a_name_is_so_short_that_its_directory_has_one_or_it_is_refused() {
    let root = tempfile::tempdir().unwrap();
    // The longest that are taken, of letters and of digits.
    let (name, number) = ("a".repeat(59), "7".repeat(60));
    for wrong in ["a".repeat(60), "7".repeat(61)] {
        let list = format!("phone,{wrong}");
        let output = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["serve", "--plane", "netstack", "--listen", "0", "--config-dir"])
            .arg(root.path())
            .env_clear()
            .env("PEERS", &list)
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        let limit = format!("1 to {} ASCII letters", wrong.len() - 1);
        assert!(message.contains("PEERS") && message.contains(&limit), "{message}");
    }
    let serve = Serve::start(root.path(), &[("PEERS", &format!("phone,{name}"))]);
    for wrong in [62, 64, 65].map(|len| "a".repeat(len)) {
        for command in ["add", "remove"] {
            let output = serve.peer(&[command, &wrong]);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(message.contains("1 to 59 ASCII letters"), "{message}");
        }
    }
    serve.says(&["add", &number]);
    assert_eq!(serve.names(), set(&["phone", &name, &number]));
}

#[test]
fn without_a_gateway_the_command_says_so() {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(["peer", "list", "--config-dir"])
        .arg(root.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("is `adit serve` running"), "{message}");
}

#[test]
fn an_edited_list_is_taken_over_at_once_and_a_wrong_one_is_not() {
    let root = tempfile::tempdir().unwrap();
    let (config, list) = (root.path().join("config"), root.path().join("peers"));
    fs::write(&list, "laptop,phone\n").unwrap();
    let mut serve = Serve::start(&config, &[("FILE__PEERS", list.to_str().unwrap())]);
    assert_eq!(serve.names(), set(&["laptop", "phone"]));
    serve.says(&["add", "guest"]);
    fs::write(&list, "phone,tablet\n").unwrap();
    serve.wait_for("the list is read again", |serve| {
        serve.names() == set(&["guest", "phone", "tablet"])
    });
    fs::write(&list, "phone,my tablet\n").unwrap();
    // The next right one is seen after the wrong one was.
    fs::write(root.path().join("new"), "phone,watch\n").unwrap();
    fs::rename(root.path().join("new"), &list).unwrap();
    serve.wait_for("the list is read again", |serve| {
        serve.names() == set(&["guest", "phone", "watch"])
    });
}

#[test]
fn the_codes_of_peers_that_an_edited_list_adds_are_in_the_log() {
    let root = tempfile::tempdir().unwrap();
    let (config, list) = (root.path().join("config"), root.path().join("peers"));
    let log = root.path().join("log");
    fs::write(&list, "laptop\n").unwrap();
    let variables = [("FILE__PEERS", list.to_str().unwrap()), ("LOG_CONFS", "true")];
    let mut serve = Serve::start_with_log(&config, &variables, fs::File::create(&log).unwrap().into());
    fs::write(&list, "laptop,tablet\n").unwrap();
    serve.wait_for("the list is read again", |serve| {
        serve.names() == set(&["laptop", "tablet"])
    });
    let shown = Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(["show-peer", "tablet", "--config-dir"])
        .arg(&config)
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let (_, code) = shown.split_once("QR code:\n").unwrap();
    serve.wait_for("the code is in the log", |_| {
        fs::read_to_string(&log).unwrap().contains(code.trim_end())
    });
}

#[test]
fn templates_are_followed_without_a_restart_and_a_wrong_one_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut serve = Serve::start(root.path(), &[("PEERS", "laptop")]);
    serve.says(&["add", "phone"]);
    let template = root.path().join("templates/peer.conf");
    let text = fs::read_to_string(&template).unwrap();
    let conf = |peer: &str| fs::read_to_string(root.path().join(format!("peer_{peer}/peer_{peer}.conf"))).unwrap();
    let edit = |line: &str| fs::write(&template, format!("{}\n{line}\n", text.trim_end())).unwrap();
    let both_say = |line: &str| ["laptop", "phone"].iter().all(|peer| conf(peer).contains(line));
    edit("PersistentKeepalive = 21");
    serve.wait_for("the template is read again", |_| both_say("PersistentKeepalive = 21"));
    edit("PersistentKeepalive = $(touch x)");
    // The next right one is seen after the wrong one was.
    edit("PersistentKeepalive = 23");
    serve.wait_for("the template is read again", |_| both_say("PersistentKeepalive = 23"));
    assert!(!root.path().join("x").exists() && !Path::new("x").exists());
    serve.says(&["add", "tablet"]);
    assert!(conf("tablet").contains("PersistentKeepalive = 23"));
}

#[test]
fn what_is_shown_is_the_file_that_is_kept_and_at_once() {
    let root = tempfile::tempdir().unwrap();
    let serve = Serve::start(root.path(), &[("PEERS", "laptop")]);
    let show_peer = |peer: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["show-peer", peer, "--config-dir"])
            .arg(root.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Long before the gateway's own configuration has it.
    serve.says(&["add", "tablet"]);
    assert!(show_peer("tablet").contains("PEER tablet QR code"));
    serve.says(&["remove", "tablet"]);
    assert!(show_peer("tablet").contains("PEER tablet is not active"));
    let path = root.path().join("peer_laptop/peer_laptop.conf");
    let edited = format!("# of Anna\n{}", fs::read_to_string(&path).unwrap());
    fs::write(&path, &edited).unwrap();
    assert_eq!(serve.says(&["show", "laptop"]), edited);
    assert_eq!(serve.json(&["show", "laptop", "--json"])["text"], edited);
    drop(serve);
    assert!(show_peer("laptop").contains("PEER laptop QR code"));
}

#[test]
fn who_is_slow_or_talks_nonsense_holds_nobody_up() {
    let root = tempfile::tempdir().unwrap();
    let serve = Serve::start(root.path(), &[("PEERS", "50")]);
    let path = control::in_directory(root.path());
    let connect = || UnixStream::connect(&path).unwrap();
    // Half a request; no request; answers that nobody reads; a line without an end.
    let mut half = connect();
    half.write_all(b"{\"do\":\"li").unwrap();
    let mut nonsense = connect();
    nonsense.write_all(b"\0\xff\n{\"do\":\"fly\"}\n").unwrap();
    let mut deaf = connect();
    deaf.set_nonblocking(true).unwrap();
    while deaf.write(b"{\"do\":\"list\"}\n").is_ok() {}
    let mut endless = connect();
    endless.set_write_timeout(Some(LIMIT)).unwrap();
    let _hung_up_on = endless.write_all(&vec![b'x'; control::MAX_LINE + 2]);
    let idle: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    let begun = Instant::now();
    assert_eq!(serve.names().len(), 50);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    nonsense.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    nonsense.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("\"reply\":\"refused\"").count(), 2, "{answers}");
    half.write_all(b"st\",\"names\":[\"7\"]}\n").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"name\":\"7\""), "{answer}");
    drop(idle);
}

/// Numbers that look random (xorshift64*), from a seed that is printed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let given = std::env::var("ADIT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
        eprintln!("ADIT_SEED={seed} repeats this run");
        Self(seed.max(1))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// A peer as it is listed: its name, key, addresses and what it was given.
type Peers = BTreeMap<String, Listed>;

/// Where the gateway's commands have led to when it is killed.
#[derive(Debug)]
struct Outcome {
    /// The peers as far as commands have returned.
    there: Peers,
    /// The command that was under way: whom it adds, what it makes of peers, whom it removes.
    under_way: Request,
}

/// Adds, changes and removes peers until the gateway is gone.
fn command_until_the_end(mut client: Client, mut there: Peers, mut dice: Dice) -> Outcome {
    loop {
        let names: BTreeSet<String> = (0..=dice.below(3)).map(|_| format!("n{}", dice.below(20))).collect();
        let present: Vec<String> = names.iter().filter(|name| there.contains_key(*name)).cloned().collect();
        let settings = Settings {
            keepalive: u16::try_from(dice.below(60)).ok(),
            allow: Some(vec![Text(format!("10.{}.0.0/16", dice.below(200)).parse().unwrap())]),
            ..Settings::default()
        };
        let given = settings.clone();
        let request = if present.is_empty() {
            let new = |name: &String| NewPeer {
                name: name.clone(),
                settings: settings.clone(),
                ..NewPeer::default()
            };
            Request::Add {
                peers: names.iter().map(new).collect(),
            }
        } else if dice.below(2) == 0 {
            // Rules of several, or the address of one, which has ten of its own to choose from.
            let number: u64 = present[0][1..].parse().unwrap();
            let last = u8::try_from(40 + number * 10 + dice.below(10)).unwrap();
            let address = (dice.below(2) == 0).then(|| [10, 13, 13, last].into());
            Request::Set {
                names: present
                    .into_iter()
                    .take(if address.is_some() { 1 } else { 4 })
                    .collect(),
                settings,
                address,
            }
        } else {
            Request::Remove {
                names: present,
                keep: dice.below(4) == 0,
            }
        };
        match client.ask(&request) {
            Ok(Reply::Changed { peers }) => match &request {
                Request::Remove { names, .. } => there.retain(|name, _| !names.contains(name)),
                Request::List { .. } | Request::Conf { .. } | Request::Health {} | Request::Token { .. } => {}
                Request::Add { .. } | Request::Set { .. } => {
                    there.extend(peers.into_iter().map(|peer| (peer.name.clone(), listed(peer, &given))))
                }
            },
            Ok(reply) => panic!("{request:?}: {reply:?}"),
            Err(_) => {
                return Outcome {
                    there,
                    under_way: request,
                };
            }
        }
    }
}

/// A peer that was changed, and that nobody uses, as it is to be listed.
fn listed(peer: Changed, settings: &Settings) -> Listed {
    Listed {
        name: peer.name,
        public_key: peer.public_key,
        addresses: peer.addresses,
        settings: settings.clone(),
        endpoint: None,
        latest_handshake: None,
        connected: false,
        received_bytes: 0,
        sent_bytes: 0,
    }
}

/// Whether a command would have made this of the peers: of all that it names, or of none.
fn is_made(request: &Request, before: &Peers, after: &Peers) -> bool {
    let mut before = before.clone();
    match request {
        Request::Add { peers } => {
            for new in peers {
                // Its key and addresses are for the gateway to choose.
                let Some(peer) = after
                    .get(&new.name)
                    .filter(|peer| peer.settings.keepalive == new.settings.keepalive)
                else {
                    return false;
                };
                before.insert(new.name.clone(), peer.clone());
            }
        }
        Request::Set {
            names,
            settings,
            address,
        } => {
            for name in names {
                let peer = before.get_mut(name).unwrap();
                peer.settings = peer.settings.with(settings);
                if let Some(address) = address {
                    peer.addresses[0] = *address;
                }
            }
        }
        Request::Remove { names, .. } => before.retain(|name, _| !names.contains(name)),
        Request::List { .. } | Request::Conf { .. } | Request::Health {} | Request::Token { .. } => {}
    }
    before == *after
}

/// Whole files, and no more than the layout has.
fn check_files(config: &Path, there: &BTreeSet<String>) {
    for entry in fs::read_dir(config).unwrap() {
        let directory = entry.unwrap();
        let name = directory.file_name().into_string().unwrap();
        assert!(
            !name.ends_with(".adit-new") && name != ".adit-change.json",
            "{name} is left"
        );
        let Some(peer) = name.strip_prefix("peer_") else {
            continue;
        };
        for file in fs::read_dir(directory.path()).unwrap() {
            let path = file.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!file.ends_with(".adit-new"), "{name}/{file} is left");
            let content = fs::read(&path).unwrap();
            assert!(!content.is_empty(), "{name}/{file} is empty");
            let text = String::from_utf8_lossy(&content);
            if file.contains("key-") {
                wg::PresharedKey::from_base64(text.trim_end()).unwrap();
            } else if file.ends_with(".conf") {
                wg::conf::Conf::parse(&file, &text).unwrap();
            }
        }
        if there.contains(peer) {
            assert!(
                directory.path().join(format!("{name}.conf")).exists(),
                "{name} has no configuration"
            );
        }
    }
}

/// The gateway's own files at any moment: its key is the one that it had, and its configuration is whole.
fn check_own_files(config: &Path, key: &mut Option<String>) {
    let read = |path: &str| fs::read_to_string(config.join(path)).unwrap();
    let private = read("server/privatekey-server");
    let public = wg::PrivateKey::from_base64(private.trim_end()).unwrap().public_key();
    assert_eq!(read("server/publickey-server").trim_end(), public.to_string());
    assert_eq!(
        *key.get_or_insert_with(|| private.clone()),
        private,
        "its key is another"
    );
    let conf = read("wg_confs/wg0.conf");
    wg::conf::Conf::parse("wg0.conf", &conf).unwrap();
    assert!(conf.contains(private.trim_end()), "{conf}");
}

/// Once the gateway is up, its configuration is that of its peers, and nothing is left beside it.
fn check_own_conf(config: &Path, peers: &Peers) {
    let conf = fs::read_to_string(config.join("wg_confs/wg0.conf")).unwrap();
    assert_eq!(conf.matches("[Peer]").count(), peers.len(), "{conf}");
    for peer in peers.values() {
        assert!(
            conf.contains(&format!("# peer_{}\nPublicKey = {}\n", peer.name, peer.public_key.0)),
            "{conf}"
        );
        assert!(
            peer.addresses
                .iter()
                .all(|address| conf.contains(&format!("{address}/"))),
            "{conf}"
        );
    }
    for directory in ["server", "wg_confs"] {
        for file in fs::read_dir(config.join(directory)).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".adit-new"), "{directory}/{name} is left");
        }
    }
}

/// What a peer's files say is what the gateway says of it.
fn check_peer(config: &Path, peer: &Listed) {
    let name = format!("peer_{}", peer.name);
    let read = |file: String| fs::read_to_string(config.join(&name).join(file)).unwrap();
    let private = wg::PrivateKey::from_base64(read(format!("privatekey-{name}")).trim_end()).unwrap();
    assert_eq!(private.public_key(), peer.public_key.0, "{name}");
    let conf = read(format!("{name}.conf"));
    assert!(conf.contains(&*private.danger_base64()), "{name}");
    for address in &peer.addresses {
        assert!(
            conf.contains(&address.to_string()),
            "{name}: {address} is not in {conf}"
        );
    }
}

#[test]
fn what_a_command_has_done_survives_a_kill_at_any_moment() {
    let root = tempfile::tempdir().unwrap();
    let mut dice = Dice::new();
    let mut last: Option<Outcome> = None;
    let mut key = None;
    for round in 0..50 {
        let mut serve = Serve::start(root.path(), &[("PEERS", "n0,n1")]);
        let found = serve.peers();
        if let Some(Outcome { there, under_way }) = &last {
            assert!(
                found == *there || is_made(under_way, there, &found),
                "round {round}: {found:?} are not {there:?}; {under_way:?} was under way"
            );
        }
        check_files(root.path(), &found.keys().cloned().collect());
        check_own_conf(root.path(), &found);
        found.values().for_each(|peer| check_peer(root.path(), peer));
        let (client, their_dice) = (serve.connect(), Dice(dice.below(1 << 30) + 1));
        let commands = std::thread::spawn(move || command_until_the_end(client, found, their_dice));
        let moment = Instant::now() + Duration::from_micros(dice.below(150_000));
        while Instant::now() < moment {
            std::thread::park_timeout(moment.saturating_duration_since(Instant::now()));
        }
        serve.child.kill().unwrap();
        drop(serve);
        check_own_files(root.path(), &mut key);
        last = Some(commands.join().unwrap());
    }
}
