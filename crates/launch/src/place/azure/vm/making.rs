//! Makes the machine of a lease: one step after another, each noted before it is waited for, each the same if it is repeated.
//!
//! ```text
//!   network ─▶ guard ─▶ terms ─▶ machine ─▶ address ─▶ set-up ─▶ reading ─▶ made
//!                                                      (a script)   (another)
//! ```

use std::time::{Duration, SystemTime};

use azure::{Arm, ArmError, Kind, Progress, Request, ServiceError};
use serde_json::Value;

use super::{
    AzureVm,
    config::{RunCommand, SetUp, VmImage},
    container::Gateway,
    found::{has_rules, has_subnet, is_of, state},
    ignition, names,
    output::{self, OutputError, Read, Said},
    refs::{Refs, Stage},
    requests, script, ssh,
};
use crate::{
    Moment,
    place::{
        Creation, Fault, FaultKind, Job,
        azure::fault::{fault, of_operation, refused},
    },
};

/// When to look again at something that another lease's step, or Azure, is at.
const SOON: Duration = Duration::from_secs(2);

/// When to look again at a machine that boots.
const BOOTS: Duration = Duration::from_secs(5);

/// What comes of one turn.
enum Turn {
    /// The next one may follow.
    Again,
    /// Not before this time.
    Wait(Duration, String),
    /// There is none.
    Made,
}

impl AzureVm {
    pub(super) async fn make(&self, job: &Job) -> Result<Creation, Fault> {
        let gateway = self.gateway(job);
        gateway.check()?;
        self.check_ssh(job)?;
        let arm = self.arm_of(job.id);
        let mut refs = Refs::read(job);
        refs.port = gateway.port;
        loop {
            match self.turn(&arm, job, &mut refs).await? {
                Turn::Again => {}
                Turn::Wait(after, doing) => {
                    let refs = refs.note();
                    return Ok(Creation::Pending { refs, after, doing });
                }
                Turn::Made => return Ok(Creation::Made { refs: refs.note() }),
            }
        }
    }

    pub(super) fn gateway<'a>(&'a self, job: &'a Job) -> Gateway<'a> {
        Gateway {
            job,
            image: &self.config.gateway,
            port: job.order.port.unwrap_or(self.config.port),
            launcher: self.gateways.launcher(job.id),
            now: SystemTime::now(),
        }
    }

    fn check_ssh(&self, job: &Job) -> Result<(), Fault> {
        match &job.order.ssh_key {
            Some(key) if self.config.setup == SetUp::RunCommand && !ssh::is_azures(key) => Err(refused(
                "ssh_key_unfit",
                "Azure itself takes keys of the kinds ssh-ed25519 and ssh-rsa only",
                "use a key of one of these, or set machines up by Ignition",
            )),
            Some(_) | None => Ok(()),
        }
    }

