//! Who comes in, and who does not: the printed token, a provider that is honest or not, sessions, API tokens, other sites.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod browser;
mod entry;
mod hub;
mod idp;
mod local;
mod oidc;
mod round;
mod ways;
