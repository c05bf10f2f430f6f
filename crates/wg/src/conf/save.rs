//! Writes the state of an interface into its configuration, as `SaveConfig` asks for.

use std::collections::BTreeSet;

use super::{Conf, EditError, Host, Interface, Key, Peer, SectionKind, Setting};
use crate::{AllowedIpChange, Device, PublicKey};

impl Conf {
    /// Makes the configuration say what `device` is; lines that say so already stay as they are.
    ///
    /// Peers that are gone are removed, new ones added. An endpoint that is given by name keeps its name. What `wg`
    /// does not know of (addresses, DNS, commands) is left alone.
    ///
    /// # Errors
    ///
    /// [`EditError`] if a value cannot be written.
    pub fn save(&mut self, device: &Device) -> Result<(), EditError> {
        self.save_interface(device)?;
        self.join_sections();
        self.retain_sections(|section| section.public_key.is_none_or(|key| device.peers.contains_key(&key)));
        let eol = self.eol();
        let mut known = BTreeSet::new();
        for section in &mut self.sections {
            let Some(key) = section.public_key else {
                continue;
            };
            known.insert(key);
            let (Some(there), Some(wanted)) = (Peer::from_section(section), device.peers.get(&key)) else {
                continue;
            };
            let wanted = conf_peer(key, wanted);
            if there.preshared_key != wanted.preshared_key {
                put(
                    section,
                    Key::PresharedKey,
                    wanted.preshared_key.map(Setting::PresharedKey),
                    eol,
                );
            }
            let same_networks = BTreeSet::from_iter(&there.allowed_ips) == BTreeSet::from_iter(&wanted.allowed_ips);
            if !same_networks {
                let changes: Vec<_> = wanted.allowed_ips.into_iter().map(AllowedIpChange::Add).collect();
                let setting = (!changes.is_empty()).then_some(Setting::AllowedIps(changes));
                put(section, Key::AllowedIps, setting, eol);
            }
            let named = matches!(&there.endpoint, Some(endpoint) if matches!(endpoint.host, Host::Name(_)));
            let moved = wanted.endpoint.is_some()
                && there.endpoint.as_ref().and_then(super::Endpoint::address)
                    != wanted.endpoint.as_ref().and_then(super::Endpoint::address);
            if moved && !named {
                put(section, Key::Endpoint, wanted.endpoint.map(Setting::Endpoint), eol);
            }
            if there.persistent_keepalive != wanted.persistent_keepalive {
                let setting = wanted.persistent_keepalive.map(Setting::PersistentKeepalive);
                put(section, Key::PersistentKeepalive, setting, eol);
            }
        }
        for (key, peer) in device.peers.iter().filter(|(key, _)| !known.contains(*key)) {
            self.push_peer(&conf_peer(*key, peer))?;
        }
        Ok(())
    }

    fn save_interface(&mut self, device: &Device) -> Result<(), EditError> {
        let there = self.interface();
        let Interface {
            private_key,
            listen_port,
            fwmark,
            ..
        } = &there;
        if *private_key != device.private_key {
            self.put_interface(Key::PrivateKey, device.private_key.clone().map(Setting::PrivateKey))?;
        }
        if *listen_port != device.listen_port {
            self.put_interface(Key::ListenPort, device.listen_port.map(Setting::ListenPort))?;
        }
        if *fwmark != device.fwmark {
            self.put_interface(Key::FwMark, device.fwmark.map(Setting::FwMark))?;
        }
        Ok(())
    }

    fn put_interface(&mut self, key: Key, setting: Option<Setting>) -> Result<(), EditError> {
        match setting {
            Some(setting) => self.set_interface(setting),
            None => {
                self.unset_interface(key);
                Ok(())
            }
        }
    }

    /// Leaves one section of each peer, the last.
    fn join_sections(&mut self) {
        let mut seen = BTreeSet::new();
        let mut keep: Vec<bool> = Vec::new();
        for section in self.sections.iter().rev() {
            let first = section.public_key.is_none_or(|key| seen.insert(key));
            keep.push(section.kind == SectionKind::Interface || first);
        }
        if keep.contains(&false) {
            self.retain_sections(|_| keep.pop().unwrap_or(true));
        }
    }
}

