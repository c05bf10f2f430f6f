//! Leases over HTTP: the API, signing in, and the web page.
//!
//! [`Config`] is checked before anything listens; [`App`] is what every handler shares; [`serve`] answers until it is told to
//! stop. What a lease is, and how it comes to be and goes, is the business of [`launch`].

#![expect(
    clippy::result_large_err,
    reason = "a `Problem` is the answer to a request: it is made once, and moved a few times"
)]

mod actions;
pub mod alias;
pub mod api;
mod app;
pub mod audit;
pub mod config;
mod health;
pub mod identity;
pub mod metrics;
pub mod monitor;
pub mod otlp;
pub mod pages;
pub mod problem;
pub mod rates;
pub mod request_id;
pub mod retention;
pub mod server;
pub mod sign_in;
pub mod trace_context;

pub use app::App;
pub use config::Config;
pub use monitor::Monitor;
pub use server::{ServeError, serve};
