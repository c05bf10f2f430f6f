//! Links between two Docker Engines: containers on both find each other.
//!
//! ```text
//!   web ─ blue 10.77.0.0/24 ─ gateway: dockerd, adit link ══ other: dockerd, adit link ─ blue 10.77.1.0/24 ─ client
//!                             203.0.113.2                    192.0.2.8
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use netlab::{Command, Host, Process, wait_until};

use crate::engine::Engine;
use crate::network::Network;

/// How long what takes a moment may take.
const SOON: Duration = Duration::from_secs(30);

/// What the image of busybox is called.
const IMAGE: &str = "busybox";

/// Asks the server for an echo, once, and says what came back.
const ASK: &str = "echo hello | timeout 10 nc -w 5 198.51.100.2 7";

/// A host with an Engine and the daemon of links.
struct Side {
    engine: Engine,
    daemon: Option<Process>,
    name: &'static str,
}

impl Side {
    fn new(host: &Host, name: &'static str) -> Self {
        let engine = Engine::start_on(host);
        let mut side = Self {
            engine,
            daemon: None,
            name,
        };
        side.import();
        side.start();
        side
    }

    /// Images that stand for those of the field, which are not to be had without the Internet: busybox, its web server in
    /// place of nginx, and this machine's curl.
    fn import(&self) {
        let root = self.engine.path("root");
        for folder in ["bin", "www"] {
            std::fs::create_dir_all(root.join(folder)).expect("make a root");
        }
        std::fs::write(root.join("www/index.html"), "hello\n").expect("write a page");
        let busybox = netlab::tool("busybox").expect("asked for before");
        std::fs::copy(busybox, root.join("bin/busybox")).expect("copy busybox");
        for name in [
            "sh", "nc", "ip", "cat", "grep", "sleep", "nslookup", "timeout", "httpd", "wget",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("link a name");
        }
        self.copy_with_libraries("curl", &root);
        for (image, change) in [
            (IMAGE, "CMD [\"sh\"]"),
            (
                "nginx",
                // It ends when it is told to, as nginx does.
                "CMD [\"sh\", \"-c\", \"trap exit TERM INT; httpd -f -v -h /www & wait\"]",
            ),
            (
                "curlimages/curl",
                "ENTRYPOINT [\"curl\", \"-sS\", \"--max-time\", \"10\"]",
            ),
        ] {
            let archive = self.engine.path("root.tar");
            let tar = self.engine.host.command("tar").arg("-C").arg(&root).arg("-cf");
            tar.arg(&archive).arg(".").run();
            let import = self.engine.docker(&["import", "--change", change]);
            import.arg(&archive).arg(image).run();
        }
    }

    /// A program and what the loader finds for it, at the same paths.
    fn copy_with_libraries(&self, program: &str, root: &Path) {
        let file = netlab::tool(program).expect("asked for before");
        let listed = self.engine.host.command("ldd").arg(&file).run();
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        for library in libraries {
            let place = root.join(library.trim_start_matches('/'));
            std::fs::create_dir_all(place.parent().expect("it is in a folder")).expect("make a folder");
            std::fs::copy(library, place).expect("copy a library");
        }
        std::fs::copy(file, root.join("bin").join(program)).expect("copy a program");
    }

    fn state(&self) -> PathBuf {
        self.engine.path("links")
    }

    fn adit(&self, words: &[&str]) -> Command {
        let command = self.engine.beside(env!("CARGO_BIN_EXE_adit")).arg("link").args(words);
        command
            .env("ADIT_LINK_STATE", self.state())
            .env("ADIT_LINK_NAMESPACES", self.engine.path("exec/netns"))
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.engine.path("socket").display()),
            )
            .limit(Duration::from_secs(60))
    }

    fn start(&mut self) {
        let mut daemon = self.adit(&["run"]).spawn();
        daemon.wait_for("adit link keeps", SOON);
        self.daemon = Some(daemon);
    }

    /// Kills the daemon as nothing can prepare for.
    fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        self.engine.beside("pkill").args(["-KILL", "-f", "adit link run"]).run();
        daemon.wait(SOON);
    }

    #[track_caller]
    fn create(&self, link: &str, options: &[&str]) -> String {
        let create = self.adit(&["create", link, "--name", self.name]).args(options).run();
        let token = create.split_whitespace().find(|word| word.starts_with("adit-link-"));
        token.expect("a token is printed").to_owned()
    }

    #[track_caller]
    fn join(&self, token: &str, options: &[&str]) {
        self.adit(&["join", token, "--name", self.name]).args(options).run();
    }

    #[track_caller]
    fn wait_for_network(&self, link: &str) {
        wait_until(&format!("{} has the network {link}", self.name), SOON, || {
            let inspect = self.engine.docker(&["network", "inspect", link]).output();
            inspect.status.success().then_some(())
        });
    }

    fn run(&self, link: &str, options: &[&str], script: &str) -> Command {
        let run = self.engine.docker(&["run", "--network", link]).args(options);
        run.args([IMAGE, "sh", "-c", script])
    }

    #[track_caller]
    fn serve(&self, link: &str, name: &str, options: &[&str]) {
        let serve = ["run", "-d", "--network", link, "--name", name];
        self.engine.docker(&serve).args(options).arg("nginx").run();
    }

    /// What a new container fetches, as its first process.
    fn fetch(&self, link: &str, url: &str) -> String {
        let run = ["run", "--rm", "--network", link, "curlimages/curl", url];
        self.engine.docker(&run).run()
    }
}

