//! `/places`: what may be asked for.

use std::sync::Arc;

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::Who,
    words::{Offers, Profile},
};
use crate::{App, problem::Problem};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(read))
}

/// Reads what may be asked for
#[utoipa::path(
    get,
    path = "/places",
    operation_id = "read_places",
    tag = "places",
    responses((status = 200, description = "Places, profiles, and limits.", body = Offers)),
)]
async fn read(State(app): State<Arc<App>>, who: Who) -> Result<Json<Offers>, Problem> {
    who.may_read()?;
    Ok(Json(Offers {
        places: app.launcher.places().iter().map(Into::into).collect(),
        profiles: app.launcher.profiles().iter().map(Profile::from).collect(),
        policy: app.launcher.policy().into(),
    }))
}
