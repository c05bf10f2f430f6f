//! The page of API tokens and its forms.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Form as FormBody,
    extract::{Path, State},
    http::{Extensions, StatusCode},
    response::{IntoResponse as _, Redirect},
};

use super::{
    super::{layout::Viewer, tokens::TokensPage, words::sentence},
    Answer, Fields, field,
};
use crate::{
    App,
    api::Who,
    identity::Scope,
    problem::Problem,
    sign_in::{Asker, NewToken, TokenRefusal},
};

/// `GET /tokens`.
pub(super) async fn show(State(app): State<Arc<App>>, who: Who) -> Answer {
    render(&app, &who, None, None).await
}

/// `POST /tokens`. The answer is the only one that has the token.
pub(super) async fn make(
    State(app): State<Arc<App>>,
    who: Who,
    extensions: Extensions,
    FormBody(fields): Fields,
) -> Answer {
    let days = field(&fields, "days").and_then(|days| days.parse::<u64>().ok());
    let scopes: BTreeSet<Scope> = fields
        .iter()
        .filter(|(name, _)| name == "scope")
        .filter_map(|(_, scope)| scope.parse().ok())
        .collect();
    let new = NewToken {
        name: field(&fields, "name").unwrap_or_default().to_owned(),
        scopes,
        lifetime: days.map(|days| Duration::from_secs(days.saturating_mul(86_400))),
    };
    match app
        .sign_in
        .create_token(&who.identity, new, &Asker::of(&extensions))
        .await
    {
        Ok((_, text)) => render(&app, &who, Some(text.expose()), None).await,
        Err(refusal @ (TokenRefusal::Invalid { .. } | TokenRefusal::BeyondOwner | TokenRefusal::TooMany)) => {
            let again = render(&app, &who, None, Some(&sentence(&refusal.to_string()))).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, again).into_response())
        }
        Err(refusal) => Err(Problem::from(refusal)),
    }
}

/// `POST /tokens/{id}/revoke`.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    who: Who,
    Path(id): Path<String>,
    extensions: Extensions,
) -> Answer {
    app.sign_in
        .revoke_token(&who.identity, &id, &Asker::of(&extensions))
        .await?;
    Ok(Redirect::to("/tokens").into_response())
}

async fn render(app: &App, who: &Who, made: Option<&str>, problem: Option<&str>) -> Answer {
    let tokens = app.sign_in.tokens(&who.identity).await?;
    Ok(TokensPage {
        viewer: &Viewer::of(&who.identity),
        tokens: &tokens,
        made,
        problem,
        now: app.launcher.now(),
    }
    .render()
    .into_response())
}
