//! Changes to a configuration, each to its own lines only.

use super::{
    Conf, Endpoint, Key, Peer, SectionKind, Setting,
    build::empty_interface,
    line::{Content, Line},
    section::Section,
};
use crate::PublicKey;

/// A change that a configuration cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// No section has this key.
    #[error("there is no peer {0}")]
    NoPeer(PublicKey),
    /// Another section has this key.
    #[error("there is a peer {0} already")]
    PeerExists(PublicKey),
    /// A setting for the other kind of section.
    #[error("{key} belongs to [{}], not to [{section}]", key.section())]
    WrongSection {
        /// The setting's key.
        key: Key,
        /// Where it was to be put.
        section: SectionKind,
    },
    /// A command that would not read back as it is.
    #[error("the command for {0} must be one line without `#`, and have no blanks around it")]
    Command(Key),
    /// A search domain or an interface's name that would not read back as it is.
    #[error("the value for {0} would not read back as it is")]
    Value(Key),
    /// A name that would not read back as it is.
    #[error("a peer's name must be one line of words, and not look like a setting")]
    Name,
}

impl Conf {
    /// Makes `setting` what `[Interface]` says about its key, in place of what it said.
    ///
    /// # Errors
    ///
    /// [`EditError::WrongSection`], or [`EditError::Command`] or [`EditError::Value`] if it would not read back.
    pub fn set_interface(&mut self, setting: Setting) -> Result<(), EditError> {
        check(&setting, SectionKind::Interface)?;
        let eol = self.eol();
        let key = setting.key();
        let with_key = self.sections.iter().rposition(|section| section.has(key));
        let index = with_key.unwrap_or_else(|| self.interface_index());
        for section in &mut self.sections[..index] {
            section.unset(key);
        }
        self.sections[index].set(setting, eol);
        Ok(())
    }

    /// Adds a line to `[Interface]` and leaves those that are there: another `Address`, another `PostUp`.
    ///
    /// # Errors
    ///
    /// As for [`Conf::set_interface`].
    pub fn add_interface(&mut self, setting: Setting) -> Result<(), EditError> {
        check(&setting, SectionKind::Interface)?;
        let eol = self.eol();
        let index = self.interface_index();
        self.sections[index].add(setting, eol);
        Ok(())
    }

    /// Removes the lines of `[Interface]` that set `key`, and says whether there was one.
    pub fn unset_interface(&mut self, key: Key) -> bool {
        let mut found = false;
        for section in self
            .sections
            .iter_mut()
            .filter(|section| section.kind == SectionKind::Interface)
        {
            found |= section.unset(key);
        }
        found
    }

    /// Makes `setting` what the peer's section says about its key, in place of what it said.
    ///
    /// # Errors
    ///
    /// [`EditError::NoPeer`] or [`EditError::WrongSection`]; [`EditError::PeerExists`] if the setting is the key of
    /// another peer.
    pub fn set_peer(&mut self, peer: &PublicKey, setting: Setting) -> Result<(), EditError> {
        check(&setting, SectionKind::Peer)?;
        if let Setting::PublicKey(key) = &setting
            && key != peer
            && self.peer_index(key).is_some()
        {
            return Err(EditError::PeerExists(*key));
        }
        let eol = self.eol();
        let index = self.peer_index(peer).ok_or(EditError::NoPeer(*peer))?;
        self.sections[index].set(setting, eol);
        Ok(())
    }

    /// Writes where a peer is.
    ///
    /// # Errors
    ///
    /// [`EditError::NoPeer`].
    pub fn set_endpoint(&mut self, peer: &PublicKey, endpoint: Endpoint) -> Result<(), EditError> {
        self.set_peer(peer, Setting::Endpoint(endpoint))
    }

    /// Removes the lines of the peer that set `key`, and says whether there was one. Its public key stays:
    /// [`Conf::remove_peer`] removes that.
    pub fn unset_peer(&mut self, peer: &PublicKey, key: Key) -> bool {
        if key == Key::PublicKey {
            return false;
        }
        let mut found = false;
        for section in self
            .sections
            .iter_mut()
            .filter(|section| section.public_key == Some(*peer))
        {
            found |= section.unset(key);
        }
        found
    }

