//! Who logs in at PIA.

use std::{fmt, fs, path::PathBuf};

use serde::{Deserialize, Serializer};
use zeroize::Zeroizing;

/// A text that is shown nowhere, and wiped from memory when dropped.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text. Whoever calls this keeps it out of logs, arguments and errors.
    pub fn danger_text(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Writes a secret's text, for a file that only its owner reads.
pub(super) fn danger_serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.danger_text())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Where the user's name and password are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Here.
    Login(Login),
    /// In a file that is read at every login: the name in the first line and the password in the second, or lines
    /// `PIA_USERNAME=…` and `PIA_PASSWORD=…`.
    File(PathBuf),
}

/// A user's name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name, as `p1234567`.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A file without credentials in it. Shows nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("{path}: {cause}: put PIA's user name and password there, in two lines", path = path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error(
        "{path}: {missing} is missing: the file has the user name in its first line and the password in its second, \
         or lines PIA_USERNAME=… and PIA_PASSWORD=…",
        path = path.display()
    )]
    Missing { path: PathBuf, missing: &'static str },
}

impl Credentials {
    /// The name and the password, as they are at the moment.
    pub(super) fn read(&self) -> Result<Login, CredentialsError> {
        match self {
            Self::Login(login) => Ok(login.clone()),
            Self::File(path) => {
                let text = fs::read_to_string(path).map(Zeroizing::new);
                let text = text.map_err(|cause| CredentialsError::File {
                    path: path.clone(),
                    cause,
                })?;
                parse(&text).map_err(|missing| CredentialsError::Missing {
                    path: path.clone(),
                    missing,
                })
            }
        }
    }

    /// Where they are, for people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Login(_) => "the settings".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Reads either notation; an error is what is missing.
fn parse(text: &str) -> Result<Login, &'static str> {
    let lines = || text.trim_start_matches('\u{feff}').lines();
    let value = |name: &str| {
        lines().find_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
            Some(unquoted(
                line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim(),
            ))
        })
    };
    let (user, password) = match (value("PIA_USERNAME"), value("PIA_PASSWORD")) {
        (None, None) => {
            let mut filled = lines().filter(|line| !line.trim().is_empty());
            (filled.next().map(str::trim), filled.next())
        }
        named => named,
    };
    let user = user.filter(|user| !user.is_empty()).ok_or("the user name")?;
    let password = password.filter(|password| !password.is_empty()).ok_or("the password")?;
    Ok(Login {
        user: user.to_owned(),
        password: Secret::new(password),
    })
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_notations_are_read() {
        // (text, user and password, or what is missing)
        for (text, expected) in [
            ("p123\nse cret\n", Ok(("p123", "se cret"))),
            ("\n p123 \r\nsecret\r\n", Ok(("p123", "secret"))),
            ("p123\n a=b \n", Ok(("p123", " a=b "))),
            ("PIA_USERNAME=p123\nPIA_PASSWORD=a=b\n", Ok(("p123", "a=b"))),
            (
                "# x\nexport PIA_PASSWORD='a b'\nexport PIA_USERNAME = \"p123\"",
                Ok(("p123", "a b")),
            ),
            ("PIA_PASSWORD=\"\nPIA_USERNAME=x", Ok(("x", "\""))),
            ("PIA_USERNAME=p123\n", Err("the password")),
            ("PIA_USERNAME=\nPIA_PASSWORD=x", Err("the user name")),
            ("p123\n", Err("the password")),
            ("", Err("the user name")),
        ] {
            let read = parse(text);
            let read = read.as_ref().map(|login| (&*login.user, login.password.danger_text()));
            assert_eq!(read.map_err(|missing| *missing), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_of_a_file_is_shown() {
        let here = tempfile::tempdir().unwrap();
        let path = here.path().join("credentials");
        fs::write(&path, "only-password").unwrap();
        let file = Credentials::File(path.clone());
        let error = file.read().unwrap_err().to_string();
        assert!(
            error.starts_with(path.to_str().unwrap()) && !error.contains("only"),
            "{error}"
        );
        fs::write(&path, "p123\nsecret").unwrap();
        assert_eq!(file.read().unwrap().user, "p123");
        assert!(!format!("{:?}", Credentials::Login(file.read().unwrap())).contains("secret"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(PIA_|USERNAME|PASSWORD|export |=|[\"'\\n\\r a]){0,12}") {
            let _either = parse(&text);
        }
    }
}
