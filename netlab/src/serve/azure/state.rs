//! What there is: resources, those that lists do not show yet or show still, and what the subscription allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::catalog::Catalog;
use super::fault::Orders;
use super::operation::Operation;
use super::request::Asked;
use super::token::Tokens;

/// What the service knows.
#[derive(Default)]
pub(super) struct State {
    /// By ID in lower case.
    pub(super) resources: BTreeMap<String, Resource>,
    /// What is gone, but lists show it still.
    ghosts: Vec<(Resource, Lag)>,
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) catalog: Catalog,
    /// Scopes in lower case, and patterns of actions that are allowed there.
    pub(super) roles: Vec<(String, Vec<String>)>,
    /// Namespaces in lower case that are not registered.
    pub(super) unregistered: BTreeSet<String>,
    pub(super) orders: Orders,
    pub(super) asked: Vec<Asked>,
    pub(super) tokens: Tokens,
    /// Custom metrics that were taken.
    pub(super) metrics: Vec<Value>,
    /// How far the service's clock is ahead, in seconds.
    pub(super) skew: i64,
    numbers: u64,
}

/// A resource.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) id: String,
    /// Such as `Microsoft.Compute/virtualMachines`.
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Where it is; `None` for what is part of another.
    pub(super) location: Option<String>,
    pub(super) tags: Option<Value>,
    /// What stands beside the properties, such as `sku`.
    pub(super) beside: Map<String, Value>,
    /// The properties, without the provisioning state.
    pub(super) properties: Value,
    /// The provisioning state.
    pub(super) state: &'static str,
    /// The body that made it what it is, with what the service never shows.
    pub(super) wanted: Value,
    /// Whether a machine is on: the last word of its power state.
    pub(super) power: &'static str,
    /// The operation that is at it.
    pub(super) operation: Option<String>,
    lag: Lag,
}

/// How long lists are behind.
#[derive(Clone, Copy, Debug)]
struct Lag {
    /// How many lists more.
    lists: u32,
    /// Until when at the latest.
    until: Instant,
}

impl Lag {
    /// The longest that lists are behind.
    const LONGEST: Duration = Duration::from_secs(5);

    fn new(lists: u32) -> Self {
        Self {
            lists,
            until: Instant::now() + Self::LONGEST,
        }
    }

    /// Whether the next list is behind.
    fn holds(&mut self) -> bool {
        if self.lists == 0 || Instant::now() >= self.until {
            return false;
        }
        self.lists -= 1;
        true
    }
}

impl Resource {
    /// One that is being made; lists show it after `lag` of them.
    pub(super) fn new(kind: &'static str, id: String, body: &Value, lag: u32) -> Self {
        let name = id.rsplit('/').next().unwrap_or_default().to_owned();
        let text = |name: &str| body[name].as_str().map(location);
        let besides = ["sku", "plan", "zones", "identity"].into_iter();
        let besides = besides.filter(|name| !body[*name].is_null());
        Self {
            kind,
            name,
            location: text("location"),
            tags: body["tags"].is_object().then(|| body["tags"].clone()),
            beside: besides.map(|name| (name.to_owned(), body[name].clone())).collect(),
            properties: json!({}),
            state: "Creating",
            wanted: body.clone(),
            power: "running",
            operation: None,
            lag: Lag::new(lag),
            id,
        }
    }

    pub(super) fn key(&self) -> String {
        self.id.to_lowercase()
    }

    /// The key of what it is part of, or in.
    pub(super) fn is_below(&self, key: &str) -> bool {
        self.key().strip_prefix(key).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The resource's JSON, with these properties more.
    pub(super) fn json(&self, more: &Value) -> Value {
        let mut properties = self.properties.clone();
        for (name, value) in more.as_object().into_iter().flatten() {
            properties[name] = value.clone();
        }
        properties["provisioningState"] = self.state.into();
        let mut json = json!({ "id": self.id, "name": self.name, "type": self.kind, "properties": properties });
        if let Some(location) = &self.location {
            json["location"] = location.as_str().into();
        }
        if let Some(tags) = &self.tags {
            json["tags"] = tags.clone();
        }
        for (name, value) in &self.beside {
            json[name] = value.clone();
        }
        json
    }
}

/// A region's name as the service writes it.
pub(super) fn location(text: &str) -> String {
    text.to_lowercase().replace(' ', "")
}

impl State {
    /// The next of numbers that are never the same.
    pub(super) const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A new UUID.
    pub(super) fn uuid(&mut self) -> String {
        let number = self.number();
        // Spread, so that neighbours do not look alike.
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hex = format!("{spread:016x}");
        format!("{}-{}-4{}-8a00-{number:012x}", &hex[..8], &hex[8..12], &hex[12..15])
    }

    /// A resource by its ID, whatever the case.
    pub(super) fn resource(&self, id: &str) -> Option<&Resource> {
        self.resources.get(&id.to_lowercase())
    }

    pub(super) fn resource_mut(&mut self, id: &str) -> Option<&mut Resource> {
        self.resources.get_mut(&id.to_lowercase())
    }

    pub(super) fn insert(&mut self, resource: Resource) {
        self.resources.insert(resource.key(), resource);
    }

    /// Removes a resource and all that is below it; `lag` lists show them still.
    pub(super) fn remove(&mut self, key: &str, lag: u32) {
        let gone: Vec<_> = self
            .resources
            .values()
            .filter(|resource| resource.key() == key || resource.is_below(key))
            .map(Resource::key)
            .collect();
        for key in gone {
            if let Some(mut resource) = self.resources.remove(&key) {
                resource.state = "Deleting";
                self.ghosts.push((resource, Lag::new(lag)));
            }
        }
    }

    /// What is below a key.
    pub(super) fn below(&self, key: &str) -> Vec<Resource> {
        let below = self.resources.values().filter(|resource| resource.is_below(key));
        below.cloned().collect()
    }

    /// What a list shows of those that `pick` takes.
    pub(super) fn listed(&mut self, pick: impl Fn(&Resource) -> bool) -> Vec<Resource> {
        let mut shown = Vec::new();
        for resource in self.resources.values_mut().filter(|resource| pick(resource)) {
            if !resource.lag.holds() {
                shown.push(resource.clone());
            }
            let operation = resource.operation.as_ref();
            if let Some(operation) = operation.and_then(|id| self.operations.get_mut(id)) {
                operation.look();
            }
        }
        for (ghost, lag) in &mut self.ghosts {
            let is_back = self.resources.contains_key(&ghost.key());
            if !is_back && pick(ghost) && lag.holds() {
                shown.push(ghost.clone());
            }
        }
        self.ghosts.retain(|(_, lag)| lag.lists > 0);
        shown.sort_by_key(Resource::key);
        shown
    }

    /// Whether an action is allowed at a scope.
    pub(super) fn allows(&self, action: &str, scope: &str) -> bool {
        let scope = scope.to_lowercase();
        self.roles.iter().any(|(at, actions)| {
            let is_within = scope == *at || scope.strip_prefix(&**at).is_some_and(|rest| rest.starts_with('/'));
            is_within && actions.iter().any(|allowed| is_action(allowed, action))
        })
    }
}

/// Whether an action is one of a pattern's, as roles have them: `*` stands for anything.
fn is_action(pattern: &str, action: &str) -> bool {
    super::fault::matches(&format!("* {}", pattern.replace('*', "**")), "GET", action)
}
