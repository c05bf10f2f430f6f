//! Where somebody goes after signing in: a path of this hub, and nowhere else.

use std::fmt;

/// Longest path that is remembered, in bytes.
const LONGEST: usize = 2_000;

/// A path of this hub, with its query. `/` unless something safe was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next(String);

impl Default for Next {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

impl Next {
    /// The path if it is one of this hub's pages, else `/`.
    ///
    /// What browsers take for another host is refused (`//host`, `/\host`, a tab or line break that they leave out), and so
    /// are the pages of signing in and out, which would go round in circles.
    pub fn of(asked: Option<&str>) -> Self {
        asked
            .filter(|path| is_own(path))
            .map_or_else(Self::default, |path| Self(path.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `/login` with this path to go to afterwards.
    pub fn login(&self) -> String {
        self.link("/login")
    }

    /// A page of signing in with this path to go to afterwards.
    pub(super) fn link(&self, page: &str) -> String {
        if *self == Self::default() {
            return page.to_owned();
        }
        let mut query = openidconnect::url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("next", &self.0);
        format!("{page}?{}", query.finish())
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_own(path: &str) -> bool {
    let page = path.split(['?', '#']).next().unwrap_or_default();
    let is_sign_in = ["/login", "/logout"].iter().any(|own| {
        page.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    path.len() <= LONGEST
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !is_sign_in
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_host() {
        let base = openidconnect::url::Url::parse("https://vpn.example.org/login").unwrap();
        // (asked for, sent to)
        for (asked, sent) in [
            ("/", "/"),
            ("/leases/01kb?tab=peers#qr", "/leases/01kb?tab=peers#qr"),
            ("/a//b", "/a//b"),
            ("/%2f%2fevil.example", "/%2f%2fevil.example"),
            ("", "/"),
            ("leases", "/"),
            ("https://evil.example/", "/"),
            ("https:evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("//evil.example", "/"),
            ("///evil.example", "/"),
            ("/\\evil.example", "/"),
            ("\\\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("\t//evil.example", "/"),
            ("/a\r\nSet-Cookie: x=y", "/"),
            ("/a b", "/"),
            ("/\u{2f}/evil.example", "/"),
            ("/caf\u{e9}", "/"),
            ("/login", "/"),
            ("/login?next=/login", "/"),
            ("/logout", "/"),
            ("/login/callback?code=1", "/"),
            ("/logins", "/logins"),
        ] {
            let next = Next::of(Some(asked));
            assert_eq!(next.as_str(), sent, "{asked:?}");
            assert_eq!(
                base.join(next.as_str()).unwrap().host_str(),
                Some("vpn.example.org"),
                "{asked:?}"
            );
        }
        assert_eq!(Next::of(None).as_str(), "/");
        assert_eq!(Next::of(Some(&format!("/{}", "a".repeat(3000)))).as_str(), "/");
    }

    #[test]
    fn the_way_back_is_in_the_link_to_the_sign_in() {
        assert_eq!(Next::default().login(), "/login");
        assert_eq!(
            Next::of(Some("/leases/1?a=b&c")).login(),
            "/login?next=%2Fleases%2F1%3Fa%3Db%26c"
        );
    }
}
