//! The countdown of a lease, with extending and ending it.

use std::time::Duration;

use maud::{Markup, html};

use super::{lease::LeasePage, running, words};

/// What is offered, in minutes.
const EXTENSIONS: [u64; 3] = [15, 30, 60];

/// The section with the countdown.
pub(super) fn section(page: &LeasePage<'_>) -> Markup {
    let lease = page.lease;
    let more = page
        .policy
        .max_lifetime
        .saturating_sub(Duration::from_secs(lease.granted_secs));
    let offered = EXTENSIONS
        .into_iter()
        .map(|minutes| Duration::from_secs(minutes * 60))
        .filter(|by| *by <= more);
    html! {
        section.panel.time aria-labelledby="time-title" {
            h2 #time-title .unseen { "Time" }
            div.time-row {
                div {
                    p.huge { (words::left(lease.ends_at, page.now)) }
                    p.soft { "left, until " (words::time(lease.ends_at)) }
                }
                div.actions {
                    @for by in offered { (running::extend(page.viewer, lease, by)) }
                    (running::end(page.viewer, lease))
                }
            }
            progress.time-bar aria-label="Time left" max=(lease.granted_secs)
                value=(lease.ends_at.since(page.now).as_secs()) data-bar=(lease.ends_at) {}
            p.soft.small {
                @if more.is_zero() {
                    "It has the longest lifetime that is allowed here, " (words::duration(page.policy.max_lifetime)) "."
                } @else {
                    "It can be extended by up to " (words::duration(more)) "; " (words::duration(page.policy.max_lifetime))
                    " in all is the most that is allowed here."
                }
            }
        }
    }
}
