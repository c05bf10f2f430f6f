//! Which request is answered by what, and which action it is.

use super::call::Call;
use super::fault::Refusal;
use super::operation;
use super::request::Answer;
use super::{catalog, containers, disks, groups, guards, interfaces, network, power, run, terms, vm};

/// The kinds of the path behind `providers/NAMESPACE`, with slashes between: `virtualmachines/runcommands`.
fn kinds(path: &[&str]) -> String {
    let kinds: Vec<_> = path.iter().step_by(2).copied().collect();
    kinds.join("/")
}

/// The action that a request is, as roles name it.
fn action(method: &str, path: &[&str]) -> String {
    let at = path.iter().position(|segment| *segment == "providers");
    let (mut kind, is_action) = match at {
        Some(at) if path.len() > at + 2 => {
            let behind = &path[at + 2..];
            // An action stands where a name would, behind a resource: `virtualMachines/x/runCommand`.
            (format!("{}/{}", path[at + 1], kinds(behind)), method == "POST")
        }
        Some(at) if path.len() == at + 2 => ("microsoft.resources/subscriptions/providers".to_owned(), false),
        _ => match path.get(2) {
            None => ("microsoft.resources/subscriptions".to_owned(), false),
            Some(&"operationresults") => ("microsoft.resources/subscriptions/operationresults".to_owned(), false),
            Some(kind) => (format!("microsoft.resources/subscriptions/{kind}"), false),
        },
    };
    if path.last() == Some(&"register") {
        return format!("{}/register/action", path.get(3).unwrap_or(&""));
    }
    if path.get(2) == Some(&"resourcegroups") && path.last() == Some(&"resources") {
        "microsoft.resources/subscriptions/resourcegroups/resources".clone_into(&mut kind);
    }
    let word = match method {
        "PUT" | "PATCH" => "write",
        "DELETE" => "delete",
        "POST" if is_action => "action",
        _ => "read",
    };
    format!("{kind}/{word}")
}

/// Where a request acts: a resource group, or the subscription.
fn scope(path: &[&str]) -> String {
    let length = if path.get(2) == Some(&"resourcegroups") {
        path.len().min(4)
    } else {
        path.len().min(2)
    };
    format!("/{}", path[..length].join("/"))
}

/// Refuses what the role does not allow. A list of the whole subscription shows what one may see instead.
pub(super) fn allowed(call: &Call<'_>, path: &[&str]) -> Result<(), Refusal> {
    let (action, scope) = (action(&call.request.method, path), scope(path));
    let is_list = call.request.method == "GET"
        && match path {
            [_, _, "resources" | "resourcegroups"] => true,
            [_, _, "providers", _, kind] => !["skus", "permissions"].contains(kind),
            _ => false,
        };
    // Whoever was given the address of an operation may follow it, wherever the role applies.
    let is_operation = path.contains(&"operations") || path.contains(&"operationresults");
    if is_list || is_operation || call.state().allows(&action, &scope) {
        return Ok(());
    }
    Err(forbidden(call, &action, &scope))
}

/// The refusal of an action that the role does not allow.
pub(super) fn forbidden(call: &Call<'_>, action: &str, scope: &str) -> Refusal {
    let client = &call.shared.settings.client;
    let message = format!(
        "The client '{client}' with object id '{client}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
    );
    Refusal::new(403, "AuthorizationFailed", message)
}

/// Answers a request by its path, in lower case.
pub(super) fn answer(call: &Call<'_>, path: &[&str]) -> Result<Answer, Refusal> {
    let method = &*call.request.method;
    let path = &path[2..];
    if let [.., "operations" | "operationresults" | "operationstatuses", id] = path
        && method == "GET"
    {
        return operation::status(call, id);
    }
    match path {
        ["resourcegroups", _, "providers", namespace, rest @ ..] => match *namespace {
            "microsoft.network" => of_network(call, method, rest),
            "microsoft.compute" => of_compute(call, method, rest),
            "microsoft.containerinstance" => of_containers(call, method, rest),
            "microsoft.authorization" if rest == ["permissions"] => Ok(groups::permissions(call)),
            _ => Err(unknown(call)),
        },
        ["providers", namespace, rest @ ..] => of_subscription(call, method, namespace, rest),
        _ => of_groups(call, method, path),
    }
}

fn of_groups(call: &Call<'_>, method: &str, path: &[&str]) -> Result<Answer, Refusal> {
    match (method, path) {
        ("GET", []) => Ok(groups::subscription(call)),
        ("GET", ["locations"]) => Ok(groups::locations(call)),
        ("GET", ["resourcegroups"]) => groups::list(call),
        ("PUT", ["resourcegroups", _]) => groups::put(call),
        ("PATCH", ["resourcegroups", _]) => groups::patch(call),
        ("GET", ["resourcegroups", _]) => groups::show(call),
        ("HEAD", ["resourcegroups", _]) => Ok(groups::head(call)),
        ("DELETE", ["resourcegroups", _]) => groups::delete(call),
        ("GET", ["resources"] | ["resourcegroups", _, "resources"]) => groups::resources(call),
        ("GET", ["providers"]) => Ok(groups::providers(call)),
        _ => Err(unknown(call)),
    }
}

