//! What is asked of a gateway elsewhere, made of what was typed: keys are born here.

use gateway::Name;
use hub::api::words::{LeaseRequest, PeerRequest};
use launch::order::Keys;
use wg::PrivateKey;

use super::{Arguments, config::Config, follow::KeysChoice, login::Login};
use crate::{cloud::AzureSettings, opening::Listen};

/// What is asked, and what stays here.
pub(super) struct Wanted {
    pub(super) config: Config,
    /// The peers, with their private keys if those are made here.
    pub(super) clients: Vec<(Name, Option<PrivateKey>)>,
    /// What logs in to the gateway's machine.
    pub(super) login: Option<Login>,
    pub(super) request: LeaseRequest,
}

impl Wanted {
    /// Checks the arguments, and makes keys.
    pub(super) fn new(arguments: Arguments, azure: Option<&AzureSettings>) -> anyhow::Result<Self> {
        let elsewhere = arguments.elsewhere.clone();
        let (lifetime, allowed_ips) = (arguments.lifetime, arguments.gateway.allowed_ips.clone());
        let config = Config::new(arguments, [0; 7])?;
        let keys = match elsewhere.keys {
            KeysChoice::Client => Keys::Client,
            KeysChoice::Gateway => Keys::Gateway,
        };
        let clients: Vec<(Name, Option<PrivateKey>)> = config
            .peers
            .iter()
            .map(|name| {
                let key = (keys == Keys::Client).then(gateway::key::private).transpose()?;
                Ok((name.clone(), key))
            })
            .collect::<anyhow::Result<_>>()?;
        let login = elsewhere.ssh.then(Login::new).transpose()?;
        let place = azure.map(|azure| azure.kind().as_str()).or(elsewhere.place());
        let request = LeaseRequest {
            profile: elsewhere.profile.clone(),
            place: place.map(str::to_owned),
            region: elsewhere.region.clone(),
            size: elsewhere.size.clone(),
            // What is not asked for is the hub's and its profile's choice.
            lifetime_secs: lifetime.map(|lifetime| lifetime.as_secs()),
            idle_end_secs: elsewhere.idle_end.map(|idle| idle.as_secs()),
            keys: Some(keys),
            peers: clients
                .iter()
                .map(|(name, key)| PeerRequest {
                    name: name.to_string(),
                    public_key: key.as_ref().map(PrivateKey::public_key),
                })
                .collect(),
            port: match config.opening.listen {
                Listen::Exactly(port) if port > 0 => Some(port),
                Listen::Exactly(_) | Listen::Prefer(_) => None,
            },
            dns: config.dns_texts(),
            allowed_ips: allowed_ips.map(|networks| networks.0),
            mtu: config.opening.mtu,
            ssh_key: login.as_ref().map(Login::public).transpose()?,
        };
        Ok(Self {
            config,
            clients,
            login,
            request,
        })
    }
}
