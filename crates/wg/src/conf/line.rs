//! One line of a configuration: its text, kept as it is, and what it says.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{Key, SectionKind, Setting, error::Fault, text};

/// A line with its end, as it was read. Wiped from memory when dropped, as a key may be in it.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) text: Zeroizing<String>,
    pub(super) content: Content,
}

/// What a line says.
#[derive(Clone)]
pub(super) enum Content {
    /// Nothing.
    Blank,
    /// A comment and nothing else.
    Comment,
    /// The head of a section.
    Head(SectionKind),
    /// A setting, with the place of its value in the line.
    Setting(Setting, Range<usize>),
}

impl Line {
    /// Reads a line that stands in `section`.
    ///
    /// # Errors
    ///
    /// The byte where what is wrong begins, and what it is.
    pub(super) fn parse(line: &str, section: Option<SectionKind>) -> Result<Self, (usize, Fault)> {
        let content = parse_content(line, section)?;
        let text = Zeroizing::new(line.to_owned());
        Ok(Self { text, content })
    }

    /// A line that says `setting`.
    pub(super) fn from_setting(indent: &str, setting: Setting, eol: &str) -> Self {
        let value = setting.danger_value();
        let mut text = Zeroizing::new(String::with_capacity(indent.len() + 24 + value.len() + eol.len()));
        for part in [indent, setting.key().name(), " = "] {
            text.push_str(part);
        }
        let start = text.len();
        text.push_str(&value);
        let content = Content::Setting(setting, start..text.len());
        text.push_str(eol);
        Self { text, content }
    }

    /// A line without a setting.
    pub(super) fn from_text(text: &str, content: Content) -> Self {
        let text = Zeroizing::new(text.to_owned());
        Self { text, content }
    }

    /// What the line sets, if anything.
    pub(super) fn setting(&self) -> Option<&Setting> {
        match &self.content {
            Content::Setting(setting, _) => Some(setting),
            Content::Blank | Content::Comment | Content::Head(_) => None,
        }
    }

    /// The key that the line sets, if any.
    pub(super) fn key(&self) -> Option<Key> {
        self.setting().map(Setting::key)
    }

    /// The comment's words, without `#`; `None` if the line is no comment.
    pub(super) fn comment(&self) -> Option<&str> {
        match self.content {
            Content::Comment => self
                .text
                .split_once('#')
                .map(|(_, words)| words.trim_start_matches('#').trim()),
            Content::Blank | Content::Head(_) | Content::Setting(..) => None,
        }
    }

    /// Puts another value in place of the line's own; all around it stays.
    pub(super) fn replace_value(&mut self, setting: Setting) {
        let Content::Setting(_, range) = &self.content else {
            return;
        };
        let value = setting.danger_value();
        let (before, after) = (&self.text[..range.start], &self.text[range.end..]);
        let blank = if range.is_empty() && before.ends_with('=') {
            " "
        } else {
            ""
        };
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + value.len() + 1));
        text.push_str(before);
        text.push_str(blank);
        let start = text.len();
        text.push_str(&value);
        let end = text.len();
        text.push_str(after);
        self.text = text;
        self.content = Content::Setting(setting, start..end);
    }

    /// Gives the line an end if it has none.
    pub(super) fn terminate(&mut self, eol: &str) {
        if !self.text.ends_with('\n') {
            let mut text = Zeroizing::new(String::with_capacity(self.text.len() + eol.len()));
            text.push_str(&self.text);
            text.push_str(eol);
            self.text = text;
        }
    }

    /// The blanks at the line's start.
    pub(super) fn indent(&self) -> &str {
        let line = &*self.text;
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }
}

fn parse_content(line: &str, section: Option<SectionKind>) -> Result<Content, (usize, Fault)> {
    // Editors of Windows begin a file with a byte order mark.
    let from = if line.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let to = line.find('#').unwrap_or(line.len());
    let body = line.get(from..to).unwrap_or_default();
    let trimmed = body.trim_matches(text::is_blank);
    let start = from + (body.len() - body.trim_start_matches(text::is_blank).len());
    if trimmed.is_empty() {
        let comment = to < line.len();
        return Ok(if comment { Content::Comment } else { Content::Blank });
    }
    if trimmed.starts_with('[') {
        return match text::squeeze(trimmed).to_ascii_lowercase().as_str() {
            "[interface]" => Ok(Content::Head(SectionKind::Interface)),
            "[peer]" => Ok(Content::Head(SectionKind::Peer)),
            _ => Err((start, Fault::Section)),
        };
    }
    let section = section.ok_or((start, Fault::OutsideSection))?;
    let (name, rest) = trimmed.split_once('=').ok_or((start, Fault::NoEquals))?;
    let value = rest.trim_start_matches(text::is_blank);
    // An empty value is right behind the `=`.
    let value_start = if value.is_empty() {
        start + name.len() + 1
    } else {
        start + trimmed.len() - value.len()
    };
    let name = text::squeeze(name);
    let key = Key::from_name(&name).ok_or_else(|| (start, Fault::unknown_key(&name, section)))?;
    if key.section() != section {
        return Err((start, Fault::WrongSection { key, section }));
    }
    match key.read(value) {
        Ok(setting) => Ok(Content::Setting(setting, value_start..value_start + value.len())),
        Err((at, item, error)) => Err((value_start + at, Fault::value(key, item, error))),
    }
}
