//! `adit link list` and `adit link status`: how links and their hosts are.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use link::{
    LinkName,
    control::{self, Answer, Command},
    status::{HostStatus, LinkStatus},
};

use super::SocketArguments;
use crate::{amount, output};

/// How to list.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArguments,
}

/// Which link.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The link [default: all].
    #[arg(value_name = "LINK")]
    link: Option<LinkName>,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArguments,
}

fn ask(socket: &SocketArguments, link: Option<LinkName>) -> anyhow::Result<Vec<LinkStatus>> {
    match control::ask(&socket.socket, &Command::Status { link })? {
        Answer::Status { links } => Ok(links),
        Answer::Done { .. } | Answer::Token(_) | Answer::Joined(_) | Answer::Failed { .. } => {
            anyhow::bail!("the daemon answers something else: it may be of another version")
        }
    }
}

/// Prints a line for each link.
pub(super) fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let links = ask(&arguments.socket, None)?;
    if arguments.json {
        return output::line(&serde_json::to_string_pretty(&links).context("cannot write JSON")?);
    }
    if links.is_empty() {
        return output::line("no links: adit link create NAME makes one, adit link join TOKEN joins one");
    }
    let mut text = String::new();
    for link in &links {
        let up = link.hosts.iter().filter(|host| host.up).count();
        let networks: Vec<_> = link.networks.iter().map(ToString::to_string).collect();
        let _into_a_string = writeln!(
            text,
            "{}  {up} of {} hosts up  {}{}",
            link.link,
            link.hosts.len(),
            networks.join(", "),
            if link.problems.is_empty() {
                ""
            } else {
                "  (not whole: adit link status)"
            }
        );
    }
    output::bytes(text.as_bytes())
}

/// Prints each link and its hosts.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let links = ask(&arguments.socket, arguments.link)?;
    if arguments.json {
        return output::line(&serde_json::to_string_pretty(&links).context("cannot write JSON")?);
    }
    if links.is_empty() {
        return output::line("no links: adit link create NAME makes one, adit link join TOKEN joins one");
    }
    let text: Vec<String> = links.iter().map(describe).collect();
    output::bytes(text.join("\n").as_bytes())
}

fn describe(link: &LinkStatus) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let docker = match &link.docker_network {
        Some(network) if link.internal => format!("Docker network {network}, internal"),
        Some(network) => format!("Docker network {network}"),
        None => "plain".to_owned(),
    };
    line(&format!(
        "{}: {} on the {} plane, UDP port {}, {docker}",
        link.link, link.interface, link.plane, link.port
    ));
    for problem in &link.problems {
        line(&format!("  ! {problem}"));
    }
    if link.tokens > 0 {
        line(&format!("  tokens that may still be used: {}", link.tokens));
    }
    for host in &link.hosts {
        line(&format!("  {}", describe_host(host)));
        for container in &host.containers {
            let addresses: Vec<_> = container.addresses.iter().map(ToString::to_string).collect();
            let name = container.names.first().map_or("", String::as_str);
            line(&format!("      {name}  {}", addresses.join(", ")));
        }
    }
    text
}

fn describe_host(host: &HostStatus) -> String {
    let networks: Vec<_> = host.networks.iter().map(ToString::to_string).collect();
    let networks = networks.join(", ");
    if host.here {
        return format!("{} (this host)  {networks}", host.host);
    }
    let place = host
        .endpoint
        .map_or_else(|| "nowhere yet".to_owned(), |place| place.to_string());
    let handshake = match host.handshake {
        Some(age) => format!("handshake {age} s ago"),
        None => "no handshake yet".to_owned(),
    };
    format!(
        "{} {}  {networks}  {} {place}, {handshake}, {} received, {} sent",
        host.host,
        if host.up { "up" } else { "away" },
        if host.up { "at" } else { "looked for at" },
        amount::bytes(host.received),
        amount::bytes(host.sent)
    )
}
