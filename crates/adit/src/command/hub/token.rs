//! `adit hub token`: an API token, made beside the hub.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use hub::{
    audit::Audit,
    identity::{Role, Scope},
    sign_in::{Given, NewToken, SignIn},
};
use launch::Clock;

use super::{config::DataArguments, run::open_beside};
use crate::{duration, failure, output};

/// Whose token, and what for.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Whose it is.
    #[arg(value_name = "OWNER")]
    owner: String,
    /// What it is called.
    #[arg(long, value_name = "NAME", default_value = "command line")]
    name: String,
    /// What it may be used for: read, launch or admin; each contains the ones before.
    #[arg(long, value_name = "SCOPE", default_value = "launch")]
    scope: Scope,
    /// How long it is valid. Default: 90d.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Option<Duration>,
}

/// Makes the token and prints it; the audit says who. A hub may run beside it.
pub(super) fn run(arguments: Arguments, data: DataArguments) -> anyhow::Result<()> {
    let (settings, data) = data.read()?;
    let config = hub::Config::new(settings.hub).map_err(|error| failure::usage(error.to_string()))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data)
        .with_context(|| format!("cannot make {}", data.display()))?;
    let database = open_beside(&data)?;
    let audit = Audit::open(Arc::clone(&database), Clock::system()).context("cannot open the audit")?;
    let given = Given {
        token: None,
        authorities: Vec::new(),
        clock: Clock::system(),
    };
    let (sign_in, _) = SignIn::open(&config, given, database, audit)?;
    let mut roles = BTreeSet::from([Role::User]);
    if arguments.scope == Scope::Admin {
        roles.insert(Role::Admin);
    }
    let new = NewToken {
        name: arguments.name,
        scopes: BTreeSet::from([arguments.scope]),
        lifetime: arguments.lifetime,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let made = runtime.block_on(sign_in.create_token_by_command(&operator(), &arguments.owner, roles, new));
    let (_, text) = made.context("cannot make a token")?;
    output::secret_line(text.expose())
}

/// Who runs this command, for the audit: `operator:NAME (uid NUMBER)`, without a name where the system knows none.
///
/// By number, since a user chooses the variables of his environment.
fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(uid, &known)
}

fn named(uid: u32, passwd: &str) -> String {
    let of_uid = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    };
    match passwd.lines().find_map(of_uid) {
        Some(name) => format!("operator:{name} (uid {uid})"),
        None => format!("operator:uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_runs_the_command_is_named_by_his_number() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\n\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\ntoor:x:0:0::/:/bin/sh\n";
        for (uid, expected) in [
            (0, "operator:root (uid 0)"),
            (1000, "operator:anna (uid 1000)"),
            (1001, "operator:uid 1001"),
        ] {
            assert_eq!(named(uid, passwd), expected);
        }
    }
}
