//! What the fields of the launch form hold.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use launch::{
    Lease,
    order::{DEFAULT_LIFETIME, Profile, everything},
    place::Description,
    policy::Policy,
};

use super::words;

/// The lifetimes that are offered, in seconds.
pub(super) const LIFETIMES: [u64; 6] = [15 * 60, 30 * 60, 3_600, 2 * 3_600, 4 * 3_600, 8 * 3_600];

/// Most devices that the form takes.
const MAX_DEVICES: usize = 50;

/// Where keys are made, as the form asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChoice {
    /// In the page, by its script. Without the script it cannot be chosen.
    Browser,
    /// Elsewhere: the public key is pasted.
    Pasted,
    /// On the gateway.
    Gateway,
}

/// Clients' resolvers, as the form asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DnsChoice {
    /// The gateway resolves.
    Gateway,
    /// Devices keep theirs.
    Own,
    /// The servers of the field beside it.
    Custom,
}

/// A row of the list of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// Its name.
    pub name: String,
    /// Its public key, if it was pasted.
    pub public_key: String,
}

/// What the fields hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// A place's name.
    pub place: String,
    /// A region, or nothing for the place's default.
    pub region: String,
    /// A size, or nothing for the place's default.
    pub size: String,
    /// `None`: the field beside the choices counts.
    pub lifetime_secs: Option<u64>,
    /// A lifetime in words, such as `45 min`.
    pub lifetime_other: String,
    /// Who may connect.
    pub devices: Vec<Device>,
    /// Where keys are made; `None` until somebody has chosen, which the page's script does where the browser makes keys.
    pub keys: Option<KeyChoice>,
    /// Clients' resolvers.
    pub dns: DnsChoice,
    /// Resolvers and search domains, separated by blanks or commas.
    pub dns_custom: String,
    /// Whether only the networks of the field beside it go through the tunnel.
    pub is_split: bool,
    /// Networks, separated by blanks or commas.
    pub networks: String,
    /// Bytes, or nothing.
    pub mtu: String,
    /// A UDP port, or nothing.
    pub port: String,
    /// Minutes, or nothing.
    pub idle_end: String,
    /// An OpenSSH public key, or nothing.
    pub ssh_key: String,
}

impl Form {
    /// The form as a person finds it. With scripts one click launches; without, only the keys are left to choose.
    pub(super) fn new(places: &[Description], policy: &Policy) -> Self {
        Self {
            place: places.first().map(|place| place.name.clone()).unwrap_or_default(),
            region: String::new(),
            size: String::new(),
            lifetime_secs: Some(DEFAULT_LIFETIME.as_secs().min(policy.max_lifetime.as_secs())),
            lifetime_other: String::new(),
            devices: vec![Device {
                name: "phone".to_owned(),
                public_key: String::new(),
            }],
            keys: None,
            dns: DnsChoice::Gateway,
            dns_custom: String::new(),
            is_split: false,
            networks: String::new(),
            mtu: String::new(),
            port: String::new(),
            idle_end: String::new(),
            ssh_key: String::new(),
        }
    }

    /// The form with what a profile says in place of the defaults.
    #[must_use]
    pub(super) fn with_profile(self, profile: &Profile) -> Self {
        let form = self.with_options(
            profile.lifetime_secs,
            profile.idle_end_secs,
            profile.dns.as_deref(),
            profile.allowed_ips.as_deref(),
            [profile.port, profile.mtu],
        );
        Self {
            place: profile.place.clone().unwrap_or(form.place),
            region: profile.region.clone().unwrap_or_default(),
            size: profile.size.clone().unwrap_or_default(),
            ssh_key: profile.ssh_key.clone().unwrap_or_default(),
            ..form
        }
    }

    /// The form as this lease was asked for.
    #[must_use]
    pub(super) fn with_lease(self, lease: &Lease) -> Self {
        let order = &lease.order;
        let form = self.with_options(
            Some(order.lifetime_secs),
            order.idle_end_secs,
            order.dns.as_deref(),
            Some(&order.allowed_ips),
            [order.port, order.mtu],
        );
        let devices = lease.peers.iter().map(|peer| Device {
            name: peer.name.clone(),
            public_key: String::new(),
        });
        Self {
            place: order.place.clone(),
            region: order.region.clone().unwrap_or_default(),
            size: order.size.clone().unwrap_or_default(),
            ssh_key: order.ssh_key.clone().unwrap_or_default(),
            keys: lease.makes_keys().then_some(KeyChoice::Gateway),
            devices: devices.collect(),
            ..form
        }
    }

