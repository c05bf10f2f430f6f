//! What the commands ask of leases, wherever those are.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use hub::api::words::{Configuration, Lease, LeaseRequest, Notice, PeerRequest};
use launch::{LeaseId, conf::PRIVATE_KEY, node::Secret};
use wg::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

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

    /// Lets another peer in.
    async fn add_peer(&self, id: LeaseId, peer: &PeerRequest) -> anyhow::Result<Lease>;

    /// Gives a peer another key; its name and its addresses stay.
    async fn replace_key(&self, id: LeaseId, name: &str, public_key: PublicKey) -> anyhow::Result<Lease>;

    /// Lets a peer in no more.
    async fn remove_peer(&self, id: LeaseId, name: &str) -> anyhow::Result<Lease>;

    /// What happened with it after the notice of this number.
    async fn notices(&self, id: LeaseId, after: u64) -> anyhow::Result<Vec<Notice>>;

    /// A peer's configuration but for its private key.
    async fn configuration(&self, id: LeaseId, peer: &str) -> anyhow::Result<Configuration>;

    /// A peer's whole configuration, whose keys the gateway makes. Once.
    async fn hand_over(&self, id: LeaseId, peer: &str) -> anyhow::Result<Secret>;

    /// Where a lease's configurations were written on this machine, if that is known.
    async fn folder(&self, id: LeaseId) -> Option<PathBuf>;

    /// How long it usually takes until a gateway is ready at a place, if somebody says.
    async fn usual(&self, place: &str) -> Option<Duration>;

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

/// A peer's configuration with the private key that was made here, or `None`: with the one that the gateway makes, once.
pub(crate) async fn whole(
    leases: &dyn Leases,
    id: LeaseId,
    peer: &str,
    key: Option<&PrivateKey>,
) -> anyhow::Result<Secret> {
    let Some(key) = key else {
        return leases.hand_over(id, peer).await;
    };
    let configuration = leases.configuration(id, peer).await?;
    if configuration.public_key != key.public_key() {
        bail!("the configuration of {peer} is for another key than the one that was made for it");
    }
    with_key(&configuration.text, key)
}

fn with_key(text: &str, key: &PrivateKey) -> anyhow::Result<Secret> {
    let (head, tail) = text
        .split_once(PRIVATE_KEY)
        .context("the configuration has no place for the private key")?;
    let key = key.danger_base64();
    let mut whole = Zeroizing::new(String::with_capacity(text.len() + key.len()));
    for part in [head, &key, tail] {
        whole.push_str(part);
    }
    Ok(Secret::new(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_where_the_configuration_has_a_place_for_it() {
        let key = PrivateKey::from_random([1; 32]);
        let text = with_key("[Interface]\nPrivateKey = {{PRIVATE_KEY}}\n", &key).unwrap();
        let expected = format!("[Interface]\nPrivateKey = {}\n", *key.danger_base64());
        assert_eq!(text.danger_text(), expected);
        assert!(with_key("[Interface]\n", &key).is_err());
    }
}
