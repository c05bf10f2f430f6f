//! The parameters of a query.

use std::{fmt::Display, str::FromStr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Query as Pairs},
    http::{StatusCode, request::Parts},
};

use crate::{App, problem::Problem};

/// 2^53 - 1.
const LARGEST: u64 = (1 << 53) - 1;

/// The parameters of a query, taken one by one; what nobody has taken is refused.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        match Pairs::from_request_parts(parts, app).await {
            Ok(Pairs(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed_query",
                "the query cannot be read",
            )),
        }
    }
}

impl Query {
    /// Every value of a parameter.
    pub(crate) fn all<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Vec<T>, Problem> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(found, _)| found == name);
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        taken
            .into_iter()
            .map(|(_, value)| {
                value
                    .parse()
                    .map_err(|error: T::Err| Problem::invalid(name, error.to_string()))
            })
            .collect()
    }

    /// The value of a parameter that is given once at most.
    pub(crate) fn one<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let mut all = self.all(name)?;
        if all.len() > 1 {
            return Err(Problem::invalid(name, "is given more than once"));
        }
        Ok(all.pop())
    }

    /// A number from `least` to the largest that every JSON reader knows exactly (RFC 8259, section 6).
    pub(crate) fn number(&mut self, name: &str, least: u64) -> Result<Option<u64>, Problem> {
        match self.one(name)? {
            Some(number) if !(least..=LARGEST).contains(&number) => {
                Err(Problem::invalid(name, format!("must be between {least} and {LARGEST}")))
            }
            number => Ok(number),
        }
    }

    /// How many are asked for: from 1 to 200, or 50.
    pub(crate) fn limit(&mut self) -> Result<usize, Problem> {
        match self.one("limit")? {
            None => Ok(50),
            Some(limit) if (1..=200).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::invalid("limit", "must be between 1 and 200")),
        }
    }

    /// Whose are asked for.
    pub(crate) fn owner(&mut self) -> Result<Option<String>, Problem> {
        let owner: Option<String> = self.one("owner")?;
        match owner {
            Some(owner) if !(1..=600).contains(&owner.chars().count()) => {
                Err(Problem::invalid("owner", "must have 1 to 600 characters"))
            }
            owner => Ok(owner),
        }
    }

    /// Nothing else may be asked for.
    pub(crate) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                Err(Problem::invalid(
                    &name,
                    format!("there is no parameter `{}` here", name.escape_debug()),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let uri = format!("/?{text}").parse().unwrap();
        Query(Pairs::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn what_is_not_known_twice_or_out_of_range_is_refused() {
        for (text, field) in [
            ("", None),
            ("limit=1", None),
            ("limit=200", None),
            ("limit=0", Some("limit")),
            ("limit=201", Some("limit")),
            ("limit=-1", Some("limit")),
            ("limit=x", Some("limit")),
            ("limit=1&limit=2", Some("limit")),
            ("page=2", Some("page")),
        ] {
            let mut query = query(text);
            let found = query
                .limit()
                .and_then(|_| query.end())
                .err()
                .and_then(|problem| problem.field);
            assert_eq!(found.as_deref(), field, "{text}");
        }
    }
}