    async fn turn(&self, arm: &Arm, job: &Job, refs: &mut Refs) -> Result<Turn, Fault> {
        if let Some(operation) = refs.operation.take() {
            match arm.poll(&operation).await {
                Ok(progress) => return self.follow(job, refs, progress),
                // It may be its end that Azure tells so, for ever: what came of it shows when the step is taken again.
                Err(error) if error.service().is_some() => {}
                Err(error) => return Err(fault(&error)),
            }
        }
        let (config, site) = (&self.config, &self.config.site);
        let region = site.region(&job.order);
        let with_ssh = job.order.ssh_key.is_some();
        match refs.stage {
            Stage::Network => {
                let found = find(arm, &requests::network(site, region)).await?;
                match found.as_ref().map(state) {
                    None | Some("failed") => self.begin(arm, job, refs, &requests::make_network(site, region)).await,
                    Some("succeeded") if has_subnet(found.as_ref()) => Ok(next(refs)),
                    Some("succeeded") => Err(refused(
                        "network_foreign",
                        format!(
                            "the network {} has no subnet {}",
                            names::network(site, region).name(),
                            names::SUBNET
                        ),
                        "remove that network, or use another resource group",
                    )),
                    Some(_) => Ok(wait(SOON, refs)),
                }
            }
            Stage::Guard => {
                let found = find(arm, &requests::guard(site, region, refs.port, with_ssh)).await?;
                let rules = requests::rules(config, refs.port, with_ssh);
                match found.as_ref().map(state) {
                    Some("succeeded") if has_rules(found.as_ref(), &rules) => Ok(next(refs)),
                    None | Some("succeeded" | "failed") => {
                        let request = requests::make_guard(config, region, refs.port, with_ssh);
                        self.begin(arm, job, refs, &request).await
                    }
                    Some(_) => Ok(wait(SOON, refs)),
                }
            }
            Stage::Terms => {
                if let VmImage::FlatcarFree { accept_terms: true } = config.image {
                    let terms = arm
                        .send(&requests::terms(config))
                        .await
                        .map_err(|error| fault(&error))?
                        .body;
                    if terms["properties"]["accepted"] != true {
                        arm.send(&requests::accept_terms(config, terms))
                            .await
                            .map_err(|error| fault(&error))?;
                    }
                }
                Ok(next(refs))
            }
            Stage::Machine => {
                let request = self.machine_request(job)?;
                match arm.begin(&request).await {
                    Ok(progress) => self.follow(job, refs, progress),
                    Err(error) => self.met(arm, job, refs, &error).await,
                }
            }
            Stage::Boot => self.boots(arm, job, refs).await,
            Stage::Address => self.address(arm, job, refs).await,
            Stage::SetUp => match config.setup {
                SetUp::Ignition => Ok(is_set_up(refs)),
                SetUp::RunCommand => {
                    let script = script::set_up(&self.gateway(job));
                    let request = requests::run(config, region, job.id, &script);
                    self.begin(arm, job, refs, &request).await
                }
            },
            Stage::Reading => {
                let request = self.reading(job, first_peer(job));
                self.begin(arm, job, refs, &request).await
            }
            Stage::SetUpSeen | Stage::Seen => {
                let command = arm
                    .find(&requests::ran(site, job.id))
                    .await
                    .map_err(|error| fault(&error))?;
                let Some(command) = command else {
                    // Somebody has removed it: once more.
                    refs.stage = if refs.stage == Stage::Seen {
                        Stage::Reading
                    } else {
                        Stage::SetUp
                    };
                    return Ok(wait(SOON, refs));
                };
                match output::of_view(&command).map_err(unreadable)? {
                    None => Ok(wait(SOON, refs)),
                    Some(said) => self.heard(job, refs, &said),
                }
            }
            Stage::Clearing => self.begin(arm, job, refs, &requests::remove_run(site, job.id)).await,
            Stage::Made => Ok(Turn::Made),
        }
    }

    /// Sends what begins an operation, and follows it.
    async fn begin(&self, arm: &Arm, job: &Job, refs: &mut Refs, request: &Request) -> Result<Turn, Fault> {
        let progress = arm.begin(request).await.map_err(|error| fault(&error))?;
        self.follow(job, refs, progress)
    }

    fn follow(&self, job: &Job, refs: &mut Refs, progress: Progress) -> Result<Turn, Fault> {
        match progress {
            Progress::Running(operation, after) => {
                refs.operation = Some(operation);
                Ok(wait(after, refs))
            }
            Progress::Done(result) => self.done(job, refs, &result),
            // The machine's agent may not be there yet, or busy: the lease's own limit ends that.
            Progress::Failed(error) if refs.stage.is_script() && is_of_agent(&error) => {
                refs.words = error.to_string();
                Ok(self.cleared(refs))
            }
            Progress::Failed(error) => Err(Fault {
                kind: FaultKind::Refused,
                ..of_operation(&error)
            }),
            // What began it is sent once more: it is the same then, or says that it is done.
            Progress::Untold(_) => Ok(wait(SOON, refs)),
        }
    }

    /// An operation has succeeded.
    fn done(&self, job: &Job, refs: &mut Refs, result: &Value) -> Result<Turn, Fault> {
        match (refs.stage, self.config.run_command) {
            (Stage::SetUp | Stage::Reading, RunCommand::Action) => {
                let said = output::of_action(result).map_err(unreadable)?;
                self.heard(job, refs, &said)
            }
            (Stage::Clearing, _) => Ok(read(refs)),
            _ => Ok(next(refs)),
        }
    }

