//! The page of one lease: how it comes up, and then everything that a person needs of it.

use launch::{
    Lease, Moment, State,
    launcher::{Configuration, Numbered},
    lease::{End, Kind},
    place::Description,
    policy::Policy,
};
use maud::{Markup, html};

use super::{
    connect, devices,
    layout::{Frame, Viewer},
    lifetime, progress,
    running::{self, state},
    words,
};

/// Seconds after which a browser without scripts looks again while something is on its way.
const REFRESH_SECS: u32 = 3;

/// What the page shows.
#[derive(Debug)]
pub(super) struct LeasePage<'a> {
    /// Who looks.
    pub viewer: &'a Viewer,
    /// The lease.
    pub lease: &'a Lease,
    /// What happened so far, the oldest first.
    pub notices: &'a [Numbered],
    /// Its place, if that is still set up.
    pub place: Option<&'a Description>,
    /// What may be asked for.
    pub policy: &'a Policy,
    /// For devices that made their own keys, once it is ready.
    pub configurations: &'a [Configuration],
    /// The present.
    pub now: Moment,
}

impl LeasePage<'_> {
    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let lease = self.lease;
        let name = running::devices(lease);
        let content = html! {
            div.lease-page data-lease=(lease.id) data-state=(lease.state.as_str()) data-keys=(keys(lease)) {
                div.title-row {
                    h1 #title tabindex="-1" { (name) }
                    (state(lease))
                }
                p.lead { (self.sentence()) }
                @if lease.is_sample {
                    div.note.sample-note {
                        p {
                            strong { "This is a sample. " }
                            "No gateway runs, and nothing that is handed out here connects to anything."
                        }
                    }
                }
                @if lease.unreachable_since.is_some() && lease.state == State::Ready {
                    div.note.warn {
                        p { strong { "The gateway does not answer the hub. " } "Connections may go on; the hub keeps asking." }
                    }
                }
                @if lease.state == State::Ready { (self.rekeyed()) }
                @match lease.state {
                    State::Requested | State::Provisioning | State::Configuring => (progress::section(self)),
                    State::Ready => {
                        (lifetime::section(self))
                        div.two-columns {
                            div.column {
                                (devices::section(self))
                                (traffic(lease))
                            }
                            div.column {
                                (connect::section(lease))
                                (facts(lease))
                            }
                        }
                    }
                    State::Failed | State::Lost | State::Removing | State::Removed => {
                        (progress::ending(self))
                        (totals(lease))
                    }
                }
                (progress::log(self.notices))
            }
        };
        let is_underway = !matches!(lease.state, State::Ready | State::Removed);
        Frame::new(&format!("{name} on {}", lease.order.place), None, Some(self.viewer))
            .with_module("lease.js")
            .with_refresh(is_underway.then_some(REFRESH_SECS))
            .render(&content)
    }

    /// What to do since the gateway has had another key or address, if it ever had.
    fn rekeyed(&self) -> Markup {
        let last = self
            .notices
            .iter()
            .rfind(|numbered| numbered.notice.kind == Kind::Rekeyed);
        html! {
            @if let Some(numbered) = last {
                div.note.warn {
                    p {
                        strong { "Configurations that were taken before " (words::time(numbered.notice.at)) " lead nowhere. " }
                        (words::sentence(&numbered.notice.message))
                        @if self.lease.makes_keys() {
                            " Have it handed over again for every device."
                        } @else {
                            " A page that holds a device's private key shows it already; on a device with a key of its own, change "
                            "the gateway's public key and endpoint to those on this page, or make a new key here."
                        }
                    }
                }
            }
        }
    }

    fn sentence(&self) -> Markup {
        let lease = self.lease;
        let place = &lease.order.place;
        let ready_at = lease.ready_at.unwrap_or(lease.created_at);
        html! {
            @match lease.state {
                State::Requested | State::Provisioning | State::Configuring => { "Your gateway on " (place) " is on its way." }
                State::Ready => {
                    "Your gateway on " (place) " has been ready since " (words::time(ready_at)) ", "
                    (words::exact(ready_at.since(lease.created_at))) " after you asked for it."
                }
                State::Failed => { "The gateway on " (place) " could not be set up." }
                State::Lost => { "The gateway on " (place) " has gone by itself." }
                State::Removing | State::Removed => { (outcome(lease)) }
            }
        }
    }
}

