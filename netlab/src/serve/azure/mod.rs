//! Azure: the part of its Resource Manager that a gateway on demand needs, over HTTP on 127.0.0.1.
//!
//! ```
//! use netlab::serve::azure::{Azure, Fault, Settings};
//! let azure = Azure::start(Settings::default());
//! azure.fail_next("PUT **/virtualMachines/*", Fault::LostAfter);
//! // … let a client work with `azure.url()` …
//! assert_eq!(azure.left(), [""; 0]);
//! ```
//!
//! One address serves the API, the metadata service's tokens (`/metadata/identity/oauth2/token`) and the sign-in
//! (`/{tenant}/oauth2/v2.0/token`). What it knows: the subscription, its regions, resource groups, providers, permissions and
//! list of resources; virtual networks, subnets, security groups, public addresses and network interfaces; virtual
//! machines, disks, Run Command in both forms, sizes, images and quotas; the marketplace's terms; container groups; custom
//! metrics of whatever resource, which Azure takes at an address of each region's.
//!
//! It has the real service's manners. Whatever takes time is an operation that a client follows by one of the
//! [`Way`]s; lists are late; a deletion takes along only what has `deleteOption: Delete`; a body with a member that nobody
//! knows is refused; so is what the role does not allow (`members`, `State::allows`). What runs behind it is [`Machines`].
//! Two things judge it that others wrote: Microsoft's libraries for Python drive it, and Microsoft's descriptions of the
//! API are held against what it says (`tests/azure/`).
//!
//! Sources: *ARM RPC* (common API details, asynchronous operations) and the errors that people report of the service.
//! Marked as a guess is what neither shows.

mod admission;
mod call;
mod catalog;
mod clock;
mod containers;
mod described;
mod disks;
mod fault;
mod groups;
mod guards;
mod ingestion;
mod interfaces;
mod machines;
mod members;
mod network;
mod operation;
mod power;
mod recipe;
mod request;
mod route;
mod run;
mod state;
mod terms;
mod token;
mod versions;
mod vm;

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use fault::{Fault, Refusal};
pub use machines::{Container, ContainerGroup, Life, Machine, Machines, NoMachines, Opening, Ran, Script, Variable};
pub use operation::Way;
pub use request::Asked;
use serde_json::Value;

use self::state::State;
use super::{Server, tcp};

/// What the service is to be like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The subscription that there is.
    pub subscription: String,
    /// The directory in which clients sign in.
    pub tenant: String,
    /// The client's ID: of the application, and of the machine's identity.
    pub client: String,
    /// The application's secret.
    pub secret: String,
    /// The token of another issuer that stands for the application.
    pub assertion: String,
    /// Whether the machine that asks the metadata service has an identity.
    pub has_identity: bool,
    /// How long a token is good for, in seconds.
    pub token_life: u32,
    /// The regions that the subscription may use; what has none of its own says the first.
    pub locations: Vec<String>,
    /// The first region.
    pub location: String,
    /// How often an operation is looked at before it may end: by its address, by its resource or in a list.
    pub looks: u32,
    /// When it may end without being looked at.
    pub longest: Duration,
    /// The `Retry-After` of operations, in seconds; `None` sends none.
    pub retry_after: Option<u32>,
    /// How all operations are followed; `None` as each provider does it.
    pub way: Option<Way>,
    /// How many lists come out before they show what was made, and cease to show what was deleted.
    pub list_lag: u32,
    /// How many resources are on one page of a list.
    pub page: usize,
    /// In which shape the action of Run Command answers.
    pub output: Output,
    /// How long [`Way::AtOnce`] waits for machines.
    pub patience: Duration,
}

/// The shape of what the action of Run Command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// One entry with both outputs under headings, as Linux machines have it.
    OneEntry,
    /// An entry for each output, as the API's description has it.
    TwoEntries,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            subscription: "0b1f6471-1bf0-4dda-aec3-cb9272f09590".to_owned(),
            tenant: "5c6d2e8a-77c4-4f5c-9c57-1a4e2d8f3b60".to_owned(),
            client: "d2b7a0c1-3e59-4a86-b6f4-90c8e1f7a253".to_owned(),
            secret: "the-client-s-secret".to_owned(),
            assertion: "the.federated.token".to_owned(),
            has_identity: true,
            token_life: 3599,
            locations: ["westeurope", "northeurope", "eastus"].map(str::to_owned).to_vec(),
            location: "westeurope".to_owned(),
            looks: 2,
            longest: Duration::from_secs(3),
            retry_after: Some(0),
            way: None,
            list_lag: 1,
            page: 50,
            output: Output::OneEntry,
            patience: Duration::from_secs(120),
        }
    }
}

/// What the threads of the service share.
struct Shared {
    settings: Settings,
    machines: Arc<dyn Machines>,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running service. Dropping it ends it; what its machines started is theirs to end.
pub struct Azure {
    shared: Arc<Shared>,
    server: Server,
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Azure at {}: {:?}", self.url(), self.left())
    }
}

