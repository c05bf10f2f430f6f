//! The file that a container sees as `/etc/resolv.conf`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    path::Path,
};

/// Gives the file the name servers `dns`, and `search` if there are such; the container's other lines stay. True if it had
/// to be changed.
///
/// It is written where it is: the container's view of it is this very file, and another in its place would not be seen.
///
/// # Errors
///
/// The file's.
pub fn set(path: &Path, dns: &[IpAddr], search: &[String]) -> io::Result<bool> {
    let there = fs::read_to_string(path)?;
    let wanted = text(&there, dns, search);
    if wanted == there {
        return Ok(false);
    }
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(wanted.as_bytes())?;
    Ok(true)
}

fn text(there: &str, dns: &[IpAddr], search: &[String]) -> String {
    let mut text = String::new();
    for server in dns {
        text += &format!("nameserver {server}\n");
    }
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    for line in there.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        let is_ours = word == "nameserver" || (!search.is_empty() && matches!(word, "search" | "domain"));
        if !is_ours && !line.is_empty() {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn name_servers_are_replaced_and_the_rest_stays() {
        let servers = ["10.0.0.243", "fd00::1"].map(|text| text.parse().unwrap());
        for (there, search, expected) in [
            ("", &[][..], "nameserver 10.0.0.243\nnameserver fd00::1\n"),
            (
                "nameserver 192.168.1.1\nsearch home\noptions ndots:0\n",
                &[],
                "nameserver 10.0.0.243\nnameserver fd00::1\nsearch home\noptions ndots:0\n",
            ),
            (
                "# Generated\nnameserver 192.168.1.1\ndomain home\n",
                &["corp.example".to_owned()],
                "nameserver 10.0.0.243\nnameserver fd00::1\nsearch corp.example\n# Generated\n",
            ),
        ] {
            assert_eq!(text(there, &servers, search), expected);
            assert_eq!(text(expected, &servers, search), expected, "again");
        }
    }

    #[test]
    fn the_file_stays_the_same_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        let dns = ["10.0.0.1".parse().unwrap()];
        assert!(set(&path, &dns, &[]).unwrap());
        assert!(!set(&path, &dns, &[]).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }
}
