//! `wg` itself, on a socket of ours: it must understand what we write and read files as we do.
#![expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, but its tests run programs and open sockets"
)]
#![expect(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use wg::{
    Conf, Device, PeerStatus, PresharedKey, PrivateKey, PublicKey, Status,
    uapi::{Incoming, Request, get_reply, set_reply},
};

const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const ALICE: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const BOB: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

/// An interface that is nothing but its socket, where `wg` looks for it.
struct Interface {
    name: String,
    socket: PathBuf,
    status: Arc<Mutex<Status>>,
}

impl Interface {
    /// `None`, and a line that says so, where there is no `wg` or no right to its directory.
    fn open(test: &str, name: &str) -> Option<Self> {
        let found = Command::new("wg")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok();
        assert!(
            found || env::var("ADIT_TEST_ALL").as_deref() != Ok("1"),
            "{test} needs wg (Debian: wireguard-tools)"
        );
        let name = format!("{name}{}", std::process::id() % 100_000);
        let socket = Path::new("/var/run/wireguard").join(format!("{name}.sock"));
        let listener = found.then(|| {
            fs::create_dir_all("/var/run/wireguard")?;
            UnixListener::bind(&socket)
        });
        let Some(Ok(listener)) = listener else {
            let line = format!("skipped: {test}: needs wg (Debian: wireguard-tools) and root\n");
            // Past the capture of cargo test, which would hide it.
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        };
        let status = Arc::new(Mutex::new(Status::default()));
        let shared = status.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &shared);
            }
        });
        Some(Self { name, socket, status })
    }

    fn wg(&self, arguments: &[&str]) -> Output {
        let (first, rest) = arguments.split_first().unwrap();
        Command::new("wg")
            .arg(first)
            .arg(&self.name)
            .args(rest)
            .output()
            .unwrap()
    }

    /// What a file makes of a fresh interface; `None` if `wg` refuses it.
    fn setconf(&self, text: &str) -> Option<Device> {
        *self.status.lock().unwrap() = Status::default();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.conf", self.name));
        fs::write(&file, text).unwrap();
        let output = self.wg(&["setconf", file.to_str().unwrap()]);
        fs::remove_file(&file).unwrap();
        output
            .status
            .success()
            .then(|| self.status.lock().unwrap().device.clone())
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        fs::remove_file(&self.socket).ok();
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: UnixStream, status: &Mutex<Status>) {
    let mut incoming = Incoming::new();
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).unwrap_or(0);
        if len == 0 {
            return;
        }
        for request in incoming.feed(&buffer[..len], &|_| None) {
            let mut status = status.lock().unwrap();
            let reply = match request {
                Ok(Request::Get) => get_reply(&status).to_string(),
                Ok(Request::Set(update)) => {
                    status.device.apply(&update);
                    set_reply(Ok(()))
                }
                Err(error) => set_reply(Err(error.errno())),
            };
            drop(status);
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }
}