    /// A script has ended.
    fn heard(&self, job: &Job, refs: &mut Refs, said: &Said) -> Result<Turn, Fault> {
        if matches!(refs.stage, Stage::SetUp | Stage::SetUpSeen) {
            // The action tells no exit code: what the machine is then, the script that reads says.
            return match said.exit {
                Some(0) | None => Ok(is_set_up(refs)),
                Some(code) => Err(refused(
                    "set_up_failed",
                    format!(
                        "the script that makes the machine a gateway ended with code {code}: {}",
                        said.complaint()
                    ),
                    "see that the machine's image has Docker, and that it can pull the gateway's image",
                )),
            };
        }
        let peer = first_peer(job).filter(|_| self.makes_keys());
        match said.read(peer.is_some()) {
            Ok(Read::Ready(found)) => {
                refs.public_key = Some(found.ready.public_key);
                refs.peers = found.peers;
                if let (Some(peer), Some(text)) = (peer, found.configuration) {
                    self.memory.keep(job.id, peer, text);
                }
                Ok(self.cleared(refs))
            }
            Ok(Read::Ended) => Err(refused("gateway_ended", "the gateway ended before it was ready", "")),
            Ok(Read::Starting(words)) => {
                refs.words = words;
                Ok(self.cleared(refs))
            }
            Err(error @ OutputError::Configuration(_)) => Err(Fault {
                kind: FaultKind::Refused,
                ..unreadable(error)
            }),
            // The script's time may have been over: once more.
            Err(error @ (OutputError::NoAnswer | OutputError::Shape)) => {
                refs.words = error.to_string();
                Ok(self.cleared(refs))
            }
        }
    }

    /// What a script said is removed from Azure before anything else: a private key may be in it.
    fn cleared(&self, refs: &mut Refs) -> Turn {
        match self.config.run_command {
            RunCommand::Managed => {
                refs.stage = Stage::Clearing;
                Turn::Again
            }
            RunCommand::Action => read(refs),
        }
    }

    /// There is something in place of the machine that was to be made: our own, whose answer was lost, or another's.
    async fn met(&self, arm: &Arm, job: &Job, refs: &mut Refs, error: &ArmError) -> Result<Turn, Fault> {
        if error.kind() != Kind::Conflict {
            return Err(fault(error));
        }
        match find(arm, &requests::machine(&self.config.site, job.id)).await? {
            Some(found) if is_of(&found, job) => {
                refs.stage = Stage::Boot;
                Ok(Turn::Again)
            }
            Some(_) => Err(refused(
                "name_taken",
                format!("another's machine has the name {}", job.id.resource_name()),
                "remove or rename it, or use another resource group",
            )),
            None => Err(fault(error)),
        }
    }

    async fn boots(&self, arm: &Arm, job: &Job, refs: &mut Refs) -> Result<Turn, Fault> {
        let found = find(arm, &requests::machine(&self.config.site, job.id)).await?;
        match found.as_ref().map(state) {
            Some("succeeded") => Ok(next(refs)),
            Some("failed" | "canceled") => Err(refused(
                "machine_failed",
                "Azure has not made the machine",
                "its activity log says why (az monitor activity-log list)",
            )),
            Some(_) => Ok(wait(BOOTS, refs)),
            None => Err(gone(job)),
        }
    }

    /// The machine's address, from the machine to its interface to that.
    async fn address(&self, arm: &Arm, job: &Job, refs: &mut Refs) -> Result<Turn, Fault> {
        let Some(machine) = find(arm, &requests::machine(&self.config.site, job.id)).await? else {
            return Err(gone(job));
        };
        let (parts, address) = self.parts(arm, &machine).await?;
        refs.beside = parts;
        match address {
            Some(address) => {
                refs.address = Some(address);
                Ok(next(refs))
            }
            None => Ok(wait(SOON, refs)),
        }
    }

