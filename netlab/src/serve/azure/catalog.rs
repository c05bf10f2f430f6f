//! What a region offers, and how much of it: sizes, images, quotas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::call::Call;
use super::fault::Refusal;
use super::groups::id as group_id;
use super::request::Answer;
use super::state::{Resource, State, location};

/// A size of machines.
pub(super) struct Size {
    pub(super) name: &'static str,
    pub(super) family: &'static str,
    pub(super) cores: u32,
    memory_gb: &'static str,
    architecture: &'static str,
}

const fn size(name: &'static str, family: &'static str, cores: u32, memory_gb: &'static str) -> Size {
    Size {
        name,
        family,
        cores,
        memory_gb,
        architecture: "x64",
    }
}

const SIZES: [Size; 8] = [
    size("Standard_B1ls", "standardBSFamily", 1, "0.5"),
    size("Standard_B1s", "standardBSFamily", 1, "1"),
    size("Standard_B1ms", "standardBSFamily", 1, "2"),
    size("Standard_B2s", "standardBSFamily", 2, "4"),
    size("Standard_B2ats_v2", "standardBasv2Family", 2, "1"),
    size("Standard_B2ts_v2", "standardBsv2Family", 2, "1"),
    size("Standard_D2s_v3", "standardDSv3Family", 2, "8"),
    Size {
        architecture: "Arm64",
        ..size("Standard_B2pts_v2", "standardBpsv2Family", 2, "1")
    },
];

/// An image: publisher, offer, SKU, whether it wants a plan, and the processors that it is for.
struct Image {
    publisher: &'static str,
    offer: &'static str,
    sku: &'static str,
    has_plan: bool,
    architecture: &'static str,
}

const fn offered(publisher: &'static str, offer: &'static str, sku: &'static str, has_plan: bool) -> Image {
    Image {
        publisher,
        offer,
        sku,
        has_plan,
        architecture: "x64",
    }
}

const IMAGES: [Image; 7] = [
    offered("kinvolk", "flatcar-container-linux-corevm-amd64", "stable-gen2", false),
    offered("kinvolk", "flatcar-container-linux-corevm-amd64", "stable", false),
    offered("kinvolk", "flatcar-container-linux-corevm-amd64", "beta-gen2", false),
    Image {
        architecture: "Arm64",
        ..offered("kinvolk", "flatcar-container-linux-corevm", "stable", false)
    },
    offered("kinvolk", "flatcar-container-linux-free", "stable-gen2", true),
    offered("kinvolk", "flatcar-container-linux-free", "stable", true),
    offered("canonical", "ubuntu-24_04-lts", "server", false),
];

/// The versions of every image; the last is `latest`.
const VERSIONS: [&str; 2] = ["4152.2.3", "4230.2.0"];

/// What differs from the catalogue: quotas, sizes that are sold out, terms that are accepted.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    quotas: BTreeMap<String, u32>,
    sold_out: BTreeSet<String>,
    accepted: BTreeSet<String>,
}

impl Catalog {
    pub(super) fn set_quota(&mut self, name: &str, limit: u32) {
        self.quotas.insert(name.to_lowercase(), limit);
    }

    pub(super) fn sell_out(&mut self, size: &str) {
        self.sold_out.insert(size.to_lowercase());
    }

    fn quota(&self, name: &str) -> u32 {
        self.quotas.get(&name.to_lowercase()).copied().unwrap_or(10)
    }

    pub(super) fn accept(&mut self, publisher: &str, offer: &str, plan: &str) {
        self.accepted
            .insert(format!("{publisher}:{offer}:{plan}").to_lowercase());
    }

    pub(super) fn cancel(&mut self, plan: &str) {
        self.accepted.remove(&plan.to_lowercase());
    }

    pub(super) fn has_accepted(&self, plan: &str) -> bool {
        self.accepted.contains(&plan.to_lowercase())
    }
}

/// A size by its name.
pub(super) fn find(name: &str) -> Option<&'static Size> {
    SIZES.iter().find(|size| size.name.eq_ignore_ascii_case(name))
}

