//! Which configuration file is meant, and under which name it comes up.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use wg::conf::Conf;
use zeroize::Zeroizing;

/// Where configurations lie that are given by name.
const DIRECTORY: &str = "/etc/wireguard";

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file's name is no interface's.
    #[error(
        "{}: the file's name, without .conf, becomes the interface's name: 1 to 15 letters, digits and _=+.-",
        path.display()
    )]
    Name {
        /// The file, or the name as typed.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Its error.
        cause: io::Error,
    },
    /// The text is no configuration.
    #[error(transparent)]
    Text(#[from] wg::conf::Error),
}

/// A configuration file and the name of its tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl Source {
    /// Takes a path, which has a slash in it or ends in `.conf`, or a name: `/etc/wireguard/NAME.conf`.
    pub(super) fn new(target: &Path) -> Result<Self, SourceError> {
        let text = target.to_str().ok_or_else(|| SourceError::Name {
            path: target.to_owned(),
        })?;
        let path = if text.contains('/') || text.ends_with(".conf") {
            target.to_owned()
        } else {
            Path::new(DIRECTORY).join(format!("{text}.conf"))
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".conf"));
        match name {
            Some(name) if is_name(name) => Ok(Self {
                name: name.to_owned(),
                path: absolute(&path),
            }),
            _ => Err(SourceError::Name { path }),
        }
    }

    /// Reads the file, if its text is not given; `say` is told if others can read it too.
    pub(super) fn read(&self, text: Option<&str>, say: &mut dyn FnMut(&str)) -> Result<Conf, SourceError> {
        if let Some(text) = text {
            return self.parse(text);
        }
        let read = || {
            let mode = fs::metadata(&self.path)?.permissions().mode();
            Ok((mode, Zeroizing::new(fs::read_to_string(&self.path)?)))
        };
        let (mode, text) = read().map_err(|cause| SourceError::File {
            path: self.path.clone(),
            cause,
        })?;
        if mode & 0o007 != 0 {
            say(&format!(
                "warning: {0} is open to everybody; chmod 600 {0} keeps its keys secret",
                self.path.display()
            ));
        }
        self.parse(&text)
    }

    /// Reads this text as the file's.
    pub(super) fn parse(&self, text: &str) -> Result<Conf, SourceError> {
        Ok(Conf::parse(&self.path.to_string_lossy(), text)?)
    }
}

/// What wg-quick takes for a name, which is less than what the kernel takes.
fn is_name(name: &str) -> bool {
    linux::link::is_name(name)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte))
}

/// The path as it is found from anywhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_file_in_etc_wireguard() {
        for (typed, name, path) in [
            ("wg0", "wg0", "/etc/wireguard/wg0.conf"),
            ("/etc/wireguard/wg0.conf", "wg0", "/etc/wireguard/wg0.conf"),
            ("/tmp/a_b=c+d.e-f.conf", "a_b=c+d.e-f", "/tmp/a_b=c+d.e-f.conf"),
        ] {
            let expected = Source {
                name: name.into(),
                path: path.into(),
            };
            assert_eq!(Source::new(Path::new(typed)).unwrap(), expected);
        }
        let here = Source::new(Path::new("wg0.conf")).unwrap();
        assert_eq!(here.path, std::env::current_dir().unwrap().join("wg0.conf"));
    }

    #[test]
    fn a_file_whose_name_is_no_interfaces_is_refused() {
        for typed in [
            "",
            "/tmp/",
            "/tmp/wg0",
            "/tmp/.conf",
            "/tmp/sixteen-bytes-xy.conf",
            "w g.conf",
            "wg%d",
            "./wg@1.conf",
        ] {
            assert!(
                matches!(Source::new(Path::new(typed)), Err(SourceError::Name { .. })),
                "{typed}"
            );
        }
    }
}
