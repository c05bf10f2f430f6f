//! The list of running gateways.

use std::time::Duration;

use launch::{Lease, Moment, State};
use maud::{Markup, html};

use super::{
    icons,
    layout::{Viewer, csrf},
    words,
};

/// The section with the viewer's running gateways.
pub(super) fn section(viewer: &Viewer, leases: &[Lease], now: Moment) -> Markup {
    html! {
        section #running .running aria-labelledby="running-title" {
            h2 #running-title { "Running gateways" }
            @if leases.is_empty() {
                p.empty { "None. What you launch is listed here." }
            } @else {
                ul.gateways { @for lease in leases { (card(viewer, lease, now)) } }
            }
        }
    }
}

fn card(viewer: &Viewer, lease: &Lease, now: Moment) -> Markup {
    html! {
        li.gateway-card data-lease=(lease.id) data-state=(lease.state.as_str()) {
            div.gateway-head {
                h3 { a href={ "/leases/" (lease.id) } { (devices(lease)) } }
                (state(lease))
            }
            p.soft.small { "on " (lease.order.place) @if lease.is_sample { " " span.badge.sample { "sample" } } }
            div.gateway-facts {
                @if lease.state == State::Ready {
                    p.big { (words::left(lease.ends_at, now)) span.soft.small { " left" } }
                } @else {
                    p.big { (words::since(lease.created_at, now)) span.soft.small { " so far" } }
                }
                p.transfer {
                    (icons::down()) span.unseen { "To devices: " } span data-field="sent" { (words::bytes(sent(lease))) }
                    " "
                    (icons::up()) span.unseen { "from devices: " }
                    span data-field="received" { (words::bytes(received(lease))) }
                }
                div.spark data-spark=(lease.id) data-keep={ "spark " (lease.id) } {}
            }
            @if lease.state == State::Ready {
                div.actions {
                    (extend(viewer, lease, Duration::from_secs(30 * 60)))
                    (end(viewer, lease))
                }
            }
        }
    }
}

/// What a lease is called on pages: the names of its devices.
pub(super) fn devices(lease: &Lease) -> String {
    match lease.peers.as_slice() {
        [] => "No device".to_owned(),
        [one] => one.name.clone(),
        [one, two] => format!("{}, {}", one.name, two.name),
        [one, two, rest @ ..] => format!("{}, {} and {} more", one.name, two.name, rest.len()),
    }
}

/// Where a lease is in its life, as a badge.
pub(super) fn state(lease: &Lease) -> Markup {
    let (class, word) = match lease.state {
        State::Requested => ("busy", "Requested"),
        State::Provisioning => ("busy", "Provisioning"),
        State::Configuring => ("busy", "Configuring"),
        State::Ready if lease.unreachable_since.is_some() => ("bad", "Out of reach"),
        State::Ready => ("good", "Ready"),
        State::Failed => ("bad", "Failed"),
        State::Lost => ("bad", "Lost"),
        State::Removing => ("busy", "Being removed"),
        State::Removed => ("", "Removed"),
    };
    html! { span class={ "badge " (class) } data-badge { (word) } }
}

/// Bytes that devices received.
pub(super) fn sent(lease: &Lease) -> u64 {
    lease
        .peers
        .iter()
        .fold(0, |sum, peer| sum.saturating_add(peer.sent_bytes))
}

/// Bytes that devices sent.
pub(super) fn received(lease: &Lease) -> u64 {
    lease
        .peers
        .iter()
        .fold(0, |sum, peer| sum.saturating_add(peer.received_bytes))
}

/// A button that lets a lease live longer.
pub(super) fn extend(viewer: &Viewer, lease: &Lease, by: Duration) -> Markup {
    html! {
        form method="post" action={ "/leases/" (lease.id) "/extend" } data-extend=(lease.id) {
            (csrf(viewer))
            button type="submit" name="by_secs" value=(by.as_secs()) {
                "+" (words::duration(by)) span.unseen { " for " (devices(lease)) }
            }
        }
    }
}

/// A button that ends a lease, behind a question.
pub(super) fn end(viewer: &Viewer, lease: &Lease) -> Markup {
    html! {
        details.confirm data-keep={ "end " (lease.id) } {
            summary.button.danger-quiet { "End…" span.unseen { " " (devices(lease)) } }
            div.confirm-body {
                p { "End it now? Devices lose their tunnel at once, and their configurations never work again." }
                form method="post" action={ "/leases/" (lease.id) "/end" } data-end=(lease.id) {
                    (csrf(viewer))
                    button.danger type="submit" { "End the gateway" }
                }
            }
        }
    }
}
