//! Gateways of adit's own image: `adit node` in a container that may do nothing else.

use std::{collections::BTreeMap, iter};

use docker::engine::{CallError, Ran, Wanted};

use super::{
    Docker, EXEC_LIMIT, PORT,
    faults::{self, fault},
};
use crate::{
    node::{self, Answer, Question},
    place::{Fault, FaultKind, Job, Reached},
};

/// The program in the image.
const PROGRAM: &str = "/usr/bin/adit";

/// Nobody, who owns nothing.
const NOBODY: u32 = 65_534;

/// The exit code of a command line that makes no sense.
const WRONG_USAGE: i64 = 2;

/// The container: `wanted`, and what a gateway of this image needs.
pub(super) fn wanted(job: &Job, with_net_admin: bool, wanted: Wanted) -> Wanted {
    let user = if with_net_admin { 0 } else { NOBODY };
    // In memory: nothing that the gateway writes is left on a disk. The image's volume is replaced, too.
    let folder = format!("size=1m,mode=0700,uid={user},gid={user}");
    let admin = |text: &str| with_net_admin.then(|| text.to_owned()).into_iter().collect();
    let forwards = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    Wanted {
        command: command(job, with_net_admin),
        user: Some(format!("{user}:{user}")),
        drops_capabilities: true,
        capabilities: admin("NET_ADMIN"),
        devices: admin("/dev/net/tun"),
        sysctls: with_net_admin.then_some(forwards).into_iter().collect(),
        tmpfs: BTreeMap::from([("/run".to_owned(), folder.clone()), ("/config".to_owned(), folder)]),
        is_read_only: true,
        without_health_check: true,
        ..wanted
    }
}

fn command(job: &Job, with_net_admin: bool) -> Vec<String> {
    let lifetime = job.remaining.as_secs().max(1).to_string();
    let mtu = job.order.mtu.map(|mtu| mtu.to_string());
    let options = [
        ("--lease", Some(job.id.to_string())),
        ("--lifetime", Some(lifetime)),
        ("--listen", Some(PORT.to_string())),
        ("--mtu", mtu),
        // With the capability it is the first that works.
        ("--plane", (!with_net_admin).then(|| "netstack".to_owned())),
    ];
    let options = options
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_owned(), value?]));
    iter::once("node".to_owned()).chain(options.flatten()).collect()
}

impl Docker {
    pub(super) async fn ask_own(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let refs = self.refs(job).await?;
        // A question has no secret: it may be seen among the engine's events.
        let text = question.line();
        let text = String::from_utf8_lossy(&text);
        match self
            .engine
            .exec(
                &refs.container,
                &[PROGRAM, "ask", "--json", text.trim_end()],
                EXEC_LIMIT,
            )
            .await
        {
            Ok(ran) => match Answer::read(&ran.output) {
                Ok(answer) => self.reached(&refs, answer),
                Err(_) => Err(self.unanswered(job, &ran).await),
            },
            Err(CallError::Missing(_)) => Err(faults::gone(&job.id.resource_name(), None)),
            // It does not run, or it is paused.
            Err(error @ CallError::Conflict(_)) => match self.look(job).await {
                Ok(_) => Err(fault(error)),
                Err(fault) => Err(fault),
            },
            Err(error) => Err(fault(error)),
        }
    }

    /// Why there is no answer.
    async fn unanswered(&self, job: &Job, ran: &Ran) -> Fault {
        if let Err(fault) = self.look(job).await {
            return fault;
        }
        let image = &self.config.image;
        if ran.is_unknown() || ran.code == Some(WRONG_USAGE) {
            let message =
                format!("the image `{image}` does not know `adit ask`: it is not adit's, or of another version");
            return Fault::new(FaultKind::Refused, "image_unfit", message)
                .with_remedy("configure the place with the image of this version");
        }
        let complaint = String::from_utf8_lossy(&ran.complaint);
        let complaint = complaint
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let complaint = complaint.strip_prefix(node::ERROR).unwrap_or(complaint);
        let why: String = complaint
            .chars()
            .filter(|letter| !letter.is_control())
            .take(200)
            .collect();
        faults::not_yet(format!("the gateway does not answer: {why}"))
    }
}
