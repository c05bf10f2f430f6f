//! Personal API tokens: the list, a new one, and the one time that a token is shown.

use launch::Moment;
use maud::{Markup, html};

use super::{
    layout::{Frame, Tab, Viewer, csrf},
    words,
};
use crate::sign_in::Token;

/// What the page shows.
#[derive(Debug)]
pub(super) struct TokensPage<'a> {
    /// Who looks.
    pub viewer: &'a Viewer,
    /// The viewer's tokens.
    pub tokens: &'a [Token],
    /// A token that was just made, which is shown now and never again.
    pub made: Option<&'a str>,
    /// Why a token was not made.
    pub problem: Option<&'a str>,
    /// The present.
    pub now: Moment,
}

impl TokensPage<'_> {
    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let content = html! {
            h1 { "Tokens" }
            p.lead { "A token lets a program launch and end gateways in your name: " code { "adit launch --hub" } ", or the API." }
            @if let Some(token) = self.made {
                div.note.good role="status" {
                    p { strong { "This is the token. " } "It is shown once; the hub keeps only its hash." }
                    div.inline {
                        code #token .token { (token) }
                        button.scripted type="button" data-copy="token" { "Copy" }
                    }
                }
            }
            @if let Some(problem) = self.problem {
                div.note.bad role="alert" { p { strong { "No token was made. " } (problem) } }
            }
            (self.list())
            (self.new_token())
        };
        Frame::new("Tokens", Some(Tab::Tokens), Some(self.viewer))
            .with_module("tokens.js")
            .render(&content)
    }

    fn list(&self) -> Markup {
        html! {
            @if self.tokens.is_empty() {
                p.empty { "You have no tokens." }
            } @else {
                div.table-frame role="region" aria-label="Table of tokens" tabindex="0" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Name" }
                                th scope="col" { "May" }
                                th scope="col" { "Made" }
                                th scope="col" { "Last used" }
                                th scope="col" { "Ends" }
                                th scope="col" { span.unseen { "Revoke" } }
                            }
                        }
                        tbody { @for token in self.tokens { (self.row(token)) } }
                    }
                }
            }
        }
    }

    fn row(&self, token: &Token) -> Markup {
        html! {
            tr {
                th scope="row" { (token.name) }
                td { (token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")) }
                td { (words::time(token.created_at)) }
                td { @match token.used_at { Some(at) => (words::time(at)), None => span.soft { "never" } } }
                td {
                    @if token.revoked_at.is_some() { span.badge { "revoked" } }
                    @else if !token.is_valid(self.now) { span.badge { "expired" } }
                    @else { (words::time(token.expires_at)) }
                }
                td {
                    @if token.is_valid(self.now) { form method="post" action={ "/tokens/" (token.id) "/revoke" } {
                        (csrf(self.viewer))
                        button.danger-quiet.small type="submit" { "Revoke" span.unseen { " " (token.name) } }
                    } }
                }
            }
        }
    }

    fn new_token(&self) -> Markup {
        html! {
            section.panel aria-labelledby="new-token" {
                h2 #new-token { "New token" }
                form.stack method="post" action="/tokens" {
                    (csrf(self.viewer))
                    div.field {
                        label for="token-name" { "Name" }
                        input #token-name name="name" required maxlength="80" placeholder="laptop" autocomplete="off";
                    }
                    fieldset.plain {
                        legend { "What it may do" }
                        label.check { input type="checkbox" name="scope" value="read" checked; " Read" }
                        label.check { input type="checkbox" name="scope" value="launch" checked; " Launch, extend and end gateways" }
                        @if self.viewer.is_admin {
                            label.check { input type="checkbox" name="scope" value="admin"; " Everything that an admin may" }
                        }
                    }
                    div.field {
                        label for="token-days" { "Ends after" }
                        select #token-days name="days" {
                            option value="1" { "1 day" }
                            option value="7" { "7 days" }
                            option value="30" selected { "30 days" }
                            option value="90" { "90 days" }
                            option value="365" { "1 year" }
                        }
                    }
                    div { button.primary type="submit" { "Make a token" } }
                }
            }
        }
    }
}
