//! What handlers take out of a request, with every error a [`Problem`].

pub(crate) mod body;
mod path;
mod query;
mod who;

pub(crate) use self::{
    body::Body,
    path::{LeasePath, PeerPath, TokenPath},
    query::Query,
    who::{Done, Who},
};
