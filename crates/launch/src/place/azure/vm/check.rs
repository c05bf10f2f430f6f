//! Looks whether an order can be had, and makes nothing.

use azure::{Method, Path, Request};
use serde_json::Value;

use super::{
    AzureVm,
    config::{RunCommand, VmImage},
    requests,
};
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

/// The version of the list of sizes.
const SIZES_VERSION: &str = "2021-07-01";
const COMPUTE_VERSION: &str = "2024-11-01";
const NETWORK_VERSION: &str = "2024-05-01";

impl AzureVm {
    /// Looks whether an order can be had, and makes nothing: the group, the region, permissions, the parts of Azure, the size,
    /// quotas, the image and its terms.
    pub async fn check(&self, order: &Order) -> Vec<Check> {
        let (arm, site) = (&self.arm, &self.config.site);
        let region = site.region(order);
        let size = order.size.as_deref().unwrap_or(&self.config.sizes[0]);
        let mut checks = vec![check::group(arm, site).await];
        if is_shut_out(&checks[0]) {
            return checks;
        }
        checks.push(check::region(arm, site, region).await);
        for namespace in ["Microsoft.Compute", "Microsoft.Network"] {
            checks.push(check::provider(arm, site, namespace).await);
        }
        checks.push(check::permissions(arm, site, &self.actions()).await);
        let found = self.sizes(arm, region, size).await;
        let family = found.as_ref().ok().map(|(family, cores, _)| (family.clone(), *cores));
        let result = found.map(|(_, cores, memory)| format!("is offered in {region}: {cores} cores, {memory} GB"));
        checks.push(Check::new(format!("the size {size}"), result));
        if let Some((family, cores)) = family {
            let usages = self.usages(arm, "Microsoft.Compute", COMPUTE_VERSION, region).await;
            checks.push(quota("cores in the region", &usages, "cores", cores, region));
            checks.push(quota(
                &format!("cores of the family {family}"),
                &usages,
                &family,
                cores,
                region,
            ));
        }
        let usages = self.usages(arm, "Microsoft.Network", NETWORK_VERSION, region).await;
        checks.push(quota("public addresses", &usages, "PublicIPAddresses", 1, region));
        checks.push(self.image(arm, region).await);
        checks.extend(self.terms(arm).await);
        checks
    }