fn two(link: &str, options: &[&str]) -> (Network, Side, Side) {
    let network = Network::new();
    let a = Side::new(&network.gateway, "host-a");
    let b = Side::new(&network.other, "host-b");
    let endpoint = [&["--endpoint", "203.0.113.2"], options].concat();
    b.join(&a.create(link, &endpoint), options);
    for side in [&a, &b] {
        side.wait_for_network(link);
    }
    (network, a, b)
}

#[test]
fn containers_of_two_hosts_find_each_other_by_name_and_see_each_other_s_addresses() {
    crate::needs_containers!();
    let (_network, a, b) = two("blue", &[]);
    a.serve("blue", "web", &["--network-alias", "www"]);
    // The first question, of a container's first process.
    assert_eq!(b.fetch("blue", "http://web.blue"), "hello\n");
    for name in ["www.blue", "web.host-a.blue", "web", "host-a.blue"] {
        let script = format!("nslookup -type=a {name} 127.0.0.11 | cat; ip -o addr show dev eth0");
        let said = b.run("blue", &["--rm"], &script).run();
        assert!(said.contains("10.77.0."), "{name}: {said}");
    }
    // Both families, each with the container's own address.
    for family in ["-4", "-6"] {
        let run = ["run", "--rm", "--network", "blue", "curlimages/curl", family];
        let fetch = b.engine.docker(&run).arg("http://web.blue");
        assert_eq!(fetch.run(), "hello\n", "{family}");
    }
    let log = a.engine.docker(&["logs", "web"]).output();
    let log = log.stdout + &log.stderr;
    assert!(
        log.contains("10.77.1."),
        "the client is seen with its own address: {log}"
    );
    assert!(
        log.lines().any(|line| line.contains("[fd") && line.contains(":1::")),
        "{log}"
    );
    // The other way round.
    b.serve("blue", "shop", &[]);
    assert_eq!(a.fetch("blue", "http://shop.blue"), "hello\n");
    // Containers keep their way to the Internet, and published ports.
    assert_eq!(a.run("blue", &["--rm"], ASK).run(), "hello\n");
    a.serve("blue", "open", &["--publish", "8080:80"]);
    let fetch = b
        .engine
        .host
        .command("curl")
        .args(["-sS", "--max-time", "5", "http://203.0.113.2:8080/"]);
    assert_eq!(fetch.run(), "hello\n");
    // What is not the link's is Docker's.
    let said = a.run("blue", &["--rm"], "nslookup -type=a server.example | cat").run();
    assert!(said.contains("198.51.100.2"), "{said}");
    // A container that runs already comes in, finds names, and goes.
    b.engine
        .docker(&["run", "-d", "--name", "late", IMAGE, "sleep", "600"])
        .run();
    b.engine.docker(&["network", "connect", "blue", "late"]).run();
    let fetch = ["exec", "late", "curl", "-sS", "--max-time", "10", "http://web.blue"];
    wait_until("it finds the other", SOON, || {
        (b.engine.docker(&fetch).output().stdout == "hello\n").then_some(())
    });
    b.engine.docker(&["network", "disconnect", "blue", "late"]).run();
    wait_until("it is out", SOON, || {
        let status = b.adit(&["status", "blue"]).run();
        (!status.contains("late")).then_some(())
    });
    assert!(!b.engine.docker(&fetch).output().status.success());
    let status = b.adit(&["status", "blue"]).run();
    for text in ["host-a up", "web  10.77.0.", "shop  10.77.1."] {
        assert!(status.contains(text), "{status}");
    }
    // A link with containers is not left; without them nothing is left of it.
    let refused = b.adit(&["leave", "blue"]).output();
    assert!(
        refused.stderr.contains("its Docker network does not go"),
        "{}",
        refused.stderr
    );
    b.engine.docker(&["rm", "--force", "shop"]).run();
    b.adit(&["leave", "blue"]).run();
    wait_until("it has left", SOON, || {
        let links = b.adit(&["list", "--json"]).run();
        (links.trim() == "[]").then_some(())
    });
    let links = b.engine.host.links();
    assert!(!links.iter().any(|link| link.starts_with("ad")), "{links:?}");
    let rules = b.engine.host.command("nft").args(["list", "ruleset"]).run();
    assert!(!rules.contains("adit"), "{rules}");
    assert!(!b.engine.docker(&["network", "ls"]).run().contains("blue"));
}

