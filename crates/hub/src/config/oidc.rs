//! The settings of sign-in by OpenID Connect.

use std::path::PathBuf;

use super::{ConfigError, Origin, TypedOidc};

/// Entra ID's host. Its documents for `common`, `organizations` and `consumers` name no issuer that a token could be held
/// against.
const ENTRA: &str = "login.microsoftonline.com";

/// Entra ID's hosts in national clouds.
const NATIONAL: [&str; 2] = ["login.microsoftonline.us", "login.partner.microsoftonline.cn"];

/// The tenant of everybody with a private account at Microsoft: `consumers` by another name.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Sign-in by OpenID Connect, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// The issuer's URL.
    pub issuer: String,
    /// The name under which the hub is registered.
    pub client_id: String,
    /// The file with the secret; `None` is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The file with certificates, PEM, of authorities that are trusted for the issuer beside the public ones.
    pub authorities_file: Option<PathBuf>,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
    /// The claim with a user's roles or groups.
    pub role_claim: String,
    /// Values of it that make an admin.
    pub admin_values: Vec<String>,
    /// Values of it that make a user; none: everybody whom the issuer knows.
    pub user_values: Vec<String>,
    /// Entra ID's tenant, if the issuer is Entra ID: users are then known by `tid` and `oid`.
    pub tenant: Option<String>,
}

pub(super) fn check(typed: TypedOidc) -> Result<Oidc, ConfigError> {
    let tenant = typed.tenant.map(tenant).transpose()?;
    let issuer = match (typed.issuer, &tenant) {
        (Some(issuer), _) => issuer,
        (None, Some(tenant)) => format!("https://{ENTRA}/{tenant}/v2.0"),
        (None, None) => {
            let problem =
                "is missing: the issuer's URL, such as https://accounts.google.com; for Entra ID give oidc.tenant";
            return Err(ConfigError::wrong("oidc.issuer", problem));
        }
    };
    let (origin, path) = split(&issuer)?;
    if !origin.is_https() && !origin.is_loopback() {
        return Err(ConfigError::wrong("oidc.issuer", "begins with https://"));
    }
    let tenant = if origin.host() == ENTRA || NATIONAL.contains(&origin.host()) {
        Some(entra_tenant(origin.host(), path, tenant)?)
    } else {
        tenant
    };
    let client_id = typed.client_id.filter(|id| !id.trim().is_empty());
    Ok(Oidc {
        client_id: client_id.ok_or_else(|| {
            ConfigError::wrong(
                "oidc.client_id",
                "is missing: the name under which the hub is registered",
            )
        })?,
        client_secret_file: typed.client_secret_file,
        authorities_file: typed.authorities_file,
        scopes: typed
            .scopes
            .unwrap_or_else(|| vec!["profile".to_owned(), "email".to_owned()]),
        role_claim: typed.role_claim.unwrap_or_else(|| "roles".to_owned()),
        admin_values: typed.admin_values,
        user_values: typed.user_values,
        issuer,
        tenant,
    })
}

fn split(issuer: &str) -> Result<(Origin, &str), ConfigError> {
    let wrong = || {
        ConfigError::wrong(
            "oidc.issuer",
            format!("`{issuer}` is not a URL such as https://accounts.google.com"),
        )
    };
    let after_scheme = issuer.find("://").ok_or_else(wrong)? + 3;
    let end = issuer[after_scheme..]
        .find('/')
        .map_or(issuer.len(), |at| after_scheme + at);
    if issuer.contains(['?', '#']) {
        return Err(wrong());
    }
    let origin = Origin::parse(&issuer[..end]).map_err(|_| wrong())?;
    Ok((origin, &issuer[end..]))
}

/// The tenant in the path of Entra ID's issuer, which has to be one tenant.
fn entra_tenant(host: &str, path: &str, given: Option<String>) -> Result<String, ConfigError> {
    let found = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/v2.0"))
        .map(str::to_ascii_lowercase);
    match found {
        Some(found) if is_tenant(&found) && given.as_ref().is_none_or(|given| *given == found) => Ok(found),
        _ => Err(ConfigError::wrong(
            "oidc.issuer",
            format!(
                "for Entra ID is https://{host}/TENANT/v2.0 with the tenant's id, a GUID: `common`, `organizations` and \
                 `consumers` would let everybody in"
            ),
        )),
    }
}

fn tenant(text: String) -> Result<String, ConfigError> {
    let text = text.to_ascii_lowercase();
    if is_tenant(&text) {
        return Ok(text);
    }
    Err(ConfigError::wrong(
        "oidc.tenant",
        format!("`{text}` is not a tenant's id: a GUID such as 72f988bf-86f1-41af-91ab-2d7cd011db47"),
    ))
}

/// Whether it is the id of one tenant's own people.
fn is_tenant(text: &str) -> bool {
    is_guid(text) && text != CONSUMERS
}

fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    #[test]
    fn entra_id_is_one_tenant_and_every_other_issuer_is_encrypted() {
        let entra = |path: &str| format!("https://{ENTRA}/{path}/v2.0");
        type Found<'a> = Option<(String, Option<&'a str>)>;
        // (issuer, tenant, the issuer and tenant that come of it)
        let national = |path: &str| format!("https://{}/{path}/v2.0", NATIONAL[0]);
        let cases: [(Option<String>, Option<&str>, Found<'_>); 18] = [
            (Some(entra("consumers")), None, None),
            (Some(entra(CONSUMERS)), None, None),
            (None, Some(CONSUMERS), None),
            (None, Some("common"), None),
            (Some(national("organizations")), None, None),
            (Some(national(TENANT)), None, Some((national(TENANT), Some(TENANT)))),
            (None, Some(TENANT), Some((entra(TENANT), Some(TENANT)))),
            (Some(entra(TENANT)), None, Some((entra(TENANT), Some(TENANT)))),
            (Some(entra(TENANT)), Some(TENANT), Some((entra(TENANT), Some(TENANT)))),
            (Some(entra(TENANT)), Some("00000000-0000-0000-0000-000000000000"), None),
            (Some(entra("common")), None, None),
            (Some(entra("organizations")), Some(TENANT), None),
            (Some(format!("https://{ENTRA}")), None, None),
            (None, Some("contoso"), None),
            (None, None, None),
            (
                Some("https://accounts.google.com".to_owned()),
                None,
                Some(("https://accounts.google.com".to_owned(), None)),
            ),
            (Some("http://id.example.org/realms/a".to_owned()), None, None),
            (
                Some("http://127.0.0.1:9900/realms/a".to_owned()),
                None,
                Some(("http://127.0.0.1:9900/realms/a".to_owned(), None)),
            ),
        ];
        for (issuer, tenant, expected) in cases {
            let typed = TypedOidc {
                issuer: issuer.clone(),
                tenant: tenant.map(str::to_owned),
                client_id: Some("adit".to_owned()),
                ..TypedOidc::default()
            };
            let found = check(typed).ok().map(|oidc| (oidc.issuer, oidc.tenant));
            let expected = expected.map(|(issuer, tenant)| (issuer, tenant.map(str::to_owned)));
            assert_eq!(found, expected, "{issuer:?} {tenant:?}");
        }
    }

    #[test]
    fn a_client_has_a_name() {
        for client_id in [None, Some(String::new()), Some(" ".to_owned())] {
            let typed = TypedOidc {
                issuer: Some("https://accounts.google.com".to_owned()),
                client_id,
                ..TypedOidc::default()
            };
            assert!(check(typed).unwrap_err().to_string().starts_with("oidc.client_id"));
        }
    }
}
