//! What paths and queries name.

use utoipa::IntoParams;

use super::schema;

/// A lease.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what the path's extractor reads")]
pub(crate) struct LeaseParams {
    /// The lease's id.
    #[param(schema_with = schema::lease_id)]
    id: String,
}

/// A peer of a lease.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what the path's extractor reads")]
pub(crate) struct PeerParams {
    /// The lease's id.
    #[param(schema_with = schema::lease_id)]
    id: String,
    /// The peer's name.
    #[param(schema_with = schema::name)]
    name: String,
}

/// Which leases are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what the handler takes out of the query")]
pub(crate) struct ListParams {
    /// Those in this state; may be repeated.
    #[param(schema_with = schema::states, required = false)]
    state: Option<String>,
    /// Those that are not removed, or those that are.
    #[param(nullable = false)]
    running: Option<bool>,
    /// Whose; others' only for admins.
    #[param(nullable = false, min_length = 1, max_length = 600)]
    owner: Option<String>,
    /// `next` of the page before.
    #[param(schema_with = schema::lease_id, required = false)]
    cursor: Option<String>,
    /// How many at most; 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
}