/// How much of a quota is used in a region.
fn used(state: &State, name: &str, at: &str) -> u32 {
    let of = |kind: &'static str| {
        let resources = state.resources.values();
        resources.filter(move |resource| resource.kind == kind && resource.location.as_deref() == Some(at))
    };
    let sizes = of("Microsoft.Compute/virtualMachines")
        .filter_map(|machine| find(machine.properties["hardwareProfile"]["vmSize"].as_str()?));
    let count = |resources: usize| u32::try_from(resources).unwrap_or(u32::MAX);
    match name {
        "cores" => sizes.map(|size| size.cores).sum(),
        "virtualMachines" => count(of("Microsoft.Compute/virtualMachines").count()),
        "PublicIPAddresses" | "StandardSkuPublicIpAddresses" => {
            count(of("Microsoft.Network/publicIPAddresses").count())
        }
        "NetworkSecurityGroups" => count(of("Microsoft.Network/networkSecurityGroups").count()),
        "VirtualNetworks" => count(of("Microsoft.Network/virtualNetworks").count()),
        "ContainerGroups" => count(of("Microsoft.ContainerInstance/containerGroups").count()),
        "StandardCores" => of("Microsoft.ContainerInstance/containerGroups")
            .map(|group| whole(cpus(&group.wanted)))
            .sum(),
        family => sizes.filter(|size| size.family == family).map(|size| size.cores).sum(),
    }
}

/// The processors that a container group asks for.
pub(super) fn cpus(group: &Value) -> f64 {
    let containers = group["properties"]["containers"].as_array();
    let cpu = |container: &Value| container["properties"]["resources"]["requests"]["cpu"].as_f64();
    containers.into_iter().flatten().filter_map(cpu).sum()
}

/// Rounded up.
pub(super) fn whole(number: f64) -> u32 {
    (0..1000).find(|&whole| f64::from(whole) >= number).unwrap_or(1000)
}

/// Refuses a machine that the region has no room for.
pub(super) fn admit_machine(state: &State, size: &Size, at: &str) -> Result<(), Refusal> {
    if state.catalog.sold_out.contains(&size.name.to_lowercase()) {
        let message = format!(
            "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {}' is currently not available in location '{at}'. Please try another size or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details.",
            size.name
        );
        return Err(Refusal::new(409, "SkuNotAvailable", message));
    }
    for (name, title) in [("cores", "Total Regional Cores"), (size.family, size.family)] {
        let (limit, usage) = (state.catalog.quota(name), used(state, name, at));
        if usage + size.cores > limit {
            let message = format!(
                "Operation could not be completed as it results in exceeding approved {title} quota. Additional details - Deployment Model: Resource Manager, Location: {at}, Current Limit: {limit}, Current Usage: {usage}, Additional Required: {}, (Minimum) New Limit Required: {}. Submit a request for Quota increase at https://aka.ms/ProdportalCRP/ .",
                size.cores,
                usage + size.cores
            );
            return Err(Refusal::new(409, "OperationNotAllowed", message));
        }
    }
    Ok(())
}

/// Refuses a public address that the region has no room for.
pub(super) fn admit_address(state: &State, at: &str) -> Result<(), Refusal> {
    let limit = state.catalog.quota("PublicIPAddresses");
    if used(state, "PublicIPAddresses", at) < limit {
        return Ok(());
    }
    let message = format!("Cannot create more than {limit} public IP addresses for this subscription in this region.");
    Err(Refusal::new(400, "PublicIPCountLimitReached", message))
}

/// Refuses a container group that the region has no room for.
pub(super) fn admit_group(state: &State, body: &Value, at: &str) -> Result<(), Refusal> {
    let (limit, usage, wanted) = (
        state.catalog.quota("StandardCores"),
        used(state, "StandardCores", at),
        whole(cpus(body)),
    );
    if usage + wanted <= limit {
        return Ok(());
    }
    let message = format!(
        "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota 'StandardCores' exceeded in region '{at}'. Limit: '{limit}', Usage: '{usage}' Requested: '{wanted}'."
    );
    Err(Refusal::new(409, "ContainerGroupQuotaReached", message))
}

