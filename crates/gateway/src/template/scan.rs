//! Reads a template into its pieces.

use super::{Fault, Piece, Place};

/// Deepest nesting of `${A:-${B:-…}}`.
const MAX_DEPTH: usize = 16;

/// Characters of an expansion that an error shows.
const SHOWN: usize = 32;

type Scanned<T> = Result<T, (Place, Fault)>;

/// What ends a run of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The end of the template.
    Template,
    /// The brace behind a variable's default.
    Brace,
}

/// The pieces of a whole template.
pub(super) fn pieces(text: &str) -> Scanned<Vec<Piece>> {
    let mut scanner = Scanner { text, at: 0, depth: 0 };
    scanner.run(End::Template, 0)
}

struct Scanner<'a> {
    text: &'a str,
    /// Bytes that are read.
    at: usize,
    depth: usize,
}

impl Scanner<'_> {
    /// Reads to the end; `start` is where the expansion around it begins.
    fn run(&mut self, end: End, start: usize) -> Scanned<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        while let Some(character) = self.peek() {
            let at = self.at;
            match character {
                '}' if end == End::Brace => break,
                '\\' => self.backslash(end, &mut literal),
                '`' => return Err(self.fault_at(at, |text| Fault::Command { text })),
                // Quotes in a default mean something else in each shell.
                '"' | '\'' if end == End::Brace => return Err(self.fault_at(start, |text| Fault::Expansion { text })),
                '$' => match self.expansion()? {
                    Some(piece) => {
                        push_text(&mut pieces, &mut literal);
                        pieces.push(piece);
                    }
                    None => literal.push('$'),
                },
                other => {
                    literal.push(other);
                    self.at += other.len_utf8();
                }
            }
        }
        push_text(&mut pieces, &mut literal);
        if end == End::Brace && !self.take("}") {
            return Err(self.fault_at(start, |text| Fault::Unclosed { text }));
        }
        Ok(pieces)
    }

    /// A backslash: it protects `$`, `` ` `` and itself, joins lines, and is itself before anything else.
    /// In a variable's default it protects the closing brace too.
    fn backslash(&mut self, end: End, literal: &mut String) {
        self.at += 1;
        match self.peek() {
            Some(protected @ ('$' | '`' | '\\')) => {
                literal.push(protected);
                self.at += 1;
            }
            Some('}') if end == End::Brace => {
                literal.push('}');
                self.at += 1;
            }
            Some('\n') => self.at += 1,
            _ => literal.push('\\'),
        }
    }

    /// What begins with a dollar sign; `None` if that stands for itself.
    fn expansion(&mut self) -> Scanned<Option<Piece>> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some('{') => {
                self.at += 1;
                self.braces(start).map(Some)
            }
            Some('(') => {
                self.at += 1;
                self.command(start).map(Some)
            }
            Some(first) if first == '_' || first.is_ascii_alphabetic() => Ok(Some(Piece::Variable {
                name: self.name().to_owned(),
                otherwise: None,
            })),
            // The shell's own: arguments, exit codes, process numbers.
            Some(special) if special.is_ascii_digit() || "@*#?$!-[".contains(special) => {
                Err(self.fault_at(start, |text| Fault::Expansion { text }))
            }
            _ => Ok(None),
        }
    }

    /// `${NAME}` and `${NAME:-text}`, behind the brace.
    fn braces(&mut self, start: usize) -> Scanned<Piece> {
        let name = self.name().to_owned();
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(self.fault_at(start, |text| Fault::Expansion { text }));
        }
        if self.take("}") {
            return Ok(Piece::Variable { name, otherwise: None });
        }
        if self.peek().is_none() {
            return Err(self.fault_at(start, |text| Fault::Unclosed { text }));
        }
        if !self.take(":-") {
            return Err(self.fault_at(start, |text| Fault::Expansion { text }));
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err((self.place(start), Fault::Depth));
        }
        let otherwise = self.run(End::Brace, start)?;
        self.depth -= 1;
        Ok(Piece::Variable {
            name,
            otherwise: Some(otherwise),
        })
    }

    /// `$(cat FILE)`, behind the bracket. The path may stand in double quotes.
    fn command(&mut self, start: usize) -> Scanned<Piece> {
        self.blanks();
        if !self.take("cat") || !self.blanks() {
            return Err(self.fault_at(start, |text| Fault::Command { text }));
        }
        let is_quoted = self.take("\"");
        let mut path = Vec::new();
        let mut literal = String::new();
        loop {
            match self.peek() {
                None => return Err(self.fault_at(start, |text| Fault::Unclosed { text })),
                Some('$') => match self.expansion()? {
                    Some(Piece::File { .. }) | None => return Err(self.fault_at(start, |text| Fault::Command { text })),
                    Some(piece) => {
                        push_text(&mut path, &mut literal);
                        path.push(piece);
                    }
                },
                Some(plain) if is_plain(plain) => {
                    literal.push(plain);
                    self.at += plain.len_utf8();
                }
                Some(_) => break,
            }
        }
        push_text(&mut path, &mut literal);
        let is_closed = !is_quoted || self.take("\"");
        self.blanks();
        if path.is_empty() || !is_closed || !self.take(")") {
            return Err(self.fault_at(start, |text| Fault::Command { text }));
        }
        Ok(Piece::File {
            path,
            place: self.place(start),
        })
    }

    /// A variable's name, which may be empty.
    fn name(&mut self) -> &str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let name = &rest[..end.unwrap_or(rest.len())];
        self.at += name.len();
        name
    }

    /// Passes blanks. Says whether there were any.
    fn blanks(&mut self) -> bool {
        let start = self.at;
        while self.take(" ") || self.take("\t") {}
        self.at > start
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.text[self.at..].starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    /// A fault, with the beginning of what is wrong.
    fn fault_at(&self, start: usize, fault: impl FnOnce(String) -> Fault) -> (Place, Fault) {
        let line = self.text[start..].lines().next().unwrap_or_default();
        let mut text: String = line.chars().take(SHOWN).collect();
        if text.len() < line.len() {
            text.push('…');
        }
        (self.place(start), fault(format!("`{text}`")))
    }

    fn place(&self, at: usize) -> Place {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// What a path has that no shell reads otherwise.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "/_-.,+:@%=".contains(character)
}

fn push_text(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal)));
    }
}
