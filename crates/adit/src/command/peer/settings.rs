//! What a peer may have of its own, as typed.

use gateway::{environment, record, text::texts};
use ipnet::IpNet;
use wg::{Access, Destination};

/// What a peer has of its own.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Settings {
    /// The only destinations that the peer reaches, between commas or repeated: ADDRESS or CIDR, with :PORT or
    /// :PORT-PORT and /tcp, /udp or /icmp; `all` for every destination, `none` for none.
    #[arg(long, value_name = "DEST,…", value_parser = allow)]
    allow: Vec<Allow>,
    /// Whether the peer and other peers reach each other.
    #[arg(long, value_name = "true|false")]
    peer_to_peer: Option<bool>,
    /// Networks behind the peer, which the gateway sends to it, between commas; `none` for none.
    #[arg(long, value_name = "CIDR,…", value_parser = networks)]
    networks: Option<Networks>,
    /// Seconds between keepalives that the gateway sends, 0 to 65535; 0 is none.
    #[arg(long, value_name = "SECS")]
    keepalive: Option<u16>,
}

#[derive(Clone, Debug)]
struct Networks(Vec<IpNet>);

#[derive(Clone, Debug)]
struct Allow(Vec<Destination>);

fn networks(text: &str) -> Result<Networks, String> {
    match text {
        "none" | "" => Ok(Networks(Vec::new())),
        text => environment::networks(text).map(Networks),
    }
}

fn allow(text: &str) -> Result<Allow, String> {
    let list = |text| Destination::list(text).map(Allow).map_err(|error| error.to_string());
    match text {
        "none" | "" => Ok(Allow(Vec::new())),
        "all" => list("0.0.0.0/0, ::/0"),
        text => list(text),
    }
}

impl Settings {
    /// Whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.record() == record::Settings::default()
    }

    /// As the gateway is told.
    pub(super) fn record(&self) -> record::Settings {
        let allowed: Vec<Destination> = self.allow.iter().flat_map(|allow| allow.0.clone()).collect();
        let access = Access {
            destinations: (!self.allow.is_empty()).then_some(allowed),
            peer_to_peer: self.peer_to_peer,
        };
        record::Settings {
            networks: self.networks.as_ref().map(|networks| texts(&networks.0)),
            ..record::Settings::new(None, self.keepalive, &access)
        }
    }
}