/// The image that a machine's body asks for, as publisher, offer, SKU and the version that `latest` is.
pub(super) fn admit_image(state: &State, id: &str, body: &Value, size: &Size) -> Result<String, Refusal> {
    let reference = &body["properties"]["storageProfile"]["imageReference"];
    let text = |name: &str| reference[name].as_str().unwrap_or_default();
    let name = format!(
        "{}:{}:{}:{}",
        text("publisher"),
        text("offer"),
        text("sku"),
        text("version")
    );
    let missing = || {
        let message = format!(
            "The platform image '{name}' is not available. Verify that all fields in the storage profile are correct. For more details about storage profile information, please refer to https://aka.ms/storageprofile"
        );
        Refusal::new(404, "PlatformImageNotFound", message).target("imageReference")
    };
    let image = known(text("publisher"), text("offer"), text("sku")).ok_or_else(missing)?;
    let version = version(text("version")).ok_or_else(missing)?;
    if image.architecture != size.architecture {
        let message = format!(
            "Cannot create a VM of size '{}' because this VM size only supports a CPU Architecture of '{}', but an image or disk with CPU Architecture '{}' was given.",
            size.name, size.architecture, image.architecture
        );
        return Err(Refusal::new(400, "InvalidParameter", message).target("vmSize"));
    }
    let plan = &body["plan"];
    let part = |name: &str| plan[name].as_str().unwrap_or_default();
    match (image.has_plan, plan.is_object()) {
        (false, false) => {}
        (true, true) => {
            let (publisher, offer, plan) = (part("publisher"), part("product"), part("name"));
            let is_its = [(publisher, image.publisher), (offer, image.offer), (plan, image.sku)];
            if is_its.iter().any(|(given, wanted)| !given.eq_ignore_ascii_case(wanted)) {
                return Err(no_plan(id));
            }
            if !state.catalog.has_accepted(&format!("{publisher}:{offer}:{plan}")) {
                let message = "Marketplace purchase eligibilty check returned errors. See inner errors for details. ";
                let detail = format!(
                    "Offer with PublisherId: {publisher}, OfferId: {offer} cannot be purchased due to validation errors. See details for more information.[{{\"Legal terms have not been accepted for this item on this subscription. To accept legal terms using PowerShell, please use Get-AzMarketplaceTerms and Set-AzMarketplaceTerms API or deploy via the Azure portal to accept the terms\":\"StoreApi\"}}]"
                );
                return Err(
                    Refusal::new(400, "MarketplacePurchaseEligibilityFailed", message).detail("BadRequest", detail)
                );
            }
        }
        _ => return Err(no_plan(id)),
    }
    Ok(format!("{}:{}:{}:{version}", image.publisher, image.offer, image.sku))
}

fn no_plan(id: &str) -> Refusal {
    let message = format!(
        "Creating a virtual machine from Marketplace image or a custom image sourced from a Marketplace image requires Plan information in the request. VM: '{id}'."
    );
    Refusal::new(400, "VMMarketplaceInvalidInput", message)
}

fn known(publisher: &str, offer: &str, sku: &str) -> Option<&'static Image> {
    let is = |known: &str, given: &str| known.eq_ignore_ascii_case(given);
    let mut images = IMAGES.iter();
    images.find(|image| is(image.publisher, publisher) && is(image.offer, offer) && is(image.sku, sku))
}

fn version(version: &str) -> Option<&'static str> {
    let is_latest = version.eq_ignore_ascii_case("latest");
    let mut versions = VERSIONS.iter().rev();
    versions.find(|known| is_latest || **known == version).copied()
}

/// `GET …/Microsoft.Compute/skus`.
pub(super) fn sizes(call: &Call<'_>) -> Answer {
    let filter = location(call.request.parameter("$filter"));
    let state = call.state();
    let locations = call
        .shared
        .settings
        .locations
        .iter()
        .filter(|at| filter.is_empty() || filter.contains(&format!("'{at}'")));
    let of = |at: &String| {
        let sold_out = &state.catalog.sold_out;
        SIZES
            .iter()
            .map(|size| {
                let restrictions = if sold_out.contains(&size.name.to_lowercase()) {
                    json!([{ "type": "Location", "values": [at], "restrictionInfo": { "locations": [at] },
                    "reasonCode": "NotAvailableForSubscription" }])
                } else {
                    json!([])
                };
                json!({
                    "resourceType": "virtualMachines", "name": size.name, "tier": "Standard", "family": size.family,
                    "size": size.name.trim_start_matches("Standard_"), "locations": [at],
                    "locationInfo": [{ "location": at, "zones": ["1", "2", "3"], "zoneDetails": [] }],
                    "capabilities": [
                        { "name": "vCPUs", "value": size.cores.to_string() },
                        { "name": "MemoryGB", "value": size.memory_gb },
                        { "name": "CpuArchitectureType", "value": size.architecture },
                        { "name": "HyperVGenerations", "value": "V1,V2" },
                    ],
                    "restrictions": restrictions,
                })
            })
            .collect::<Vec<_>>()
    };
    let sizes: Vec<_> = locations.flat_map(of).collect();
    drop(state);
    page(call, sizes)
}

