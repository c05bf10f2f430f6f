//! Configuration text of `wg` and `wg-quick`: read, changed in place, written back with nothing lost.
//!
//! A [`Conf`] keeps every line as it was read: comments, blank lines, order and spelling. [`Conf::interface`] and
//! [`Conf::peers`] say what the lines mean, [`Conf::device`] what interface they ask for.

mod build;
mod device;
mod edit;
mod endpoint;
mod error;
mod line;
mod save;
mod section;
mod setting;
mod text;
mod value;
mod view;

use std::fmt;

use zeroize::Zeroizing;

pub use self::{
    edit::EditError,
    endpoint::{Endpoint, Host},
    error::{Error, Fault, ValueError},
    setting::{Dns, Key, SectionKind, Setting, Table},
    view::{Interface, Peer},
};
use self::{
    line::{Content, Line},
    section::Section,
};
use crate::PublicKey;

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 64 << 20;

/// A configuration as it was read, line by line. `Debug` shows none of it; it is wiped from memory when dropped.
#[derive(Clone)]
pub struct Conf {
    file: String,
    /// Lines before the first section.
    preamble: Vec<Line>,
    sections: Vec<Section>,
}

impl Conf {
    /// Reads configuration text; `file` is what errors call it.
    ///
    /// Takes what `wg` and `wg-quick` take: keys and sections in any case, blanks anywhere, several lines of a kind,
    /// several sections of a kind. A text without `PrivateKey` is a configuration, as it is for `wg`.
    ///
    /// # Errors
    ///
    /// [`Error`] says the first place where something is wrong, and what would be right.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let error = |line: usize, column: usize, fault| Error {
            file: file.to_owned(),
            line,
            column,
            fault,
        };
        if text.len() > MAX_TEXT {
            return Err(error(1, 1, Fault::TooLong));
        }
        let mut conf = Self {
            file: file.to_owned(),
            preamble: Vec::new(),
            sections: Vec::new(),
        };
        // Where the last section's head is.
        let mut head = (1, 1);
        for (index, text) in text.split_inclusive('\n').enumerate() {
            let section = conf.sections.last().map(|section| section.kind);
            let line = Line::parse(text, section).map_err(|(at, fault)| error(index + 1, column(text, at), fault))?;
            if let Content::Head(kind) = line.content {
                conf.check_last(head).map_err(|(at, fault)| error(at.0, at.1, fault))?;
                head = (index + 1, column(text, text.find('[').unwrap_or(0)));
                let lead = section::split_lead(conf.tail());
                conf.sections.push(Section::new(kind, lead, line));
            } else if let Some(section) = conf.sections.last_mut() {
                section.push(line);
            } else {
                conf.preamble.push(line);
            }
        }
        conf.check_last(head).map_err(|(at, fault)| error(at.0, at.1, fault))?;
        Ok(conf)
    }

    /// The configuration's text. Of one that was not changed, it is what was read, byte for byte. Contains keys.
    pub fn render(&self) -> Zeroizing<String> {
        let len = self.lines().map(|line| line.text.len()).sum();
        let mut text = Zeroizing::new(String::with_capacity(len));
        for line in self.lines() {
            text.push_str(&line.text);
        }
        text
    }

    /// What errors call the configuration.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What all lines of `[Interface]` say together.
    pub fn interface(&self) -> Interface {
        let sections = self
            .sections
            .iter()
            .filter(|section| section.kind == SectionKind::Interface);
        Interface::from_settings(sections.flat_map(Section::settings))
    }

    /// The peers, in the order of their sections.
    pub fn peers(&self) -> impl Iterator<Item = Peer> {
        self.sections.iter().filter_map(Peer::from_section)
    }

    /// The peer with this key; of several sections the last.
    pub fn peer(&self, key: &PublicKey) -> Option<Peer> {
        let named = self
            .sections
            .iter()
            .rev()
            .find(|section| section.public_key == Some(*key));
        named.and_then(Peer::from_section)
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.preamble
            .iter()
            .chain(self.sections.iter().flat_map(Section::lines))
    }

    /// The lines after the last head.
    fn tail(&mut self) -> &mut Vec<Line> {
        match self.sections.last_mut() {
            Some(section) => &mut section.body,
            None => &mut self.preamble,
        }
    }

    /// Checks that the last section, whose head is at `head`, is complete.
    fn check_last(&self, head: (usize, usize)) -> Result<(), ((usize, usize), Fault)> {
        match self.sections.last() {
            Some(Section {
                kind: SectionKind::Peer,
                public_key: None,
                ..
            }) => Err((head, Fault::NoPublicKey)),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections = self.sections.len();
        f.debug_struct("Conf")
            .field("file", &self.file)
            .field("sections", &sections)
            .finish_non_exhaustive()
    }
}

