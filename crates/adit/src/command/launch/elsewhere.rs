//! What is asked of a gateway that is not in the launching process.

use std::time::Duration;

use super::{azure::AzureOptions, follow::KeysChoice};
use crate::duration;

/// What is asked of a gateway that is not in this process.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Elsewhere {
    /// Where the gateway runs: `local` (this process), `docker`, `azure-vm`, `azure-container`, `simulate` (a trial
    /// run: nothing is launched), or with
    /// --hub a place of the hub. Default: local, the hub's first. With DRY_RUN=true it is simulate in any case.
    #[arg(long, value_name = "PLACE", env = "ADIT_LAUNCH_ON", hide_env_values = true)]
    pub(super) on: Option<String>,
    /// Region of the place.
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,
    /// Size of the place's machine.
    #[arg(long, value_name = "SIZE")]
    pub(super) size: Option<String>,
    /// A set of options that the hub has under this name.
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Ends the lease when no client was there for so long: 3m to 24h.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) idle_end: Option<Duration>,
    /// Where the clients' keys are made: in this program, or on the gateway, which hands each configuration over once.
    #[arg(long, value_name = "WHERE", value_enum, default_value_t)]
    pub(super) keys: KeysChoice,
    /// Lets you log in to the gateway's machine by SSH, where the place offers it. The key is made here, and its private part
    /// is removed with the configurations.
    #[arg(long)]
    pub(super) ssh: bool,
    /// Does not stay: the lease goes on until its time is over, or `adit launch end`.
    #[arg(long)]
    pub(super) detach: bool,
    #[command(flatten)]
    pub(super) azure: AzureOptions,
}

/// The variable by which the launchers before this one were tried out.
const DRY_RUN: &str = "DRY_RUN";

impl Elsewhere {
    /// Where the gateway is to run; `None` leaves it to the hub.
    pub(super) fn place(&self) -> Option<&str> {
        let value = std::env::var(DRY_RUN).unwrap_or_default().to_ascii_lowercase();
        // As the hub reads it: whoever tries out launches nothing, whatever else is asked for.
        let is_dry = !matches!(value.as_str(), "" | "0" | "n" | "no" | "f" | "false" | "off");
        if is_dry { Some("simulate") } else { self.on.as_deref() }
    }

    /// The first option that has no meaning for a gateway in this process.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let Self {
            on: _,
            region,
            size,
            profile,
            idle_end,
            keys,
            ssh,
            detach,
            azure,
        } = self;
        let given = [
            ("--region", region.is_some()),
            ("--size", size.is_some()),
            ("--profile", profile.is_some()),
            ("--idle-end", idle_end.is_some()),
            ("--keys gateway", *keys == KeysChoice::Gateway),
            ("--ssh", *ssh),
            ("--detach", *detach),
        ];
        let given = given.into_iter().find_map(|(name, is_given)| is_given.then_some(name));
        given.or_else(|| azure.first_given())
    }
}