impl Azure {
    /// A service without machines.
    #[track_caller]
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        Self::start_with(settings, NoMachines::default())
    }

    /// A service in front of machines.
    ///
    /// # Panics
    ///
    /// If no port of 127.0.0.1 is free.
    #[track_caller]
    #[must_use]
    pub fn start_with(settings: Settings, machines: impl Machines + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind a listener");
        let mut state = State::default();
        let scope = format!("/subscriptions/{}", settings.subscription.to_lowercase());
        state.roles.push((scope, vec!["*".to_owned()]));
        let shared = Arc::new(Shared {
            settings,
            machines: Arc::new(machines),
            state: Mutex::new(state),
        });
        let served = Arc::clone(&shared);
        let server = tcp::serve_on(listener, move |stream| {
            let shared = Arc::clone(&served);
            // Bodies nest, and a debug build's frames are large: more than the stack of a server's connections.
            let thread = std::thread::Builder::new().stack_size(4 << 20);
            let thread = thread.spawn(move || call::serve(&shared, &stream))?;
            thread.join().unwrap_or(Ok(()))
        });
        Self { shared, server }
    }

    /// Where the API is, without a slash at the end; the other two services are there, too.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// What it was started with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// A token for the API.
    #[must_use]
    pub fn token(&self) -> String {
        let mut state = self.shared.state();
        let (now, life) = (clock::now(state.skew), i64::from(self.shared.settings.token_life));
        state.tokens.issue("https://management.azure.com/", now, life)
    }

    /// How many tokens were issued.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.shared.state().tokens.count()
    }

    /// Takes no token any more that was issued so far.
    pub fn expire_tokens(&self) {
        self.shared.state().tokens.expire();
    }

    /// Lets this happen to the next request that matches `METHOD path`.
    ///
    /// In the path `*` stands for anything within a segment and `**` for anything; case stands for nothing; the method
    /// `*` is any: `DELETE **/virtualMachines/*`, `* /subscriptions/**`.
    pub fn fail_next(&self, pattern: &str, fault: Fault) {
        self.fail_times(pattern, 1, fault);
    }

    /// Lets this happen to the next `times` requests that match.
    pub fn fail_times(&self, pattern: &str, times: usize, fault: Fault) {
        self.shared.state().orders.add(pattern, 0, times, fault);
    }

    /// Lets this happen to the `nth` request from here that matches; the first is 1.
    pub fn fail_nth(&self, pattern: &str, nth: usize, fault: Fault) {
        let skip = nth.saturating_sub(1);
        self.shared.state().orders.add(pattern, skip, 1, fault);
    }

    /// All requests that came, in the order in which they were answered.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// How many requests came that match a pattern.
    #[must_use]
    pub fn count(&self, pattern: &str) -> usize {
        let state = self.shared.state();
        let matching = state.asked.iter().filter(|asked| {
            let path = asked.target.split('?').next().unwrap_or_default();
            fault::matches(pattern, &asked.method, path)
        });
        matching.count()
    }

    /// The custom metrics that were taken, in this order.
    #[must_use]
    pub fn metrics(&self) -> Vec<Value> {
        self.shared.state().metrics.clone()
    }

    /// The IDs of all that is there, resource groups too.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let mut state = self.shared.state();
        state.progress();
        state.resources.values().map(|resource| resource.id.clone()).collect()
    }

    /// The IDs of all of a type that is there, such as `Microsoft.Compute/virtualMachines`.
    #[must_use]
    pub fn left_of(&self, kind: &str) -> Vec<String> {
        let mut state = self.shared.state();
        state.progress();
        let of = state
            .resources
            .values()
            .filter(|resource| resource.kind.eq_ignore_ascii_case(kind));
        of.map(|resource| resource.id.clone()).collect()
    }

    /// What the service holds of a resource, with what it never shows; `None` if it is not there.
    #[must_use]
    pub fn wanted(&self, id: &str) -> Option<Value> {
        let state = self.shared.state();
        state.resource(id).map(|resource| resource.wanted.clone())
    }

    /// Sets a quota: `cores`, a family such as `standardBSFamily`, `PublicIPAddresses`, `StandardCores` (of container groups).
    pub fn set_quota(&self, name: &str, limit: u32) {
        self.shared.state().catalog.set_quota(name, limit);
    }

    /// Offers a size, such as `Standard_B1s`, no more; the list of sizes says so.
    pub fn sell_out(&self, size: &str) {
        self.shared.state().catalog.sell_out(size);
    }

    /// Accepts the terms of a plan, as a person does in the portal.
    pub fn accept_terms(&self, publisher: &str, offer: &str, plan: &str) {
        self.shared.state().catalog.accept(publisher, offer, plan);
    }

    /// Allows these actions at this scope and nothing else: `/subscriptions/…`, or a resource group's ID.
    pub fn permit(&self, scope: &str, actions: &[&str]) {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        self.shared.state().roles = vec![(scope.to_lowercase(), actions)];
    }

    /// Unregisters a provider, such as `Microsoft.ContainerInstance`, as most are in a new subscription.
    pub fn unregister(&self, namespace: &str) {
        self.shared.state().unregistered.insert(namespace.to_lowercase());
    }

    /// Sets the service's clock this many seconds ahead of the machine's, or behind.
    pub fn skew(&self, secs: i64) {
        self.shared.state().skew = secs;
    }

    /// The members that it knows of each type of body, as JSON.
    #[must_use]
    pub fn members() -> Value {
        members::ALL.iter().map(|body| body.outline()).collect()
    }
}
