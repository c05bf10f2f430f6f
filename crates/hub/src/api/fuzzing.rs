//! What reads requests, for a fuzzer.

use axum::http::HeaderMap;

use super::{extract, leases, words::LeaseRequest};
use crate::problem::Problem;

/// Reads the body of a request for a lease.
///
/// # Errors
///
/// What is wrong with it.
pub fn body(bytes: &[u8]) -> Result<LeaseRequest, Problem> {
    extract::body::read(bytes)
}

/// Reads the idempotency key of a request.
///
/// # Errors
///
/// What is wrong with it.
pub fn idempotency_key(headers: &HeaderMap, request: &LeaseRequest) -> Result<Option<String>, Problem> {
    Ok(leases::idempotency_key(headers, request)?.map(|key| key.key))
}
