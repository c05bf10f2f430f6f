//! One section of a configuration: its lines, and the comments that belong to it.

use super::{
    Key, SectionKind, Setting,
    line::{Content, Line},
};
use crate::PublicKey;

/// A section.
///
/// ```text
///                        ┐
/// # laptop               │ lead: blank lines, then comments without a gap to the head
/// [Peer]                 ┘
/// PublicKey = …          ┐
/// # AllowedIPs = ::/0    │ body, to the lead of the next section
///                        ┘
/// ```
#[derive(Clone)]
pub(super) struct Section {
    pub(super) kind: SectionKind,
    pub(super) lead: Vec<Line>,
    pub(super) head: Line,
    pub(super) body: Vec<Line>,
    /// Of a peer, its key.
    pub(super) public_key: Option<PublicKey>,
}

impl Section {
    /// A section without a body.
    pub(super) fn new(kind: SectionKind, lead: Vec<Line>, head: Line) -> Self {
        Self {
            kind,
            lead,
            head,
            body: Vec::new(),
            public_key: None,
        }
    }

    /// Adds a line at the end of the body.
    pub(super) fn push(&mut self, line: Line) {
        if let Some(Setting::PublicKey(key)) = line.setting() {
            self.public_key = Some(*key);
        }
        self.body.push(line);
    }

    /// All lines, in order.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        let head = std::iter::once(&self.head);
        self.lead.iter().chain(head).chain(&self.body)
    }

    /// What the section says, in order.
    pub(super) fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.body.iter().filter_map(Line::setting)
    }

    /// How people call the section: the comment right below its head, else the one right above.
    pub(super) fn name(&self) -> Option<&str> {
        let below = self.body.first().and_then(Line::comment);
        let above = self.lead.last().and_then(Line::comment);
        [below, above].into_iter().flatten().find(|words| is_name(words))
    }

    /// Whether a line sets `key`.
    pub(super) fn has(&self, key: Key) -> bool {
        self.body.iter().any(|line| line.key() == Some(key))
    }

    /// Makes `setting` what the section says about its key. A line that says so already stays as it is.
    pub(super) fn set(&mut self, setting: Setting, eol: &str) {
        if let Setting::PublicKey(key) = &setting {
            self.public_key = Some(*key);
        }
        let key = setting.key();
        let Some(last) = self.body.iter().rposition(|line| line.key() == Some(key)) else {
            self.add(setting, eol);
            return;
        };
        if self.body[last].setting() != Some(&setting) {
            self.body[last].replace_value(setting);
        }
        let mut index = 0;
        self.body.retain(|line| {
            index += 1;
            index > last || line.key() != Some(key)
        });
    }

    /// Adds a line for `setting` below the last one that sets something.
    pub(super) fn add(&mut self, setting: Setting, eol: &str) {
        let last = self.body.iter().rposition(|line| line.setting().is_some());
        let at = match last {
            Some(last) => last + 1,
            // Below the section's name.
            None => self.body.iter().take_while(|line| line.comment().is_some()).count(),
        };
        let above = at.checked_sub(1).and_then(|at| self.body.get_mut(at));
        let above = above.unwrap_or(&mut self.head);
        above.terminate(eol);
        let line = Line::from_setting(above.indent(), setting, eol);
        self.body.insert(at, line);
    }

    /// Removes the lines that set `key`, and says whether there was one.
    pub(super) fn unset(&mut self, key: Key) -> bool {
        let before = self.body.len();
        self.body.retain(|line| line.key() != Some(key));
        self.body.len() != before
    }

    /// Takes the section away; what stays is what stands apart below its last setting.
    pub(super) fn remainder(mut self) -> Vec<Line> {
        let last = self.body.iter().rposition(|line| line.setting().is_some());
        let own = last.map_or(0, |last| last + 1);
        let comments = self.body[own..]
            .iter()
            .take_while(|line| line.comment().is_some())
            .count();
        let rest = self.body.split_off(own + comments);
        let says_something = rest.iter().any(|line| !matches!(line.content, Content::Blank));
        if says_something { rest } else { Vec::new() }
    }
}

/// Cuts the lead of the next section off the end of `lines`.
pub(super) fn split_lead(lines: &mut Vec<Line>) -> Vec<Line> {
    let is_comment = |line: &&Line| matches!(line.content, Content::Comment);
    let is_blank = |line: &&Line| matches!(line.content, Content::Blank);
    let comments = lines.iter().rev().take_while(is_comment).count();
    let above = lines.len() - comments;
    let blanks = lines[..above].iter().rev().take_while(is_blank).count();
    lines.split_off(above - blanks)
}

/// Whether a comment can be the name of a section: one line of words, and no setting that is switched off.
pub(super) fn is_name(words: &str) -> bool {
    let setting = words
        .split_once('=')
        .and_then(|(key, _)| Key::from_name(&super::text::squeeze(key)));
    let plain = !words.starts_with('#') && words.trim() == words && !words.chars().any(char::is_control);
    !words.is_empty() && plain && setting.is_none()
}
