//! Folders of this user.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Where this user's programs keep their data: $XDG_DATA_HOME, else ~/.local/share; `None` without a home.
pub(crate) fn data() -> Option<PathBuf> {
    data_of(|variable| env::var_os(variable).map(PathBuf::from))
}

fn data_of(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // A relative path is no path of the user's (XDG Base Directory Specification).
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home: PathBuf| Path::new(&home).join(".local/share")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_where_the_user_says_else_in_the_home() {
        for (data, home, expected) in [
            (Some("/data"), Some("/home/a"), Some("/data")),
            (Some("data"), Some("/home/a"), Some("/home/a/.local/share")),
            (None, Some("/home/a"), Some("/home/a/.local/share")),
            (None, Some("home"), None),
            (None, None, None),
        ] {
            let found = data_of(|name| if name == "HOME" { home } else { data }.map(PathBuf::from));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{data:?} {home:?}");
        }
    }
}
