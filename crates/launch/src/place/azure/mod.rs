//! Gateways at Azure: virtual machines ([`vm`]) and container groups ([`container`]).
//!
//! Everything of a lease is in one resource group, which is there before, and is named after the lease; what carries tags has
//! the three below. So a repeated step is the same step, and a sweep finds what is left without a store.

mod check;
pub mod container;
mod fault;
mod gateways;
mod site;
pub mod vm;

pub use self::{
    check::Check,
    container::AzureContainer,
    site::{GROUP, Site, SiteError},
    vm::AzureVm,
};

/// The tag that tells whose launcher made a resource.
pub const INSTANCE: &str = "adit-instance";

/// The tag that tells of which lease a resource is.
pub const LEASE: &str = "adit-lease";

/// The tag that tells when a resource was to end as it was made: for people, an extension does not change it.
pub const EXPIRES_AT: &str = "adit-expires-at";
