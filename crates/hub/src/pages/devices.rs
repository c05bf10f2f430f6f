//! The devices of a lease: their configurations, and whether they have connected.

use launch::{
    Lease, LeaseId,
    conf::{Configuration, PRIVATE_KEY},
    lease::LeasePeer,
    node::Secret,
    order::MAX_NAME,
};
use maud::{Markup, html};

use super::{
    icons,
    launch_options::KEY_PAIR,
    layout::{Frame, Viewer, csrf},
    lease::LeasePage,
    words,
};

/// What a person reads there, until he has put his own key.
const YOUR_KEY: &str = "(your private key)";

/// The section with a card for each device.
pub(super) fn section(page: &LeasePage<'_>) -> Markup {
    let lease = page.lease;
    html! {
        section #devices-section aria-labelledby="devices-title" {
            h2 #devices-title { "Devices" }
            div.device-cards {
                @for peer in &lease.peers {
                    @let configuration = page.configurations.iter().find(|known| known.peer == peer.name);
                    (card(page, peer, configuration))
                }
            }
            (add(page.viewer, lease))
        }
    }
}

/// The page with a configuration that the gateway made, which is shown this once.
#[derive(Debug)]
pub(super) struct HandedOver<'a> {
    /// Who looks.
    pub(super) viewer: &'a Viewer,
    /// Of which lease.
    pub(super) lease: LeaseId,
    /// Whose.
    pub(super) name: &'a str,
    /// The configuration, private key included.
    pub(super) configuration: &'a Secret,
}

impl HandedOver<'_> {
    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let text = self.configuration.danger_text();
        let content = html! {
            div.lease-page {
                h1 { "Configuration of " (self.name) }
                div.note.warn {
                    p {
                        strong { "It is shown this once. " }
                        "Copy it into a file " code { (self.name) ".conf" } " on the device. The hub keeps no copy."
                    }
                }
                pre.conf tabindex="0" aria-label={ "Configuration of " (self.name) } { (text) }
                div.actions { a.button href={ "/leases/" (self.lease) } { "To the gateway" } }
            }
        };
        Frame::new("Configuration", None, Some(self.viewer)).render(&content)
    }
}

fn card(page: &LeasePage<'_>, peer: &LeasePeer, configuration: Option<&Configuration>) -> Markup {
    let (lease, viewer) = (page.lease, page.viewer);
    let key = peer.public_key.map(|key| key.to_string()).unwrap_or_default();
    html! {
        article.panel.device id={ "device-card-" (peer.name) } aria-labelledby={ "device-name-" (peer.name) }
            data-device=(peer.name) data-key=(key) data-keep={ "device " (peer.name) " " (key) } {
            div.device-head {
                h3 id={ "device-name-" (peer.name) } { (peer.name) }
                @if lease.is_sample { span.badge.sample { "sample" } }
                p.mono.soft.addresses { (addresses(peer)) }
                (remove(viewer, lease, peer))
            }
            (handshake(page, peer))
            @if lease.makes_keys() {
                (made_on_gateway(viewer, lease, peer))
            } @else {
                (made_by_client(viewer, lease, peer, configuration))
            }
            div.held hidden data-held {
                div.actions {
                    button.primary type="button" data-do="download" { "Download" span.unseen { " " (peer.name) ".conf" } }
                    button type="button" data-do="qr" aria-expanded="false" { "QR code" }
                    button type="button" data-do="copy" { "Copy" }
                    button type="button" data-do="show" aria-expanded="false" { "Show" }
                }
                p.soft.small data-saved {
                    "The private key is in this page only. Take the configuration before you leave or reload it."
                }
                div.qr hidden data-qr {}
                pre.conf hidden tabindex="0" data-conf aria-label={ "Configuration of " (peer.name) } {}
            }
        }
    }
}

