//! The pages of past leases, of everybody's leases, and of the audit.

use std::sync::Arc;

use axum::{
    Form as FormBody,
    extract::{Query, State},
    http::Extensions,
    response::{IntoResponse as _, Redirect},
};
use launch::{LeaseId, State as LeaseState, launcher::Filter};
use serde::Deserialize;

use super::{
    super::{admin::AdminPage, audit::AuditPage, history::HistoryPage, layout::Viewer},
    Answer, Fields, field,
};
use crate::{
    App,
    api::Who,
    audit::{Entry, blocking},
    problem::Problem,
    sign_in::Asker,
};

/// Rows of a page.
const LIMIT: usize = 50;

/// Rows of an audit that are checked whenever it is looked at.
const CHECKED_UNASKED: u64 = 20_000;

/// What a list is narrowed to.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Narrowed {
    cursor: Option<String>,
    state: Option<String>,
    owner: Option<String>,
}

impl Narrowed {
    /// Where the page begins; what is no lease's id begins at the newest.
    fn after(&self) -> Option<LeaseId> {
        self.cursor.as_ref().and_then(|cursor| cursor.parse().ok())
    }

    fn state(&self) -> Option<LeaseState> {
        LeaseState::ALL
            .into_iter()
            .find(|state| self.state.as_deref() == Some(state.as_str()))
    }
}

/// `GET /history`.
pub(super) async fn history(State(app): State<Arc<App>>, who: Who, Query(narrowed): Query<Narrowed>) -> Answer {
    who.may_read()?;
    let filter = Filter {
        owner: Some(who.identity.subject.clone()),
        states: Vec::new(),
        running: Some(false),
        after: narrowed.after(),
        limit: LIMIT,
    };
    let found = app.launcher.list(&who.caller, &filter).await?;
    Ok(HistoryPage {
        viewer: &Viewer::of(&who.identity),
        leases: &found.leases,
        next: found.next,
        is_later: filter.after.is_some(),
    }
    .render()
    .into_response())
}

/// `GET /admin`.
pub(super) async fn show(State(app): State<Arc<App>>, who: Who, Query(narrowed): Query<Narrowed>) -> Answer {
    who.may_administer()?;
    let owner = narrowed
        .owner
        .as_deref()
        .map(str::trim)
        .filter(|owner| !owner.is_empty());
    let filter = Filter {
        owner: owner.map(str::to_owned),
        states: narrowed.state().into_iter().collect(),
        running: None,
        after: narrowed.after(),
        limit: LIMIT,
    };
    let found = app.launcher.list(&who.caller, &filter).await?;
    let usage = app.launcher.usage(&who.caller, None).await?;
    let accounts = app.sign_in.accounts().await?;
    Ok(AdminPage {
        viewer: &Viewer::of(&who.identity),
        leases: &found.leases,
        next: found.next,
        is_later: filter.after.is_some(),
        state: narrowed.state(),
        owner,
        accounts: &accounts,
        usage: &usage,
        policy: app.launcher.policy(),
        own_subject: &who.identity.subject,
    }
    .render()
    .into_response())
}

/// `POST /admin/block`: `subject`, and `block` is `yes` or `no`.
pub(super) async fn block(
    State(app): State<Arc<App>>,
    who: Who,
    extensions: Extensions,
    FormBody(fields): Fields,
) -> Answer {
    who.may_administer()?;
    let subject = field(&fields, "subject").unwrap_or_default();
    let is_blocked = field(&fields, "block") == Some("yes");
    if is_blocked && subject == who.identity.subject {
        return Err(Problem::forbidden("nobody blocks himself"));
    }
    let what = if is_blocked { "account.block" } else { "account.unblock" };
    let asker = Asker::of(&extensions);
    let entry = Entry {
        who: who.identity.subject.clone(),
        what,
        on: subject.to_owned(),
        request_id: asker.request_id,
        address: asker.address,
        ..Entry::default()
    };
    let intent = app.audit.intend(entry).await?;
    match app.sign_in.set_blocked(subject, is_blocked).await {
        Ok(true) => intent.done("ok", "").await,
        Ok(false) => {
            intent.done("refused", "there is no such account").await;
            return Err(Problem::not_found("there is no such account"));
        }
        Err(error) => {
            intent.done("failed", error.to_string()).await;
            return Err(error.into());
        }
    }
    Ok(Redirect::to("/admin").into_response())
}

/// What an audit is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    cursor: Option<String>,
    check: Option<String>,
}

/// `GET /admin/audit`.
pub(super) async fn audit(State(app): State<Arc<App>>, who: Who, Query(asked): Query<Asked>) -> Answer {
    who.may_administer()?;
    let before = asked.cursor.and_then(|cursor| cursor.parse().ok());
    let rows = app
        .audit
        .page(before, LIMIT)
        .await
        .map_err(|error| Problem::internal(&error))?;
    let count = app.audit.count().await.map_err(|error| Problem::internal(&error))?;
    let verified = if asked.check.is_some() || (before.is_none() && count <= CHECKED_UNASKED) {
        let audit = app.audit.clone();
        let checked = blocking(move || audit.verify(&[])).await;
        let checked = checked.map_err(|error| Problem::internal(&error))?;
        Some(checked.map_err(|error| error.to_string()))
    } else {
        None
    };
    Ok(AuditPage {
        viewer: &Viewer::of(&who.identity),
        next: rows
            .last()
            .filter(|row| rows.len() == LIMIT && row.number > 1)
            .map(|row| row.number),
        rows: &rows,
        is_later: before.is_some(),
        verified,
    }
    .render()
    .into_response())
}