#[test]
fn containers_of_a_link_outlive_daemons_and_engines() {
    crate::needs_containers!();
    let (_network, mut a, mut b) = two("blue", &[]);
    a.serve("blue", "web", &["--restart", "always"]);
    b.run(
        "blue",
        &["--detach", "--name", "client", "--restart", "always"],
        "sleep 600",
    )
    .run();
    let fetch = |b: &Side| {
        let fetch = ["exec", "client", "curl", "-sS", "--max-time", "5", "http://web.blue"];
        b.engine.docker(&fetch).output().stdout == "hello\n"
    };
    wait_until("it fetches", SOON, || fetch(&b).then_some(()));
    for side in [&mut a, &mut b] {
        side.kill();
        side.start();
    }
    wait_until("it fetches after the daemons' deaths", Duration::from_secs(10), || {
        fetch(&b).then_some(())
    });
    // A daemon that is told to end leaves names to Docker.
    let mut daemon = b.daemon.take().expect("it runs");
    b.engine.beside("pkill").args(["-TERM", "-f", "adit link run"]).run();
    daemon.wait(SOON);
    let own = ["exec", "client", "nslookup", "-type=a", "client"];
    let said = b.engine.docker(&own).output();
    assert!(said.stdout.contains("10.77.1.2"), "{} {}", said.stdout, said.stderr);
    b.start();
    for side in [&a, &b] {
        side.engine.restart();
    }
    wait_until(
        "it fetches after the Engines' restarts",
        Duration::from_secs(60),
        || fetch(&b).then_some(()),
    );
}

#[test]
fn an_internal_link_is_the_only_way_out() {
    crate::needs_containers!();
    let (_network, a, b) = two("red", &["--internal"]);
    a.serve("red", "web", &[]);
    let script = format!("curl -sS --max-time 5 http://web.red; {ASK}; ip -o link | grep -c eth");
    let said = b.run("red", &["--rm"], &script).output();
    assert_eq!(said.stdout, "hello\n1\n", "{}", said.stderr);
    // Nor with a route of its own making.
    let options = ["--rm", "--cap-add", "NET_ADMIN"];
    let script = format!("ip route add default via 10.77.1.1; {ASK}");
    let said = b.run("red", &options, &script).output();
    assert_eq!(said.stdout, "", "{}", said.stderr);
}

/// The lines of the example's session that a person types on a host.
fn typed(host: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/two-hosts/README.md");
    let text = std::fs::read_to_string(file).expect("the example is there");
    let prompt = format!("{host}$ ");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&prompt));
    lines.map(|line| line.trim_start_matches("sudo ").to_owned()).collect()
}

#[test]
fn the_session_of_the_example_works_as_it_is_typed() {
    crate::needs_containers!();
    let network = Network::new();
    let a = Side::new(&network.gateway, "host-a");
    let b = Side::new(&network.other, "host-b");
    // The host of the example has an address of its own.
    let here = |text: &str| text.replace("192.168.88.153", "203.0.113.2");
    let shell = |side: &Side, line: &str| {
        let adit = Path::new(env!("CARGO_BIN_EXE_adit"))
            .parent()
            .expect("it is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let socket = side.engine.path("socket");
        let shell = side.engine.beside("sh").args(["-c", &format!("exec {line}")]);
        shell
            .env("PATH", format!("{}:{path}", adit.display()))
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .limit(SOON)
    };
    let [listen] = &typed("host-a")[..] else {
        panic!("host A types one line")
    };
    let [dial, fetch] = &typed("host-b")[..] else {
        panic!("host B types two lines")
    };
    let mut listener = shell(&a, &here(listen)).spawn();
    listener.wait_for("adit link dial", SOON);
    let printed = listener.stdout();
    let tokens: Vec<&str> = printed
        .split_whitespace()
        .skip_while(|word| *word != "dial")
        .skip(1)
        .take(2)
        .collect();
    let dial = here(dial).replace("TOKEN1", tokens[0]).replace("TOKEN2", tokens[1]);
    let mut dialler = shell(&b, &dial).spawn();
    dialler.wait_for("paired with listener-", SOON);
    wait_until("the web server runs", SOON, || {
        let fetched = shell(&b, fetch).output();
        (fetched.stdout == "hello\n").then_some(())
    });
    for (side, process) in [(&b, &mut dialler), (&a, &mut listener)] {
        side.engine
            .beside("pkill")
            .args(["-INT", "-f", "adit link (listen|dial)"])
            .run();
        process.wait(SOON);
        assert!(!side.engine.host.links().iter().any(|link| link.starts_with("adit")));
        let rules = side.engine.host.command("nft").args(["list", "ruleset"]).run();
        assert!(!rules.contains("adit"), "{rules}");
    }
    assert_eq!(a.engine.docker(&["ps", "--all", "--quiet"]).run(), "");
}
