//! What kind of failure an error is: it decides the exit code.

use std::io;

use linux::signal::Signal;
use tunnel::quick;

/// What a caller of the program needs to know of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whoever read standard output has gone; not worth a word.
    OutputClosed,
    /// Standard output says it; the exit code repeats it.
    Said,
    /// It was asked for rightly and did not work.
    Failed,
    /// It was asked for wrongly.
    Usage,
    /// A signal ended it before it was done.
    Ended(Signal),
}

/// Wrong usage that clap cannot see: arguments that contradict each other, or a value out of range.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Standard output was closed by its reader.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct OutputClosed;

/// What failed is the answer, and was printed.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no")]
struct Said;

/// An error that was printed as the answer: exit code 1 without a word more.
pub(crate) fn said() -> anyhow::Error {
    Said.into()
}

/// An error for wrong usage: exit code 2.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// An error from writing to standard output.
pub(crate) fn output(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return OutputClosed.into();
    }
    anyhow::Error::new(error).context("cannot write to standard output")
}

/// The kind of an error, whatever context was put around it.
pub(crate) fn kind(error: &anyhow::Error) -> Kind {
    if error.downcast_ref::<OutputClosed>().is_some() {
        Kind::OutputClosed
    } else if error.downcast_ref::<Said>().is_some() {
        Kind::Said
    } else if error.downcast_ref::<Usage>().is_some() {
        Kind::Usage
    } else if let Some(signal) = error.downcast_ref().and_then(quick::Errors::signal) {
        Kind::Ended(signal)
    } else {
        Kind::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_does_not_change_the_kind() {
        for (error, expected) in [
            (usage("--mtu is out of range").context("cannot launch"), Kind::Usage),
            (
                output(io::ErrorKind::BrokenPipe.into()).context("cannot launch"),
                Kind::OutputClosed,
            ),
            (output(io::ErrorKind::StorageFull.into()), Kind::Failed),
            (anyhow::anyhow!("the port is taken"), Kind::Failed),
        ] {
            assert_eq!(kind(&error), expected, "{error:#}");
        }
    }
}
