//! The audit, for admins.

use maud::{Markup, html};

use super::{
    history::pages,
    layout::{Frame, Tab, Viewer},
    words,
};
use crate::audit::{Row, Whole};

/// What the page shows.
#[derive(Debug)]
pub(super) struct AuditPage<'a> {
    /// Who looks.
    pub viewer: &'a Viewer,
    /// The newest first.
    pub rows: &'a [Row],
    /// The number before which older ones are.
    pub next: Option<u64>,
    /// Whether this is not the first page.
    pub is_later: bool,
    /// From where on it was found whole, or where the chain is broken; `None`: there are too many rows to check them unasked.
    pub verified: Option<Result<Whole, String>>,
}

impl AuditPage<'_> {
    /// The whole page.
    pub(super) fn render(&self) -> Markup {
        let content = html! {
            h1 { "Audit" }
            p.lead { "Who did what. Each row's hash covers the row before it, so that none can be changed unseen." }
            @match &self.verified {
                None => p { a.button href="/admin/audit?check=yes" { "Check the chain" } },
                Some(Ok(whole)) => div.note.good { p {
                    strong {
                        "The chain is whole"
                        @if whole.from.count > 0 { " from row " (whole.from.count + 1) " on" }
                        ". "
                    }
                    (whole.rows()) " rows were checked for this page"
                    @if whole.from.count > 0 { "; the " (whole.from.count) " before were pruned" }
                    "."
                } },
                Some(Err(broken)) => div.note.bad role="alert" {
                    p { strong { "The chain is broken. " } (broken) }
                    p { strong { "What to do: " } "keep a copy of the database, and compare it with the latest export." }
                },
            }
            @if self.rows.is_empty() { p.empty { "Nothing is written yet." } } @else { (self.table()) }
            (pages("/admin/audit", self.is_later, self.next.map(|next| next.to_string()).as_deref()))
            p.soft { "To keep a copy: " code { "adit hub audit export" } ". To check it: " code { "adit hub audit verify" } "." }
        };
        Frame::new("Audit", Some(Tab::Audit), Some(self.viewer)).render(&content)
    }

    fn table(&self) -> Markup {
        html! {
            div.table-frame role="region" aria-label="Table of the audit" tabindex="0" {
                table {
                    thead {
                        tr {
                            th.number scope="col" { "No." }
                            th scope="col" { "When" }
                            th scope="col" { "Who" }
                            th scope="col" { "What" }
                            th scope="col" { "On" }
                            th scope="col" { "Outcome" }
                            th scope="col" { "From" }
                            th scope="col" { "Request" }
                        }
                    }
                    tbody { @for row in self.rows { (line(row)) } }
                }
            }
        }
    }
}

fn line(row: &Row) -> Markup {
    let class = match row.outcome.as_str() {
        "ok" => "good",
        "failed" | "refused" => "bad",
        _ => "",
    };
    html! {
        tr {
            td.number { (row.number) }
            td { (words::time(row.at)) }
            td.who { @if row.who.is_empty() { span.soft { "nobody" } } @else { (row.who) } }
            th scope="row" { (row.what) @if !row.detail.is_empty() { p.soft.small { (row.detail) } } }
            td.mono.who { (row.on) }
            td { span class={ "badge " (class) } { (row.outcome) } }
            td.mono { (row.address) }
            td.mono.who { (row.request_id) }
        }
    }
}