fn addresses(peer: &LeasePeer) -> String {
    peer.addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn handshake(page: &LeasePage<'_>, peer: &LeasePeer) -> Markup {
    html! {
        div.device-state {
            p.handshake data-handshake data-fresh="handshake" {
                @if let Some(first) = peer.first_handshake_at {
                    span.dot.good {}
                    span {
                        strong { "Connected. " } "First handshake at " (words::time(first)) ", latest "
                        (words::since(peer.latest_handshake_at.unwrap_or(first), page.now)) " ago."
                    }
                } @else {
                    span.pulse {} span { "Waiting for its first connection" }
                }
            }
            p.transfer {
                (icons::down()) span.unseen { "Received by it: " }
                span data-field="sent" { (words::bytes(peer.sent_bytes)) }
                " "
                (icons::up()) span.unseen { "sent by it: " }
                span data-field="received" { (words::bytes(peer.received_bytes)) }
            }
        }
    }
}

/// What a page says that does not hold the private key.
fn made_by_client(viewer: &Viewer, lease: &Lease, peer: &LeasePeer, configuration: Option<&Configuration>) -> Markup {
    html! {
        div.not-held data-not-held {
            @if peer.first_handshake_at.is_some() {
                p { "It has its configuration. This page cannot show it again: the private key is on the device only." }
            } @else {
                p {
                    "This page does not hold the private key of " (peer.name) ". "
                    "If you made the key pair yourself, put the private key into the configuration below. "
                    span.scripted data-if-made { "If this page made it, the key went when the page was left or reloaded: make a new one." }
                }
            }
            div.scripted.actions {
                button type="button" data-do="replace" class=[peer.first_handshake_at.is_none().then_some("primary")] {
                    "Make a new key" span.unseen { " for " (peer.name) }
                }
            }
            @if let Some(configuration) = configuration {
                details {
                    summary { "Configuration without the private key" }
                    div.opened {
                        pre.conf tabindex="0" data-open-conf data-fresh="open-conf"
                            aria-label={ "Configuration of " (peer.name) " without its private key" } {
                            (configuration.text.replace(PRIVATE_KEY, YOUR_KEY))
                        }
                        div.scripted.actions {
                            button type="button" data-do="download-open" {
                                "Download" span.unseen { " " (peer.name) ".conf without its private key" }
                            }
                            button type="button" data-do="copy-open" {
                                "Copy" span.unseen { " the configuration without the private key" }
                            }
                        }
                        p.soft.small {
                            "Write the private key where it says " code { (YOUR_KEY) } ". On Linux and macOS, with the file of "
                            code { (KEY_PAIR) } ":"
                        }
                        pre.conf tabindex="0" data-fill aria-label="Command that puts the private key in" {
                            (fill(&peer.name))
                        }
                    }
                }
            }
            details data-open={ "replace " (peer.name) } {
                summary { "Replace its key by another one" }
                form.inline method="post" action={ "/leases/" (lease.id) "/peers/" (peer.name) "/replace" } {
                    (csrf(viewer))
                    div.field.grow {
                        label for={ "new-key-" (peer.name) } { "New public key of " (peer.name) }
                        input.mono id={ "new-key-" (peer.name) } name="public_key" required maxlength="44" autocomplete="off"
                            spellcheck="false";
                    }
                    button type="submit" { "Replace" }
                }
            }
        }
    }
}

/// A command that makes a whole configuration, for its owner alone, of the one that was downloaded.
fn fill(name: &str) -> String {
    format!("(umask 077; sed \"s|{YOUR_KEY}|$(cat private.key)|\" {name}.conf > adit0.conf)")
}

fn made_on_gateway(viewer: &Viewer, lease: &Lease, peer: &LeasePeer) -> Markup {
    html! {
        div.not-held data-not-held data-fresh="not-held" {
            @if let Some(at) = peer.handed_over_at {
                p {
                    "Its configuration was handed over at " (words::time(at)) ", and is handed over once. "
                    "If it is lost, add another device below."
                }
            } @else {
                p { "The gateway has made its keys. The configuration is handed over once: have the device at hand." }
                form method="post" action={ "/leases/" (lease.id) "/peers/" (peer.name) "/hand-over" } data-hand-over {
                    (csrf(viewer))
                    button.primary type="submit" { "Hand over the configuration" span.unseen { " of " (peer.name) } }
                }
            }
        }
    }
}

fn remove(viewer: &Viewer, lease: &Lease, peer: &LeasePeer) -> Markup {
    html! {
        @if lease.peers.len() > 1 {
            details.confirm.remove data-open={ "remove " (peer.name) } {
                summary.button.danger-quiet.small { "Remove…" span.unseen { " " (peer.name) } }
                div.confirm-body {
                    p { "Remove " (peer.name) "? It loses its tunnel at once." }
                    form method="post" action={ "/leases/" (lease.id) "/peers/" (peer.name) "/remove" } data-remove=(peer.name) {
                        (csrf(viewer))
                        button.danger type="submit" { "Remove " (peer.name) }
                    }
                }
            }
        }
    }
}

fn add(viewer: &Viewer, lease: &Lease) -> Markup {
    html! {
        form.panel.add-device method="post" action={ "/leases/" (lease.id) "/peers" } data-add data-keep="add-device" {
            (csrf(viewer))
            h3 { "Another device" }
            div.inline {
                div.field {
                    label for="add-name" { "Name" }
                    input #add-name name="name" required maxlength=(MAX_NAME) pattern="[A-Za-z0-9][A-Za-z0-9_\\-]*"
                        autocomplete="off" autocapitalize="none" spellcheck="false";
                }
                @if !lease.makes_keys() {
                    div.field.grow {
                        label for="add-key" { "Public key" }
                        input #add-key .mono name="public_key" maxlength="44" autocomplete="off" spellcheck="false"
                            aria-describedby="add-key-hint";
                        p.hint.scripted #add-key-hint { "Leave it empty, and this page makes the keys." }
                    }
                }
                button type="submit" { "Add" }
            }
            p.field-problem data-problem role="alert" {}
        }
    }
}
