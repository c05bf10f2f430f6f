//! The file that a container sees as `/etc/resolv.conf`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Of a longer file, in bytes, the last lines are cut off.
const LONGEST: usize = 64 << 10;

/// Gives the file the name servers `dns`, and `search` if there are such; the container's other lines stay. True if it had
/// to be changed.
///
/// It is written where it is: the container's view of it is this very file, and another in its place would not be seen.
///
/// # Errors
///
/// The file's.
pub fn set(path: &Path, dns: &[IpAddr], search: &[String]) -> io::Result<bool> {
    let file = File::open(path)?;
    // The container may write anything there, too.
    let mut there = Vec::new();
    (&file).take(LONGEST as u64).read_to_end(&mut there)?;
    let mut wanted = text(&String::from_utf8_lossy(&there), dns, search);
    if wanted.len() > LONGEST {
        let end = wanted.as_bytes()[..LONGEST].iter().rposition(|byte| *byte == b'\n');
        wanted.truncate(end.map_or(0, |end| end + 1));
    }
    if wanted.as_bytes() == there && file.metadata()?.len() == wanted.len() as u64 {
        return Ok(false);
    }
    // Who watches the file hears of whoever had it open to write: it is opened so only now.
    let file = OpenOptions::new().write(true).open(path)?;
    // Cut last: who reads meanwhile finds name servers.
    file.write_all_at(wanted.as_bytes(), 0)?;
    file.set_len(wanted.len() as u64)?;
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
    use std::{fs, os::unix::fs::MetadataExt as _};

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
        for spoilt in [
            vec![b'#'; 1 << 20],
            b"nameserver 192.0.2.1\n\xff\xfe".to_vec(),
            Vec::new(),
        ] {
            fs::write(&path, spoilt).unwrap();
            assert!(set(&path, &dns, &[]).unwrap());
            assert!(!set(&path, &dns, &[]).unwrap(), "it is as it should be");
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("nameserver 10.0.0.1\n") && !text.contains("192.0.2.1"),
                "{text}"
            );
        }
    }
}
