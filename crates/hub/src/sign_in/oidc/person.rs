//! Who somebody is, by what the provider says of him.
//!
//! Pure.

use serde_json::{Map, Value};

/// Longest name that a provider may give a user, in bytes (OpenID Connect Core 1.0, section 2).
const LONGEST_SUBJECT: usize = 255;

/// Somebody at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// The issuer and its name for him, which never changes and never becomes somebody else's.
    pub(super) subject: String,
    pub(super) name: String,
    pub(super) email: String,
}

/// Why nobody is recognized.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPerson {
    /// A claim is missing, or is nothing that a name can be.
    #[error("the provider sends no `{0}` that can be used")]
    Missing(&'static str),
    /// He is another tenant's.
    #[error("your account is of another tenant than the one that this hub lets in")]
    OtherTenant,
}

/// Reads who it is. Claims have been verified.
///
/// Entra ID's `sub` is another one for each application; `oid` is the person's, within the tenant `tid`, which is in the
/// issuer's URL, too.
pub(super) fn read(issuer: &str, tenant: Option<&str>, claims: &Map<String, Value>) -> Result<Person, NoPerson> {
    let text = |claim: &str| {
        claims
            .get(claim)
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty())
    };
    let id = match tenant {
        None => text("sub").ok_or(NoPerson::Missing("sub"))?,
        Some(tenant) => {
            let found = text("tid").ok_or(NoPerson::Missing("tid"))?;
            if !found.eq_ignore_ascii_case(tenant) {
                return Err(NoPerson::OtherTenant);
            }
            text("oid").ok_or(NoPerson::Missing("oid"))?
        }
    };
    let is_name = id.len() <= LONGEST_SUBJECT && id.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !is_name {
        return Err(NoPerson::Missing("sub"));
    }
    let email = text("email").unwrap_or_default();
    let name = ["name", "preferred_username", "email"]
        .into_iter()
        .find_map(text)
        .unwrap_or(id);
    Ok(Person {
        subject: format!("{issuer}|{id}"),
        name: name.to_owned(),
        email: email.to_owned(),
    })
}

/// Whether these claims say how people call somebody.
pub(super) fn is_named(claims: &Map<String, Value>) -> bool {
    claims.contains_key("name") && claims.contains_key("email")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    #[test]
    fn somebody_is_known_by_what_nobody_else_can_have() {
        let issuer = "https://id.example.org";
        // (tenant, claims, subject and name)
        for (tenant, claims, expected) in [
            (
                None,
                json!({"sub": "1", "name": "Ada"}),
                Ok(("https://id.example.org|1", "Ada")),
            ),
            (
                None,
                json!({"sub": "1", "preferred_username": "ada"}),
                Ok(("https://id.example.org|1", "ada")),
            ),
            (
                None,
                json!({"sub": "1", "email": "a@b.c"}),
                Ok(("https://id.example.org|1", "a@b.c")),
            ),
            (
                None,
                json!({"sub": "1", "name": ""}),
                Ok(("https://id.example.org|1", "1")),
            ),
            (None, json!({"name": "Ada"}), Err(NoPerson::Missing("sub"))),
            (None, json!({"sub": " "}), Err(NoPerson::Missing("sub"))),
            (None, json!({"sub": 1}), Err(NoPerson::Missing("sub"))),
            (None, json!({"sub": "a\nb"}), Err(NoPerson::Missing("sub"))),
            (None, json!({"sub": "x".repeat(256)}), Err(NoPerson::Missing("sub"))),
            (
                Some(TENANT),
                json!({"sub": "1", "oid": "o", "tid": TENANT, "name": "Ada"}),
                Ok(("https://id.example.org|o", "Ada")),
            ),
            (
                Some(TENANT),
                json!({"sub": "1", "oid": "o", "tid": "other"}),
                Err(NoPerson::OtherTenant),
            ),
            (
                Some(TENANT),
                json!({"sub": "1", "oid": "o"}),
                Err(NoPerson::Missing("tid")),
            ),
            (
                Some(TENANT),
                json!({"sub": "1", "tid": TENANT}),
                Err(NoPerson::Missing("oid")),
            ),
        ] {
            let found = read(issuer, tenant, claims.as_object().unwrap());
            let found = found
                .as_ref()
                .map(|person| (person.subject.as_str(), person.name.as_str()))
                .map_err(Clone::clone);
            assert_eq!(found, expected, "{claims}");
        }
    }
}
