//! The tag by which a launcher's gateways are known at their places.

use std::{fs, io, path::Path};

/// The tag of the launcher that keeps its leases in this folder of this machine: the same after a loss of what is in the
/// folder, and another one for every other folder and machine.
///
/// # Errors
///
/// The folder cannot be found.
pub fn instance(folder: &Path) -> io::Result<String> {
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
    }
}
