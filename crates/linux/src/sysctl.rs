//! The kernel's settings under `/proc/sys`.

use std::{fs, io, path::PathBuf};

/// A setting could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {name}: {cause}{}", remedy(doing, name, cause))]
pub struct Error {
    /// The setting, as `net.ipv4.ip_forward`.
    pub name: String,
    /// `reading` or `setting`.
    pub doing: &'static str,
    /// The file's error; `/proc/sys` is read-only in most containers.
    pub cause: io::Error,
}

/// What to do where `/proc/sys` cannot be written.
fn remedy(doing: &str, name: &str, cause: &io::Error) -> String {
    let is_closed = matches!(
        cause.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    );
    if doing == "setting" && is_closed {
        format!("; set it from outside, as by `docker run --sysctl {name}=…` or with sysctl on the host")
    } else {
        String::new()
    }
}

/// Reads a setting of the calling thread's network namespace, as `net.ipv4.ip_forward`, without the line's end.
///
/// # Errors
///
/// [`Error`] if this kernel has no such setting.
pub fn read(name: &str) -> Result<String, Error> {
    match fs::read_to_string(path(name)) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(cause) => Err(Error {
            name: name.to_owned(),
            doing: "reading",
            cause,
        }),
    }
}

/// Changes a setting of the calling thread's network namespace.
///
/// # Errors
///
/// [`Error`] if `/proc/sys` is read-only here or the value is none.
pub fn write(name: &str, value: &str) -> Result<(), Error> {
    fs::write(path(name), value).map_err(|cause| Error {
        name: name.to_owned(),
        doing: "setting",
        cause,
    })
}

/// Where the setting lies. As sysctl(8) has it, `/` may part the words, and a `.` then belongs to an interface's name.
fn path(name: &str) -> PathBuf {
    let mut path = PathBuf::from("/proc/sys");
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'/') => path.extend(name.split('/')),
        _ => path.extend(name.split('.').map(|word| word.replace('/', "."))),
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    #[test]
    fn a_name_is_a_path_by_dots_or_by_slashes() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/100.rp_filter",
                "/proc/sys/net/ipv4/conf/eth0.100/rp_filter",
            ),
            (
                "net/ipv4/conf/eth0.100/rp_filter",
                "/proc/sys/net/ipv4/conf/eth0.100/rp_filter",
            ),
        ] {
            assert_eq!(path(name), PathBuf::from(expected));
        }
    }

    #[test]
    fn a_setting_belongs_to_its_namespace() {
        let Some(namespace) = netns::for_test() else { return };
        let name = "net.ipv4.conf.all.src_valid_mark";
        let here = read(name).unwrap();
        namespace
            .run(|| {
                write(name, "1").unwrap();
                assert_eq!(read(name).unwrap(), "1");
                write(name, "0").unwrap();
                assert_eq!(read(name).unwrap(), "0");
            })
            .unwrap();
        assert_eq!(read(name).unwrap(), here);
        let error = Error {
            name: name.to_owned(),
            doing: "setting",
            cause: io::ErrorKind::ReadOnlyFilesystem.into(),
        };
        assert!(
            error.to_string().contains(&format!("docker run --sysctl {name}=")),
            "{error}"
        );
        let error = read("net.ipv4.no_such_setting").unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading net.ipv4.no_such_setting: No such file or directory (os error 2)"
        );
    }
}
