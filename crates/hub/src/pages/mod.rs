//! The web page: everything is rendered here, and works without scripts but for keys that the browser makes.
//!
//! A page is a type with what it shows and a `render`; the handlers are in `handlers`. Scripts and styles lie in `assets/`.

mod admin;
mod assets;
mod audit;
mod connect;
mod devices;
mod error;
mod handlers;
mod history;
mod icons;
mod launch;
mod launch_form;
mod launch_options;
mod launch_request;
mod layout;
mod lease;
mod lifetime;
mod login;
mod progress;
mod running;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

pub use self::{
    handlers::{readable, router},
    login::LoginPage,
};
