//! What a client is given: the configuration that it imports.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use wg::{PresharedKey, PrivateKey, PublicKey, access::Access};
use zeroize::Zeroizing;

use crate::{
    form::{Form, in_order},
    key::{self, RandomError},
    reach::Host,
    server::Peer,
};

/// One client: its keys and its addresses in the tunnel.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its public key.
    pub public_key: PublicKey,
    /// Its private key, born here because the person asked for a ready configuration; `None` if it was born at the
    /// client, where it stays.
    pub private_key: Option<PrivateKey>,
    /// Its preshared key; `None` in installations from before there was one.
    pub preshared_key: Option<PresharedKey>,
    /// Its addresses, one of each family that the gateway has.
    pub addresses: Vec<IpAddr>,
}

/// What all clients of a gateway are told alike.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The gateway's public key.
    pub server_key: PublicKey,
    /// Where the gateway is reached.
    pub endpoint: (Host, u16),
    /// DNS servers and search domains; none leaves the client's own.
    pub dns: Vec<Host>,
    /// What the client sends through the tunnel.
    pub allowed_ips: Vec<IpNet>,
    /// Largest inner packet in bytes; `None` leaves it to the client.
    pub mtu: Option<u16>,
    /// The client's own UDP port; `None` leaves it to the client.
    pub listen_port: Option<u16>,
    /// The templates by which configurations are written; without them they have what is here and nothing else.
    pub form: Option<Arc<Form>>,
}

/// Stands where the private key would, if only the client has it; its public key follows.
pub const KEY_OF_CLIENT: &str = "# The line `PrivateKey = …` is for the client to add: the key that belongs to ";

impl Client {
    /// A client with fresh keys.
    ///
    /// # Errors
    ///
    /// [`RandomError`].
    pub fn new(addresses: Vec<IpAddr>) -> Result<Self, RandomError> {
        Ok(Self::with_key(key::private()?, Some(key::preshared()?), addresses))
    }

    /// The client that has this private key.
    pub fn with_key(private_key: PrivateKey, preshared_key: Option<PresharedKey>, addresses: Vec<IpAddr>) -> Self {
        Self {
            public_key: private_key.public_key(),
            private_key: Some(private_key),
            preshared_key,
            addresses,
        }
    }

    /// The client as the gateway knows it: without its private key.
    pub fn peer(&self) -> Peer {
        Peer {
            public_key: self.public_key,
            preshared_key: self.preshared_key.clone(),
            addresses: self.addresses.clone(),
            networks: Vec::new(),
            keepalive: None,
            access: Access::OPEN,
        }
    }

    /// The configuration in wg-quick's form, its lines in linuxserver's order.
    pub fn conf(&self, terms: &Terms) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(1024));
        let mut line = |line: &[&str]| line.iter().chain(&["\n"]).for_each(|part| text.push_str(part));
        line(&["[Interface]"]);
        line(&["Address = ", &list(in_order(&self.addresses))]);
        match &self.private_key {
            Some(key) => line(&["PrivateKey = ", &key.danger_base64()]),
            None => line(&[KEY_OF_CLIENT, &self.public_key.to_string()]),
        }
        if let Some(port) = terms.listen_port {
            line(&["ListenPort = ", &port.to_string()]);
        }
        if !terms.dns.is_empty() {
            line(&["DNS = ", &list(terms.dns.iter().map(without_brackets))]);
        }
        if let Some(mtu) = terms.mtu {
            line(&["MTU = ", &mtu.to_string()]);
        }
        line(&[""]);
        line(&["[Peer]"]);
        line(&["PublicKey = ", &terms.server_key.to_string()]);
        if let Some(key) = &self.preshared_key {
            line(&["PresharedKey = ", &key.danger_base64()]);
        }
        line(&[
            "Endpoint = ",
            &terms.endpoint.0.to_string(),
            ":",
            &terms.endpoint.1.to_string(),
        ]);
        line(&["AllowedIPs = ", &list(&terms.allowed_ips)]);
        text
    }
}

fn without_brackets(host: &Host) -> String {
    match host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