/// `GET …/locations/{at}/vmSizes`.
pub(super) fn machine_sizes(call: &Call<'_>, at: &str) -> Result<Answer, Refusal> {
    region(call, at)?;
    let sizes = SIZES.iter().map(|size| {
        let memory: f64 = size.memory_gb.parse().unwrap_or(1.0);
        json!({ "name": size.name, "numberOfCores": size.cores, "memoryInMB": whole(memory * 2.0) * 512,
            "osDiskSizeInMB": 1_047_552, "resourceDiskSizeInMB": 4096, "maxDataDiskCount": 2 })
    });
    Ok(Answer::json(200, json!({ "value": sizes.collect::<Vec<_>>() })))
}

/// `GET …/locations/{at}/usages`, of whichever provider.
pub(super) fn usages(call: &Call<'_>, at: &str) -> Result<Answer, Refusal> {
    region(call, at)?;
    let at = location(at);
    let state = call.state();
    let usage = |name: &str, title: &str| (name.to_owned(), title.to_owned());
    let names = match &*call.namespace() {
        "microsoft.compute" => {
            let mut names = vec![
                usage("cores", "Total Regional vCPUs"),
                usage("virtualMachines", "Virtual Machines"),
            ];
            for size in &SIZES {
                if !names.iter().any(|(name, _)| name == size.family) {
                    names.push(usage(size.family, &format!("{} vCPUs", size.family)));
                }
            }
            names
        }
        "microsoft.network" => vec![
            usage("VirtualNetworks", "Virtual Networks"),
            usage("NetworkSecurityGroups", "Network Security Groups"),
            usage("PublicIPAddresses", "Public IP Addresses"),
            usage("StandardSkuPublicIpAddresses", "Public IPv4 Addresses - Standard"),
        ],
        _ => vec![
            usage("ContainerGroups", "Container Groups"),
            usage("StandardCores", "Standard Cores"),
        ],
    };
    let is_network = call.namespace() == "microsoft.network";
    let values = names.iter().map(|(name, title)| {
        let quota = if name == "StandardSkuPublicIpAddresses" {
            "PublicIPAddresses"
        } else {
            name
        };
        let mut value = json!({
            "unit": "Count", "currentValue": used(&state, name, &at), "limit": state.catalog.quota(quota),
            "name": { "value": name, "localizedValue": title },
        });
        if is_network {
            let id = format!(
                "/subscriptions/{}/providers/Microsoft.Network/locations/{at}/usages/{name}",
                call.shared.settings.subscription
            );
            value["id"] = id.into();
        }
        value
    });
    Ok(Answer::json(200, json!({ "value": values.collect::<Vec<_>>() })))
}

/// `GET …/versions` of an image: those of the SKU, oldest first.
pub(super) fn images(call: &Call<'_>, at: &str, name: &[&str; 3]) -> Result<Answer, Refusal> {
    region(call, at)?;
    let [publisher, offer, sku] = *name;
    let found = known(publisher, offer, sku).ok_or_else(|| no_artifact(name))?;
    let is_latest_first = call.request.parameter("$orderby").to_lowercase().ends_with("desc");
    let mut versions = VERSIONS.to_vec();
    if is_latest_first {
        versions.reverse();
    }
    let top = call.request.parameter("$top").parse().unwrap_or(versions.len());
    let values: Vec<_> = versions
        .iter()
        .take(top)
        .map(|version| version_json(call, at, found, version))
        .collect();
    Ok(Answer::json(200, values.into()))
}

