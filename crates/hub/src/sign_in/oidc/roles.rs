//! What somebody may do, by what the provider says of him.
//!
//! Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::identity::Role;

/// Which claims make a user, and which an admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The claim: its name, or a path of names with dots between them, such as `realm_access.roles`.
    pub(super) claim: String,
    /// Values that make an admin.
    pub(super) admin: Vec<String>,
    /// Values that make a user; none: everybody is one.
    pub(super) user: Vec<String>,
}

/// Why somebody may do nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRole {
    /// None of his values is one that lets in.
    #[error("your account has none of the values of `{claim}` that this hub lets in")]
    NotNamed {
        /// The claim.
        claim: String,
    },
    /// Entra ID sends no groups of somebody who has very many.
    #[error(
        "your account is in more groups than the provider sends along: have this hub use the claim `roles` \
         (app roles) instead of `{claim}`"
    )]
    TooManyGroups {
        /// The claim.
        claim: String,
    },
}

impl Rule {
    /// The roles of somebody with these claims.
    ///
    /// A value that is an address for mail is also compared with the claim `email`, if the provider says that it has verified
    /// that the address is his.
    pub(super) fn roles(&self, claims: &Map<String, Value>) -> Result<BTreeSet<Role>, NoRole> {
        let mut values = find(claims, &self.claim).map(words).unwrap_or_default();
        if claims.get("email_verified") == Some(&Value::Bool(true))
            && let Some(Value::String(email)) = claims.get("email")
        {
            values.push(email);
        }
        let has = |wanted: &[String]| wanted.iter().any(|wanted| values.contains(&wanted.as_str()));
        if has(&self.admin) {
            return Ok(BTreeSet::from([Role::User, Role::Admin]));
        }
        if self.user.is_empty() || has(&self.user) {
            return Ok(BTreeSet::from([Role::User]));
        }
        let claim = self.claim.clone();
        if find(claims, &self.claim).is_none() && has_overage(claims, &self.claim) {
            return Err(NoRole::TooManyGroups { claim });
        }
        Err(NoRole::NotNamed { claim })
    }

    /// Whether these claims say all that the rule asks for.
    pub(super) fn is_answered(&self, claims: &Map<String, Value>) -> bool {
        find(claims, &self.claim).is_some()
    }
}

/// The claim of this name, else what its parts lead to: names of claims can have dots themselves.
fn find<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(claim) {
        return Some(value);
    }
    let (first, rest) = claim.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// The values of a claim: a text, or a list of texts.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Entra ID names a source of groups instead of the groups, if there are more than 200.
fn has_overage(claims: &Map<String, Value>, claim: &str) -> bool {
    claims
        .get("_claim_names")
        .and_then(Value::as_object)
        .is_some_and(|names| names.contains_key(claim))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_follow_from_claims() {
        type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], Value, Result<bool, NoRole>);
        const USER: Result<bool, NoRole> = Ok(false);
        const ADMIN: Result<bool, NoRole> = Ok(true);
        let none = |claim: &str| {
            Err(NoRole::NotNamed {
                claim: claim.to_owned(),
            })
        };
        let overage = Err(NoRole::TooManyGroups {
            claim: "groups".to_owned(),
        });
        // (claim, values for an admin, values for a user, claims, an admin?)
        let cases: [Case<'_>; 22] = [
            ("roles", &["adm"], &[], json!({}), USER),
            ("roles", &["adm"], &[], json!({"roles": ["adm"]}), ADMIN),
            ("roles", &["adm"], &[], json!({"roles": "adm"}), ADMIN),
            ("roles", &["adm"], &[], json!({"roles": ["x", "adm"]}), ADMIN),
            ("roles", &["adm"], &["usr"], json!({"roles": ["adm"]}), ADMIN),
            ("roles", &["adm"], &["usr"], json!({"roles": ["usr"]}), USER),
            ("roles", &["adm"], &["usr"], json!({"roles": ["other"]}), none("roles")),
            ("roles", &["adm"], &["usr"], json!({}), none("roles")),
            // Nothing but the value itself is the value.
            (
                "roles",
                &["adm"],
                &["usr"],
                json!({"roles": ["ADM", " adm", "adm ", "admin"]}),
                none("roles"),
            ),
            ("roles", &["adm"], &["usr"], json!({"roles": "usr adm"}), none("roles")),
            (
                "roles",
                &["1", "true"],
                &["usr"],
                json!({"roles": [1, true, null, ["adm"], {"adm": "adm"}]}),
                none("roles"),
            ),
            (
                "roles",
                &["adm"],
                &["usr"],
                json!({"roles": {"adm": {}}}),
                none("roles"),
            ),
            ("roles", &[], &[], json!({"roles": ["adm"]}), USER),
            (
                "realm_access.roles",
                &["adm"],
                &[],
                json!({"realm_access": {"roles": ["adm"]}}),
                ADMIN,
            ),
            (
                "realm_access.roles",
                &["adm"],
                &["usr"],
                json!({"realm_access": ["roles", "adm"]}),
                none("realm_access.roles"),
            ),
            (
                "https://example.org/roles",
                &["adm"],
                &[],
                json!({"https://example.org/roles": ["adm"]}),
                ADMIN,
            ),
            (
                "groups",
                &["adm"],
                &["usr"],
                json!({"_claim_names": {"groups": "src1"}}),
                overage,
            ),
            // Google: a domain's people, one of them an admin.
            (
                "hd",
                &["ada@example.org"],
                &["example.org"],
                json!({"hd": "example.org", "email": "ada@example.org", "email_verified": true}),
                ADMIN,
            ),
            (
                "hd",
                &["ada@example.org"],
                &["example.org"],
                json!({"hd": "example.org", "email": "bob@example.org", "email_verified": true}),
                USER,
            ),
            (
                "hd",
                &["ada@example.org"],
                &["example.org"],
                json!({"email": "eve@example.net", "email_verified": true}),
                none("hd"),
            ),
            // Whoever says that he is Ada without a proof is not.
            (
                "hd",
                &["ada@example.org"],
                &["example.org"],
                json!({"hd": "example.org", "email": "ada@example.org"}),
                USER,
            ),
            (
                "hd",
                &["ada@example.org"],
                &["example.org"],
                json!({"hd": "example.org", "email": "ada@example.org", "email_verified": "true"}),
                USER,
            ),
        ];
        for (claim, admin, user, claims, expected) in cases {
            let own = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
            let rule = Rule {
                claim: claim.to_owned(),
                admin: own(admin),
                user: own(user),
            };
            let found = rule
                .roles(claims.as_object().unwrap())
                .map(|roles| roles.contains(&Role::Admin));
            assert_eq!(found, expected, "{claim} {claims}");
        }
    }
}
