//! The request that follows from the fields of the launch form. `assets/request.js` makes the same of them.

use ipnet::IpNet;
use launch::order::{Invalid, Keys, PeerRequest, Request};

use super::launch_form::{Device, DnsChoice, Form, KeyChoice};

impl Form {
    /// What is asked for. The launcher checks the rest.
    ///
    /// # Errors
    ///
    /// The first field whose text cannot be read.
    pub(super) fn request(&self) -> Result<Request, Invalid> {
        let keys = self.keys.ok_or_else(|| {
            let problem =
                "choose who makes them: paste the public key of each device, or let the gateway make the keys";
            invalid("keys", problem)
        })?;
        Ok(Request {
            profile: None,
            place: Some(self.place.clone()).filter(|place| !place.is_empty()),
            region: Some(self.region.clone()).filter(|region| !region.is_empty()),
            size: Some(self.size.clone()).filter(|size| !size.is_empty()),
            lifetime_secs: Some(self.lifetime()?),
            idle_end_secs: number("idle_end_secs", &self.idle_end, "a whole number of minutes")?
                .map(|minutes: u64| minutes.saturating_mul(60)),
            keys: Some(match keys {
                KeyChoice::Gateway => Keys::Gateway,
                KeyChoice::Browser | KeyChoice::Pasted => Keys::Client,
            }),
            peers: self.peers(keys)?,
            port: number("port", &self.port, "a number between 1 and 65535")?,
            dns: match self.dns {
                DnsChoice::Gateway => None,
                DnsChoice::Own => Some(Vec::new()),
                DnsChoice::Custom => Some(self.servers()?),
            },
            allowed_ips: if self.is_split { Some(self.split()?) } else { None },
            mtu: number("mtu", &self.mtu, "a number between 1280 and 9000")?,
            ssh_key: Some(self.ssh_key.clone()).filter(|key| !key.is_empty()),
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

    fn peers(&self, keys: KeyChoice) -> Result<Vec<PeerRequest>, Invalid> {
        let peer = |(index, device): (usize, &Device)| {
            let wrong = |problem: &str| {
                let problem = format!("the key of {} {problem}", device.name);
                invalid(&format!("peers[{index}].public_key"), problem)
            };
            let public_key =
                match keys {
                    KeyChoice::Gateway if device.public_key.is_empty() => None,
                    KeyChoice::Gateway => {
                        return Err(wrong(
                            "is pasted, but the gateway is to make the keys; empty the field, or choose the other way",
                        ));
                    }
                    KeyChoice::Browser | KeyChoice::Pasted => Some(device.public_key.parse().map_err(|_| {
                        wrong("is not a WireGuard public key: 44 characters, as `wg pubkey` prints them")
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
    use std::collections::BTreeMap;

    use launch::{
        Lease,
        order::{Order, Profile},
        policy::Policy,
    };

    use super::*;
    use crate::pages::launch_form::tests::{form, places};

    #[test]
    fn a_form_with_nothing_but_the_keys_chosen_launches_for_half_an_hour() {
        let request = form(&[("keys", "gateway")]).request().unwrap();
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
            ("keys", "pasted"),
            ("dns", "custom"),
            ("dns_custom", "9.9.9.9, corp.example"),
            ("traffic", "some"),
            ("networks", "10.0.0.0/8\r\n192.0.2.7 fd00::/8"),
            ("idle_end", "5"),
            ("mtu", "1280"),
            ("port", "51820"),
            ("ssh_key", " ssh-ed25519 AAAA me@host\r\n"),
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
        assert_eq!(request.ssh_key.as_deref(), Some("ssh-ed25519 AAAA me@host"));
    }

    #[test]
    fn what_cannot_be_read_names_its_field() {
        let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        let pasted = ("keys", "pasted");
        let gateway = ("keys", "gateway");
        let cases: [(&[(&str, &str)], &str); 10] = [
            (&[("device", "phone"), ("public_key", key)], "keys"),
            (
                &[gateway, ("device", "phone"), ("public_key", key)],
                "peers[0].public_key",
            ),
            (
                &[gateway, ("lifetime", "other"), ("lifetime_other", "soon")],
                "lifetime_secs",
            ),
            (
                &[pasted, ("device", "phone"), ("public_key", "x")],
                "peers[0].public_key",
            ),
            (&[("keys", "browser"), ("device", "phone")], "peers[0].public_key"),
            (&[gateway, ("dns", "custom")], "dns"),
            (&[gateway, ("traffic", "some"), ("networks", "home")], "allowed_ips"),
            (&[gateway, ("mtu", "much")], "mtu"),
            (&[gateway, ("port", "65536")], "port"),
            (&[gateway, ("idle_end", "-1")], "idle_end_secs"),
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
        let filled = Form {
            keys: Some(KeyChoice::Gateway),
            ..Form::new(&places(), &Policy::default()).with_profile(&profile)
        };
        let request = filled.request().unwrap();
        assert_eq!(
            (request.lifetime_secs, request.dns, request.allowed_ips, request.mtu),
            (profile.lifetime_secs, profile.dns, profile.allowed_ips, profile.mtu)
        );
        let order = Order::new(
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
}
