//! What would be sent for a lease's life, for people who want to see it before.

use azure::{Request, ResourceId};
use serde_json::json;

use super::{
    AzureVm,
    config::{RunCommand, SetUp, VmImage},
    making::first_peer,
    names::{self, BESIDE},
    requests, script, ssh,
};
use crate::place::Job;

impl AzureVm {
    /// All that would be sent for a life, in order: making, asking, removal. Nothing is sent, and no account is needed.
    pub fn plan(&self, job: &Job) -> Vec<Request> {
        let (config, site) = (&self.config, &self.config.site);
        let region = site.region(&job.order);
        let port = self.gateway(job).port;
        let with_ssh = job.order.ssh_key.is_some();
        let mut plan = vec![
            requests::network(site, region),
            requests::make_network(site, region),
            requests::guard(site, region, port, with_ssh),
            requests::make_guard(config, region, port, with_ssh),
        ];
        if let VmImage::FlatcarFree { accept_terms: true } = config.image {
            let ([publisher, offer, name, _], _) = config.image.parts();
            let terms =
                json!({ "properties": { "publisher": publisher, "product": offer, "plan": name, "accepted": false } });
            plan.extend([requests::terms(config), requests::accept_terms(config, terms)]);
        }
        let own = job.order.ssh_key.as_deref().filter(|key| ssh::is_azures(key));
        let key = own.unwrap_or(ssh::THROWN_AWAY).to_owned();
        plan.extend([self.machine_with(job, key), requests::machine(site, job.id)]);
        let part = |(namespace, kind): (&str, &str)| site.resource(namespace, kind, &names::beside(job)).ok();
        let parts: Vec<ResourceId> = BESIDE.into_iter().filter_map(part).collect();
        plan.extend(parts.iter().take(2).map(requests::part));
        let is_managed = config.run_command == RunCommand::Managed;
        let ran = || is_managed.then(|| requests::ran(site, job.id));
        if config.setup == SetUp::RunCommand {
            plan.push(requests::run(
                config,
                region,
                job.id,
                &script::set_up(&self.gateway(job)),
            ));
            plan.extend(ran());
        }
        plan.push(self.reading(job, first_peer(job)));
        plan.extend(ran());
        plan.extend(is_managed.then(|| requests::remove_run(site, job.id)));
        // Adit's gateway is asked through its tunnel, and Azure only if that gives no answer.
        plan.push(requests::machine_state(site, job.id));
        plan.push(requests::remove_machine(site, job.id));
        let lists = BESIDE
            .into_iter()
            .map(|(namespace, kind)| requests::list(site, namespace, kind));
        plan.extend(lists);
        plan.extend(parts.iter().map(requests::remove_part));
        plan
    }
}
