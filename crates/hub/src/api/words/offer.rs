//! What may be asked for: places, profiles, limits.

use ipnet::IpNet;
use launch::{
    order::{self, DEFAULT_LIFETIME, MAX_PEERS},
    place::Description,
    policy::Policy,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// What may be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Offers {
    /// The first is taken if none is named.
    pub places: Vec<Place>,
    /// Sets of options, by name.
    pub profiles: Vec<Profile>,
    /// What is limited.
    pub policy: Limits,
}

/// A place where gateways run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// Regions, the default first; none if there is no choice.
    pub regions: Vec<String>,
    /// Sizes of machines, the default first; none if there is no choice.
    pub sizes: Vec<String>,
    /// How long it usually takes until a gateway is ready, in seconds.
    pub usual_secs: u64,
    /// Whether clients may bring their public keys.
    pub takes_public_keys: bool,
    /// Whether what it hands out is only a sample.
    pub is_sample: bool,
    /// UDP ports that clients cannot connect to there.
    pub reserved_ports: Vec<Ports>,
    /// Whether somebody who gives an SSH key may log in to the gateway's machine.
    pub offers_ssh: bool,
}

/// Ports that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// A set of options. What a request names itself wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it is for, for people.
    pub description: String,
    /// As in a request.
    #[schema(required = true)]
    pub place: Option<String>,
    /// As in a request.
    #[schema(required = true)]
    pub region: Option<String>,
    /// As in a request.
    #[schema(required = true)]
    pub size: Option<String>,
    /// As in a request.
    #[schema(required = true)]
    pub lifetime_secs: Option<u64>,
    /// As in a request.
    #[schema(required = true)]
    pub idle_end_secs: Option<u64>,
    /// As in a request.
    #[schema(required = true)]
    pub port: Option<u16>,
    /// As in a request.
    #[schema(required = true)]
    pub dns: Option<Vec<String>>,
    /// As in a request.
    #[schema(schema_with = schema::networks_or_null, required = true)]
    pub allowed_ips: Option<Vec<IpNet>>,
    /// As in a request.
    #[schema(required = true)]
    pub mtu: Option<u16>,
    /// As in a request.
    #[schema(required = true)]
    pub ssh_key: Option<String>,
}

/// What is limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Longest lifetime, extensions included, in seconds.
    pub max_lifetime_secs: u64,
    /// The lifetime if none is asked for, in seconds.
    pub default_lifetime_secs: u64,
    /// Running leases of one user; null is any number.
    #[schema(required = true)]
    pub leases_per_user: Option<u32>,
    /// Running leases in all; null is any number.
    #[schema(required = true)]
    pub leases: Option<u32>,
    /// Minutes of leases that a user may ask for in 24 hours; null is any number.
    #[schema(required = true)]
    pub minutes_a_day: Option<u32>,
    /// Most peers of a lease.
    pub peers: u32,
}

impl From<&Description> for Place {
    fn from(place: &Description) -> Self {
        let place = place.clone();
        Self {
            name: place.name,
            title: place.title,
            regions: place.regions,
            sizes: place.sizes,
            usual_secs: place.usual_secs,
            takes_public_keys: place.takes_public_keys,
            is_sample: place.is_sample,
            reserved_ports: place
                .reserved_ports
                .into_iter()
                .map(|(first, last)| Ports { first, last })
                .collect(),
            offers_ssh: place.offers_ssh,
        }
    }
}

impl From<(&String, &order::Profile)> for Profile {
    fn from((name, profile): (&String, &order::Profile)) -> Self {
        let order::Profile {
            description,
            place,
            region,
            size,
            lifetime_secs,
            idle_end_secs,
            port,
            dns,
            allowed_ips,
            mtu,
            ssh_key,
        } = profile.clone();
        Self {
            name: name.clone(),
            description,
            place,
            region,
            size,
            lifetime_secs,
            idle_end_secs,
            port,
            dns,
            allowed_ips,
            mtu,
            ssh_key,
        }
    }
}

impl From<&Policy> for Limits {
    fn from(policy: &Policy) -> Self {
        let most = policy.max_lifetime.as_secs();
        Self {
            max_lifetime_secs: most,
            default_lifetime_secs: DEFAULT_LIFETIME.as_secs().min(most),
            leases_per_user: policy.leases_per_user,
            leases: policy.leases,
            minutes_a_day: policy.minutes_a_day,
            peers: u32::try_from(MAX_PEERS).unwrap_or(u32::MAX),
        }
    }
}
