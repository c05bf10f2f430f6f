//! Security groups: their rules, what those let in, and each rule by itself.

use serde_json::{Value, json};

use super::call::Call;
use super::fault::Refusal;
use super::groups::look;
use super::machines::Opening;
use super::members;
use super::network::{GUARD, id, must_be_free, not_found, users};
use super::operation::{Outcome, Task, begun};
use super::request::Answer;
use super::state::{Resource, State};

pub(super) fn rule_json(guard: &str, rule: &Value) -> Value {
    let name = rule["name"].as_str().unwrap_or_default();
    let mut properties = rule["properties"].clone();
    properties["provisioningState"] = "Succeeded".into();
    for name in [
        "sourcePortRanges",
        "destinationPortRanges",
        "sourceAddressPrefixes",
        "destinationAddressPrefixes",
    ] {
        if properties[name].is_null() {
            properties[name] = json!([]);
        }
    }
    json!({ "id": format!("{guard}/securityRules/{name}"), "name": name, "etag": "W/\"1\"",
        "type": "Microsoft.Network/networkSecurityGroups/securityRules", "properties": properties })
}

pub(super) fn check_rules(body: &Value) -> Result<(), Refusal> {
    let rules = body["properties"]["securityRules"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let place = |rule: &Value| {
        let properties = &rule["properties"];
        (
            properties["direction"].as_str().map(str::to_lowercase),
            properties["priority"].as_u64(),
        )
    };
    for (index, rule) in rules.iter().enumerate() {
        let (name, (_, priority)) = (&rule["name"], place(rule));
        if !priority.is_some_and(|priority| (100..=4096).contains(&priority)) {
            let message =
                format!("Security rule has invalid Priority. Value provided: {priority:?}. Allowed range 100-4096.");
            return Err(Refusal::new(400, "SecurityRuleInvalidPriority", message));
        }
        if rules[..index].iter().any(|other| place(other) == place(rule)) {
            let message = format!(
                "Security rule {name} conflicts with another rule. Rules cannot have the same Priority and Direction."
            );
            return Err(Refusal::new(400, "SecurityRuleConflict", message));
        }
        let properties = &rule["properties"];
        for (one, many) in [
            ("sourcePortRange", "sourcePortRanges"),
            ("destinationPortRange", "destinationPortRanges"),
            ("sourceAddressPrefix", "sourceAddressPrefixes"),
            ("destinationAddressPrefix", "destinationAddressPrefixes"),
        ] {
            let has_many = properties[many].as_array().is_some_and(|many| !many.is_empty());
            if properties[one].is_null() && !has_many {
                let message = format!("Required security rule parameters are missing for security rule {name}: {one}.");
                return Err(Refusal::new(400, "SecurityRuleParameterMissing", message));
            }
            if one.ends_with("PortRange") && properties[one].as_str().is_some_and(|text| ports(text).is_none()) {
                let message = format!(
                    "Security rule has invalid Port range. Value provided: {}.",
                    properties[one]
                );
                return Err(Refusal::new(400, "SecurityRuleInvalidPortRange", message));
            }
        }
    }
    Ok(())
}

fn ports(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    if text == "*" {
        return Some(0..=u16::MAX);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
}

/// What a security group lets in.
pub(super) fn open(guard: &Resource) -> Vec<Opening> {
    let rules = guard.properties["securityRules"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut open = Vec::new();
    for rule in rules.iter().map(|rule| &rule["properties"]) {
        let is = |name: &str, word: &str| {
            rule[name]
                .as_str()
                .is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        if !is("direction", "Inbound") || !is("access", "Allow") {
            continue;
        }
        let many = rule["destinationPortRanges"].as_array().into_iter().flatten();
        let all = many
            .chain(Some(&rule["destinationPortRange"]))
            .filter_map(Value::as_str);
        open.extend(all.filter_map(ports).map(|ports| Opening {
            protocol: rule["protocol"].as_str().unwrap_or("*").to_owned(),
            ports,
            source: rule["sourceAddressPrefix"].as_str().unwrap_or("*").to_owned(),
        }));
    }
    open
}

/// The machines behind a security group, and what is let in to each.
pub(super) fn openings(state: &State, guard: &str) -> Vec<(String, Vec<Opening>)> {
    let Some(group) = state.resource(guard) else {
        return Vec::new();
    };
    let users = users(state, guard);
    let machines = users
        .iter()
        .filter_map(|id| state.resource(id)?.properties["virtualMachine"]["id"].as_str());
    machines.map(|machine| (machine.to_owned(), open(group))).collect()
}

/// The rules of a security group, each by itself.
pub(super) fn rules(call: &Call<'_>) -> Result<Answer, Refusal> {
    let (guard, name) = (id(call, GUARD), call.segment(9).unwrap_or_default());
    let rule_id = format!("{guard}/securityRules/{name}");
    let missing = || not_found(&rule_id, "Microsoft.Network/networkSecurityGroups/securityRules");
    let is_it = |rule: &Value| {
        rule["name"]
            .as_str()
            .is_some_and(|known| known.eq_ignore_ascii_case(name))
    };
    let method = &*call.request.method;
    let body = if method == "PUT" {
        call.body(&members::SECURITY_RULE)?
    } else {
        Value::Null
    };
    let mut state = call.state();
    look(&mut state, &guard);
    let group = state.resource(&guard).ok_or_else(|| not_found(&guard, GUARD))?;
    let mut rules = group.properties["securityRules"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let before = rules.len();
    match method {
        "GET" if name.is_empty() => return Ok(Answer::json(200, json!({ "value": rules }))),
        "GET" => {
            return rules
                .into_iter()
                .find(is_it)
                .map(|rule| Answer::json(200, rule))
                .ok_or_else(missing);
        }
        "PUT" => {
            let mut rule = body;
            rule["name"] = name.into();
            rules.retain(|rule| !is_it(rule));
            rules.push(rule_json(&guard, &rule));
        }
        "DELETE" => {
            rules.retain(|rule| !is_it(rule));
            if rules.len() == before {
                return Ok(Answer::new(204));
            }
        }
        _ => return Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed.")),
    }
    must_be_free(&state, &guard)?;
    check_rules(&json!({ "properties": { "securityRules": rules } }))?;
    let rule = rules.iter().find(|rule| is_it(rule)).cloned();
    let is_new = rules.len() > before;
    let key = guard.to_lowercase();
    if let Some(group) = state.resource_mut(&guard) {
        group.properties["securityRules"] = rules.into();
        group.state = "Updating";
    }
    let (changed, machines) = (openings(&state, &guard), call.shared.machines.clone());
    let work = move || {
        for (machine, open) in changed {
            machines.opened(&machine, &open);
        }
        Ok(Value::Null)
    };
    let (at, made) = (key.clone(), rule.clone());
    let end = move |state: &mut State, _| {
        if let Some(group) = state.resource_mut(&at) {
            group.state = "Succeeded";
        }
        Ok(made.map_or_else(|| Outcome::empty(204), Outcome::body))
    };
    let operation = state.begin(call, Task::new(&key, work, end));
    drop(state);
    Ok(match rule {
        Some(rule) => {
            let mut shown = rule;
            shown["properties"]["provisioningState"] = "Updating".into();
            begun(call, &operation, if is_new { 201 } else { 200 }, Some(shown))
        }
        None => begun(call, &operation, 202, None),
    })
}
