//! Changes to a configuration, each to its own lines only; and configurations from scratch.

use std::collections::BTreeSet;

use super::{
    Conf, Endpoint, Interface, Key, Peer, SectionKind, Setting,
    line::{Content, Line},
    section::{self, Section},
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
        for section in std::mem::take(&mut self.sections) {
            if keep(&section) {
                if let Some(last) = self.last_line() {
                    last.terminate(eol);
                }
                self.sections.push(section);
            } else {
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
                && !matches!(first.lead.first(), Some(line) if matches!(line.content, Content::Blank))
            {
                first.lead.insert(0, Line::from_text(eol, Content::Blank));
            }
            self.sections.insert(0, empty_interface(eol));
            0
        })
    }

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

    fn last_line(&mut self) -> Option<&mut Line> {
        match self.sections.last_mut() {
            Some(section) => Some(section.body.last_mut().unwrap_or(&mut section.head)),
            None => self.preamble.last_mut(),
        }
    }
}

fn empty_interface(eol: &str) -> Section {
    let head = Line::from_text(&format!("[Interface]{eol}"), Content::Head(SectionKind::Interface));
    Section::new(SectionKind::Interface, Vec::new(), head)
}

/// Whether `setting` can be written into such a section and reads back as it is.
fn check(setting: &Setting, section: SectionKind) -> Result<(), EditError> {
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
