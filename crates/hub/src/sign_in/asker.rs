//! Where a request comes from, for the audit.

use std::net::IpAddr;

use axum::http::Extensions;

use crate::{audit::Entry, request_id, server::Client};

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The client's address; `None` is the hub itself.
    pub address: Option<IpAddr>,
    /// The request, as the log has it.
    pub request_id: String,
}

impl Asker {
    /// Of the request that this task answers.
    pub fn of(extensions: &Extensions) -> Self {
        Self {
            address: extensions.get::<Client>().map(|client| client.address),
            request_id: request_id::current().map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    /// A row of the audit about what he asked for.
    pub(super) fn entry(&self, who: &str, what: &'static str, on: &str) -> Entry {
        Entry {
            who: who.to_owned(),
            what,
            on: on.to_owned(),
            request_id: self.request_id.clone(),
            address: self.address,
            ..Entry::default()
        }
    }
}
