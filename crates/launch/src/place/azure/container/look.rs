//! What is looked at before a container group is made.

use azure::{Arm, Request, path::NameError};
use serde_json::Value;

use super::{AzureContainer, config::Config, requests};
use crate::{
    order::Order,
    place::{
        Fault,
        azure::{
            check::{self, Check},
            fault::{fault, refused},
        },
    },
};

impl AzureContainer {
    pub(super) async fn look_at_all(&self, order: &Order) -> Vec<Check> {
        let (arm, site, region) = (&self.arm, &self.config.site, self.config.site.region(order));
        let (cpu, memory) = self.config.resources(order.size.as_deref());
        vec![
            port(&self.config, order),
            check::group(arm, site).await,
            check::region(arm, site, region).await,
            check::provider(arm, site, requests::NAMESPACE).await,
            check::permissions(arm, site, Self::ACTIONS).await,
            Check {
                name: format!("{cpu} processors and {memory} GB in {region}"),
                result: offered(
                    &list(arm, requests::capabilities(&self.config, region)).await,
                    cpu,
                    memory,
                ),
            },
            Check {
                name: format!("the quota of container groups in {region}"),
                result: left(&list(arm, requests::usages(&self.config, region)).await, cpu),
            },
        ]
    }
}

fn port(config: &Config, order: &Order) -> Check {
    let port = order.port.unwrap_or(config.port);
    let reserved = super::config::RESERVED;
    let taken = reserved.iter().find(|(first, last)| (*first..=*last).contains(&port));
    Check {
        name: format!("the port {port}"),
        result: match taken {
            None => Ok("is not reserved".to_owned()),
            Some((first, last)) => Err(refused(
                "port_reserved",
                format!("Azure Container Instances keep the ports {first} to {last} for themselves"),
                "choose another, such as 31820",
            )),
        },
    }
}

async fn list(arm: &Arm, request: Result<Request, NameError>) -> Result<Vec<Value>, Fault> {
    let request = request.map_err(|error| refused("InvalidLocation", error.to_string(), ""))?;
    arm.list(&request).await.map_err(|error| fault(&error))
}

/// Whether a region offers so much. Pure.
fn offered(capabilities: &Result<Vec<Value>, Fault>, cpu: f64, memory: f64) -> Result<String, Fault> {
    let all = capabilities.as_ref().map_err(Clone::clone)?;
    let is_plain = |kind: &&Value| {
        let is = |name: &str, word: &str| kind[name].as_str().is_some_and(|text| text.eq_ignore_ascii_case(word));
        is("osType", "Linux") && is("gpu", "None")
    };
    let most = |name: &str| {
        let values = all.iter().filter(is_plain);
        values
            .filter_map(|kind| kind["capabilities"][name].as_f64())
            .fold(0.0, f64::max)
    };
    let (most_cpu, most_memory) = (most("maxCpu"), most("maxMemoryInGB"));
    if cpu <= most_cpu && memory <= most_memory {
        return Ok(format!("the region offers up to {most_cpu} and {most_memory} GB"));
    }
    Err(refused(
        "ResourceRequestsNotOffered",
        format!("the region offers containers up to {most_cpu} processors and {most_memory} GB"),
        "choose a smaller size, or another region",
    ))
}

/// Whether a quota leaves room for one more. Pure.
fn left(usages: &Result<Vec<Value>, Fault>, cpu: f64) -> Result<String, Fault> {
    let all = usages.as_ref().map_err(Clone::clone)?;
    for (name, wanted) in [("ContainerGroups", 1.0), ("StandardCores", cpu)] {
        let usage = all.iter().find(|usage| usage["name"]["value"] == name);
        let number = |what: &str| usage.and_then(|usage| usage[what].as_f64());
        if let (Some(used), Some(limit)) = (number("currentValue"), number("limit"))
            && used + wanted > limit
        {
            return Err(refused(
                "ContainerGroupQuotaReached",
                format!("the quota {name} is used up: {used} of {limit}"),
                "end other container groups there, choose another region, or ask Azure for more",
            ));
        }
    }
    Ok("leaves room for one more".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_region_does_not_offer_or_allow_is_said_before() {
        let kind = |os: &str, gpu: &str, cpu: f64| json!({"osType": os, "gpu": gpu, "capabilities": {"maxCpu": cpu, "maxMemoryInGB": 16.0}});
        let all = Ok(vec![
            kind("Linux", "None", 4.0),
            kind("Linux", "V100", 24.0),
            kind("Windows", "None", 8.0),
        ]);
        for (cpu, memory, is_offered) in [
            (1.0, 1.0, true),
            (4.0, 16.0, true),
            (6.0, 1.0, false),
            (1.0, 17.0, false),
        ] {
            assert_eq!(offered(&all, cpu, memory).is_ok(), is_offered, "{cpu} {memory}");
        }
        let usage =
            |name: &str, used: u32, limit: u32| json!({"name": {"value": name}, "currentValue": used, "limit": limit});
        for (groups, cores, is_left) in [(0, 0, true), (99, 9, true), (100, 0, false), (0, 10, false)] {
            let usages = Ok(vec![
                usage("ContainerGroups", groups, 100),
                usage("StandardCores", cores, 10),
            ]);
            assert_eq!(left(&usages, 1.0).is_ok(), is_left, "{groups} {cores}");
        }
        let denied = Err(refused("AuthorizationFailed", "no", "ask"));
        assert_eq!(left(&denied, 1.0).unwrap_err().code, "AuthorizationFailed");
    }
}
