//! The arguments and the environment of `adit serve` in one, checked.

use std::{net::SocketAddr, path::PathBuf};

use gateway::{
    environment::{Environment, LogFormat, Subnet6, Texts},
    reach::Host,
    roster::{DEFAULT_SUBNET, Wish, WithoutIpv6},
};
use ipnet::IpNet;
use launch::order::everything;

use super::Arguments;
use crate::{
    failure,
    options::{self, GatewayOptions},
};

/// Arguments and environment in one, checked.
pub(super) struct Config {
    pub(super) config_dir: PathBuf,
    pub(super) wish: Wish,
    /// Where clients connect to; `None` is to be found.
    pub(super) host: Option<Host>,
    /// The port that they connect to; `None` is the one that the gateway listens on.
    pub(super) port: Option<u16>,
    /// `None` is the one of the gateway's template.
    pub(super) listen_port: Option<u16>,
    pub(super) allowed_ips: Vec<IpNet>,
    /// `None`: the gateway itself.
    pub(super) client_dns: Option<Vec<Host>>,
    /// `None`: it is served where its port is free.
    pub(super) dns: Option<bool>,
    pub(super) log_confs: bool,
    /// Where health and metrics are served; `None` is nowhere.
    pub(super) metrics: Option<SocketAddr>,
    /// Where the API is served; `None` is nowhere.
    pub(super) api: Option<SocketAddr>,
    pub(super) log_format: LogFormat,
    pub(super) options: GatewayOptions,
    /// To whom the files belong; `None` leaves them to whom they are.
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
    /// The variables of templates.
    pub(super) texts: Texts,
}

impl Config {
    /// Whether the gateway's own address is a resolver, be it ours or another one of this host.
    pub(super) fn has_dns(&self) -> bool {
        self.dns.unwrap_or(true)
    }

    pub(super) fn new(arguments: Arguments, mut environment: Environment) -> anyhow::Result<Self> {
        let Arguments {
            config_dir,
            peers,
            gateway: mut options,
            metrics,
            api,
            log_format,
        } = arguments;
        if let Some(upstreams) = environment.dns_upstream.take_if(|_| options.dns_upstream.is_empty()) {
            options.dns_upstream = upstreams;
        }
        let access = environment.access();
        if let Some(peers) = &peers {
            let items: Vec<String> = peers.0.iter().map(|peer| peer.item().to_string()).collect();
            environment.texts.set("PEERS", items.join(","));
        }
        if options.dns.as_ref().is_some_and(|dns| dns.0.is_empty()) {
            environment.texts.set("PEERDNS", "none");
        }
        let peers = peers.map(|peers| peers.0).or(environment.peers).ok_or_else(|| {
            failure::usage("PEERS is not set: give the number of peers or their names, PEERS=3 or --peers laptop,phone")
        })?;
        let (host, port) = match &options.endpoint {
            Some(endpoint) => (Some(endpoint.host.clone()), endpoint.port),
            None => (environment.server_url, None),
        };
        let subnets = if options.subnet.is_empty() {
            let mut subnets = vec![environment.internal_subnet.unwrap_or(DEFAULT_SUBNET).into()];
            if let Some(Subnet6::Network(subnet)) = environment.internal_subnet6 {
                subnets.push(subnet.into());
            }
            subnets
        } else {
            options.subnet.clone()
        };
        options::check_subnets(&subnets, peers.len())?;
        options::check_upstreams(&options.dns_upstream)?;
        Ok(Self {
            config_dir,
            wish: Wish {
                peers,
                subnets,
                without_ipv6: match environment.internal_subnet6 {
                    Some(Subnet6::Off) => WithoutIpv6::Obey,
                    Some(Subnet6::Network(_)) | None => WithoutIpv6::Keep,
                },
                access,
                destinations: environment.peer_destinations,
                keepalive: environment.keepalive,
                networks: environment.server_allowed_ips,
            },
            host,
            port: port.or(environment.server_port),
            listen_port: options.listen,
            allowed_ips: options
                .allowed_ips
                .clone()
                .map(|networks| networks.0)
                .or(environment.allowed_ips)
                .unwrap_or_else(everything),
            client_dns: options.dns.clone().map(|dns| dns.0).or(environment.peer_dns),
            dns: environment.dns,
            log_confs: environment.log_confs.unwrap_or(true),
            metrics: metrics.or(environment.metrics),
            api,
            log_format: log_format.or(environment.log_format).unwrap_or_default(),
            options,
            user: environment.user,
            group: environment.group,
            texts: environment.texts,
        })
    }
}
