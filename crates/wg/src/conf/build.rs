//! Configurations and sections from scratch.

use std::collections::BTreeSet;

use super::{
    Conf, EditError, Interface, Peer, SectionKind,
    edit::check,
    line::{Content, Line},
    section::{self, Section},
};

impl Conf {
    /// Writes a configuration from scratch.
    ///
    /// # Errors
    ///
    /// [`EditError`] if two peers have one key, or a name or command cannot be written.
    pub fn build<'a>(
        file: &str,
        interface: &Interface,
        peers: impl IntoIterator<Item = &'a Peer>,
    ) -> Result<Self, EditError> {
        let mut conf = Self {
            file: file.to_owned(),
            preamble: Vec::new(),
            sections: vec![empty_interface("\n")],
        };
        for setting in interface.settings() {
            conf.add_interface(setting)?;
        }
        let mut keys = BTreeSet::new();
        for peer in peers {
            if !keys.insert(peer.public_key) {
                return Err(EditError::PeerExists(peer.public_key));
            }
            conf.push_peer(peer)?;
        }
        Ok(conf)
    }

    /// Adds a section at the end, whether or not there is one for the peer.
    pub(super) fn push_peer(&mut self, peer: &Peer) -> Result<(), EditError> {
        let settings = peer.settings();
        for setting in &settings {
            check(setting, SectionKind::Peer)?;
        }
        if peer.name.as_deref().is_some_and(|name| !section::is_name(name)) {
            return Err(EditError::Name);
        }
        let eol = self.eol();
        let mut lead = Vec::new();
        if let Some(last) = self.last_line() {
            last.terminate(eol);
            if !matches!(last.content, Content::Blank) {
                lead.push(Line::from_text(eol, Content::Blank));
            }
        }
        let head = Line::from_text(&format!("[Peer]{eol}"), Content::Head(SectionKind::Peer));
        let mut section = Section::new(SectionKind::Peer, lead, head);
        if let Some(name) = &peer.name {
            section.push(Line::from_text(&format!("# {name}{eol}"), Content::Comment));
        }
        for setting in settings {
            section.push(Line::from_setting("", setting, eol));
        }
        self.sections.push(section);
        Ok(())
    }
}

/// An `[Interface]` without a line.
pub(super) fn empty_interface(eol: &str) -> Section {
    let head = Line::from_text(&format!("[Interface]{eol}"), Content::Head(SectionKind::Interface));
    Section::new(SectionKind::Interface, Vec::new(), head)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Dns, Endpoint, Table,
            tests::{ALICE, BOB, PRIVATE, key},
        },
        *,
    };
    use crate::{PresharedKey, PrivateKey};

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn a_configuration_from_scratch_is_laid_out_as_people_write_it() {
        let interface = Interface {
            private_key: Some(PrivateKey::from_base64(PRIVATE).unwrap()),
            listen_port: Some(51820),
            addresses: vec!["10.13.13.1/24".parse().unwrap(), "fd0d::1/64".parse().unwrap()],
            dns: vec![
                Dns::Server("10.13.13.1".parse().unwrap()),
                Dns::Search("lan".to_owned()),
            ],
            mtu: Some(1420),
            fwmark: Some(0xca6c),
            table: Table::Off,
            post_up: vec!["true %i".to_owned()],
            save_config: true,
            ..Interface::default()
        };
        let peers = [
            Peer {
                name: Some("laptop".to_owned()),
                preshared_key: Some(PresharedKey::from_base64(PRIVATE).unwrap()),
                allowed_ips: vec!["10.13.13.2/32".parse().unwrap(), "fd0d::2/128".parse().unwrap()],
                endpoint: Some(endpoint("vpn.example.com:51820")),
                persistent_keepalive: Some(25),
                ..Peer::new(key(ALICE))
            },
            Peer::new(key(BOB)),
        ];
        let built = Conf::build("peer.conf", &interface, &peers).unwrap();
        assert_eq!(
            *built.render(),
            format!(
                "[Interface]\nAddress = 10.13.13.1/24, fd0d::1/64\nPrivateKey = {PRIVATE}\nListenPort = 51820\n\
                 DNS = 10.13.13.1, lan\nMTU = 1420\nFwMark = 0xca6c\nTable = off\nPostUp = true %i\nSaveConfig = true\n\
                 \n[Peer]\n# laptop\nPublicKey = {ALICE}\nPresharedKey = {PRIVATE}\n\
                 AllowedIPs = 10.13.13.2/32, fd0d::2/128\nEndpoint = vpn.example.com:51820\nPersistentKeepalive = 25\n\
                 \n[Peer]\nPublicKey = {BOB}\n"
            )
        );
        assert_eq!(built.interface(), interface);
        assert_eq!(built.peers().collect::<Vec<_>>(), peers);
        let twice = [Peer::new(key(BOB)), Peer::new(key(BOB))];
        let error = Conf::build("", &interface, &twice).unwrap_err();
        assert_eq!(error, EditError::PeerExists(key(BOB)));
    }
}
