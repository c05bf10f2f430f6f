//! Who asks, and the audit of what he does.

use std::{future::Future, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse as _, Response},
};
use launch::launcher::{Caller, Refusal};

use crate::{
    App,
    audit::Entry,
    identity::{Identity, Scope},
    problem::Problem,
    request_id,
    server::Client,
    sign_in::Asker,
};

/// Who asks, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) identity: Identity,
    /// As the launcher knows him.
    pub(crate) caller: Caller,
    client: Client,
}

impl FromRequestParts<Arc<App>> for Who {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let identity = Identity::from_request_parts(parts, app)
            .await
            .map_err(|denied| denied.into_response())?;
        let Ok(client) = Client::from_request_parts(parts, app).await;
        let request_id = request_id::current().unwrap_or_default();
        Ok(Self {
            caller: identity.caller(&request_id),
            identity,
            client,
        })
    }
}

impl Who {
    /// Whether he may read.
    pub(crate) fn may_read(&self) -> Result<(), Problem> {
        Ok(self.identity.require(Scope::Read)?)
    }

    /// Whether he may launch and end.
    pub(crate) fn may_launch(&self) -> Result<(), Problem> {
        Ok(self.identity.require(Scope::Launch)?)
    }

    /// Whether he may see what others do.
    pub(crate) fn may_administer(&self) -> Result<(), Problem> {
        Ok(self.identity.require_admin()?)
    }

    /// As sign-in's audit knows him.
    pub(crate) fn asker(&self) -> Asker {
        Asker {
            address: Some(self.client.address),
            request_id: self.caller.request_id.clone(),
        }
    }

    /// Does something that changes what is there; it is in the audit before it begins, and when it is done.
    pub(crate) async fn does<T>(
        &self,
        app: &App,
        what: &'static str,
        on: impl Into<String>,
        work: impl Future<Output = Result<(T, Done), Refusal>>,
    ) -> Result<T, Problem> {
        let entry = Entry {
            who: self.identity.subject.clone(),
            what,
            on: on.into(),
            outcome: "",
            detail: String::new(),
            request_id: self.caller.request_id.clone(),
            address: Some(self.client.address),
        };
        let intent = app.audit.intend(entry).await?;
        match work.await {
            Ok((value, done)) => {
                intent.done_on(done.on, "ok", done.detail).await;
                Ok(value)
            }
            Err(refusal) => {
                let problem = Problem::from(refusal);
                let outcome = if problem.status < 500 { "refused" } else { "failed" };
                intent
                    .done(outcome, format!("{}: {}", problem.code, problem.detail))
                    .await;
                Err(problem)
            }
        }
    }
}

/// What the audit says of something that was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    /// What it was done on, if that had no name before.
    on: Option<String>,
    detail: String,
}

impl Done {
    /// On something that has got its name by it.
    pub(crate) fn on(name: impl ToString, detail: impl Into<String>) -> Self {
        Self {
            on: Some(name.to_string()),
            detail: detail.into(),
        }
    }

    /// With more to say.
    pub(crate) fn with(detail: impl Into<String>) -> Self {
        Self {
            on: None,
            detail: detail.into(),
        }
    }
}