/// The column of a byte, counted from 1 in characters.
fn column(line: &str, byte: usize) -> usize {
    line.char_indices().take_while(|(at, _)| *at < byte).count() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
    pub(super) const ALICE: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    pub(super) const BOB: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";

    /// A configuration with all there is, in every spelling that `wg` and `wg-quick` take.
    pub(super) fn everything() -> String {
        format!(
            "\u{feff}# Made by hand.\r\n\
             \n\
             [interface]  # the section\n\
             \tprivatekey={PRIVATE}\n\
             Address = 10.0.0.1/24, fd00::1/64   # two\n\
             ADDRESS=10.0.1.1\n\
             ListenPort = 51820\n\
             FwMark=0xca6c\n\
             DNS = 1.1.1.1, corp.example\n\
             dns = 2606:4700:4700::1111\n\
             Mtu = 1400\n\
             Table = 0x10\n\
             PreUp = echo pre=up %i\n\
             PostUp = iptables -A FORWARD -i %i -j ACCEPT; true # cut\n\
             PostUp = second\n\
             PreDown = a\n\
             PostDown = b\n\
             SaveConfig = True\n\
             \n\
             # laptop\n\
             [PEER]\n\
             PublicKey = {ALICE}\n\
             PreSharedKEY = {BOB}\n\
             Allowed IPs = 10.0.0.2 , fd00::2/64\n\
             AllowedIPs = 192.168.7.9/24, -10.0.0.2\n\
             AllowedIPs =\n\
             Endpoint = [fe80::1%eth0]:51820\n\
             PersistentKeepalive = 25\n\
             \n\
             [Interface]\n\
             ListenPort = 0\n\
             \n\
             [Peer]\n\
             # phone of B.\n\
             # PresharedKey = {PRIVATE}\n\
             PublicKey = {BOB}\n\
             PersistentKeepalive = OFF"
        )
    }

    pub(super) fn key(text: &str) -> PublicKey {
        text.parse().unwrap()
    }

    pub(super) fn conf(text: &str) -> Conf {
        Conf::parse("wg0.conf", text).unwrap()
    }

    fn networks(texts: &[&str]) -> Vec<crate::IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn everything_is_read() {
        let conf = conf(&everything());
        let interface = Interface {
            private_key: Some(crate::PrivateKey::from_base64(PRIVATE).unwrap()),
            listen_port: None,
            fwmark: Some(0xca6c),
            addresses: networks(&["10.0.0.1/24", "fd00::1/64", "10.0.1.1/32"]),
            dns: vec![
                Dns::Server("1.1.1.1".parse().unwrap()),
                Dns::Search("corp.example".to_owned()),
                Dns::Server("2606:4700:4700::1111".parse().unwrap()),
            ],
            mtu: Some(1400),
            table: Table::Number(16),
            pre_up: vec!["echo pre=up %i".to_owned()],
            post_up: vec![
                "iptables -A FORWARD -i %i -j ACCEPT; true".to_owned(),
                "second".to_owned(),
            ],
            pre_down: vec!["a".to_owned()],
            post_down: vec!["b".to_owned()],
            save_config: true,
        };
        assert_eq!(conf.interface(), interface);
        let alice = Peer {
            name: Some("laptop".to_owned()),
            preshared_key: Some(crate::PresharedKey::from_base64(BOB).unwrap()),
            allowed_ips: networks(&["fd00::/64", "192.168.7.0/24"]),
            endpoint: Some("[fe80::1%eth0]:51820".parse().unwrap()),
            persistent_keepalive: Some(25),
            ..Peer::new(key(ALICE))
        };
        let bob = Peer {
            name: Some("phone of B.".to_owned()),
            ..Peer::new(key(BOB))
        };
        assert_eq!(conf.peers().collect::<Vec<_>>(), [alice.clone(), bob]);
        assert_eq!(conf.peer(&key(ALICE)), Some(alice));
        assert_eq!(interface.dns_servers().count(), 2);
        assert_eq!(interface.dns_search().collect::<Vec<_>>(), ["corp.example"]);
    }

    #[test]
    fn what_was_read_is_written_back_byte_for_byte() {
        for text in [
            "",
            "\n",
            "# only a comment",
            "[Interface]",
            "[Interface]\r\n\r\n",
            &everything(),
        ] {
            assert_eq!(*conf(text).render(), text);
        }
    }

    #[test]
    fn an_error_says_where_and_what_would_be_right() {
        let peer = format!("[Peer]\nPublicKey = {ALICE}\n");
        for (text, message) in [
            (
                "[Peer]\n AllowedIPs = ::/0, 10.0.0.0/33",
                "2:21: AllowedIPs: \"10.0.0.0/33\": an IPv4 prefix length is 0 to 32",
            ),
            (
                "[Interface]\nListenPort = 70000",
                "2:14: ListenPort: \"70000\": a number from 0 to 65535",
            ),
            (
                "[Interface]\nPrivateKey = abc",
                "2:14: PrivateKey: a key has 44 characters, this has 3; copy it whole, with the `=` at its end",
            ),
            (
                "[Interface]\nListnPort = 1",
                "2:1: unknown key `ListnPort` in [Interface]; did you mean ListenPort?",
            ),
            (
                "[Peer]\nJmin = 1",
                "2:1: unknown key `Jmin` in [Peer]; its keys are PublicKey, PresharedKey, AllowedIPs, Endpoint, \
                 PersistentKeepalive",
            ),
            (
                "[Peer]\nAddress = 10.0.0.1",
                "2:1: Address belongs to [Interface]; here is [Peer]",
            ),
            (
                "[Interface]\n\nEndpoint = a:1",
                "3:1: Endpoint belongs to [Peer]; here is [Interface]",
            ),
            (" [Pear]", "1:2: the sections are [Interface] and [Peer]"),
            ("MTU = 1400", "1:1: begin with a section: [Interface] or [Peer]"),
            (
                "[Peer]\n\u{e9}\u{e9} hello",
                "2:1: a line is `Key = value`, [Interface], [Peer], or a comment after `#`",
            ),
            (
                "# x\n  [Peer]\nEndpoint=\u{e9}:1\n",
                "3:10: Endpoint: \"\u{e9}:1\": an IP address or a name, then `:` and the port, such as vpn.example.com:51820",
            ),
            (
                "# x\n  [Peer]\n\n[Interface]\n",
                "2:3: this [Peer] has no PublicKey; add `PublicKey = …`",
            ),
            (
                &format!("{peer}[Peer]"),
                "3:1: this [Peer] has no PublicKey; add `PublicKey = …`",
            ),
            (
                &format!("{peer}Endpoint ="),
                "3:11: Endpoint: \"\": the port is missing; write HOST:PORT, such as vpn.example.com:51820 or [2001:db8::1]:51820",
            ),
        ] {
            let error = Conf::parse("wg0.conf", text).unwrap_err();
            assert_eq!(error.to_string(), format!("wg0.conf:{message}"), "{text:?}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = &PRIVATE[..30];
        for text in [
            format!("[Interface]\nPrivateKey = {secret}"),
            format!("[Interface]\nPrivateKey {PRIVATE}"),
            format!("[Interface]\n{PRIVATE}"),
            format!("[Peer]\nPresharedKey = {secret}"),
            format!("[Peer]\nPresharedKey: {PRIVATE}"),
        ] {
            let error = Conf::parse("wg0.conf", &text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(&secret[..10]), "{error}");
        }
        assert!(!format!("{:?}", conf(&everything())).contains(&secret[..10]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_none_is_changed(text in any::<String>()) {
            if let Ok(conf) = Conf::parse("", &text) {
                prop_assert_eq!(&*conf.render(), &text);
            }
        }

        #[test]
        fn a_text_that_was_damaged_is_read_or_refused(
            at in any::<prop::sample::Index>(),
            taken in 0..40_usize,
            put in "[\\PC\n#=\\[\\],/%:]{0,4}",
        ) {
            let mut characters: Vec<char> = everything().chars().collect();
            let at = at.index(characters.len());
            let end = characters.len().min(at + taken);
            characters.splice(at..end, put.chars());
            let text: String = characters.into_iter().collect();
            match Conf::parse("", &text) {
                Ok(conf) => {
                    prop_assert_eq!(&*conf.render(), &text);
                    conf.peers().for_each(drop);
                    conf.warnings();
                    conf.device(|_| Err(())).ok();
                }
                Err(error) => {
                    let line = text.split('\n').nth(error.line - 1).unwrap();
                    prop_assert!(error.column <= line.chars().count() + 1);
                }
            }
        }
    }
}