    /// Adds a section for a peer at the end, its name as a comment below `[Peer]`.
    ///
    /// # Errors
    ///
    /// [`EditError::PeerExists`], or [`EditError::Name`] or [`EditError::Value`] if it would not read back.
    pub fn add_peer(&mut self, peer: &Peer) -> Result<(), EditError> {
        if self.peer_index(&peer.public_key).is_some() {
            return Err(EditError::PeerExists(peer.public_key));
        }
        self.push_peer(peer)
    }

    /// Removes a peer's section, and says whether there was one.
    ///
    /// Comments without a gap to `[Peer]` or to its last line go with it, and the blank lines above; what stands
    /// apart stays.
    pub fn remove_peer(&mut self, peer: &PublicKey) -> bool {
        let before = self.sections.len();
        self.retain_sections(|section| section.public_key != Some(*peer));
        self.sections.len() != before
    }

    /// Keeps the sections that `keep` is true for, and what stands apart below those that go.
    pub(super) fn retain_sections(&mut self, mut keep: impl FnMut(&Section) -> bool) {
        let eol = self.eol();
        // The blank line above those that went.
        let mut gap = None;
        for mut section in std::mem::take(&mut self.sections) {
            if keep(&section) {
                let gap = gap.take().filter(|_| !starts_blank(&section.lead));
                if let Some(last) = self.last_line() {
                    last.terminate(eol);
                    // A comment that stood apart must not become the next section's name.
                    if let (Content::Comment, Some(gap)) = (&last.content, gap) {
                        section.lead.insert(0, gap);
                    }
                }
                self.sections.push(section);
            } else {
                if starts_blank(&section.lead) {
                    gap.get_or_insert(section.lead.remove(0));
                }
                let rest = section.remainder();
                if let (Some(last), false) = (self.last_line(), rest.is_empty()) {
                    last.terminate(eol);
                }
                self.tail().extend(rest);
            }
        }
    }

    /// How lines of this configuration end.
    pub(super) fn eol(&self) -> &'static str {
        match self.lines().next() {
            Some(line) if line.text.ends_with("\r\n") => "\r\n",
            _ => "\n",
        }
    }

    fn peer_index(&self, key: &PublicKey) -> Option<usize> {
        self.sections
            .iter()
            .rposition(|section| section.public_key == Some(*key))
    }

    /// The first `[Interface]`, which is made if there is none.
    fn interface_index(&mut self) -> usize {
        let is_interface = |section: &Section| section.kind == SectionKind::Interface;
        self.sections.iter().position(is_interface).unwrap_or_else(|| {
            let eol = self.eol();
            if let Some(last) = self.preamble.last_mut() {
                last.terminate(eol);
            }
            if let Some(first) = self.sections.first_mut()
                && !starts_blank(&first.lead)
            {
                first.lead.insert(0, Line::from_text(eol, Content::Blank));
            }
            self.sections.insert(0, empty_interface(eol));
            0
        })
    }

    pub(super) fn last_line(&mut self) -> Option<&mut Line> {
        match self.sections.last_mut() {
            Some(section) => Some(section.body.last_mut().unwrap_or(&mut section.head)),
            None => self.preamble.last_mut(),
        }
    }
}

/// Whether the first line says nothing.
fn starts_blank(lines: &[Line]) -> bool {
    matches!(lines.first(), Some(line) if matches!(line.content, Content::Blank))
}

