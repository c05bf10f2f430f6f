//! The cookies of sessions, and of sign-ins that have begun.
//!
//! Over TLS their names have the prefix `__Host-` (RFC 6265bis, section 4.1.3.2): browsers take such a cookie from this host
//! alone, with `Secure`, for `/`, so that no neighbour below the same domain can put one in its place. Plain HTTP on loopback
//! cannot have that.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use super::secret::Secret;

/// Longest value that is looked at.
const LONGEST: usize = 128;

/// Cookies of one name that are looked at: on loopback, services on other ports can add theirs.
const MOST: usize = 4;

/// A cookie of this hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// A session's.
    Session,
    /// That of a sign-in that has begun.
    Begun,
}

impl Cookie {
    /// Its name.
    pub(crate) fn name(self, is_https: bool) -> &'static str {
        match (self, is_https) {
            (Self::Session, true) => "__Host-adit",
            (Self::Session, false) => "adit",
            (Self::Begun, true) => "__Host-adit-sign-in",
            (Self::Begun, false) => "adit-sign-in",
        }
    }

    /// The values that a request has for it: one, unless somebody else has added to it.
    pub(crate) fn values(self, headers: &HeaderMap, is_https: bool) -> Vec<Secret> {
        let name = self.name(is_https);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(found, value)| *found == name && !value.is_empty() && value.len() <= LONGEST)
            .map(|(_, value)| Secret::new(value.to_owned()))
            .take(MOST)
            .collect()
    }

    /// The header `Set-Cookie` that sets it for so long.
    pub(crate) fn set(self, value: &Secret, lifetime: Duration, is_https: bool) -> HeaderValue {
        self.header(value.expose(), lifetime.as_secs(), is_https)
    }

    /// The header `Set-Cookie` that removes it.
    pub(crate) fn remove(self, is_https: bool) -> HeaderValue {
        self.header("", 0, is_https)
    }

    fn header(self, value: &str, secs: u64, is_https: bool) -> HeaderValue {
        let name = self.name(is_https);
        let secure = if is_https { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}");
        let mut header = HeaderValue::from_str(&text).expect("secrets are letters and digits");
        header.set_sensitive(true);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_set_so_that_scripts_and_other_sites_do_not_get_it() {
        let value = Secret::new("abc".to_owned());
        let hours = Duration::from_secs(7200);
        assert_eq!(
            Cookie::Session.set(&value, hours, true),
            "__Host-adit=abc; Path=/; Max-Age=7200; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            Cookie::Session.set(&value, hours, false),
            "adit=abc; Path=/; Max-Age=7200; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            Cookie::Begun.remove(true),
            "__Host-adit-sign-in=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
        );
        assert!(Cookie::Session.set(&value, hours, true).is_sensitive());
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let long = format!("adit={}", "x".repeat(200));
        // (headers, over TLS?, values)
        for (lines, is_https, values) in [
            (&[][..], false, &[][..]),
            (&["adit=1"], false, &["1"]),
            (&["theme=dark; adit=1;x"], false, &["1"]),
            (&["theme=dark", "adit=1"], false, &["1"]),
            (&["adit=1; adit=2"], false, &["1", "2"]),
            (
                &["adit=1; adit=2; adit=3; adit=4; adit=5"],
                false,
                &["1", "2", "3", "4"],
            ),
            (&["adit=; xadit=1; adit-sign-in=2; ADIT=3"], false, &[]),
            (&[&long], false, &[]),
            // Without the prefix somebody else may have set it.
            (&["adit=1"], true, &[]),
            (&["__Host-adit=1"], true, &["1"]),
            (&["__Host-adit=1"], false, &[]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
            }
            let found = Cookie::Session.values(&headers, is_https);
            assert_eq!(
                found.iter().map(Secret::expose).collect::<Vec<_>>(),
                values,
                "{lines:?}"
            );
        }
    }
}
