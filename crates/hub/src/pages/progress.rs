//! How a gateway comes up, step by step with the times that it took, and how it ends.

use std::time::Duration;

use launch::{Lease, Moment, State, launcher::Numbered, lease::SETUP_LIMIT};
use maud::{Markup, html};

use super::{
    icons,
    lease::LeasePage,
    words::{self, sentence},
};

const STEPS: [(State, &str, &str); 3] = [
    (State::Requested, "Requested", "The request is written down."),
    (State::Provisioning, "Provisioning", "The place makes the gateway."),
    (
        State::Configuring,
        "Configuring",
        "The gateway starts and learns who may connect.",
    ),
];

/// The steps of a gateway that is on its way.
pub(super) fn section(page: &LeasePage<'_>) -> Markup {
    let (lease, now) = (page.lease, page.now);
    html! {
        section.panel #progress aria-labelledby="progress-title" {
            h2 #progress-title { "Progress" }
            (steps(lease, page.notices, now))
            @if let Some(place) = page.place {
                p.soft {
                    "Usually ready in " (words::duration(Duration::from_secs(place.usual_secs)))
                    " there; " (words::since(lease.created_at, now)) " so far."
                }
                p.soft data-late=(lease.created_at + Duration::from_secs(place.usual_secs * 2 + 5))
                    hidden[now.since(lease.created_at).as_secs() <= place.usual_secs * 2 + 5] {
                    "It takes longer than usual. You need not do anything: if it is not ready in "
                    (words::duration(SETUP_LIMIT)) ", it is given up and everything of it is removed."
                }
            }
            div.actions { (super::running::end(page.viewer, lease)) }
        }
    }
}

fn steps(lease: &Lease, notices: &[Numbered], now: Moment) -> Markup {
    let begun = |state: State| {
        if state == State::Requested {
            return Some(lease.created_at);
        }
        let first = notices.iter().find(|numbered| numbered.notice.state == state);
        first.map(|numbered| numbered.notice.at)
    };
    html! {
        ol.steps {
            @for (index, (state, name, hint)) in STEPS.into_iter().enumerate() {
                @let next = STEPS.get(index + 1).map_or(State::Ready, |(next, _, _)| *next);
                @if state < lease.state {
                    li.step.done {
                        (icons::done())
                        div { span.step-name { (name) } span.unseen { ": done" } }
                        @if let (Some(start), Some(end)) = (begun(state), begun(next)) {
                            span.step-time { (words::exact(end.since(start))) }
                        }
                    }
                } @else if state == lease.state {
                    li.step.current aria-current="step" {
                        span.pulse {}
                        div {
                            span.step-name { (name) }
                            // Before the place has begun there is nothing to say of what it does.
                            p.soft { @if state == State::Requested { (hint) } @else { (sentence(&lease.doing)) } }
                        }
                        span.step-time { (words::since(begun(state).unwrap_or(lease.created_at), now)) }
                    }
                } @else {
                    li.step { span.waiting {} div { span.step-name { (name) } span.unseen { ": not yet" } } }
                }
            }
            li.step { span.waiting {} div { span.step-name { "Ready" } span.unseen { ": not yet" } } }
        }
    }
}

/// What happened to a gateway that is not there any more, and what to do.
pub(super) fn ending(page: &LeasePage<'_>) -> Markup {
    let lease = page.lease;
    let again = html! {
        a.button.primary href={ "/?from=" (lease.id) } data-again=(lease.id) { "Launch again with the same choices" }
    };
    html! {
        @if let Some(fault) = &lease.fault {
            section.panel.failure aria-labelledby="failure-title" {
                h2 #failure-title { (icons::failed()) "What happened" }
                p { (sentence(&fault.message)) }
                @if !fault.remedy.is_empty() { p { strong { "What to do: " } (sentence(&fault.remedy)) } }
                p.soft.small { "Code " code { (fault.code) } }
                (removal(lease))
                div.actions { (again) }
            }
        } @else {
            section.panel aria-label="What is left" {
                (removal(lease))
                div.actions { (again) }
            }
        }
    }
}

fn removal(lease: &Lease) -> Markup {
    html! {
        @match lease.removed_at {
            Some(at) => p { "Nothing of it is left at its place; it was removed at " (words::time(at)) "." },
            None => p { span.pulse {} " Everything of it is being removed." },
        }
    }
}

/// Everything that happened, for who wants to know.
pub(super) fn log(notices: &[Numbered]) -> Markup {
    html! {
        @if !notices.is_empty() {
            details.panel.log data-open="log" {
                summary { h2 { "Everything that happened" } }
                ol {
                    @for numbered in notices {
                        li { (words::time(numbered.notice.at)) span { (sentence(&numbered.notice.message)) } }
                    }
                }
            }
        }
    }
}
