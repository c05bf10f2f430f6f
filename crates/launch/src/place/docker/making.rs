//! Makes and starts the container of a lease.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use docker::engine::{CallError, Found, Phase, Publication, Wanted};
use serde_json::Value;

use super::{
    Docker, EXPIRES_AT, INSTANCE, Kind, LEASE, PORT, Refs, SOON,
    faults::{self, fault},
    is_of,
};
use crate::{
    Moment,
    node::{ERROR, FAULT, READY},
    place::{Creation, Fault, FaultKind, Job},
};

/// How long a gateway's first words are waited for. It is asked how it is after that anyway.
const FIRST_WORDS: Duration = Duration::from_secs(5);

/// When to look again for an image that is being fetched.
const PULLED: Duration = Duration::from_secs(2);

/// Most processes and threads of a gateway: as many as a machine of many cores asks for, and no more.
const PIDS: u32 = 512;

/// What may be wrong while the image is fetched from its registry.
const IS_FETCHED: &str = "the engine fetches the image";

impl Docker {
    pub(super) async fn make(&self, job: &Job) -> Result<Creation, Fault> {
        let name = job.id.resource_name();
        // Before anything is made: without it no client could connect.
        let host = self.config.host.find().map_err(faults::no_address)?;
        let wanted = self.wanted(job, &host)?;
        let found = match self.engine.find(&name).await.map_err(fault)? {
            Some(found) => found,
            None => match self.engine.create(&wanted).await {
                Ok(id) => return self.start(job, &id).await,
                Err(CallError::Missing(_)) if !self.engine.has_image(&wanted.image).await.map_err(fault)? => {
                    return self.fetch(job);
                }
                // Another step made it meanwhile, or the engine is removing one of that name.
                Err(CallError::Conflict(message)) => match self.engine.find(&name).await.map_err(fault)? {
                    Some(found) => found,
                    None => return Ok(pending(job, SOON, message)),
                },
                Err(error) => return Err(faults::of_creation(error, wanted.network.as_deref())),
            },
        };
        if !is_of(&found, job) {
            return Err(faults::name_taken(&name));
        }
        match found.phase {
            Phase::Created => self.start(job, &found.id).await,
            Phase::Running => self.made(job, &found),
            Phase::Ended(code) => Err(refused(faults::gone(&name, code))),
            Phase::Removing => Ok(pending(
                job,
                SOON,
                "the engine removes a container that did not start".to_owned(),
            )),
        }
    }

    async fn start(&self, job: &Job, id: &str) -> Result<Creation, Fault> {
        let started = match self.config.kind {
            Kind::Adit { .. } => {
                self.engine
                    .start_and_hear(id, FIRST_WORDS, |line| line.contains(READY))
                    .await
            }
            Kind::Linuxserver { .. } => {
                self.give_ends(job, id).await?;
                self.engine.start(id).await.map(|()| Vec::new())
            }
        };
        let said = started.map_err(|error| faults::of_start(error, job.order.port, self.config.network.as_deref()))?;
        let found = self.engine.find(id).await.map_err(fault)?;
        match found {
            Some(found) if matches!(found.phase, Phase::Running | Phase::Created) => self.made(job, &found),
            Some(_) | None => Err(ended(&self.config.image, &said)),
        }
    }

    fn made(&self, job: &Job, found: &Found) -> Result<Creation, Fault> {
        let Some(port) = self.port(found) else {
            let message = format!(
                "the container {} runs, and the engine has not published its port",
                job.id.resource_name()
            );
            return Err(Fault::new(FaultKind::Unclear, "no_port", message));
        };
        let refs = Refs {
            container: found.id.clone(),
            port,
        };
        let refs = serde_json::to_value(refs).unwrap_or(Value::Null);
        Ok(Creation::Made { refs })
    }