/// Whether `setting` can be written into such a section and reads back as it is.
pub(super) fn check(setting: &Setting, section: SectionKind) -> Result<(), EditError> {
    let key = setting.key();
    if key.section() != section {
        return Err(EditError::WrongSection { key, section });
    }
    let value = setting.danger_value();
    let one_line = !value.contains(['\n', '#']) && value.trim_matches(super::text::is_blank) == *value;
    if one_line && key.read(&value).as_ref() == Ok(setting) {
        return Ok(());
    }
    Err(
        match matches!(key, Key::PreUp | Key::PostUp | Key::PreDown | Key::PostDown) {
            true => EditError::Command(key),
            false => EditError::Value(key),
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            Dns,
            tests::{ALICE, BOB, conf, everything, key},
        },
        *,
    };
    use crate::AllowedIpChange;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    fn replaced(text: &str, from: &str, to: &str) -> String {
        assert_eq!(text.matches(from).count(), 1, "{from:?}");
        text.replace(from, to)
    }

    #[test]
    fn an_edit_touches_its_own_lines_only() {
        let text = everything();
        let alice = key(ALICE);
        type Edit = fn(&mut Conf, PublicKey) -> Result<(), EditError>;
        let cases: [(Edit, String); 7] = [
            (
                |conf, peer| conf.set_endpoint(&peer, endpoint("192.0.2.1:9")),
                replaced(&text, "[fe80::1%eth0]:51820", "192.0.2.1:9"),
            ),
            (
                |conf, peer| conf.set_peer(&peer, Setting::PersistentKeepalive(25)),
                text.clone(),
            ),
            (
                |conf, peer| {
                    let networks = vec![AllowedIpChange::Add("::/0".parse().unwrap())];
                    conf.set_peer(&peer, Setting::AllowedIps(networks))
                },
                replaced(
                    &replaced(&text, "Allowed IPs = 10.0.0.2 , fd00::2/64\n", ""),
                    "AllowedIPs = 192.168.7.9/24, -10.0.0.2\nAllowedIPs =\n",
                    "AllowedIPs = ::/0\n",
                ),
            ),
            (
                |conf, _| conf.set_endpoint(&key(BOB), endpoint("a.example:1")),
                format!("{text}\r\nEndpoint = a.example:1\r\n"),
            ),
            (
                |conf, _| conf.set_interface(Setting::Address(vec!["10.0.0.9/24".parse().unwrap()])),
                replaced(
                    &replaced(&text, "Address = 10.0.0.1/24, fd00::1/64   # two\n", ""),
                    "ADDRESS=10.0.1.1",
                    "ADDRESS=10.0.0.9/24",
                ),
            ),
            (
                |conf, _| conf.add_interface(Setting::PostUp("third".to_owned())),
                replaced(&text, "SaveConfig = True\n", "SaveConfig = True\nPostUp = third\r\n"),
            ),
            (
                |conf, peer| {
                    assert!(conf.unset_peer(&peer, Key::PresharedKey));
                    assert!(!conf.unset_peer(&peer, Key::PublicKey));
                    assert!(!conf.unset_interface(Key::Endpoint));
                    Ok(())
                },
                replaced(&text, &format!("PreSharedKEY = {BOB}\n"), ""),
            ),
        ];
        for (edit, expected) in cases {
            let mut conf = conf(&text);
            edit(&mut conf, alice).unwrap();
            assert_eq!(*conf.render(), expected);
        }
    }

    #[test]
    fn a_peer_goes_with_its_own_comments_and_leaves_the_others() {
        let peer = |key: &str, comment: &str| format!("[Peer]\nPublicKey = {key}\n{comment}");
        let (alice, bob) = (peer(ALICE, "# own\n"), peer(BOB, ""));
        for (text, expected) in [
            (format!("[Interface]\n\n# a\n{alice}"), "[Interface]\n".to_owned()),
            (
                format!("[Interface]\n\n# a\n{alice}\n# b\n{bob}"),
                format!("[Interface]\n\n# b\n{bob}"),
            ),
            (
                format!("[Interface]\n{alice}# b\n{bob}"),
                format!("[Interface]\n# own\n# b\n{bob}"),
            ),
            (
                format!("# us\n\n# a\n{alice}\n# --- phones ---\n\n{bob}"),
                format!("# us\n\n# --- phones ---\n\n{bob}"),
            ),
            (
                format!("{bob}\n# apart\n\n{alice}\n\n# end"),
                format!("{bob}\n# apart\n\n\n# end"),
            ),
            (format!("# us\n\n{alice}{bob}"), format!("# us\n\n# own\n{bob}")),
            (format!("{alice}\n{bob}\n{alice}"), format!("\n{bob}")),
        ] {
            let mut conf = conf(&text);
            assert!(conf.remove_peer(&key(ALICE)));
            assert!(!conf.remove_peer(&key(ALICE)));
            assert_eq!(*conf.render(), expected, "{text}");
        }
    }

    #[test]
    fn a_peer_that_is_added_and_removed_leaves_no_trace() {
        for text in [
            "",
            "[Interface]\n",
            "[Interface]\nMTU = 1400\n\n# end\n",
            "[Interface]\r\n\r\n",
        ] {
            let mut conf = conf(text);
            let peer = Peer {
                name: Some("my phone".to_owned()),
                ..Peer::new(key(ALICE))
            };
            conf.add_peer(&peer).unwrap();
            assert_eq!(conf.add_peer(&peer), Err(EditError::PeerExists(key(ALICE))));
            assert_eq!(conf.peer(&key(ALICE)), Some(peer));
            assert!(conf.remove_peer(&key(ALICE)));
            assert_eq!(*conf.render(), text);
        }
    }

    #[test]
    fn what_would_not_read_back_is_refused() {
        let mut conf = conf(&everything());
        for (setting, error) in [
            (
                Setting::PostUp("a\nPrivateKey = x".to_owned()),
                EditError::Command(Key::PostUp),
            ),
            (Setting::PreUp("a # b".to_owned()), EditError::Command(Key::PreUp)),
            (Setting::PreDown(" a".to_owned()), EditError::Command(Key::PreDown)),
            (Setting::Mtu(1), EditError::Value(Key::Mtu)),
            (
                Setting::Dns(vec![Dns::Search("a b".to_owned())]),
                EditError::Value(Key::Dns),
            ),
            (
                Setting::Endpoint(endpoint("a:1")),
                EditError::WrongSection {
                    key: Key::Endpoint,
                    section: SectionKind::Interface,
                },
            ),
        ] {
            assert_eq!(conf.set_interface(setting.clone()), Err(error.clone()));
            assert_eq!(conf.add_interface(setting), Err(error));
        }
        let bob = Setting::PublicKey(key(BOB));
        assert_eq!(conf.set_peer(&key(ALICE), bob), Err(EditError::PeerExists(key(BOB))));
        let nobody = PublicKey::from_bytes([1; 32]);
        assert_eq!(
            conf.set_endpoint(&nobody, endpoint("a:1")),
            Err(EditError::NoPeer(nobody))
        );
        for name in ["", "a\nb", " a", "#a", "Endpoint = a:1"] {
            let peer = Peer {
                name: Some(name.to_owned()),
                ..Peer::new(nobody)
            };
            assert_eq!(conf.add_peer(&peer), Err(EditError::Name), "{name:?}");
        }
        assert_eq!(*conf.render(), everything());
    }

    #[test]
    fn an_interface_is_made_where_there_is_none() {
        let text = format!("# us\n[Peer]\nPublicKey = {BOB}");
        let mut conf = conf(&text);
        conf.set_interface(Setting::ListenPort(1)).unwrap();
        assert_eq!(
            *conf.render(),
            format!("[Interface]\nListenPort = 1\n\n# us\n[Peer]\nPublicKey = {BOB}")
        );
    }

    /// Random edits, by number.
    fn edit(conf: &mut Conf, number: u8, port: u16) {
        let peer = key(if number.is_multiple_of(2) { ALICE } else { BOB });
        match number / 2 % 8 {
            0 => drop(conf.remove_peer(&peer)),
            1 => drop(conf.add_peer(&Peer::new(peer))),
            2 => drop(conf.set_endpoint(&peer, endpoint(&format!("192.0.2.1:{port}")))),
            3 => drop(conf.unset_peer(&peer, Key::Endpoint)),
            4 => drop(conf.set_interface(Setting::ListenPort(port))),
            5 => drop(conf.add_interface(Setting::PostUp(format!("echo {port}")))),
            6 => drop(conf.unset_interface(Key::ListenPort)),
            _ => drop(conf.set_peer(&peer, Setting::PersistentKeepalive(port))),
        }
    }

    proptest! {
        #[test]
        fn an_edited_configuration_reads_back_as_it_is(
            lines in proptest::collection::vec(0..7_usize, 0..12),
            end in any::<bool>(),
            edits in proptest::collection::vec((any::<u8>(), 1..9_u16), 1..8),
        ) {
            let (alice, bob) = (format!("[Peer]\nPublicKey = {ALICE}"), format!("[Peer]\nPublicKey = {BOB}"));
            let pieces = ["", "# x", "# y", "[Interface]", "[Interface]\n MTU = 1400 # z", &alice, &bob];
            let mut text = lines.iter().map(|line| pieces[*line]).collect::<Vec<_>>().join("\n");
            if end {
                text.push('\n');
            }
            let mut conf = conf(&text);
            for (number, port) in edits {
                edit(&mut conf, number, port);
                let again = super::super::tests::conf(&conf.render());
                prop_assert_eq!(again.render(), conf.render());
                prop_assert_eq!(again.interface(), conf.interface());
                prop_assert_eq!(again.peers().collect::<Vec<_>>(), conf.peers().collect::<Vec<_>>());
            }
        }
    }
}