    /// What makes the machine.
    fn machine_request(&self, job: &Job) -> Result<Request, Fault> {
        let own = job.order.ssh_key.as_deref().filter(|key| ssh::is_azures(key));
        let key = match own {
            Some(key) => key.to_owned(),
            None => ssh::throw_away().map_err(|error| Fault::new(FaultKind::Unclear, "no_random", error))?,
        };
        Ok(self.machine_with(job, key))
    }

    /// The same with this key in Azure's hands.
    pub(super) fn machine_with(&self, job: &Job, ssh_key: String) -> Request {
        let gateway = self.gateway(job);
        let by_ignition = job.order.ssh_key.as_deref().filter(|key| !ssh::is_azures(key));
        let expires_at = Moment::from_system(gateway.now) + job.remaining;
        let machine = requests::Machine {
            region: self.config.site.region(&job.order),
            size: job.order.size.as_deref().unwrap_or(&self.config.sizes[0]),
            port: gateway.port,
            custom_data: (self.config.setup == SetUp::Ignition)
                .then(|| ignition::config(&gateway, by_ignition).to_string()),
            ssh_key,
            expires_at: expires_at.to_string(),
        };
        requests::make_machine(&self.config, job, &machine)
    }

    /// What reads the gateway's key, and the configuration of a peer.
    pub(super) fn reading(&self, job: &Job, peer: Option<&str>) -> Request {
        let script = script::read(&self.config.gateway, peer.filter(|_| self.makes_keys()));
        requests::run(&self.config, self.config.site.region(&job.order), job.id, &script)
    }
}

/// The stage after this one.
fn next(refs: &mut Refs) -> Turn {
    refs.stage = match refs.stage {
        Stage::Network => Stage::Guard,
        Stage::Guard => Stage::Terms,
        Stage::Terms => Stage::Machine,
        Stage::Machine | Stage::Boot => Stage::Address,
        Stage::Address => Stage::SetUp,
        Stage::SetUp => Stage::SetUpSeen,
        Stage::SetUpSeen => Stage::Reading,
        Stage::Reading => Stage::Seen,
        Stage::Seen => Stage::Clearing,
        Stage::Clearing | Stage::Made => Stage::Made,
    };
    Turn::Again
}

/// What the script that reads found out is all taken: the gateway is made, or it is read once more.
fn read(refs: &mut Refs) -> Turn {
    if refs.public_key.is_some() {
        (refs.stage, refs.words) = (Stage::Made, String::new());
        return Turn::Made;
    }
    refs.stage = if refs.is_set_up { Stage::Reading } else { Stage::SetUp };
    wait(SOON, refs)
}

fn is_set_up(refs: &mut Refs) -> Turn {
    (refs.is_set_up, refs.words) = (true, String::new());
    refs.stage = Stage::Reading;
    Turn::Again
}

fn wait(after: Duration, refs: &Refs) -> Turn {
    let doing = refs.stage.doing();
    let doing = match refs.words.as_str() {
        "" => doing.to_owned(),
        words => format!("{doing}; it last said: {words}"),
    };
    Turn::Wait(after, doing)
}

/// Whether it is the machine's agent that an operation failed by.
fn is_of_agent(error: &ServiceError) -> bool {
    error.cause().0.starts_with("VMExtension")
        || error.code.starts_with("VMExtension")
        || error.kind() == Kind::Transient
}

/// The peer whose configuration is read with the key.
pub(super) fn first_peer(job: &Job) -> Option<&str> {
    job.peers.first().map(|peer| peer.name.as_str())
}

/// What came of a script is not what it is to be. The next attempt may be better.
pub(super) fn unreadable(error: OutputError) -> Fault {
    Fault::new(FaultKind::Unclear, "output_unreadable", error.to_string())
}

pub(super) fn gone(job: &Job) -> Fault {
    Fault::new(
        FaultKind::Gone,
        "machine_gone",
        format!("the machine {} is not there any more", job.id.resource_name()),
    )
}

async fn find(arm: &Arm, request: &Request) -> Result<Option<Value>, Fault> {
    match arm.find(request).await {
        Ok(found) => Ok(found),
        Err(error) => Err(fault(&error)),
    }
}
