//! Renders the templates of configurations as a shell renders a here-document, without a shell.
//!
//! ```text
//! ${NAME}  $NAME  ${NAME:-text}      a variable; one that is unset is empty
//! $(cat FILE)                        the content of a file, without the line breaks at its end
//! \$  \\  \`                         the character itself; a backslash at a line's end joins two lines
//! ```
//!
//! Everything else that a shell would expand is refused with its place: nothing runs that stands in a template. Pure:
//! variables and files come from a [`Source`].

mod defaults;
mod error;
mod scan;

use zeroize::Zeroizing;

pub use self::{
    defaults::{COREFILE, PEER, SERVER},
    error::{Fault, Place, TemplateError},
};

/// A template that was read and can be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    file: String,
    pieces: Vec<Piece>,
}

/// What a template is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A variable, and what stands for it if it is unset or empty.
    Variable {
        name: String,
        otherwise: Option<Vec<Self>>,
    },
    /// The content of the file that the pieces name.
    File {
        path: Vec<Self>,
        place: Place,
    },
}

/// Where a template's values come from.
pub trait Source {
    /// The text of a variable; `None` if it is unset.
    fn variable(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    ///
    /// Why there is none, for a person.
    fn file(&self, path: &str) -> Result<Zeroizing<String>, String>;
}

impl Template {
    /// Reads a template. `file` is what errors call it. Line breaks at its end do not count.
    ///
    /// # Errors
    ///
    /// The first place at which it has something that is not rendered.
    pub fn parse(file: &str, text: &str) -> Result<Self, TemplateError> {
        let pieces = scan::pieces(text.trim_end_matches('\n')).map_err(|(place, fault)| TemplateError {
            file: file.to_owned(),
            place,
            fault,
        })?;
        Ok(Self {
            file: file.to_owned(),
            pieces,
        })
    }

    /// The text with the values of `source` in place of its expansions, and one line break at the end.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read.
    pub fn render(&self, source: &dyn Source) -> Result<Zeroizing<String>, TemplateError> {
        let mut text = render(&self.pieces, source).map_err(|(place, fault)| TemplateError {
            file: self.file.clone(),
            place,
            fault,
        })?;
        text.push('\n');
        Ok(text)
    }
}

fn render(pieces: &[Piece], source: &dyn Source) -> Result<Zeroizing<String>, (Place, Fault)> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Variable { name, otherwise } => {
                let value = source.variable(name).unwrap_or_default();
                match otherwise {
                    Some(otherwise) if value.is_empty() => text.push_str(&render(otherwise, source)?),
                    _ => text.push_str(&value),
                }
            }
            Piece::File { path, place } => {
                let path = render(path, source)?;
                let content = source.file(&path).map_err(|problem| {
                    let fault = Fault::File {
                        path: path.to_string(),
                        problem,
                    };
                    (*place, fault)
                })?;
                text.push_str(content.trim_end_matches('\n'));
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