    /// The actions in the resource group that this configuration uses.
    fn actions(&self) -> Vec<&'static str> {
        let other = match self.config.run_command {
            RunCommand::Managed => "/runCommand/",
            RunCommand::Action => "/runCommands/",
        };
        let used = Self::ACTIONS[..Self::MAKING].iter().copied();
        used.filter(|action| !action.contains(other)).collect()
    }

    /// Family, cores and memory of a size that is offered.
    async fn sizes(&self, arm: &azure::Arm, region: &str, size: &str) -> Result<(String, u64, String), Fault> {
        let path = self.of_subscription(&["Microsoft.Compute", "skus"]);
        let request =
            Request::new(Method::Get, path, SIZES_VERSION).with_query("$filter", &format!("location eq '{region}'"));
        let sizes = arm.list(&request).await.map_err(|error| fault(&error))?;
        let is = |found: &Value, name: &str, value: &str| {
            found[name]
                .as_str()
                .is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        let found = sizes
            .iter()
            .find(|found| is(found, "resourceType", "virtualMachines") && is(found, "name", size));
        let unavailable = |why: String| {
            let remedy =
                format!("choose another size or region (az vm list-skus --location {region} --size {size} --all)");
            refused(
                "SkuNotAvailable",
                format!("{size} cannot be had in {region}: {why}"),
                &remedy,
            )
        };
        let found = found.ok_or_else(|| unavailable("it is not offered there".to_owned()))?;
        let restrictions = found["restrictions"].as_array().into_iter().flatten();
        let mut of_region = restrictions.filter(|restriction| is(restriction, "type", "Location"));
        if let Some(restriction) = of_region.next() {
            let reason = restriction["reasonCode"].as_str().unwrap_or("restricted");
            return Err(unavailable(reason.to_owned()));
        }
        let capability = |name: &str| {
            let all = found["capabilities"].as_array().into_iter().flatten();
            let mut of = all.filter(|capability| is(capability, "name", name));
            of.next()
                .and_then(|capability| capability["value"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        if self.config.run_command == RunCommand::Managed
            && capability("CpuArchitectureType").eq_ignore_ascii_case("Arm64")
        {
            return Err(refused(
                "run_command_unfit",
                format!("{size} is of ARM64, where Azure has no managed Run Command"),
                "set run_command to action, and choose an image for ARM64",
            ));
        }
        let cores = capability("vCPUs").parse().unwrap_or(1);
        Ok((
            found["family"].as_str().unwrap_or_default().to_owned(),
            cores,
            capability("MemoryGB"),
        ))
    }

    async fn usages(
        &self,
        arm: &azure::Arm,
        namespace: &str,
        version: &str,
        region: &str,
    ) -> Result<Vec<Value>, Fault> {
        let path = self.of_subscription(&[namespace, "locations", region, "usages"]);
        arm.list(&Request::new(Method::Get, path, version))
            .await
            .map_err(|error| fault(&error))
    }

    async fn image(&self, arm: &azure::Arm, region: &str) -> Check {
        let ([publisher, offer, sku, version], _) = self.config.image.parts();
        let name = format!("the image {publisher}:{offer}:{sku}:{version}");
        let mut path = vec![
            "Microsoft.Compute",
            "locations",
            region,
            "publishers",
            publisher,
            "artifacttypes",
            "vmimage",
            "offers",
            offer,
            "skus",
            sku,
            "versions",
        ];
        let is_latest = version == "latest";
        if !is_latest {
            path.push(version);
        }
        let request = Request::new(Method::Get, self.of_subscription(&path), COMPUTE_VERSION);
        let missing = || {
            let remedy =
                format!("see az vm image list --all --location {region} --publisher {publisher} --offer {offer}");
            refused(
                "PlatformImageNotFound",
                format!("there is no such image in {region}"),
                &remedy,
            )
        };
        let result = match arm.find(&request).await {
            Ok(Some(found)) if is_latest => match found.as_array().map_or(0, Vec::len) {
                0 => Err(missing()),
                count => Ok(format!("is there, in {count} versions")),
            },
            Ok(Some(_)) => Ok("is there".to_owned()),
            Ok(None) => Err(missing()),
            Err(error) => Err(fault(&error)),
        };
        Check::new(name, result)
    }

    async fn terms(&self, arm: &azure::Arm) -> Option<Check> {
        let ([publisher, offer, sku, _], has_plan) = self.config.image.parts();
        if !has_plan {
            return None;
        }
        let accepts = self.config.image == VmImage::FlatcarFree { accept_terms: true };
        let result = match arm.send(&requests::terms(&self.config)).await {
            Ok(answer) if answer.body["properties"]["accepted"] == true => Ok("are accepted".to_owned()),
            Ok(_) if accepts => Ok("are not accepted yet, and will be".to_owned()),
            Ok(_) => Err(refused(
                "MarketplacePurchaseEligibilityFailed",
                "the terms of the image are not accepted in this subscription",
                &format!("az vm image terms accept --publisher {publisher} --offer {offer} --plan {sku}"),
            )),
            Err(error) => Err(fault(&error)),
        };
        Some(Check::new(format!("the terms of {offer}"), result))
    }

    fn of_subscription(&self, segments: &[&str]) -> Path {
        let path = Path::from(&self.config.site.whole()).join("providers");
        let path = segments
            .iter()
            .try_fold(path.expect("it is a name"), |path, segment| path.join(segment));
        path.expect("the configuration was checked")
    }
}

/// Nothing else can be told without the group.
fn is_shut_out(group: &Check) -> bool {
    let codes = [
        "AuthenticationFailed",
        "azure_sign_in",
        "azure_unreachable",
        "SubscriptionNotFound",
    ];
    group
        .result
        .as_ref()
        .is_err_and(|fault| codes.contains(&fault.code.as_str()))
}

/// Whether so many more can be had.
fn quota(name: &str, usages: &Result<Vec<Value>, Fault>, of: &str, wanted: u64, region: &str) -> Check {
    let name = format!("the quota of {name}");
    let usages = match usages {
        Ok(usages) => usages,
        Err(fault) => return Check::new(name, Err(fault.clone())),
    };
    let is = |usage: &&Value| {
        usage["name"]["value"]
            .as_str()
            .is_some_and(|found| found.eq_ignore_ascii_case(of))
    };
    let Some(usage) = usages.iter().find(is) else {
        return check::unclear(&name, &format!("Azure tells no limit of {of} in {region}"));
    };
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (used, limit) = (number("currentValue"), number("limit"));
    if used + wanted <= limit {
        return Check::new(name, Ok(format!("{used} of {limit} are in use")));
    }
    let remedy = "end machines there, choose another size or region, or ask for more (Azure portal: Subscriptions, Usage + quotas)";
    let message = format!("{used} of {limit} are in use in {region}, and {wanted} more are wanted");
    Check::new(name, Err(refused("QuotaExceeded", message, remedy)))
}
