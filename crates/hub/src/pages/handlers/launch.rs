//! The launch page and its form.

use std::sync::Arc;

use axum::{
    Form as FormBody,
    extract::{Query, State},
    http::StatusCode,
    response::IntoResponse as _,
};
use launch::{Lease, launcher::Filter, order::Invalid};
use serde::Deserialize;

use super::{
    super::{
        launch::{LaunchPage, Refused},
        launch_form::Form,
        layout::Viewer,
    },
    Answer, Fields, field, to_lease,
};
use crate::{App, actions, api::Who, problem::Problem};

/// Running gateways that are listed at most.
const LISTED: usize = 100;

/// What fills the form.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Begin {
    profile: Option<String>,
    from: Option<String>,
}

/// `GET /`, `GET /?profile=NAME`, `GET /?from=LEASE`.
pub(super) async fn show(State(app): State<Arc<App>>, who: Who, Query(begin): Query<Begin>) -> Answer {
    who.may_read()?;
    let launcher = &app.launcher;
    let form = Form::new(launcher.places(), launcher.policy());
    let profile = begin
        .profile
        .as_deref()
        .and_then(|name| launcher.profiles().get_key_value(name));
    let form = match profile {
        Some((_, profile)) => form.with_profile(profile),
        None => form,
    };
    let form = match begin.from.and_then(|id| id.parse().ok()) {
        Some(id) => form.with_lease(&launcher.read(&who.caller, id).await?),
        None => form,
    };
    render(&app, &who, &form, profile.map(|(name, _)| name.as_str()), None).await
}

/// `POST /launch`, from a browser without scripts.
pub(super) async fn launch(State(app): State<Arc<App>>, who: Who, FormBody(fields): Fields) -> Answer {
    who.may_launch()?;
    let launcher = &app.launcher;
    let mut form = Form::read(&fields, launcher.places(), launcher.policy());
    let button = field(&fields, "do").unwrap_or("launch");
    if form.change_devices(button) {
        return render(&app, &who, &form, None, None).await;
    }
    match ask(&app, &who, &form).await {
        Ok(lease) => Ok(to_lease(lease.id)),
        Err(problem) => {
            let status = problem.status();
            let again = render(&app, &who, &form, None, Some(&problem.into())).await?;
            Ok((status, again).into_response())
        }
    }
}

async fn ask(app: &App, who: &Who, form: &Form) -> Result<Lease, Problem> {
    let request = form.request().map_err(|Invalid { field, problem }| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", problem).with_field(field)
    })?;
    actions::create(app, who, &request, None).await
}

async fn render(app: &App, who: &Who, form: &Form, profile: Option<&str>, problem: Option<&Refused>) -> Answer {
    let launcher = &app.launcher;
    let filter = Filter {
        owner: Some(who.identity.subject.clone()),
        states: Vec::new(),
        running: Some(true),
        after: None,
        limit: LISTED,
    };
    let running = launcher.list(&who.caller, &filter).await?.leases;
    Ok(LaunchPage {
        viewer: &Viewer::of(&who.identity),
        places: launcher.places(),
        profiles: launcher.profiles(),
        profile,
        policy: launcher.policy(),
        form,
        problem,
        running: &running,
        now: launcher.now(),
    }
    .render()
    .into_response())
}
