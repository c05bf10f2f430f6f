//! Leases that are over, and every lease for admins: tables with pages.

use launch::{Lease, LeaseId, State};
use maud::{Markup, html};

use super::{
    layout::{Frame, Tab, Viewer},
    lease::outcome,
    running::{devices, received, sent, state},
    words,
};

/// What the page of past leases shows.
#[derive(Debug)]
pub(super) struct HistoryPage<'a> {
    /// Who looks.
    pub viewer: &'a Viewer,
    /// Leases, the newest first.
    pub leases: &'a [Lease],
    /// Where older ones begin.
    pub next: Option<LeaseId>,
    /// Whether this is not the first page.
    pub is_later: bool,
}

impl HistoryPage<'_> {
    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let content = html! {
            h1 { "History" }
            p.lead { "Your gateways that are over." }
            @if self.leases.is_empty() {
                p.empty { "None yet." @if !self.is_later { " " a href="/" { "Launch one." } } }
            } @else {
                (table(self.leases, false))
            }
            (pages("/history", self.is_later, self.next.map(|next| next.to_string()).as_deref()))
        };
        Frame::new("History", Some(Tab::History), Some(self.viewer)).render(&content)
    }
}

/// Leases as a table.
pub(super) fn table(leases: &[Lease], has_owner: bool) -> Markup {
    html! {
        div.table-frame role="region" aria-label="Table of leases" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "Devices" }
                        @if has_owner { th scope="col" { "Owner" } }
                        th scope="col" { "Place" }
                        th scope="col" { "State" }
                        th scope="col" { "Requested" }
                        th scope="col" { @if has_owner { "Ends" } @else { "Lived for" } }
                        th.number scope="col" { "To devices" }
                        th.number scope="col" { "From devices" }
                    }
                }
                tbody { @for lease in leases { (row(lease, has_owner)) } }
            }
        }
    }
}

fn row(lease: &Lease, has_owner: bool) -> Markup {
    let lived = lease
        .ready_at
        .zip(lease.removed_at)
        .map(|(ready, removed)| removed.since(ready));
    html! {
        tr {
            th scope="row" { a href={ "/leases/" (lease.id) } { (devices(lease)) } }
            @if has_owner { td.who { (lease.owner) } }
            td { (lease.order.place) @if lease.is_sample { " " span.badge.sample { "sample" } } }
            td {
                (state(lease))
                @if lease.state == State::Removed { p.soft.small { (outcome(lease)) } }
            }
            td { (words::time(lease.created_at)) }
            td {
                @if has_owner { (words::time(lease.removed_at.unwrap_or(lease.ends_at))) }
                @else if let Some(lived) = lived { (words::duration(lived)) }
                @else { span.soft { "never ready" } }
            }
            td.number { (words::bytes(sent(lease))) }
            td.number { (words::bytes(received(lease))) }
        }
    }
}

/// Links to the first and to the next page of a table.
pub(super) fn pages(address: &str, is_later: bool, next: Option<&str>) -> Markup {
    let separator = if address.contains('?') { '&' } else { '?' };
    html! {
        @if is_later || next.is_some() {
            nav.pages aria-label="Pages" {
                @if is_later { a.button href=(address) { "Newest" } }
                @if let Some(next) = next { a.button href={ (address) (separator) "cursor=" (next) } { "Older" } }
            }
        }
    }
}
