//! What hosts of a link say to each other, inside the tunnel.
//!
//! WireGuard says who speaks: each address belongs to one key. What is said carries a proof all the same, so that a process
//! without root on a member's host, which has that host's address, too, is not taken for the member:
//!
//! ```text
//!   server ─▶ nonce, 32 bytes
//!   client ─▶ nonce, 32 │ length, 4 │ question │ HMAC-SHA256( secret, "question" │ both nonces │ question )
//!   server ─▶             length, 4 │ answer   │ HMAC-SHA256( secret, "answer"   │ both nonces │ answer )
//! ```
//!
//! The secret is the link's, among members, and the token's, for whoever joins. Questions and answers are JSON.

mod client;
mod frame;
mod server;

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};
use wg::{Endpoint, PublicKey};

use crate::{HostName, members::Versions, record::Record, secret::Secret, text};

pub(crate) use client::ask;
pub(crate) use server::{Asked, Doors, Server};

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "kebab-case")]
pub(crate) enum Question {
    /// To be a member.
    Register(Registration),
    /// What is new.
    Sync(Sync),
}

/// Who wants to be a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Registration {
    /// The key that it has made itself.
    #[serde(with = "text")]
    pub(crate) key: PublicKey,
    pub(crate) name: HostName,
    #[serde(with = "text::option", default)]
    pub(crate) endpoint: Option<Endpoint>,
}

/// What the asker knows, and what is new of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sync {
    #[serde(with = "text::map")]
    pub(crate) versions: Versions,
    pub(crate) records: Vec<Record>,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It is a member.
    Registered(Registered),
    /// It is not.
    Refused {
        /// Why, for the person who reads it.
        why: String,
    },
    /// What the answerer knows, and what is new of it.
    Synced(Synced),
}

/// What a new member needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Registered {
    /// The link's secret.
    pub(crate) secret: Secret,
    /// All members, the new one too.
    pub(crate) records: Vec<Record>,
}

/// The answer to [`Sync`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Synced {
    #[serde(with = "text::map")]
    pub(crate) versions: Versions,
    pub(crate) records: Vec<Record>,
    /// Where the answerer hears the members from.
    #[serde(with = "text::map")]
    pub(crate) seen: BTreeMap<PublicKey, SocketAddr>,
}
