//! Names the environment variable that an argument's wrong value came from.

use std::ffi::{OsStr, OsString};

use clap::{
    Command,
    error::{ContextKind, ContextValue},
};

/// Has an error about an argument that was not typed name its variable: `ADIT_LISTEN (--listen <PORT>)`. Other errors
/// stay as they are.
pub(crate) fn name(mut error: clap::Error, command: &Command, typed: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let Some(long) = argument
        .split([' ', '=', '['])
        .next()
        .and_then(|flag| flag.strip_prefix("--"))
    else {
        return error;
    };
    if typed.iter().any(|word| is_flag(word, long)) {
        return error;
    }
    if let Some(variable) = variable(command, long) {
        let named = format!("{} ({argument})", variable.to_string_lossy());
        error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    }
    error
}

/// Whether a word gives the argument, with its value or before it.
fn is_flag(word: &OsStr, long: &str) -> bool {
    let word = word.to_string_lossy();
    let rest = word.strip_prefix("--").and_then(|word| word.strip_prefix(long));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The variable of an argument, which is the same one for all subcommands.
fn variable<'a>(command: &'a Command, long: &str) -> Option<&'a OsStr> {
    let own = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(long));
    own.and_then(clap::Arg::get_env)
        .or_else(|| command.get_subcommands().find_map(|command| variable(command, long)))
}
