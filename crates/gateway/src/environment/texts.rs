//! The environment as texts, with the contents of the files that `FILE__…` variables name.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, fs,
    path::Path,
};

use super::EnvironmentError;

/// Beginning of the names of variables that name a file with another variable's value.
const FILE: &str = "FILE__";

/// The texts of all variables, by name. `Debug` shows the names alone: a value may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Texts(BTreeMap<String, OsString>);

impl Texts {
    /// Takes variables, and reads the files of those that name one. A file wins over the variable itself.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] for the first file that cannot be read.
    pub fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, EnvironmentError> {
        // A name that is not UTF-8 is none of ours.
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        let mut texts: BTreeMap<String, OsString> = variables.into_iter().filter_map(named).collect();
        let files: Vec<String> = texts.keys().filter(|name| name.starts_with(FILE)).cloned().collect();
        for variable in files {
            let path = texts.remove(&variable).unwrap_or_default();
            let name = variable[FILE.len()..].to_owned();
            if path.is_empty() {
                continue;
            }
            let content = content(Path::new(&path)).map_err(|problem| EnvironmentError {
                value: path.to_string_lossy().into_owned(),
                problem,
                variable,
            })?;
            texts.insert(name, content);
        }
        Ok(Self(texts))
    }

    /// The text of a variable; `None` if it is unset or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str()
    }

    /// Gives a variable another text.
    pub fn set(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.to_owned(), OsString::from(text.into()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_os_str()))
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn content(path: &Path) -> Result<OsString, String> {
    let text = fs::read_to_string(path)
        .map_err(|cause| format!("the file cannot be read ({cause}); mount it, or set the variable itself"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_file_is_the_value_of_its_variable() {
        let directory = tempfile::tempdir().unwrap();
        // (content, value)
        for (content, value) in [
            ("a,b\n", "a,b"),
            ("a,b", "a,b"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("", ""),
        ] {
            let path = directory.path().join("secret");
            fs::write(&path, content).unwrap();
            let variables = [("FILE__PEERS", path.to_str().unwrap()), ("PEERS", "9")];
            let texts = Texts::read(variables.map(|(name, value)| (name.into(), value.into()))).unwrap();
            assert_eq!(texts.text("PEERS"), Some(value), "{content:?}");
            assert_eq!(texts.text("FILE__PEERS"), None);
            assert!(!format!("{texts:?}").contains("a,b"));
        }
    }
}
