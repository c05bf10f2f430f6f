//! The tag by which a launcher's gateways are known at their places.

use std::{fs, io, path::Path};

/// The file that keeps the tag.
const FILE: &str = "instance";

/// The tag of the launcher that keeps its leases in this folder. It goes with the folder to another path or machine; after a
/// loss of all that is in the folder it is the same one again.
///
/// # Errors
///
/// The folder cannot be found, or written to.
pub fn instance(folder: &Path) -> io::Result<String> {
    let file = folder.join(FILE);
    match fs::read_to_string(&file) {
        Ok(text) if is_tag(text.trim()) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let tag = made_of(folder)?;
    fs::write(file, format!("{tag}\n"))?;
    Ok(tag)
}

fn is_tag(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Another one for every folder and machine.
fn made_of(folder: &Path) -> io::Result<String> {
    let folder = fs::canonicalize(folder)?;
    let name = rustix::system::uname();
    // FNV-1a, 64 bits.
    let bytes = name
        .nodename()
        .to_bytes()
        .iter()
        .chain([&0])
        .chain(folder.as_os_str().as_encoded_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("{hash:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_tag() {
        let root = tempfile::tempdir().unwrap();
        let first = instance(root.path()).unwrap();
        assert_eq!(first, instance(&root.path().join(".")).unwrap());
        let other = root.path().join("other");
        assert!(instance(&other).is_err());
        fs::create_dir(&other).unwrap();
        assert_ne!(first, instance(&other).unwrap());
        fs::remove_file(other.join(FILE)).unwrap();
        fs::write(other.join("x"), "").unwrap();
        let second = instance(&other).unwrap();
        let moved = root.path().join("moved");
        fs::rename(&other, &moved).unwrap();
        assert_eq!(instance(&moved).unwrap(), second);
        fs::write(moved.join(FILE), "../../etc").unwrap();
        assert_ne!(instance(&moved).unwrap(), "../../etc");
    }
}
