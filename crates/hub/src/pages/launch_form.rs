//! What the fields of the launch form hold, and the request that follows from them. `assets/request.js` reads the same fields.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use launch::{
    Lease,
    order::{DEFAULT_LIFETIME, Invalid, Keys, PeerRequest, Profile, Request, everything},
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
    /// Where keys are made.
    pub keys: KeyChoice,
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
}

impl Form {
    /// The form as a person finds it: one click launches.
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
            keys: KeyChoice::Gateway,
            dns: DnsChoice::Gateway,
            dns_custom: String::new(),
            is_split: false,
            networks: String::new(),
            mtu: String::new(),
            port: String::new(),
            idle_end: String::new(),
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
                Some(&"browser") => KeyChoice::Browser,
                Some(&"pasted") => KeyChoice::Pasted,
                // Whoever pastes a key does not want another one.
                Some(_) | None if devices.iter().any(|device| !device.public_key.is_empty()) => KeyChoice::Pasted,
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

    /// What is asked for. The launcher checks the rest.
    ///
    /// # Errors
    ///
    /// The first field whose text cannot be read.
    pub(super) fn request(&self) -> Result<Request, Invalid> {
        Ok(Request {
            profile: None,
            place: Some(self.place.clone()).filter(|place| !place.is_empty()),
            region: Some(self.region.clone()).filter(|region| !region.is_empty()),
            size: Some(self.size.clone()).filter(|size| !size.is_empty()),
            lifetime_secs: Some(self.lifetime()?),
            idle_end_secs: number("idle_end_secs", &self.idle_end, "a whole number of minutes")?
                .map(|minutes: u64| minutes.saturating_mul(60)),
            keys: Some(match self.keys {
                KeyChoice::Gateway => Keys::Gateway,
                KeyChoice::Browser | KeyChoice::Pasted => Keys::Client,
            }),
            peers: self.peers()?,
            port: number("port", &self.port, "a number between 1 and 65535")?,
            dns: match self.dns {
                DnsChoice::Gateway => None,
                DnsChoice::Own => Some(Vec::new()),
                DnsChoice::Custom => Some(self.servers()?),
            },
            allowed_ips: if self.is_split { Some(self.split()?) } else { None },
            mtu: number("mtu", &self.mtu, "a number between 1280 and 9000")?,
        })
    }

    fn lifetime(&self) -> Result<u64, Invalid> {
        if let Some(secs) = self.lifetime_secs {
            return Ok(secs);
        }
        let text = &self.lifetime_other;
        let minutes = text.parse::<u64>().ok().map(|minutes| minutes.saturating_mul(60));
        let words = || humantime::parse_duration(text).ok().map(|duration| duration.as_secs());
        minutes.or_else(words).ok_or_else(|| {
            invalid(
                "lifetime_secs",
                format!("`{text}` is no time; write minutes, or `2h 30min`"),
            )
        })
    }

    fn peers(&self) -> Result<Vec<PeerRequest>, Invalid> {
        let peer = |(index, device): (usize, &Device)| {
            let public_key = match self.keys {
                KeyChoice::Gateway => None,
                KeyChoice::Browser | KeyChoice::Pasted => Some(device.public_key.parse().map_err(|_| {
                    let problem = "is not a WireGuard public key: 44 characters, as `wg pubkey` prints them";
                    invalid(&format!("peers[{index}].public_key"), problem)
                })?),
            };
            Ok(PeerRequest {
                name: device.name.clone(),
                public_key,
            })
        };
        self.devices.iter().enumerate().map(peer).collect()
    }

    fn servers(&self) -> Result<Vec<String>, Invalid> {
        let servers: Vec<String> = list(&self.dns_custom).map(str::to_owned).collect();
        if servers.is_empty() {
            return Err(invalid(
                "dns",
                "names no server; write its address, or choose another way",
            ));
        }
        Ok(servers)
    }

    fn split(&self) -> Result<Vec<IpNet>, Invalid> {
        let network = |text: &str| {
            let address = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
            text.parse().ok().or_else(address).ok_or_else(|| {
                invalid(
                    "allowed_ips",
                    format!("`{text}` is no network; write it as 192.168.1.0/24 or fd00::/64"),
                )
            })
        };
        list(&self.networks).map(network).collect()
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter == ',' || letter.is_whitespace())
        .filter(|word| !word.is_empty())
}

