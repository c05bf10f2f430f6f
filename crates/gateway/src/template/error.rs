//! Why a template cannot be rendered, and where.

use std::{fmt, net::IpAddr};

/// A place in a template, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// A template has something that is not rendered, or names a file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{place}: {fault}")]
pub struct TemplateError {
    /// The template.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A command other than `cat`.
    #[error(
        "{text} would run a command, and adit runs none; write its result, or a variable, or `$(cat FILE)` with a file \
         of the configuration directory"
    )]
    Command {
        /// How it begins.
        text: String,
    },
    /// A variable with an operator other than `:-`.
    #[error("{text} is not rendered; of the shell's expansions there are ${{NAME}}, ${{NAME:-text}} and $(cat FILE)")]
    Expansion {
        /// How it begins.
        text: String,
    },
    /// An expansion without its end.
    #[error("{text} has no end; close it, or write \\$ for a dollar sign")]
    Unclosed {
        /// How it begins.
        text: String,
    },
    /// Expansions within expansions without end.
    #[error("too many expansions stand in one another")]
    Depth,
    /// A file that cannot be read.
    #[error("$(cat {path}): {problem}")]
    File {
        /// Its path as the template has it.
        path: String,
        /// Why.
        problem: String,
    },
    /// What is rendered is no configuration.
    #[error("{0}")]
    Conf(wg::conf::Fault),
    /// An address of the gateway that it does not have.
    #[error("the gateway's address is {own}, and {address} is none of them; write ${{INTERFACE}}.1")]
    Address {
        /// The address.
        address: IpAddr,
        /// Its addresses.
        own: String,
    },
    /// A peer in the gateway's template.
    #[error("[Peer] in the gateway's template is no peer of it; add it with `adit peer add NAME --public-key KEY`")]
    Peer,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
