//! What the commands ask of leases, wherever those are.

use async_trait::async_trait;
use hub::api::words::{Configuration, Lease, LeaseRequest, Notice};
use launch::{LeaseId, node::Secret};

/// Leases on this machine, or of a hub.
#[async_trait]
pub(crate) trait Leases: Send + Sync {
    /// Asks for a lease.
    async fn create(&self, request: &LeaseRequest) -> anyhow::Result<Lease>;

    /// A lease as it is.
    async fn read(&self, id: LeaseId) -> anyhow::Result<Lease>;

    /// The newest first; those that are over only if `all`.
    async fn list(&self, all: bool) -> anyhow::Result<Vec<Lease>>;

    /// Lets it live longer.
    async fn extend(&self, id: LeaseId, by_secs: u64) -> anyhow::Result<Lease>;

    /// Ends it.
    async fn end(&self, id: LeaseId) -> anyhow::Result<Lease>;

    /// What happened with it after the notice of this number.
    async fn notices(&self, id: LeaseId, after: u64) -> anyhow::Result<Vec<Notice>>;

    /// A peer's configuration but for its private key.
    async fn configuration(&self, id: LeaseId, peer: &str) -> anyhow::Result<Configuration>;

    /// A peer's whole configuration, whose keys the gateway makes. Once.
    async fn hand_over(&self, id: LeaseId, peer: &str) -> anyhow::Result<Secret>;

    /// Where a lease's configurations were written on this machine, if that is known.
    async fn folder(&self, id: LeaseId) -> Option<std::path::PathBuf>;

    /// Stops driving what is driven here; gateways go on.
    async fn close(&self);
}

/// Reads the id of a lease, or what it begins with if only one begins so.
pub(crate) async fn find(leases: &dyn Leases, text: &str) -> anyhow::Result<LeaseId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let wanted = text.to_ascii_lowercase();
    let all = leases.list(true).await?;
    // The end of an id is what tells two of one minute apart.
    let fits = |lease: &&Lease| {
        let id = lease.id.to_string();
        id.starts_with(&wanted) || id.ends_with(&wanted)
    };
    let found: Vec<LeaseId> = all.iter().filter(fits).map(|lease| lease.id).collect();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => anyhow::bail!("there is no lease `{text}`; `adit launch list --all` shows them"),
        [..] => anyhow::bail!("{} leases begin or end with `{text}`; give more of it", found.len()),
    }
}
