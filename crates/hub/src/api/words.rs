//! The words of the API: what is sent and answered, as JSON.
//!
//! Requests refuse fields that they do not know: a private key that is sent by mistake is not taken.

mod account;
mod lease;
mod offer;
mod params;
mod request;
mod schema;

pub(crate) use self::params::{LeaseParams, ListParams, PeerParams};
pub use self::{
    account::{AuditPage, Me, TokenList, TokenMade, TokenRequest, Usage, UsageList},
    lease::{Configuration, Fault, Gateway, Lease, LeasePage, Notice, NoticeList, Peer, PeerList, Sample, Traffic},
    offer::{Limits, Offers, Place, Ports, Profile},
    request::{Extension, KeyReplacement, LeaseRequest, PeerRequest},
};