    fn with_options(
        self,
        lifetime_secs: Option<u64>,
        idle_end_secs: Option<u64>,
        dns: Option<&[String]>,
        allowed_ips: Option<&[IpNet]>,
        [port, mtu]: [Option<u16>; 2],
    ) -> Self {
        let lifetime = lifetime_secs.or(self.lifetime_secs);
        let is_offered = lifetime.is_some_and(|secs| LIFETIMES.contains(&secs));
        let split = allowed_ips.filter(|networks| *networks != everything().as_slice());
        let number = |number: Option<u16>| number.map(|number| number.to_string()).unwrap_or_default();
        Self {
            lifetime_secs: lifetime.filter(|_| is_offered),
            lifetime_other: match lifetime {
                Some(secs) if !is_offered => words::duration(Duration::from_secs(secs)),
                Some(_) | None => String::new(),
            },
            idle_end: idle_end_secs
                .map(|secs| secs.div_ceil(60).to_string())
                .unwrap_or_default(),
            dns: match dns {
                None => DnsChoice::Gateway,
                Some([]) => DnsChoice::Own,
                Some(_) => DnsChoice::Custom,
            },
            dns_custom: dns.unwrap_or_default().join(", "),
            is_split: split.is_some(),
            networks: split
                .unwrap_or_default()
                .iter()
                .map(IpNet::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
            port: number(port),
            mtu: number(mtu),
            ..self
        }
    }

    /// The fields as a browser sends them. What is missing keeps its default.
    pub(super) fn read(fields: &[(String, String)], places: &[Description], policy: &Policy) -> Self {
        let default = Self::new(places, policy);
        let found: BTreeMap<&str, &str> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim()))
            .collect();
        let text = |name: &str| found.get(name).map(|text| (*text).to_owned());
        let all = |wanted: &'static str| {
            fields
                .iter()
                .filter(move |(name, _)| name == wanted)
                .map(|(_, text)| text.trim())
        };
        let keys = all("public_key").chain(std::iter::repeat(""));
        let devices: Vec<Device> = all("device")
            .zip(keys)
            .take(MAX_DEVICES)
            .map(|(name, key)| Device {
                name: name.to_owned(),
                public_key: key.to_owned(),
            })
            .collect();
        Self {
            place: text("place").unwrap_or(default.place),
            region: text("region").unwrap_or_default(),
            size: text("size").unwrap_or_default(),
            lifetime_secs: match found.get("lifetime") {
                None => default.lifetime_secs,
                Some(secs) => secs.parse().ok(),
            },
            lifetime_other: text("lifetime_other").unwrap_or_default(),
            keys: match found.get("keys") {
                Some(&"browser") => Some(KeyChoice::Browser),
                Some(&"pasted") => Some(KeyChoice::Pasted),
                Some(&"gateway") => Some(KeyChoice::Gateway),
                Some(_) | None => default.keys,
            },
            devices: if devices.is_empty() { default.devices } else { devices },
            dns: match found.get("dns") {
                Some(&"own") => DnsChoice::Own,
                Some(&"custom") => DnsChoice::Custom,
                Some(_) | None => DnsChoice::Gateway,
            },
            dns_custom: text("dns_custom").unwrap_or_default(),
            is_split: found.get("traffic") == Some(&"some"),
            networks: text("networks").unwrap_or_default(),
            mtu: text("mtu").unwrap_or_default(),
            port: text("port").unwrap_or_default(),
            idle_end: text("idle_end").unwrap_or_default(),
            ssh_key: text("ssh_key").unwrap_or_default(),
        }
    }

    /// Does what a button of the list of devices asks for. `false`: it was another button.
    pub(super) fn change_devices(&mut self, button: &str) -> bool {
        if button == "add-device" {
            if self.devices.len() < MAX_DEVICES {
                let name = self.free_name();
                self.devices.push(Device {
                    name,
                    public_key: String::new(),
                });
            }
            return true;
        }
        let Some(index) = button.strip_prefix("remove-device-") else {
            return false;
        };
        if let Ok(index) = index.parse::<usize>()
            && index < self.devices.len()
            && self.devices.len() > 1
        {
            self.devices.remove(index);
        }
        true
    }

    fn free_name(&self) -> String {
        const NAMES: [&str; 5] = ["phone", "laptop", "tablet", "desktop", "tv"];
        let is_free = |name: &str| !self.devices.iter().any(|device| device.name.eq_ignore_ascii_case(name));
        let numbered = (2..).map(|number| format!("device-{number}"));
        let mut names = NAMES.iter().map(|name| (*name).to_owned()).chain(numbered);
        names.find(|name| is_free(name)).unwrap_or_default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pages) fn form(fields: &[(&str, &str)]) -> Form {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Form::read(&fields, &places(), &Policy::default())
    }

    pub(in crate::pages) fn places() -> Vec<Description> {
        vec![Description {
            name: "local".to_owned(),
            takes_public_keys: true,
            ..Description::default()
        }]
    }

    #[test]
    fn devices_come_and_go_but_one_stays() {
        let mut form = form(&[]);
        for _ in 0..6 {
            assert!(form.change_devices("add-device"));
        }
        let names: Vec<&str> = form.devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(
            names,
            ["phone", "laptop", "tablet", "desktop", "tv", "device-2", "device-3"]
        );
        assert!(form.change_devices("remove-device-1") && form.change_devices("remove-device-99"));
        assert_eq!(form.devices.len(), 6);
        for _ in 0..9 {
            form.change_devices("remove-device-0");
        }
        assert_eq!(form.devices.len(), 1);
        assert!(!form.change_devices("launch"));
    }
}
