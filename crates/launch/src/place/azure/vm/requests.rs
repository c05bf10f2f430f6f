//! What is asked of Azure for a machine. Pure: an order and the configuration in, requests out.

use azure::{Method, Path, Request, ResourceId};
use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use super::{
    super::{EXPIRES_AT, INSTANCE, LEASE, site::Site},
    config::{Config, RunCommand},
    names::{self, BESIDE, COMPUTE, NETWORK, SUBNET},
};
use crate::{LeaseId, place::Job};

/// Versions of Azure's APIs that every cloud has had for long.
const COMPUTE_VERSION: &str = "2024-11-01";
const NETWORK_VERSION: &str = "2024-05-01";
const DISK_VERSION: &str = "2024-03-02";
const TERMS_VERSION: &str = "2021-01-01";

/// The version of the network's API by which Azure makes a machine's interface with it.
const INLINE_VERSION: &str = "2022-11-01";

/// The machine's user, who has that name on Flatcar anyway.
pub(super) const ADMIN: &str = "core";

/// The private network behind which machines are. They do not speak with each other.
const SPACE: &str = "10.210.0.0/16";

/// How long a script may take, in seconds: longer than it waits by itself.
const SCRIPT_SECS: u32 = 150;

pub(super) fn network(site: &Site, region: &str) -> Request {
    Request::new(Method::Get, &names::network(site, region), NETWORK_VERSION)
}

pub(super) fn make_network(site: &Site, region: &str) -> Request {
    let body = json!({
        "location": region,
        "properties": {
            "addressSpace": { "addressPrefixes": [SPACE] },
            "subnets": [{ "name": SUBNET, "properties": { "addressPrefix": SPACE } }],
        },
    });
    Request::new(Method::Put, &names::network(site, region), NETWORK_VERSION).with_body(body)
}

pub(super) fn guard(site: &Site, region: &str, port: u16, with_ssh: bool) -> Request {
    Request::new(
        Method::Get,
        &names::guard(site, region, port, with_ssh),
        NETWORK_VERSION,
    )
}

pub(super) fn make_guard(config: &Config, region: &str, port: u16, with_ssh: bool) -> Request {
    let site = &config.site;
    let body = json!({ "location": region, "properties": { "securityRules": rules(config, port, with_ssh) } });
    Request::new(
        Method::Put,
        &names::guard(site, region, port, with_ssh),
        NETWORK_VERSION,
    )
    .with_body(body)
}

/// What a security group lets in: WireGuard, and SSH if somebody asked for it.
pub(super) fn rules(config: &Config, port: u16, with_ssh: bool) -> Vec<Value> {
    let source = config
        .source
        .map_or_else(|| "*".to_owned(), |source| source.to_string());
    let rule = |name: &str, priority: u16, protocol: &str, port: u16| {
        json!({ "name": name, "properties": {
            "protocol": protocol, "direction": "Inbound", "access": "Allow", "priority": priority,
            "sourceAddressPrefix": source, "sourcePortRange": "*",
            "destinationAddressPrefix": "*", "destinationPortRange": port.to_string(),
        } })
    };
    let mut rules = vec![rule("wireguard", 100, "Udp", port)];
    if with_ssh {
        rules.push(rule("ssh", 110, "Tcp", 22));
    }
    rules
}

/// The terms of the machine's image, to be read.
pub(super) fn terms(config: &Config) -> Request {
    let ([publisher, offer, plan, _], _) = config.image.parts();
    let segments = [
        "subscriptions",
        config.site.subscription(),
        "providers",
        "Microsoft.MarketplaceOrdering",
        "offerTypes",
        "virtualmachine",
        "publishers",
        publisher,
        "offers",
        offer,
        "plans",
        plan,
        "agreements",
        "current",
    ];
    let path = Path::new(&segments).expect("the configuration was checked");
    Request::new(Method::Get, path, TERMS_VERSION)
}

/// Accepts terms: sends them back as they were given, with a yes.
pub(super) fn accept_terms(config: &Config, mut terms: Value) -> Request {
    if let Some(properties) = terms.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("accepted".to_owned(), true.into());
    }
    let mut request = self::terms(config).with_body(terms);
    request.method = Method::Put;
    request
}

/// What of a machine its order does not say.
#[derive(Clone, Debug)]
pub(super) struct Machine<'a> {
    pub(super) region: &'a str,
    pub(super) size: &'a str,
    pub(super) port: u16,
    /// For the first boot; `None` if a script makes it a gateway.
    pub(super) custom_data: Option<String>,
    /// Who may sign in, which is nobody if the key is thrown away.
    pub(super) ssh_key: String,
    /// When the lease ends, as it is known by now.
    pub(super) expires_at: String,
}

