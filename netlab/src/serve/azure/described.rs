//! Microsoft's descriptions of the API, as far as they are to be had, and what they leave out.

use super::super::prism::{Description, Prism, prism};
use super::Azure;

/// The descriptions, each of one version: compute 2019-03-01 (sizes 2019-04-01), container instances 2018-10-01, resources
/// 2019-08-01, subscriptions 2019-06-01, terms 2015-06-01, permissions 2018-01-01-preview.
const DESCRIBED: [Description; 9] = [
    of("compute.json", "/(virtualMachines|vmimage|usages|vmSizes)(/|$)"),
    of("compute-runCommands.json", "runCommand$"),
    of("compute-disk.json", "/disks"),
    of("compute-skus.json", ""),
    of(
        "containerinstance-containerInstance.json",
        "ContainerInstance/(containerGroups|locations)",
    ),
    of("marketplaceordering-Agreements.json", "agreements/current$"),
    of(
        "resources.json",
        "^/subscriptions/{subscriptionId}(/resources|/resourcegroups(/{resourceGroupName})?|/resourceGroups/{resourceGroupName}/resources|/providers/{resourceProviderNamespace}(/register)?)$",
    ),
    of("resources-subscriptions.json", "^/subscriptions"),
    of(
        "authorization-authorization-RoleDefinitionsCalls.json",
        "{resourceGroupName}/providers/Microsoft.Authorization/permissions$",
    ),
];

const fn of(file: &'static str, paths: &'static str) -> Description {
    Description { file, paths }
}

/// What is described nowhere, or in versions that nobody has packed: the network's part above all.
const UNDESCRIBED: [&str; 15] = [
    "/subscriptions/{s}/providers/Microsoft.Network/{kind}",
    "/subscriptions/{s}/providers/Microsoft.Network/locations/{at}/usages",
    "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/{kind}",
    "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/{kind}/{name}",
    "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/{kind}/{name}/{part}",
    "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Network/{kind}/{name}/{part}/{of}",
    "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/virtualMachines/{name}/runCommands",
    "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/virtualMachines/{name}/runCommands/{command}",
    "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/virtualMachines/{name}/retrieveBootDiagnosticsData",
    "/subscriptions/{s}/providers/Microsoft.ContainerInstance/locations/{at}/capabilities",
    "/subscriptions/{s}/providers/Microsoft.Authorization/permissions",
    "/subscriptions/{s}/providers/{p}/locations/{at}/operations/{id}",
    "/subscriptions/{s}/operationresults/{id}",
    "/metadata/identity/oauth2/token",
    "/{tenant}/oauth2/v2.0/token",
];

impl Azure {
    /// What a test needs that has itself judged: see [`crate::requires!`].
    pub const JUDGED: [&str; 4] = [
        "node",
        "npm:@stoplight/prism-cli",
        "openapi:compute.json",
        "openapi:resources.json",
    ];

    /// Puts a judge in front of the service: requests and answers at its address must be as Microsoft describes them.
    ///
    /// Addresses of operations lead to the service itself, past the judge.
    #[track_caller]
    #[must_use]
    pub fn judged(&self) -> Prism {
        prism(&self.url(), &DESCRIBED, &UNDESCRIBED)
    }
}