#[test]
fn wg_shows_what_we_reply() {
    let Some(interface) = Interface::open("wg_shows_what_we_reply", "aditshow") else {
        return;
    };
    let (alice, bob): (PublicKey, PublicKey) = (ALICE.parse().unwrap(), BOB.parse().unwrap());
    {
        let mut status = interface.status.lock().unwrap();
        status.device.private_key = Some(PrivateKey::from_base64(PRIVATE).unwrap());
        status.device.listen_port = Some(51820);
        status.device.fwmark = Some(0xca6c);
        status.device.peers.entry(bob).or_default();
        let peer = status.device.peers.entry(alice).or_default();
        peer.preshared_key = Some(PresharedKey::from_base64(BOB).unwrap());
        peer.endpoint = Some("[2001:db8::1]:7".parse().unwrap());
        peer.persistent_keepalive = Some(25);
        peer.allowed_ips.insert("10.0.0.0/8".parse().unwrap());
        peer.allowed_ips.insert("fd00::/64".parse().unwrap());
        let happened = PeerStatus {
            latest_handshake: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            rx_bytes: 9,
            tx_bytes: 8,
        };
        status.peers.insert(alice, happened);
    }
    let output = interface.wg(&["show", "dump"]);
    let public = PrivateKey::from_base64(PRIVATE).unwrap().public_key();
    let expected = format!(
        "{PRIVATE}\t{public}\t51820\t0xca6c\n\
         {BOB}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n\
         {ALICE}\t{BOB}\t[2001:db8::1]:7\t10.0.0.0/8,fd00::/64\t1700000000\t9\t8\t25\n"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn wg_sets_what_it_is_told_and_is_told_of_errors() {
    let Some(interface) = Interface::open("wg_sets_what_it_is_told_and_is_told_of_errors", "aditset") else {
        return;
    };
    let set = interface.wg(&[
        "set",
        "peer",
        ALICE,
        "endpoint",
        "192.0.2.1:5",
        "allowed-ips",
        "10.0.0.2/32",
    ]);
    assert!(set.status.success());
    let alice = ALICE.parse().unwrap();
    assert_eq!(
        interface.status.lock().unwrap().device.peers[&alice].endpoint,
        Some("192.0.2.1:5".parse().unwrap())
    );
    let removed = interface.wg(&["set", "peer", ALICE, "remove"]);
    assert!(removed.status.success());
    assert!(interface.status.lock().unwrap().device.peers.is_empty());
    // No such zone in our server.
    let refused = interface.wg(&["set", "peer", ALICE, "endpoint", "[fe80::1%lo]:5"]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && message.contains("Invalid argument"),
        "{message}"
    );
}

/// Lines that both read, or that neither reads. Not among them: `ListenPort = 65536`, which `wg` takes for 0, and an
/// empty `AllowedIPs`, which some versions refuse.
const LINES: [&str; 65] = [
    "[Interface]\nPrivateKey={P}",
    " [ interface ] # x\n pRIVATEkey = {P} # y",
    "[Interface]\r\nPrivate Key = {P}\r\n",
    "[Interface]\nPrivateKey =",
    "[Interface]\nPrivateKey = {P}=",
    "[Interface]\nPrivateKey\n",
    "[Interface]\n= 5",
    "[Interface]\nListenPort = 0",
    "[Interface]\nListenPort = 51820 # x",
    "[Interface]\nListenPort = 51 820",
    "[Interface]\nListenPort = -1",
    "[Interface]\nListenPort = ",
    "[Interface]\nFwMark = off",
    "[Interface]\nFwMark = OFF",
    "[Interface]\nFwMark = 0xfFfffffe",
    "[Interface]\nFwMark = 4294967295",
    "[Interface]\nFwMark = 4294967296",
    "[Interface]\nFwMark = 0x",
    "[Interface]\nFwMark = ca6c",
    "[Interface]\nFwMark = -1",
    "[Interface]\nEndpoint = 192.0.2.1:1",
    "[Interface]\n[Interface]\nListenPort = 4",
    "[Pear]",
    "ListenPort = 4",
    "",
    "# nothing\n\n \t\n",
    "[Peer]",
    "[Peer]\nPublicKey = {A}",
    "[Peer]\nPublicKey = {A}\n[Peer]",
    "[Peer]\nPublicKey = {A}\nListenPort = 1",
    "[Peer]\nPublicKey = {A}\nPREsharedKEY = {B}",
    "[Peer]\nPublicKey = {A}\nPresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "[Peer]\nPublicKey = {A}\nPresharedKey = x",
    "[Peer]\nPublicKey = {A}\nPublicKey = {B}",
    "[Peer]\nAllowedIPs = ::/0\nPublicKey = {A}",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.1.2.3/8,fd00::1/64",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.1.2.3 , fd00::1",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.1.2.3/8\nAllowedIPs=::/0",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.0/33",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = ::/129",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.0/8,",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = ,10.0.0.0/8",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.0/-1",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.0/8 10.1.0.0/16",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 1 0.0.0.0 / 8",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = example.com/8",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0/8",
    "[Peer]\nPublicKey = {A}\nEndpoint = 192.0.2.1:51820",
    "[Peer]\nPublicKey = {A}\nEndpoint = [2001:db8::1]:51820",
    "[Peer]\nPublicKey = {A}\nEndpoint = 2001:db8::1:51820",
    "[Peer]\nPublicKey = {A}\nEndpoint = [192.0.2.1]:51820",
    "[Peer]\nPublicKey = {A}\nEndpoint = 192.0.2.1",
    "[Peer]\nPublicKey = {A}\nEndpoint = 192.0.2.1:",
    "[Peer]\nPublicKey = {A}\nEndpoint = [2001:db8::1:51820",
    "[Peer]\nPublicKey = {A}\nEndpoint = [2001:db8::1]51820",
    "[Peer]\nPublicKey = {A}\nEndpoint =",
    "[Peer]\nPublicKey = {A}\nEndpoint = 192.0.2.1:5\nEndpoint = 192.0.2.1:6",
    "[Peer]\nPublicKey = {A}\nPersistentKeepalive = off",
    "[Peer]\nPublicKey = {A}\nPersistentKeepalive = 0",
    "[Peer]\nPublicKey = {A}\nPersistentKeepalive = 65535",
    "[Peer]\nPublicKey = {A}\nPersistentKeepalive = 65536",
    "[Peer]\nPublicKey = {A}\nPersistentKeepalive =",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = ::/0\n[Peer]\nPublicKey = {B}\nAllowedIPs = ::/0",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = ::/0\n[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.0/8",
    "[Peer]\nPublicKey = {A}\nAllowedIPs = ::/0\nPersistentKeepalive = 5\n[Peer]\nPublicKey = {A}\nPresharedKey = {B}",
];

#[test]
fn wg_reads_files_as_we_do() {
    let Some(interface) = Interface::open("wg_reads_files_as_we_do", "aditconf") else {
        return;
    };
    let mut differences = Vec::new();
    for line in LINES {
        let text = line.replace("{P}", PRIVATE).replace("{A}", ALICE).replace("{B}", BOB);
        let ours = Conf::parse("oracle.conf", &text).map(|conf| conf.device(|_| Err(())).unwrap());
        let theirs = interface.setconf(&text);
        if ours.as_ref().ok() != theirs.as_ref() {
            differences.push(format!("{text:?}\n  wg:  {theirs:?}\n  we: {ours:?}\n"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.concat());
}
