//! The settings of custom metrics for Azure Monitor.

use azure::{Cloud, ResourceId};

use super::{ConfigError, TypedAzureMonitor};

/// Where custom metrics go, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureMonitor {
    /// The resource under which Azure shows them.
    pub resource: ResourceId,
    /// The resource's region.
    pub region: String,
    /// Who takes them instead of the region's own address.
    pub endpoint: Option<String>,
}

pub(super) fn check(typed: TypedAzureMonitor) -> Result<AzureMonitor, ConfigError> {
    const RESOURCE: &str = "azure_monitor.resource";
    const REGION: &str = "azure_monitor.region";
    let example = "/subscriptions/…/resourceGroups/adit/providers/Microsoft.ContainerInstance/containerGroups/hub";
    let text = typed
        .resource
        .ok_or_else(|| ConfigError::wrong(RESOURCE, format!("is missing: a resource's ID, such as {example}")))?;
    let resource: ResourceId = text
        .parse()
        .map_err(|error| ConfigError::wrong(RESOURCE, format!("{error}; it is one such as {example}")))?;
    if resource.kind().is_none() {
        let problem = format!(
            "`{resource}` is no single resource, and Azure takes no metrics of groups and subscriptions: give one such as \
             {example}"
        );
        return Err(ConfigError::wrong(RESOURCE, problem));
    }
    let region = typed
        .region
        .ok_or_else(|| ConfigError::wrong(REGION, "is missing: the resource's region, such as westeurope"))?
        .replace(' ', "")
        .to_ascii_lowercase();
    if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(ConfigError::wrong(
            REGION,
            format!("`{region}` is no region such as westeurope"),
        ));
    }
    if let Some(endpoint) = &typed.endpoint {
        // The rules for an address that tokens are sent to are the same.
        Cloud::default()
            .with_management(endpoint)
            .map_err(|error| ConfigError::wrong("azure_monitor.endpoint", error.to_string()))?;
    }
    Ok(AzureMonitor {
        resource,
        region,
        endpoint: typed.endpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/adit";

    #[test]
    fn metrics_belong_to_one_resource_in_one_region() {
        let resource = format!("{GROUP}/providers/Microsoft.ContainerInstance/containerGroups/hub");
        // (resource, region, endpoint, region as it is used or the field that is wrong)
        for (resource, region, endpoint, expected) in [
            (Some(resource.as_str()), Some("West Europe"), None, Ok("westeurope")),
            (
                Some(&resource),
                Some("westus2"),
                Some("http://127.0.0.1:9"),
                Ok("westus2"),
            ),
            (
                Some(&resource),
                Some("westus2"),
                Some("https://m.example.org"),
                Ok("westus2"),
            ),
            (Some(GROUP), Some("westus2"), None, Err("azure_monitor.resource")),
            (Some("hub"), Some("westus2"), None, Err("azure_monitor.resource")),
            (None, Some("westus2"), None, Err("azure_monitor.resource")),
            (Some(&resource), None, None, Err("azure_monitor.region")),
            (
                Some(&resource),
                Some("west.example.org/"),
                None,
                Err("azure_monitor.region"),
            ),
            (
                Some(&resource),
                Some("westus2"),
                Some("http://m.example.org"),
                Err("azure_monitor.endpoint"),
            ),
        ] {
            let checked = check(TypedAzureMonitor {
                resource: resource.map(str::to_owned),
                region: region.map(str::to_owned),
                endpoint: endpoint.map(str::to_owned),
            });
            match (checked, expected) {
                (Ok(checked), Ok(region)) => assert_eq!(checked.region, region),
                (Err(ConfigError::Wrong { field, .. }), Err(wrong)) => assert_eq!(field, wrong),
                (checked, _) => panic!("{resource:?} {region:?} {endpoint:?}: {checked:?}"),
            }
        }
    }
}