/// Makes a machine with its interface, address and disk, which all go with it. Never changes one that is there.
pub(super) fn make_machine(config: &Config, job: &Job, machine: &Machine<'_>) -> Request {
    let (site, region) = (&config.site, machine.region);
    let beside = names::beside(job);
    let ([publisher, offer, sku, version], has_plan) = config.image.parts();
    let with_ssh = job.order.ssh_key.is_some();
    let mut body = json!({
        "location": region,
        "tags": { INSTANCE: job.instance, LEASE: job.id.to_string(), EXPIRES_AT: machine.expires_at },
        "properties": {
            "hardwareProfile": { "vmSize": machine.size },
            "storageProfile": {
                "imageReference": { "publisher": publisher, "offer": offer, "sku": sku, "version": version },
                "osDisk": {
                    "name": beside, "createOption": "FromImage", "deleteOption": "Delete",
                    "managedDisk": { "storageAccountType": "Standard_LRS" },
                },
            },
            "osProfile": {
                "computerName": job.id.resource_name(),
                "adminUsername": ADMIN,
                "linuxConfiguration": {
                    "disablePasswordAuthentication": true,
                    "provisionVMAgent": true,
                    "ssh": { "publicKeys": [{
                        "path": format!("/home/{ADMIN}/.ssh/authorized_keys"), "keyData": machine.ssh_key,
                    }] },
                },
            },
            "networkProfile": {
                "networkApiVersion": INLINE_VERSION,
                "networkInterfaceConfigurations": [interface(config, machine, &beside, with_ssh)],
            },
            "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } },
        },
    });
    if has_plan {
        body["plan"] = json!({ "publisher": publisher, "product": offer, "name": sku });
    }
    if let Some(data) = &machine.custom_data {
        body["properties"]["osProfile"]["customData"] = Base64::encode_string(data.as_bytes()).into();
    }
    Request::new(Method::Put, &names::machine(site, job.id), COMPUTE_VERSION)
        .if_absent()
        .with_body(body)
}

fn interface(config: &Config, machine: &Machine<'_>, name: &str, with_ssh: bool) -> Value {
    let subnet = names::network(&config.site, machine.region);
    let guard = names::guard(&config.site, machine.region, machine.port, with_ssh);
    json!({ "name": name, "properties": {
        "primary": true, "deleteOption": "Delete",
        "networkSecurityGroup": { "id": guard.to_string() },
        "ipConfigurations": [{ "name": "ip", "properties": {
            "primary": true,
            "subnet": { "id": format!("{subnet}/subnets/{SUBNET}") },
            "publicIPAddressConfiguration": {
                "name": name, "sku": { "name": "Standard", "tier": "Regional" },
                "properties": { "deleteOption": "Delete", "publicIPAllocationMethod": "Static" },
            },
        } }],
    } })
}

/// A machine as it is asked for, and with its state if that is wanted.
pub(super) fn machine(site: &Site, lease: LeaseId) -> Request {
    Request::new(Method::Get, &names::machine(site, lease), COMPUTE_VERSION)
}

pub(super) fn machine_state(site: &Site, lease: LeaseId) -> Request {
    machine(site, lease).with_query("$expand", "instanceView")
}

pub(super) fn remove_machine(site: &Site, lease: LeaseId) -> Request {
    Request::new(Method::Delete, &names::machine(site, lease), COMPUTE_VERSION).with_query("forceDeletion", "true")
}

pub(super) fn machines(site: &Site) -> Request {
    list(site, COMPUTE, "virtualMachines")
}

/// What may outlive a machine, of one of the kinds of [`BESIDE`].
pub(super) fn list(site: &Site, namespace: &str, kind: &str) -> Request {
    let path = Path::new(&[
        "subscriptions",
        site.subscription(),
        "resourceGroups",
        site.group(),
        "providers",
        namespace,
        kind,
    ]);
    Request::new(Method::Get, path.expect("these are names"), version(namespace, kind))
}

/// Something that came with a machine.
pub(super) fn part(id: &ResourceId) -> Request {
    of_part(Method::Get, id)
}

pub(super) fn remove_part(id: &ResourceId) -> Request {
    of_part(Method::Delete, id)
}

fn of_part(method: Method, id: &ResourceId) -> Request {
    let kind = id.kind().unwrap_or_default();
    let (namespace, kind) = kind.split_once('/').unwrap_or_default();
    Request::new(method, id, version(namespace, kind))
}

fn version(namespace: &str, kind: &str) -> &'static str {
    if namespace.eq_ignore_ascii_case(NETWORK) {
        NETWORK_VERSION
    } else if kind.eq_ignore_ascii_case(BESIDE[2].1) {
        DISK_VERSION
    } else {
        COMPUTE_VERSION
    }
}

/// Has a script carried out on a machine.
pub(super) fn run(config: &Config, region: &str, lease: LeaseId, script: &str) -> Request {
    let machine = names::machine(&config.site, lease);
    match config.run_command {
        RunCommand::Managed => {
            let body = json!({ "location": region, "properties": {
                "source": { "script": script }, "asyncExecution": false, "treatFailureAsDeploymentFailure": false,
                "timeoutInSeconds": SCRIPT_SECS,
            } });
            Request::new(Method::Put, &names::command(&machine), COMPUTE_VERSION).with_body(body)
        }
        RunCommand::Action => {
            let lines: Vec<&str> = script.lines().collect();
            let path = machine.path().join("runCommand").expect("it is a name");
            Request::new(Method::Post, path, COMPUTE_VERSION)
                .with_body(json!({ "commandId": "RunShellScript", "script": lines }))
        }
    }
}

/// What came of a managed script.
pub(super) fn ran(site: &Site, lease: LeaseId) -> Request {
    let command = names::command(&names::machine(site, lease));
    Request::new(Method::Get, &command, COMPUTE_VERSION).with_query("$expand", "instanceView")
}

/// Removes a managed script, and what it said.
pub(super) fn remove_run(site: &Site, lease: LeaseId) -> Request {
    let command = names::command(&names::machine(site, lease));
    Request::new(Method::Delete, &command, COMPUTE_VERSION)
}