/// `GET …/versions/{version}` of an image.
pub(super) fn image(call: &Call<'_>, at: &str, name: &[&str; 4]) -> Result<Answer, Refusal> {
    region(call, at)?;
    let [publisher, offer, sku, given] = *name;
    let found = known(publisher, offer, sku).ok_or_else(|| no_artifact(name))?;
    let version = version(given).ok_or_else(|| no_artifact(name))?;
    let mut json = version_json(call, at, found, version);
    json["properties"] = json!({ "architecture": found.architecture, "hyperVGeneration": "V2", "osDiskImage": { "operatingSystem": "Linux" } });
    if found.has_plan {
        json["properties"]["plan"] = json!({ "publisher": found.publisher, "product": found.offer, "name": found.sku });
    }
    Ok(Answer::json(200, json))
}

fn version_json(call: &Call<'_>, at: &str, image: &Image, version: &str) -> Value {
    let id = format!(
        "/Subscriptions/{}/Providers/Microsoft.Compute/Locations/{at}/Publishers/{}/ArtifactTypes/VMImage/Offers/{}/Skus/{}/Versions/{version}",
        call.shared.settings.subscription, image.publisher, image.offer, image.sku
    );
    json!({ "id": id, "name": version, "location": location(at) })
}

fn no_artifact(name: &[&str]) -> Refusal {
    Refusal::new(
        404,
        "NotFound",
        format!("Artifact: VMImage was not found: {}.", name.join(":")),
    )
}

/// `GET …/Microsoft.ContainerInstance/locations/{at}/capabilities`.
pub(super) fn capabilities(call: &Call<'_>) -> Answer {
    let at = call.segment(5).unwrap_or_default();
    let value = json!([{ "resourceType": "containerGroups", "osType": "Linux", "location": at, "ipAddressType": "Public", "gpu": "None",
        "capabilities": { "maxMemoryInGB": 16.0, "maxCpu": 4.0, "maxGpuCount": 0.0 } }]);
    Answer::json(200, json!({ "value": value }))
}

/// Refuses a region that the subscription does not have.
pub(super) fn region(call: &Call<'_>, at: &str) -> Result<(), Refusal> {
    let locations = &call.shared.settings.locations;
    if locations.contains(&location(at)) {
        return Ok(());
    }
    let message = format!(
        "The provided location '{at}' is not available for the resource type. List of available regions is '{}'.",
        locations.join(",")
    );
    Err(Refusal::new(400, "LocationNotAvailableForResourceType", message))
}

/// One page of a list, and where the next one is.
pub(super) fn page(call: &Call<'_>, values: Vec<Value>) -> Answer {
    let from = call.request.parameter("$skiptoken").parse().unwrap_or(0);
    let size = call.shared.settings.page.max(1);
    let is_last = values.len() <= from + size;
    let values: Vec<_> = values.into_iter().skip(from).take(size).collect();
    let mut body = json!({ "value": values });
    if !is_last {
        let query = call.request.target.split_once('?').map_or("", |(_, query)| query);
        let query: Vec<_> = query
            .split('&')
            .filter(|pair| !pair.to_lowercase().contains("skiptoken"))
            .collect();
        let next = format!(
            "{}{}?{}&$skiptoken={}",
            call.base(),
            call.request.path(),
            query.join("&"),
            from + size
        );
        body["nextLink"] = next.into();
    }
    Answer::json(200, body)
}

/// What there is of a kind, in the group or the subscription that the path names, as far as the client may see it, and
/// whether it is a group.
pub(super) fn of_kind(call: &Call<'_>, kind: &str) -> (bool, Vec<Resource>) {
    let is_of_group = call
        .segment(2)
        .is_some_and(|segment| segment.eq_ignore_ascii_case("resourcegroups"));
    let within = if is_of_group {
        format!("{}/", group_id(call).to_lowercase())
    } else {
        String::new()
    };
    let found = call
        .state()
        .listed(|resource| resource.kind == kind && resource.key().starts_with(&within));
    (is_of_group, visible(call, found))
}

/// Those of a list's resources that the client may see.
pub(super) fn visible(call: &Call<'_>, resources: Vec<Resource>) -> Vec<Resource> {
    let state = call.state();
    let may = |resource: &Resource| {
        let scope = resource.id.split('/').take(5).collect::<Vec<_>>().join("/");
        state.allows(&format!("{}/read", resource.kind), &scope)
    };
    resources.into_iter().filter(may).collect()
}