    fn fetch(&self, job: &Job) -> Result<Creation, Fault> {
        let image = &self.config.image;
        if !self.config.pulls {
            return Err(faults::image_missing(image, None));
        }
        match self.pull.go_on(&self.engine, image) {
            Ok(()) => Ok(pending(job, PULLED, format!("{IS_FETCHED} {image}"))),
            Err(CallError::Missing(reason) | CallError::Refused(reason)) => {
                Err(faults::image_missing(image, Some(&reason)))
            }
            Err(error @ (CallError::Failed(_) | CallError::Conflict(_))) => {
                let message = format!("the image {image} could not be fetched: {error}");
                Err(Fault::new(FaultKind::Unclear, "image_not_fetched", message)
                    .with_remedy("see whether the engine reaches the registry; it is tried again"))
            }
            Err(error @ (CallError::Unreachable(_) | CallError::Unclear(_))) => Err(fault(error)),
        }
    }

    fn wanted(&self, job: &Job, host: &str) -> Result<Wanted, Fault> {
        let expires_at = Moment::from_system(SystemTime::now()) + job.remaining;
        let size = job
            .order
            .size
            .as_ref()
            .and_then(|name| self.config.sizes.iter().find(|size| size.name == *name));
        let wanted = Wanted {
            name: job.id.resource_name(),
            image: self.config.image.clone(),
            labels: BTreeMap::from([
                (INSTANCE.to_owned(), job.instance.clone()),
                (LEASE.to_owned(), job.id.to_string()),
                (EXPIRES_AT.to_owned(), expires_at.to_string()),
            ]),
            publication: Some(Publication {
                port: PORT,
                address: self.config.address,
                host_port: job.order.port,
            }),
            network: self.config.network.clone(),
            memory_bytes: Some(size.map_or(self.config.memory_bytes, |size| size.memory_bytes)),
            pids: Some(PIDS),
            ..Wanted::default()
        };
        match self.config.kind {
            Kind::Adit { with_net_admin } => Ok(super::own::wanted(job, with_net_admin, wanted)),
            Kind::Linuxserver { internal_subnet } => super::linuxserver::wanted(job, host, internal_subnet, wanted),
        }
    }
}

fn pending(job: &Job, after: Duration, doing: String) -> Creation {
    Creation::Pending {
        refs: job.refs.clone(),
        after,
        doing,
    }
}

fn refused(fault: Fault) -> Fault {
    Fault {
        kind: FaultKind::Refused,
        ..fault
    }
}

/// Why a container ended right after its start, by what it said.
fn ended(image: &str, said: &[String]) -> Fault {
    let said = || said.iter().rev().map(String::as_str);
    // The code's line begins with the time, that of the error does not.
    let code = said().find_map(|line| Some(line.split_once(FAULT)?.1.trim()));
    let code = code.filter(|code| is_code(code)).unwrap_or("gateway_ended");
    let error = said().find_map(|line| line.strip_prefix(ERROR));
    let last = error.or_else(|| said().find(|line| !line.is_empty()));
    let message = match last {
        Some(last) => format!("the gateway ended right after its start: {last}"),
        None => "the gateway ended right after its start, and said nothing".to_owned(),
    };
    Fault::new(FaultKind::Refused, code, message).with_remedy(format!(
        "see whether the image `{image}` is the one of this version: `docker run --rm {image} --version`"
    ))
}

/// Whether it is a word for programs.
fn is_code(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_ends_at_once_says_why() {
        for (lines, code, message) in [
            (
                &["2026-11-18T11:06:40Z fault: port_taken", "error: the port is taken"][..],
                "port_taken",
                "start: the port is taken",
            ),
            (
                &["error: unrecognized subcommand 'node'", "", "Usage: adit"],
                "gateway_ended",
                "unrecognized subcommand 'node'",
            ),
            (&["fault: <b>", "boom", ""], "gateway_ended", "start: boom"),
            (&[], "gateway_ended", "said nothing"),
        ] {
            let said: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let fault = ended("adit:latest", &said);
            assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, code));
            assert!(fault.message.ends_with(message), "{}", fault.message);
        }
    }
}