/// Why a lease ends or ended, in a sentence.
pub(super) fn outcome(lease: &Lease) -> &'static str {
    match lease.outcome {
        None => "It has ended.",
        Some(End::Expired) => "Its time is over.",
        Some(End::Asked) => "It was ended before its time.",
        Some(End::Idle) => "No device was connected for as long as it may be idle, so it ended.",
        Some(End::Failed) => "It could not be set up.",
        Some(End::Lost) => "Its gateway went by itself.",
    }
}

fn keys(lease: &Lease) -> &'static str {
    if lease.makes_keys() { "gateway" } else { "client" }
}

fn traffic(lease: &Lease) -> Markup {
    html! {
        section.panel #traffic aria-labelledby="traffic-title" data-keep="traffic" {
            h2 #traffic-title { "Traffic" }
            p.transfer-line {
                span { span.key-down {} "To devices " strong data-total="sent" { (words::bytes(running::sent(lease))) } }
                span { span.key-up {} "From devices " strong data-total="received" { (words::bytes(running::received(lease))) } }
            }
            div.scripted data-plot=(lease.id) {}
        }
    }
}

fn totals(lease: &Lease) -> Markup {
    html! {
        @if let Some(ready_at) = lease.ready_at {
            section.panel aria-labelledby="totals-title" {
                h2 #totals-title { "What it was" }
                dl.facts {
                    div { dt { "Ready" } dd { (words::time(ready_at)) } }
                    @if let Some(removed_at) = lease.removed_at {
                        div { dt { "Removed" } dd { (words::time(removed_at)) } }
                        div { dt { "Lived for" } dd { (words::duration(removed_at.since(ready_at))) } }
                    }
                    div { dt { "To devices" } dd { (words::bytes(running::sent(lease))) } }
                    div { dt { "From devices" } dd { (words::bytes(running::received(lease))) } }
                }
            }
        }
    }
}

fn facts(lease: &Lease) -> Markup {
    let order = &lease.order;
    let networks = order
        .allowed_ips
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    html! {
        section.panel aria-labelledby="facts-title" {
            h2 #facts-title { "Gateway" }
            dl.facts {
                @if let Some(gateway) = &lease.gateway {
                    div { dt { "Endpoint" } dd.mono { (gateway.endpoint) } }
                    div { dt { "Public key" } dd.mono.long { (gateway.public_key) } }
                    div { dt { "Packets are handled by" } dd { (gateway.plane) } }
                }
                div { dt { "Place" } dd { (order.place) } }
                @if let Some(region) = &order.region { div { dt { "Region" } dd { (region) } } }
                @if let Some(size) = &order.size { div { dt { "Size" } dd { (size) } } }
                div { dt { "Through the tunnel" } dd.mono { (networks) } }
                div { dt { "DNS" } dd {
                    @match order.dns.as_deref() {
                        None => "the gateway",
                        Some([]) => "the device's own",
                        Some(servers) => span.mono { (servers.join(", ")) },
                    }
                } }
                @if let (Some(_), Some(gateway)) = (&order.ssh_key, &lease.gateway) {
                    div { dt { "Log in" } dd.mono.long { "ssh core@" (host(&gateway.endpoint)) } }
                }
                @if let Some(mtu) = order.mtu { div { dt { "MTU" } dd { (mtu) " bytes" } } }
                @if let Some(secs) = order.idle_end_secs {
                    div { dt { "Ends when idle for" } dd { (words::duration(std::time::Duration::from_secs(secs))) } }
                }
                div { dt { "Lease" } dd.mono.long { (lease.id) } }
            }
        }
    }
}

/// Of `HOST:PORT`, as `ssh` wants it.
fn host(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}
