//! Pages for admins: every lease, users with their use, and the limits.

use std::time::Duration;

use launch::{Lease, LeaseId, State, launcher::Usage, policy::Policy};
use maud::{Markup, html};

use super::{
    history,
    layout::{Frame, Tab, Viewer, csrf},
    words,
};
use crate::sign_in::{Account, LOCAL};

/// What the page shows.
#[derive(Debug)]
pub(super) struct AdminPage<'a> {
    /// Who looks.
    pub viewer: &'a Viewer,
    /// Leases, the newest first.
    pub leases: &'a [Lease],
    /// Where older ones begin.
    pub next: Option<LeaseId>,
    /// Whether this is not the first page.
    pub is_later: bool,
    /// The state that the list is narrowed to.
    pub state: Option<State>,
    /// The owner that the list is narrowed to.
    pub owner: Option<&'a str>,
    /// Who has ever signed in.
    pub accounts: &'a [Account],
    /// The viewer's own account, which he cannot block.
    pub own_subject: &'a str,
    /// How much everybody uses.
    pub usage: &'a [Usage],
    /// What may be asked for.
    pub policy: &'a Policy,
}

impl AdminPage<'_> {
    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let content = html! {
            h1 { "Admin" }
            section aria-labelledby="leases-title" {
                h2 #leases-title { "Leases" }
                (self.filter())
                @if self.leases.is_empty() { p.empty { "None." } } @else { (history::table(self.leases, true)) }
                (history::pages(&self.address(), self.is_later, self.next.map(|next| next.to_string()).as_deref()))
            }
            (self.users())
            (self.limits())
        };
        Frame::new("Admin", Some(Tab::Admin), Some(self.viewer)).render(&content)
    }

    fn address(&self) -> String {
        let state = self.state.map(|state| format!("state={}", state.as_str()));
        let owner = self.owner.map(|owner| format!("owner={}", words::encoded(owner)));
        let query: Vec<String> = [state, owner].into_iter().flatten().collect();
        if query.is_empty() {
            "/admin".to_owned()
        } else {
            format!("/admin?{}", query.join("&"))
        }
    }

    fn filter(&self) -> Markup {
        html! {
            form.filter method="get" action="/admin" {
                div.field {
                    label for="state" { "State" }
                    select #state name="state" {
                        option value="" { "any" }
                        @for state in State::ALL {
                            option value=(state.as_str()) selected[self.state == Some(state)] { (state.as_str()) }
                        }
                    }
                }
                div.field {
                    label for="owner" { "Owner" }
                    input #owner name="owner" value=[self.owner] autocomplete="off" spellcheck="false";
                }
                button type="submit" { "Show" }
                @if self.state.is_some() || self.owner.is_some() { a.button.quiet href="/admin" { "Show all" } }
            }
        }
    }

    fn users(&self) -> Markup {
        // Leases of who has no account here, such as those of an earlier configuration.
        let others = self
            .usage
            .iter()
            .filter(|usage| self.accounts.iter().all(|account| account.subject != usage.owner));
        html! {
            section aria-labelledby="users-title" {
                h2 #users-title { "Users" }
                div.table-frame role="region" aria-label="Table of users" tabindex="0" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Name" }
                                th scope="col" { "Roles" }
                                th scope="col" { "Signed in" }
                                th.number scope="col" { "Running" }
                                th.number scope="col" { "Minutes in 24 h" }
                                th scope="col" { span.unseen { "Block" } }
                            }
                        }
                        tbody {
                            @for account in self.accounts { (self.account(account)) }
                            @for usage in others {
                                tr {
                                    th.who scope="row" { (leases_of(&usage.owner, &usage.owner)) }
                                    td {}
                                    td {}
                                    td.number { (usage.running) }
                                    td.number { (usage.minutes) }
                                    td {}
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn account(&self, account: &Account) -> Markup {
        let usage = self.usage.iter().find(|usage| usage.owner == account.subject);
        let roles = account
            .roles
            .iter()
            .map(|role| role.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let is_blocked = account.blocked_at.is_some();
        html! {
            tr {
                th.who scope="row" {
                    (leases_of(&account.subject, &account.name))
                    @if !account.email.is_empty() && account.email != account.name { p.soft.small { (account.email) } }
                    @if account.realm != account.name { p.soft.small { (account.realm) } }
                }
                td { @if is_blocked { span.badge.bad { "blocked" } } @else { (roles) } }
                td { (words::time(account.signed_in_at)) }
                td.number { (usage.map_or(0, |usage| usage.running)) }
                td.number { (usage.map_or(0, |usage| usage.minutes)) }
                td {
                    @if account.subject != self.own_subject && account.subject != LOCAL {
                        form method="post" action="/admin/block" {
                            (csrf(self.viewer))
                            input type="hidden" name="subject" value=(account.subject);
                            @if is_blocked {
                                button.small name="block" value="no" { "Let in" span.unseen { " " (account.name) } }
                            } @else {
                                button.danger-quiet.small name="block" value="yes" { "Block" span.unseen { " " (account.name) } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn limits(&self) -> Markup {
        let number = |limit: Option<u32>| limit.map_or("any number".to_owned(), |limit| limit.to_string());
        html! {
            section.panel aria-labelledby="limits-title" {
                h2 #limits-title { "Limits" }
                dl.facts {
                    div { dt { "Longest lifetime" } dd { (words::duration(self.policy.max_lifetime)) } }
                    div { dt { "Running leases of a user" } dd { (number(self.policy.leases_per_user)) } }
                    div { dt { "Running leases in all" } dd { (number(self.policy.leases)) } }
                    div { dt { "A user's leases in 24 hours" } dd {
                        @match self.policy.minutes_a_day {
                            Some(minutes) => (words::duration(Duration::from_secs(u64::from(minutes) * 60))),
                            None => "any time",
                        }
                    } }
                }
                p.soft { "They are set in the hub's configuration." }
            }
        }
    }
}

fn leases_of(owner: &str, name: &str) -> Markup {
    html! { a href={ "/admin?owner=" (words::encoded(owner)) } { (name) } }
}
