//! Where in Azure a place is: the subscription, the resource group, the regions; and the names of what is there.

use azure::{ResourceId, path::NameError};

use crate::{LeaseId, order::Order};

/// The resource group, unless the configuration says otherwise.
pub const GROUP: &str = "adit";

/// Where in Azure a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    group: ResourceId,
    regions: Vec<String>,
}

/// Why something is no site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// Not an ID of a subscription.
    #[error("`{0}` is no subscription: give its ID, such as 0b1f6471-1bf0-4dda-aec3-cb9272f09590 (az account show)")]
    Subscription(String),
    /// Not the name of a resource group.
    #[error(
        "`{0}` is no resource group: its name has 1 to 90 letters, digits, -, _, . and parentheses, and no . at its end"
    )]
    Group(String),
    /// None at all.
    #[error("no region is given: name one or more, such as westeurope (az account list-locations --output table)")]
    NoRegion,
    /// Not the name of a region.
    #[error("`{0}` is no region: they are of lower-case letters and digits, such as westeurope")]
    Region(String),
    /// Twice there.
    #[error("the region {0} is named twice")]
    Twice(String),
}

impl Site {
    /// A resource group of a subscription, and the regions that an order may choose, the default first.
    ///
    /// # Errors
    ///
    /// [`SiteError`].
    pub fn new(subscription: &str, group: &str, regions: Vec<String>) -> Result<Self, SiteError> {
        let is_id = subscription.len() == 36
            && subscription
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let subscription = ResourceId::subscription(subscription)
            .ok()
            .filter(|_| is_id)
            .ok_or_else(|| SiteError::Subscription(subscription.to_owned()))?;
        let is_group = group.chars().count() <= 90
            && !group.ends_with('.')
            && group
                .chars()
                .all(|letter| letter.is_alphanumeric() || "-_.()".contains(letter));
        let group = subscription
            .in_group(group)
            .ok()
            .filter(|_| is_group)
            .ok_or_else(|| SiteError::Group(group.to_owned()))?;
        for (at, region) in regions.iter().enumerate() {
            let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            if region.is_empty() || !region.bytes().all(is_fit) {
                return Err(SiteError::Region(region.clone()));
            }
            if regions[..at].contains(region) {
                return Err(SiteError::Twice(region.clone()));
            }
        }
        if regions.is_empty() {
            return Err(SiteError::NoRegion);
        }
        Ok(Self { group, regions })
    }

    /// The subscription's ID, as people know it.
    pub fn subscription(&self) -> &str {
        self.group.subscription_id()
    }

    /// The resource group's name.
    pub fn group(&self) -> &str {
        self.group.name()
    }

    /// The regions, the default first.
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// The subscription.
    pub(super) fn whole(&self) -> ResourceId {
        ResourceId::subscription(self.subscription()).expect("it was one before")
    }

    /// The resource group.
    pub(super) fn group_id(&self) -> &ResourceId {
        &self.group
    }

    /// The region of an order.
    pub(super) fn region<'a>(&'a self, order: &'a Order) -> &'a str {
        order.region.as_deref().unwrap_or(&self.regions[0])
    }

    /// A resource of the group.
    ///
    /// # Errors
    ///
    /// If that cannot be a name.
    pub(super) fn resource(&self, namespace: &str, kind: &str, name: &str) -> Result<ResourceId, NameError> {
        self.group.resource(namespace, kind, name)
    }

    /// What is a lease's own in the group, named after it.
    pub(super) fn of_lease(&self, namespace: &str, kind: &str, lease: LeaseId) -> ResourceId {
        self.resource(namespace, kind, &lease.resource_name())
            .expect("a lease's name is of letters and digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";

    #[test]
    fn what_is_no_site_is_refused_with_its_reason() {
        let regions = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (subscription, group, names, expected) in [
            (ID, "adit", &["westeurope", "eastus2"][..], None),
            (ID, "My-Group_(1).x", &["westeurope"], None),
            (
                "mine",
                "adit",
                &["westeurope"],
                Some(SiteError::Subscription("mine".to_owned())),
            ),
            (ID, "", &["westeurope"], Some(SiteError::Group(String::new()))),
            (ID, "a/b", &["westeurope"], Some(SiteError::Group("a/b".to_owned()))),
            (ID, "a.", &["westeurope"], Some(SiteError::Group("a.".to_owned()))),
            (ID, "adit", &[], Some(SiteError::NoRegion)),
            (
                ID,
                "adit",
                &["West Europe"],
                Some(SiteError::Region("West Europe".to_owned())),
            ),
            (
                ID,
                "adit",
                &["eastus", "eastus"],
                Some(SiteError::Twice("eastus".to_owned())),
            ),
        ] {
            assert_eq!(
                Site::new(subscription, group, regions(names)).err(),
                expected,
                "{group} {names:?}"
            );
        }
    }
}