fn put(section: &mut super::Section, key: Key, setting: Option<Setting>, eol: &str) {
    match setting {
        Some(setting) => section.set(setting, eol),
        None => {
            section.unset(key);
        }
    }
}

fn conf_peer(key: PublicKey, peer: &crate::Peer) -> Peer {
    Peer {
        preshared_key: peer.preshared_key.clone(),
        allowed_ips: peer.allowed_ips.iter().copied().collect(),
        endpoint: peer.endpoint.map(Into::into),
        persistent_keepalive: peer.persistent_keepalive,
        ..Peer::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{ALICE, BOB, PRIVATE, conf, key},
        *,
    };
    use crate::PrivateKey;

    fn text() -> String {
        format!(
            "[Interface]\nAddress = 10.0.0.1/24 # ours\nPrivateKey = {PRIVATE}\nlistenport = 7\n\
             \n# laptop\n[Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.0.0.3, 10.0.0.2\nEndpoint = a.example:1\n\
             \n# phone\n[Peer]\nPublicKey = {BOB}\nEndpoint = 192.0.2.1:9 # old\n"
        )
    }

    fn device(conf: &Conf) -> Device {
        conf.device(|_| Ok::<_, ()>("198.51.100.1:1".parse().unwrap())).unwrap()
    }

    #[test]
    fn a_state_that_the_file_has_already_changes_nothing() {
        let mut conf = conf(&text());
        conf.save(&device(&conf)).unwrap();
        assert_eq!(*conf.render(), text());
    }

    #[test]
    fn what_has_changed_is_written_and_a_name_is_kept() {
        let mut conf = conf(&text());
        let mut device = device(&conf);
        device.listen_port = None;
        device.fwmark = Some(16);
        let alice = device.peers.get_mut(&key(ALICE)).unwrap();
        alice.endpoint = Some("203.0.113.1:3".parse().unwrap());
        alice.allowed_ips.clear();
        let mut bob = device.peers.remove(&key(BOB)).unwrap();
        bob.endpoint = Some("[2001:db8::1]:5".parse().unwrap());
        bob.persistent_keepalive = Some(25);
        device.peers.insert(key(BOB), bob.clone());
        conf.save(&device).unwrap();
        let expected = format!(
            "[Interface]\nAddress = 10.0.0.1/24 # ours\nPrivateKey = {PRIVATE}\nFwMark = 0x10\n\
             \n# laptop\n[Peer]\nPublicKey = {ALICE}\nEndpoint = a.example:1\n\
             \n# phone\n[Peer]\nPublicKey = {BOB}\nEndpoint = [2001:db8::1]:5 # old\nPersistentKeepalive = 25\n"
        );
        assert_eq!(*conf.render(), expected);
        device.peers.remove(&key(ALICE));
        device.peers.insert(PublicKey::from_bytes([0; 32]), bob);
        device.private_key = Some(PrivateKey::from_bytes([0; 32]));
        conf.save(&device).unwrap();
        let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let expected = format!(
            "[Interface]\nAddress = 10.0.0.1/24 # ours\nPrivateKey = {zero}\nFwMark = 0x10\n\
             \n# phone\n[Peer]\nPublicKey = {BOB}\nEndpoint = [2001:db8::1]:5 # old\nPersistentKeepalive = 25\n\
             \n[Peer]\nPublicKey = {zero}\nEndpoint = [2001:db8::1]:5\nPersistentKeepalive = 25\n"
        );
        assert_eq!(*conf.render(), expected);
    }

    #[test]
    fn several_sections_of_a_peer_become_one() {
        let mut conf = conf(&format!(
            "[Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.0.0.2\n\n[Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.0.0.3\n"
        ));
        let wanted = device(&conf);
        conf.save(&wanted).unwrap();
        assert_eq!(
            *conf.render(),
            format!("\n[Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.0.0.3\n")
        );
        assert_eq!(device(&conf), wanted);
    }
}
