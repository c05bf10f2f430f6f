//! A host of links in the lab, and its daemon.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use netlab::{Command, Host, Lab, Output, Process, wait_until};
use serde_json::Value;

/// How long what takes a moment may take.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Joins a host to the `internet`, which it reaches all others by.
pub(crate) fn connect(internet: &Host, host: &Host, number: u8) {
    let (v4, v6) = (format!("203.0.113.{number}"), format!("2001:db8:3::{number}"));
    let cable = format!("to-{}", host.name());
    let own = [format!("{v4}/32"), format!("{v6}/128")];
    let here = ["192.0.2.254/32", "fe80::1/64"];
    host.link("eth0", &[&own[0], &own[1]], internet, &cable, &here);
    for address in [&v4, &v6] {
        internet.route(&format!("{address} dev {cable}"));
    }
    for route in [
        "192.0.2.254 dev eth0",
        "default via 192.0.2.254",
        "default via fe80::1 dev eth0",
    ] {
        host.route(route);
    }
}

/// A host of links, and its daemon.
pub(crate) struct Member {
    pub(crate) host: Host,
    pub(crate) state: PathBuf,
    pub(crate) daemon: Option<Process>,
    /// It is there as long as somebody has it.
    _router: Option<Host>,
}

impl Member {
    pub(crate) fn new(lab: &Lab, internet: &Host, name: &str, number: u8) -> Self {
        let host = lab.host(name);
        connect(internet, &host, number);
        Self::on(host, None)
    }

    /// A host behind a router that hides it.
    pub(crate) fn behind_nat(lab: &Lab, internet: &Host, name: &str, number: u8) -> Self {
        let nat = lab.router("nat");
        connect(internet, &nat, number);
        let host = lab.host(name);
        host.link("eth0", &["10.9.9.2/24"], &nat, "inside", &["10.9.9.1/24"]);
        host.route("default via 10.9.9.1");
        let hide = "table ip nat { chain out { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }";
        nat.command("nft").arg(hide).run();
        // What nobody inside has asked for does not come in.
        let close =
            "table ip close { chain in { type filter hook forward priority 0; iifname eth0 ct state new drop; }; }";
        nat.command("nft").arg(close).run();
        Self::on(host, Some(nat))
    }

    pub(crate) fn on(host: Host, router: Option<Host>) -> Self {
        let state = host.folder().join("links");
        let mut member = Self {
            host,
            state,
            daemon: None,
            _router: router,
        };
        member.start();
        member
    }

    pub(crate) fn start(&mut self) {
        let mut daemon = self.adit(&["run", "--plane", "auto"]).spawn();
        daemon.wait_for("adit link keeps", SOON);
        self.daemon = Some(daemon);
    }

    pub(crate) fn adit(&self, words: &[&str]) -> Command {
        let command = self.host.command(env!("CARGO_BIN_EXE_adit")).arg("link").args(words);
        command
            .env("ADIT_LINK_STATE", &self.state)
            .env("DOCKER_HOST", "none")
            .limit(Duration::from_secs(60))
    }

    /// Ends everything of adit's on the host as a power cut does.
    pub(crate) fn die(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal(9);
            daemon.wait(SOON);
        }
        for process in self.host.processes() {
            let number = process.pid.to_string();
            self.host.command("kill").args(["-KILL", &number]).output();
        }
        // The kernel's is not a process's.
        self.host.command("ip").args(["link", "delete", "adit-blue"]).output();
        self.host.command("nft").args(["flush", "ruleset"]).run();
    }

    #[track_caller]
    pub(crate) fn create(&self, options: &[&str]) -> String {
        let create = self.adit(&["create", "blue", "--plain", "--name", self.host.name()]);
        token(&create.args(options).run())
    }

    #[track_caller]
    pub(crate) fn invite(&self) -> String {
        token(&self.adit(&["invite", "blue"]).run())
    }

    pub(crate) fn try_join(&self, token: &str) -> Output {
        self.adit(&["join", "--plain", token, "--name", self.host.name()])
            .output()
    }

    #[track_caller]
    pub(crate) fn join(&self, token: &str) -> String {
        let joined = self.try_join(token);
        assert!(joined.status.success(), "{}", joined.stderr);
        joined.stdout
    }

    pub(crate) fn status(&self) -> Value {
        let text = self.adit(&["status", "blue", "--json"]).run();
        let links: Value = serde_json::from_str(&text).expect("it is JSON");
        links[0].clone()
    }

    /// The hosts that answer, without this one.
    pub(crate) fn up(&self) -> Vec<String> {
        let status = self.status();
        let hosts = status["hosts"].as_array().expect("hosts are listed").iter();
        hosts
            .filter(|host| host["up"] == true && host["here"] == false)
            .filter_map(|host| host["host"].as_str().map(str::to_owned))
            .collect()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize, limit: Duration) {
        wait_until(&format!("{} sees {count} hosts", self.host.name()), limit, || {
            (self.up().len() == count).then_some(())
        });
    }

    /// This host's addresses in the link.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let status = self.status();
        let addresses = status["hosts"][0]["addresses"]
            .as_array()
            .expect("it has addresses")
            .iter();
        addresses
            .map(|address| address.as_str().and_then(|text| text.parse().ok()).expect("an address"))
            .collect()
    }

    pub(crate) fn log(&self) -> String {
        self.daemon.as_ref().map(Process::stderr).unwrap_or_default()
    }
}

/// The token in what was printed.
#[track_caller]
pub(crate) fn token(text: &str) -> String {
    let word = text.split_whitespace().find(|word| word.starts_with("adit-link-"));
    word.expect("a token is printed").to_owned()
}

/// Two hosts that are to pair up.
pub(crate) fn two() -> (Lab, Host, Member, Member) {
    let lab = Lab::new();
    let internet = lab.router("internet");
    let a = Member::new(&lab, &internet, "host-a", 11);
    let b = Member::new(&lab, &internet, "host-b", 12);
    (lab, internet, a, b)
}
