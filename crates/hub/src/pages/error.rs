//! What a person reads when something cannot be shown or done.

use maud::{Markup, html};

use super::{
    layout::{Frame, Viewer},
    words::sentence,
};
use crate::problem::Problem;

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorPage<'a> {
    /// Who looks; `None`: nobody is signed in, or it is not known who.
    pub viewer: Option<&'a Viewer>,
    /// What went wrong.
    pub problem: &'a Problem,
    /// Where to go on: a path of this hub.
    pub back: &'a str,
    /// What was asked for, if it may be answered later: a path of this hub.
    pub again: Option<&'a str>,
}

impl ErrorPage<'_> {
    /// What the problem itself says, unless that is for programs.
    fn remedy(&self) -> Option<&str> {
        let is_for_programs = matches!(self.problem.code.as_str(), "no_such_route" | "method_not_allowed");
        self.problem.remedy.as_deref().filter(|_| !is_for_programs)
    }

    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let (title, remedy) = said(self.problem.status);
        let content = html! {
            div.error-page {
                p.status { (self.problem.status) }
                h1 { (title) }
                p.lead { (sentence(&self.problem.detail)) }
                p { strong { "What to do: " } (sentence(self.remedy().unwrap_or(remedy))) }
                div.actions {
                    @if let Some(again) = self.again { a.button.primary href=(again) { "Try again" } }
                    a.button.primary[self.again.is_none()] href=(self.back) {
                        @if self.back == "/" { "To the launch page" } @else { "Go back" }
                    }
                }
                @if let Some(id) = &self.problem.request_id { p.soft.small { "Request " code { (id) } } }
            }
        };
        Frame::new(title, None, self.viewer).render(&content)
    }
}

fn said(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("Not signed in", "sign in, and try again."),
        403 => (
            "Not allowed",
            "ask whoever runs this hub if you need it, or sign in as somebody else.",
        ),
        404 => (
            "Not here",
            "look at the address. A lease of somebody else is not shown either.",
        ),
        409 => ("It does not fit", "look at the gateway's page, which may have changed."),
        400 | 413 | 415 | 422 => ("Not understood", "go back and change the value."),
        429 => (
            "Too much at once",
            "wait a little, or end a gateway that you need no more.",
        ),
        502..=504 => ("Not now", "try again in a moment."),
        _ => (
            "Something broke",
            "try again in a moment. If it stays so, tell whoever runs this hub the number of the request.",
        ),
    }
}
