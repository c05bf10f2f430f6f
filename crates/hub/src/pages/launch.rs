//! The page on which a gateway is launched, and where the running ones are listed.

use std::collections::BTreeMap;

use launch::{
    Lease, Moment,
    order::{MAX_NAME, Profile},
    place::Description,
    policy::Policy,
};
use maud::{Markup, html};

use super::{
    launch_form::{Device, Form},
    launch_options::{advanced, dns, keys, lifetimes, places, traffic},
    layout::{Frame, Tab, Viewer, csrf},
    running,
    words::{self, sentence},
};
use crate::problem::Problem;

/// What the page shows.
#[derive(Debug)]
pub(super) struct LaunchPage<'a> {
    /// Who looks.
    pub viewer: &'a Viewer,
    /// Where gateways can run, the default first.
    pub places: &'a [Description],
    /// Sets of options that fill the form.
    pub profiles: &'a BTreeMap<String, Profile>,
    /// The profile that has filled it.
    pub profile: Option<&'a str>,
    /// What may be asked for.
    pub policy: &'a Policy,
    /// What the fields hold.
    pub form: &'a Form,
    /// Why the form came back.
    pub problem: Option<&'a Refused>,
    /// The viewer's running gateways.
    pub running: &'a [Lease],
    /// The present.
    pub now: Moment,
}

impl LaunchPage<'_> {
    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let content = html! {
            div.hero {
                h1 { "Launch a gateway" }
                p.lead {
                    "A WireGuard gateway of your own, gone when its time is over. "
                    span #keys-promise .scripted { "Your private keys are made in this browser and stay in it." }
                }
            }
            @if self.places.is_empty() {
                div.note.bad role="alert" {
                    p {
                        strong { "No place is set up." }
                        " Whoever runs this hub names the places where gateways run in its configuration."
                    }
                }
            } @else {
                (self.profiles())
                (self.form())
            }
            (running::section(self.viewer, self.running, self.now))
        };
        let title = if self.problem.is_some() {
            "Not launched"
        } else {
            "Launch"
        };
        Frame::new(title, Some(Tab::Launch), Some(self.viewer))
            .with_module("launch.js")
            .render(&content)
    }

    fn profiles(&self) -> Markup {
        html! {
            @if !self.profiles.is_empty() {
                nav.profiles aria-label="Profiles" {
                    span.soft { "Begin with" }
                    a.pill href="/" aria-current=[self.profile.is_none().then_some("true")] { "the defaults" }
                    @for (name, profile) in self.profiles {
                        a.pill href={ "/?profile=" (words::encoded(name)) }
                            aria-current=[(self.profile == Some(name)).then_some("true")]
                            title=[Some(&profile.description).filter(|text| !text.is_empty())] { (name) }
                    }
                }
                @if let Some(profile) = self.profile.and_then(|name| self.profiles.get(name)) {
                    @if !profile.description.is_empty() { p.soft { (profile.description) } }
                }
            }
        }
    }

    fn form(&self) -> Markup {
        html! {
            form #launch .launch method="post" action="/launch" {
                (csrf(self.viewer))
                // The first button of a form is the one that the Enter key presses.
                button.unseen type="submit" name="do" value="launch" tabindex="-1" aria-hidden="true" { "Launch" }
                div.fields {
                    (problem(self.problem))
                    (places(self.places, self.form))
                    (lifetimes(self.policy, self.form))
                    (keys(self.form))
                    (self.devices())
                    (traffic(self.form))
                    (dns(self.form))
                    (advanced(self.places, self.form))
                }
                aside.order aria-label="Your gateway" {
                    div.order-inner {
                        p #summary .summary { "A gateway with what is chosen here." }
                        button.primary type="submit" name="do" value="launch" { "Launch" }
                        p.soft.small { "You can end it at any time." }
                    }
                }
            }
        }
    }

    fn devices(&self) -> Markup {
        html! {
            fieldset #devices-field {
                legend { "Devices" }
                p.hint #devices-hint { "Each gets a configuration of its own." }
                ul #devices .rows {
                    @for (index, device) in self.form.devices.iter().enumerate() {
                        (device_row(index, device, self.form.devices.len() > 1))
                    }
                }
                button.quiet type="submit" name="do" value="add-device" #add-device formnovalidate { "Add a device" }
            }
        }
    }
}

fn device_row(index: usize, device: &Device, is_removable: bool) -> Markup {
    let Device { name, public_key } = device;
    html! {
        li.device-row {
            div.field {
                label for={ "device-" (index) } { "Name" }
                input #{ "device-" (index) } name="device" value=(name) maxlength=(MAX_NAME) required
                    pattern="[A-Za-z0-9][A-Za-z0-9_\\-]*" autocomplete="off" autocapitalize="none" spellcheck="false"
                    aria-describedby="devices-hint";
            }
            div.field.grow.public-key {
                label for={ "public-key-" (index) } { "Public key" span.scriptless.soft { " (if you have your own keys)" } }
                input #{ "public-key-" (index) } .mono name="public_key" value=(public_key) maxlength="44"
                    autocomplete="off" autocapitalize="none" spellcheck="false";
            }
            button.quiet.icon-only type="submit" name="do" value={ "remove-device-" (index) } hidden[!is_removable]
                formnovalidate aria-label={ "Remove " (name) } title="Remove" { "×" }
        }
    }
}

/// Why the form came back, at its top.
fn problem(problem: Option<&Refused>) -> Markup {
    html! {
        div #problem .note.bad role="alert" tabindex="-1" hidden[problem.is_none()] {
            p #problem-title { strong { "Not launched" } }
            p #problem-text { @if let Some(problem) = problem { (problem.text) } }
            p #problem-remedy hidden[problem.is_none_or(|problem| problem.remedy.is_none())] {
                @if let Some(remedy) = problem.and_then(|problem| problem.remedy.as_ref()) { (remedy) }
            }
        }
    }
}

/// Why nothing was launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// What is wrong.
    pub text: String,
    /// What would mend it.
    pub remedy: Option<String>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        let field = problem.field.unwrap_or_default();
        let own = problem
            .detail
            .strip_prefix(&format!("{field}: "))
            .unwrap_or(&problem.detail)
            .to_owned();
        let text = if field.is_empty() {
            sentence(&own)
        } else {
            sentence(&format!("{}: {own}", label(&field)))
        };
        Self {
            text,
            remedy: problem
                .remedy
                .filter(|remedy| *remedy != own)
                .map(|remedy| sentence(&remedy)),
        }
    }
}

/// What the form calls a field of the request. `assets/request.js` calls it the same.
pub(super) fn label(field: &str) -> &str {
    match field.split(['[', '.']).next().unwrap_or_default() {
        "place" => "Place",
        "region" => "Region",
        "size" => "Size",
        "lifetime_secs" => "Lifetime",
        "idle_end_secs" => "End when idle",
        "keys" => "Keys",
        "peers" => "Devices",
        "port" => "Port",
        "dns" => "DNS",
        "allowed_ips" => "Traffic",
        "mtu" => "MTU",
        "ssh_key" => "SSH key",
        _ => field,
    }
}
