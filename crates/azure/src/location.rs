//! The regions of a subscription.

use serde_json::Value;

use crate::{Arm, ArmError, Method, Path, Request, path::NameError};

/// A version that every cloud has.
const API_VERSION: &str = "2022-12-01";

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `westeurope`.
    pub name: String,
    /// `West Europe`.
    pub title: String,
}

/// What asks for the regions.
///
/// # Errors
///
/// If that cannot be a subscription.
pub fn request(subscription: &str) -> Result<Request, NameError> {
    let path = Path::new(&["subscriptions", subscription, "locations"])?;
    Ok(Request::new(Method::Get, path, API_VERSION))
}

/// The regions that a subscription may use, in Azure's order. What is no place of its own, such as `europe`, is left out.
///
/// # Errors
///
/// As Azure says.
pub async fn list(arm: &Arm, request: &Request) -> Result<Vec<Location>, ArmError> {
    Ok(arm.list(request).await?.iter().filter_map(read).collect())
}

fn read(json: &Value) -> Option<Location> {
    let is_physical = json["metadata"]["regionType"]
        .as_str()
        .is_none_or(|kind| kind.eq_ignore_ascii_case("physical"));
    let name = json["name"].as_str().filter(|_| is_physical)?;
    Some(Location {
        name: name.to_owned(),
        title: json["displayName"].as_str().unwrap_or(name).to_owned(),
    })
}
