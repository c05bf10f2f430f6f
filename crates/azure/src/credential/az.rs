//! The token of whoever is signed in with the Azure CLI: `az account get-access-token`, run without a shell.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};
use zeroize::Zeroizing;

use super::{
    CredentialError, Exchange, Settings, Way,
    exchange::{grant, with_remedy},
};
use crate::{cloud::Audience, token::Token};

/// How long it may take: it is slow to start, and may ask Entra ID.
const LIMIT: Duration = Duration::from_secs(30);

/// Most that is read of what it says, in bytes.
const MAX_OUTPUT: u64 = 256 << 10;

/// Most characters of its complaint that are passed on.
const MAX_COMPLAINT: usize = 300;

#[derive(Clone, Debug)]
pub(super) struct Az {
    program: PathBuf,
    tenant: Option<String>,
    subscription: Option<String>,
}

impl Az {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            program: settings.az.clone().unwrap_or_else(|| PathBuf::from("az")),
            tenant: settings.tenant.clone(),
            subscription: settings.subscription.clone(),
        }
    }

    pub(super) async fn obtain(&self, exchange: &Exchange<'_>, audience: Audience) -> Result<Token, CredentialError> {
        let start = exchange.start();
        let ran = tokio::select! {
            ran = self.run(exchange.cloud.audience(audience)) => Some(ran),
            () = exchange.clock.sleep(LIMIT) => None,
        };
        let absent = |why: String| CredentialError::Absent { way: Way::Az, why };
        let (is_success, out, complaint) = match ran {
            Some(Ok(ran)) => ran,
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(absent("the Azure CLI is not installed".to_owned()));
            }
            Some(Err(error)) => return Err(absent(format!("{}: {error}", self.program.display()))),
            None => {
                return Err(CredentialError::Unreachable {
                    way: Way::Az,
                    why: format!("az gave no token within {} seconds", LIMIT.as_secs()),
                });
            }
        };
        if is_success {
            return grant(Way::Az, &out, start);
        }
        let message = told(&complaint);
        Err(CredentialError::Refused {
            way: Way::Az,
            message: if message.is_empty() {
                "it gave no token: sign in: az login".to_owned()
            } else {
                with_remedy(&message)
            },
        })
    }

    /// Whether it succeeded, what it said, and what it complained of.
    async fn run(&self, resource: &str) -> io::Result<(bool, Zeroizing<Vec<u8>>, Vec<u8>)> {
        let mut command = Command::new(&self.program);
        command.args([
            "account",
            "get-access-token",
            "--output",
            "json",
            "--resource",
            resource,
        ]);
        // It takes one of the two: a subscription's tenant is its own.
        match (&self.tenant, &self.subscription) {
            (Some(tenant), _) => command.args(["--tenant", tenant]),
            (None, Some(subscription)) => command.args(["--subscription", subscription]),
            (None, None) => &mut command,
        };
        let mut child = command
            .current_dir(Path::new("/"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (out, complaint) = (child.stdout.take(), child.stderr.take());
        let (out, complaint) = tokio::join!(read(out), read(complaint));
        let status = child.wait().await?;
        Ok((status.success(), Zeroizing::new(out?), complaint?))
    }
}

/// All of it, of which no more than the limit is kept.
async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

/// Its complaint on one line.
fn told(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    line.strip_prefix("ERROR: ")
        .unwrap_or(&line)
        .chars()
        .take(MAX_COMPLAINT)
        .collect()
}
