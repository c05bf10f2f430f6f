//! The listener of `/metrics` alone, and the token that opens it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::problem::Problem;

/// Shortest token that is taken, in characters.
const SHORTEST: usize = 20;

/// Longest file of a token that is read, in bytes.
const LONGEST: u64 = 4_096;

/// What Prometheus brings in the header `Authorization: Bearer`. Kept as SHA-256, so that a comparison tells nothing of it.
#[derive(Clone, Debug)]
pub(super) struct MetricsToken(Arc<[u8; 32]>);

impl MetricsToken {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// The file's, or that what it holds is none.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut text = Zeroizing::new(String::new());
        File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
        let text = text.trim();
        if text.chars().count() < SHORTEST || text.contains(char::is_whitespace) {
            let problem = format!("it has to hold one word of at least {SHORTEST} characters");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(Self(Arc::new(Sha256::digest(text).into())))
    }

    /// Refuses whoever does not bring it, if there is one.
    pub(super) async fn check(State(token): State<Option<Self>>, request: Request, next: Next) -> Response {
        let Some(Self(token)) = token else {
            return next.run(request).await;
        };
        let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
        let brought = match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
            (Some(value), None) => value.split_once(' '),
            (Some(_) | None, _) => None,
        };
        let is_right = brought.is_some_and(|(scheme, text)| {
            let found: [u8; 32] = Sha256::digest(text.trim()).into();
            scheme.eq_ignore_ascii_case("bearer") && bool::from(found.ct_eq(&token[..]))
        });
        if is_right {
            return next.run(request).await;
        }
        Problem::unauthorized("the metrics need a token here")
            .with_remedy("give Prometheus the hub's metrics token: authorization: {credentials_file: FILE}")
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_that_nobody_guesses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, is_taken) in [
            ("a-token-that-nobody-guesses\n", true),
            ("", false),
            ("short", false),
            ("a token that nobody guesses", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(MetricsToken::read(&path).is_ok(), is_taken, "{text:?}");
        }
        assert!(MetricsToken::read(&folder.path().join("none")).is_err());
    }
}