fn of_subscription(call: &Call<'_>, method: &str, namespace: &str, rest: &[&str]) -> Result<Answer, Refusal> {
    match (method, namespace, rest) {
        ("GET", _, []) => groups::provider(call),
        ("POST", _, ["register"]) => groups::register(call),
        ("GET", "microsoft.authorization", ["permissions"]) => Ok(groups::permissions(call)),
        ("GET", "microsoft.compute", ["skus"]) => Ok(catalog::sizes(call)),
        ("GET", "microsoft.compute", ["locations", at, "vmsizes"]) => catalog::machine_sizes(call, at),
        ("GET", _, ["locations", at, "usages"]) => catalog::usages(call, at),
        (
            "GET",
            "microsoft.compute",
            [
                "locations",
                at,
                "publishers",
                publisher,
                "artifacttypes",
                "vmimage",
                "offers",
                offer,
                "skus",
                sku,
                "versions",
            ],
        ) => catalog::images(call, at, &[publisher, offer, sku]),
        (
            "GET",
            "microsoft.compute",
            [
                "locations",
                at,
                "publishers",
                publisher,
                "artifacttypes",
                "vmimage",
                "offers",
                offer,
                "skus",
                sku,
                "versions",
                version,
            ],
        ) => catalog::image(call, at, &[publisher, offer, sku, version]),
        ("GET", "microsoft.compute", ["virtualmachines"]) => Ok(vm::list(call)),
        ("GET", "microsoft.compute", ["disks"]) => Ok(disks::list(call)),
        ("GET", "microsoft.containerinstance", ["containergroups"]) => Ok(containers::list(call)),
        ("GET", "microsoft.containerinstance", ["locations", _, "capabilities"]) => Ok(catalog::capabilities(call)),
        ("GET", "microsoft.network", [kind]) => network::list(call, kind),
        (
            _,
            "microsoft.marketplaceordering",
            [
                "offertypes",
                "virtualmachine",
                "publishers",
                publisher,
                "offers",
                offer,
                "plans",
                plan,
                "agreements",
                "current",
            ],
        ) => terms::answer(call, &[publisher, offer, plan]),
        _ => Err(unknown(call)),
    }
}

fn of_network(call: &Call<'_>, method: &str, rest: &[&str]) -> Result<Answer, Refusal> {
    groups::must_be(call)?;
    match (method, rest) {
        ("GET", [kind]) => network::list(call, kind),
        ("GET", [kind, _]) => network::show(call, kind),
        ("PATCH", [kind, _]) => network::patch(call, kind),
        ("PUT", ["networkinterfaces", _]) => interfaces::put(call),
        ("PUT", ["publicipaddresses", _]) => interfaces::put_address(call),
        ("PUT", [kind, _]) => network::put(call, kind),
        ("DELETE", [kind, _]) => network::delete(call, kind),
        ("GET", ["virtualnetworks", _, "subnets"]) => network::list(call, "subnets"),
        ("GET", ["virtualnetworks", _, "subnets", _]) => network::show(call, "subnets"),
        ("PUT", ["virtualnetworks", _, "subnets", _]) => network::put(call, "subnets"),
        ("DELETE", ["virtualnetworks", _, "subnets", _]) => network::delete(call, "subnets"),
        (_, ["networksecuritygroups", _, "securityrules", ..]) => guards::rules(call),
        _ => Err(unknown(call)),
    }
}

fn of_compute(call: &Call<'_>, method: &str, rest: &[&str]) -> Result<Answer, Refusal> {
    groups::must_be(call)?;
    match (method, rest) {
        ("GET", ["virtualmachines"]) => Ok(vm::list(call)),
        ("GET", ["virtualmachines", _]) => vm::show(call),
        ("PUT", ["virtualmachines", _]) => vm::put(call),
        ("PATCH", ["virtualmachines", _]) => vm::patch(call),
        ("DELETE", ["virtualmachines", _]) => Ok(vm::delete(call)),
        ("GET", ["virtualmachines", _, "instanceview"]) => vm::view(call),
        ("POST", ["virtualmachines", _, "runcommand"]) => run::act(call),
        ("POST", ["virtualmachines", _, "retrievebootdiagnosticsdata"]) => power::console(call),
        ("POST", ["virtualmachines", _, action]) => power::switch(call, action),
        ("GET", ["virtualmachines", _, "runcommands"]) => Ok(run::list(call)),
        ("PUT", ["virtualmachines", _, "runcommands", _]) => run::put(call),
        ("GET", ["virtualmachines", _, "runcommands", _]) => run::show(call),
        ("DELETE", ["virtualmachines", _, "runcommands", _]) => run::delete(call),
        ("GET", ["disks"]) => Ok(disks::list(call)),
        ("GET", ["disks", _]) => disks::show(call),
        ("DELETE", ["disks", _]) => disks::delete(call),
        _ => Err(unknown(call)),
    }
}

fn of_containers(call: &Call<'_>, method: &str, rest: &[&str]) -> Result<Answer, Refusal> {
    groups::must_be(call)?;
    match (method, rest) {
        ("GET", ["containergroups"]) => Ok(containers::list(call)),
        ("GET", ["containergroups", _]) => containers::show(call),
        ("PUT", ["containergroups", _]) => containers::put(call),
        ("PATCH", ["containergroups", _]) => containers::patch(call),
        ("DELETE", ["containergroups", _]) => Ok(containers::delete(call)),
        ("POST", ["containergroups", _, action]) => containers::switch(call, action),
        ("GET", ["containergroups", _, "containers", container, "logs"]) => containers::logs(call, container),
        ("POST", ["containergroups", _, "containers", container, "exec"]) => containers::exec(call, container),
        _ => Err(unknown(call)),
    }
}

/// Nobody answers this path, or not this method.
fn unknown(call: &Call<'_>) -> Refusal {
    let (method, path) = (&call.request.method, call.request.path());
    let message = format!("The resource type of '{method} {path}' could not be found, or does not take this method.");
    Refusal::new(404, "InvalidResourceType", message)
}