fn number<T: std::str::FromStr>(field: &str, text: &str, wanted: &str) -> Result<Option<T>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| invalid(field, format!("`{text}` is not {wanted}")))
}

fn invalid(field: &str, problem: impl Into<String>) -> Invalid {
    Invalid {
        field: field.to_owned(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Form::read(&fields, &places(), &Policy::default())
    }

    fn places() -> Vec<Description> {
        vec![Description {
            name: "local".to_owned(),
            takes_public_keys: true,
            ..Description::default()
        }]
    }

    #[test]
    fn an_empty_form_launches_for_half_an_hour() {
        let request = form(&[]).request().unwrap();
        assert_eq!(request.place.as_deref(), Some("local"));
        assert_eq!(request.lifetime_secs, Some(1_800));
        assert_eq!(request.keys, Some(Keys::Gateway));
        assert_eq!(
            request.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(),
            ["phone"]
        );
        assert_eq!(
            (request.dns, request.allowed_ips, request.mtu, request.port),
            (None, None, None, None)
        );
    }

    #[test]
    fn fields_become_the_request_that_they_say() {
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let request = form(&[
            ("lifetime", "other"),
            ("lifetime_other", "2h 30min"),
            ("device", "phone"),
            ("public_key", key),
            ("keys", "gateway"),
            ("dns", "custom"),
            ("dns_custom", "9.9.9.9, corp.example"),
            ("traffic", "some"),
            ("networks", "10.0.0.0/8\r\n192.0.2.7 fd00::/8"),
            ("idle_end", "5"),
            ("mtu", "1280"),
            ("port", "51820"),
        ]);
        let request = request.request().unwrap();
        assert_eq!(request.lifetime_secs, Some(9_000));
        assert_eq!(request.peers[0].public_key, Some(key.parse().unwrap()));
        assert_eq!(request.dns, Some(vec!["9.9.9.9".to_owned(), "corp.example".to_owned()]));
        let networks: Vec<String> = request.allowed_ips.unwrap().iter().map(IpNet::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]);
        assert_eq!(
            (request.idle_end_secs, request.mtu, request.port),
            (Some(300), Some(1_280), Some(51_820))
        );
    }

    #[test]
    fn what_cannot_be_read_names_its_field() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[("lifetime", "other"), ("lifetime_other", "soon")], "lifetime_secs"),
            (
                &[("keys", "pasted"), ("device", "phone"), ("public_key", "x")],
                "peers[0].public_key",
            ),
            (&[("keys", "browser"), ("device", "phone")], "peers[0].public_key"),
            (&[("dns", "custom")], "dns"),
            (&[("traffic", "some"), ("networks", "home")], "allowed_ips"),
            (&[("mtu", "much")], "mtu"),
            (&[("port", "65536")], "port"),
            (&[("idle_end", "-1")], "idle_end_secs"),
        ];
        for (fields, field) in cases {
            assert_eq!(form(fields).request().unwrap_err().field, field, "{fields:?}");
        }
    }

    #[test]
    fn a_lease_and_a_profile_fill_the_form_so_that_the_same_comes_of_it() {
        let profile = Profile {
            lifetime_secs: Some(2_700),
            dns: Some(vec!["9.9.9.9".to_owned()]),
            allowed_ips: Some(vec!["10.0.0.0/8".parse().unwrap()]),
            mtu: Some(1_300),
            ..Profile::default()
        };
        let filled = Form::new(&places(), &Policy::default()).with_profile(&profile);
        let request = filled.request().unwrap();
        assert_eq!(
            (request.lifetime_secs, request.dns, request.allowed_ips, request.mtu),
            (profile.lifetime_secs, profile.dns, profile.allowed_ips, profile.mtu)
        );
        let order = ::launch::order::Order::new(
            &filled.request().unwrap(),
            &BTreeMap::new(),
            &places(),
            &Policy::default(),
        );
        let (order, now) = (order.unwrap(), ::launch::Moment::from_millis(0));
        let peers = filled.request().unwrap().peers;
        let lease = Lease::new(::launch::LeaseId::new(now, 1), "local", order, &peers, false, now);
        let again = Form::new(&places(), &Policy::default()).with_lease(&lease);
        assert_eq!(again.request().unwrap(), filled.request().unwrap());
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
