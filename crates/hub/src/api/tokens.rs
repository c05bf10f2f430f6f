//! `/tokens`: somebody's API tokens.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Body, TokenPath, Who},
    words::{TokenList, TokenMade, TokenRequest},
};
use crate::{App, problem::Problem, sign_in::NewToken};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// Lists one's API tokens
///
/// Not by a token: whoever has one finds out nothing of the others.
#[utoipa::path(
    get,
    path = "/tokens",
    operation_id = "list_tokens",
    tag = "tokens",
    responses((status = 200, description = "All of them, those that are over included.", body = TokenList)),
)]
async fn list(State(app): State<Arc<App>>, who: Who) -> Result<Json<TokenList>, Problem> {
    let items = app.sign_in.tokens(&who.identity).await?;
    Ok(Json(TokenList { items }))
}

/// Makes an API token
///
/// Its text is in this answer, and nowhere else.
#[utoipa::path(
    post,
    path = "/tokens",
    operation_id = "create_token",
    tag = "tokens",
    request_body = TokenRequest,
    responses((status = 201, description = "It is valid from now on.", body = TokenMade)),
)]
async fn create(
    State(app): State<Arc<App>>,
    who: Who,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    let new = NewToken {
        name: request.name,
        scopes: request.scopes.into_iter().collect(),
        lifetime: request.lifetime_secs.map(Duration::from_secs),
    };
    let (token, text) = app.sign_in.create_token(&who.identity, new, &who.asker()).await?;
    let text = text.expose().to_owned();
    Ok((StatusCode::CREATED, Json(TokenMade { token, text })))
}

/// Revokes an API token
#[utoipa::path(
    delete,
    path = "/tokens/{id}",
    operation_id = "revoke_token",
    tag = "tokens",
    params(("id" = String, Path, pattern = "^[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 204, description = "It opens nothing any more.")),
)]
async fn revoke(State(app): State<Arc<App>>, who: Who, TokenPath(id): TokenPath) -> Result<StatusCode, Problem> {
    app.sign_in.revoke_token(&who.identity, &id, &who.asker()).await?;
    Ok(StatusCode::NO_CONTENT)
}
