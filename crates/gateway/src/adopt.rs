//! Takes over a directory: looks whether it can be used, brings old layouts up to date, gives the files their owner.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    process::geteuid,
};

use crate::{
    directory::DirectoryError,
    environment::PeerId,
    file::{self, Worth},
    form, template,
};

/// Directories of a gateway besides those of its peers.
const OWN: [&str; 4] = ["server", "wg_confs", "templates", "coredns"];

/// What is in some of them, and is written once: where it is all there, the directory may be read only.
const ONCE: [(&str, &[&str]); 3] = [
    ("server", &["privatekey-server", "publickey-server"]),
    ("templates", &["server.conf", "peer.conf"]),
    ("coredns", &["Corefile"]),
];

/// The gateway's own configuration, in the layout from before there were several.
const OLD_CONF: &str = "wg0.conf";

/// Looks whether everything in a directory can be read and replaced. Changes nothing.
///
/// # Errors
///
/// [`DirectoryError::Unwritable`] or [`DirectoryError::Unreadable`] for the first thing that is in the way.
pub(crate) fn check(root: &Path) -> Result<(), DirectoryError> {
    let directories = match own_directories(root) {
        Ok(directories) => directories,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => {
            return Err(DirectoryError::Unwritable {
                path: root.to_owned(),
                cause,
            });
        }
        Err(cause) => return Err(unreadable(root, cause)),
    };
    for directory in directories {
        may(&directory, Access::READ_OK | Access::EXEC_OK).map_err(|cause| unreadable(&directory, cause))?;
        if !is_complete(root, &directory) {
            may(&directory, Access::WRITE_OK).map_err(|cause| DirectoryError::Unwritable {
                path: directory.clone(),
                cause,
            })?;
        }
        if geteuid().is_root() || directory == root {
            continue;
        }
        for entry in fs::read_dir(&directory).map_err(|cause| unreadable(&directory, cause))? {
            let path = entry.map_err(|cause| unreadable(&directory, cause))?.path();
            // A link may lead nowhere; what reads it says so.
            if !path.is_symlink() {
                may(&path, Access::READ_OK).map_err(|cause| unreadable(&path, cause))?;
            }
        }
    }
    for name in [form::SAVED, form::STATE] {
        let path = root.join(name);
        match fs::read_to_string(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(unreadable(&path, cause)),
            Ok(_) | Err(_) => {}
        }
    }
    let old = root.join(OLD_CONF);
    if is_to_be_moved(root).map_err(|cause| unreadable(root, cause))? {
        let read = fs::File::open(&old).and_then(|mut file| file.read(&mut [0]));
        read.map_err(|cause| unreadable(&old, cause))?;
    }
    Ok(())
}

/// Whether there is a configuration in the old place, and none in the new.
fn is_to_be_moved(root: &Path) -> io::Result<bool> {
    Ok(root.join(OLD_CONF).is_file() && !has_tunnels(&root.join("wg_confs"))?)
}

/// Whether a directory has a file that is not hidden: those are no tunnels, but what editors and volumes leave.
fn has_tunnels(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => entries.try_fold(false, |found, entry| {
            Ok(found || !entry?.file_name().as_encoded_bytes().starts_with(b"."))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether nothing is to be written in a directory any more, as in a Secret or a ConfigMap that is mounted there.
fn is_complete(root: &Path, directory: &Path) -> bool {
    ONCE.iter()
        .any(|(name, files)| directory == root.join(name) && files.iter().all(|file| directory.join(file).is_file()))
}

/// The directory itself and those in it that are a gateway's.
fn own_directories(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut directories = vec![root.to_owned()];
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_own = name
            .to_str()
            .is_some_and(|name| OWN.contains(&name) || PeerId::of_file_name(name).is_some());
        if is_own && entry.path().is_dir() {
            directories.push(entry.path());
        }
    }
    Ok(directories)
}

fn may(path: &Path, access: Access) -> io::Result<()> {
    Ok(accessat(CWD, path, access, AtFlags::EACCESS)?)
}

fn unreadable(path: &Path, cause: io::Error) -> DirectoryError {
    DirectoryError::Unreadable {
        path: path.to_owned(),
        cause,
    }
}

/// Makes the directories that a gateway has whatever its peers are, brings an old layout up to date, and writes a
/// Corefile if there is none.
///
/// # Errors
///
/// What the file system says.
pub(crate) fn bring_up_to_date(root: &Path) -> io::Result<()> {
    for directory in OWN {
        file::make_directory(&root.join(directory))?;
    }
    let corefile = root.join("coredns/Corefile");
    if !corefile.exists() {
        file::write(&corefile, template::COREFILE.as_bytes(), Worth::Derived)?;
    }
    move_old_conf(root)?;
    if !root.join(form::STATE).exists() {
        close_to_others(root)?;
    }
    Ok(())
}

/// Gives the files with keys of another program's directory mode 0600. One that is somebody else's, or that cannot be
/// changed at all, stays as it is: who may read it decided that.
fn close_to_others(root: &Path) -> io::Result<()> {
    for directory in own_directories(root)? {
        // Templates and the Corefile have none, and what is in the directory itself is not a gateway's.
        let has_keys = directory != root && !["templates", "coredns"].iter().any(|name| directory.ends_with(name));
        if !has_keys {
            continue;
        }
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let is_public = entry.file_name().as_encoded_bytes().starts_with(b"publickey-");
            let metadata = entry.metadata()?;
            if metadata.is_file() && !is_public && metadata.mode() & 0o077 != 0 {
                let _not_ours = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600));
            }
        }
    }
    Ok(())
}

/// Makes what linuxserver's image makes in client mode, too, where it is missing: directories, templates and a Corefile.
///
/// # Errors
///
/// What the file system says.
pub fn make_defaults(root: &Path) -> io::Result<()> {
    for (path, text) in [
        ("templates/server.conf", template::SERVER),
        ("templates/peer.conf", template::PEER),
        ("coredns/Corefile", template::COREFILE),
    ] {
        let path = root.join(path);
        if !path.exists() {
            path.parent().map_or(Ok(()), file::make_directory)?;
            // Others may read them, as in the image: none holds a key.
            file::write_open(&path, text.as_bytes())?;
        }
    }
    file::make_directory(&root.join("wg_confs"))
}

/// Moves a configuration from where it was before there was `wg_confs`. Says whether there was one to move.
///
/// # Errors
///
/// What the file system says; the configuration is then still there.
pub fn move_old_conf(root: &Path) -> io::Result<bool> {
    let (old, directory) = (root.join(OLD_CONF), root.join("wg_confs"));
    let is_moved = is_to_be_moved(root)?;
    if is_moved {
        let text = zeroize::Zeroizing::new(fs::read(&old)?);
        file::make_directory(&directory)?;
        file::write(&directory.join(OLD_CONF), &text, Worth::Kept)?;
        fs::remove_file(&old)?;
    }
    Ok(is_moved)
}

/// Gives everything in a directory to a user and a group, where they differ; `None` leaves what is. Only root may.
///
/// # Errors
///
/// What the file system says about the first file that cannot be given away.
pub fn give_to(root: &Path, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    if !geteuid().is_root() || (user, group) == (None, None) {
        return Ok(());
    }
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        let differs = |wanted: Option<u32>, present: u32| wanted.is_some_and(|wanted| wanted != present);
        if differs(user, metadata.uid()) || differs(group, metadata.gid()) {
            lchown(&path, user, group)?;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_old_configuration_is_moved_to_its_place() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("wg0.conf"), "old").unwrap();
        bring_up_to_date(root.path()).unwrap();
        let new = root.path().join("wg_confs/wg0.conf");
        assert_eq!(fs::read_to_string(&new).unwrap(), "old");
        assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!root.path().join("wg0.conf").exists());
        // What is in its place is not replaced by what turns up later.
        fs::write(root.path().join("wg0.conf"), "later").unwrap();
        bring_up_to_date(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&new).unwrap(), "old");
        let corefile = fs::read_to_string(root.path().join("coredns/Corefile")).unwrap();
        assert_eq!(corefile, template::COREFILE);
    }

    #[test]
    fn hidden_files_do_not_keep_an_old_configuration_from_its_place() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("wg0.conf"), "old").unwrap();
        fs::create_dir(root.path().join("wg_confs")).unwrap();
        for name in [".gitkeep", ".wg1.conf", ".wg0.conf.swp"] {
            fs::write(root.path().join("wg_confs").join(name), "").unwrap();
        }
        assert!(move_old_conf(root.path()).unwrap());
        assert_eq!(
            fs::read_to_string(root.path().join("wg_confs/wg0.conf")).unwrap(),
            "old"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_before_anything_changes() {
        for name in [form::SAVED, form::STATE] {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("wg0.conf"), "old").unwrap();
            // Root may read every file; nobody can read a folder as one, or bytes as text.
            let path = root.path().join(name);
            for is_folder in [true, false] {
                if is_folder {
                    fs::create_dir(&path).unwrap();
                } else {
                    fs::remove_dir(&path).unwrap();
                    fs::write(&path, b"\xff\xfe").unwrap();
                }
                let error = check(root.path()).unwrap_err();
                assert!(
                    matches!(&error, DirectoryError::Unreadable { path: found, .. } if *found == path),
                    "{error}"
                );
                assert!(crate::directory::Directory::open(root.path()).is_err());
                assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
            }
        }
    }

    #[test]
    fn files_with_keys_are_closed_to_others_when_a_directory_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        // (file, mode afterwards)
        let files = [
            ("server/privatekey-server", 0o600),
            ("server/publickey-server", 0o644),
            ("peer1/privatekey-peer1", 0o600),
            ("peer1/presharedkey-peer1", 0o600),
            ("peer1/publickey-peer1", 0o644),
            ("peer1/peer1.conf", 0o600),
            ("peer1/peer1.png", 0o600),
            ("wg_confs/wg0.conf", 0o600),
            ("templates/peer.conf", 0o644),
            ("elsewhere/file", 0o644),
        ];
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777;
        let open = |name: &str| {
            let path = root.path().join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        };
        for (name, _) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            open(name);
        }
        bring_up_to_date(root.path()).unwrap();
        for (name, expected) in files {
            assert_eq!(mode(name), expected, "{name}");
        }
        // What a person opens afterwards is theirs.
        fs::write(root.path().join(form::STATE), "").unwrap();
        open("peer1/peer1.conf");
        bring_up_to_date(root.path()).unwrap();
        assert_eq!(mode("peer1/peer1.conf"), 0o644);
    }

    #[test]
    fn what_client_mode_has_is_made_once_and_a_directory_that_has_all_may_be_read_only() {
        let root = tempfile::tempdir().unwrap();
        let templates = root.path().join("templates");
        fs::create_dir(&templates).unwrap();
        fs::write(templates.join("peer.conf"), "mine").unwrap();
        assert!(!is_complete(root.path(), &templates));
        make_defaults(root.path()).unwrap();
        assert_eq!(fs::read_to_string(templates.join("peer.conf")).unwrap(), "mine");
        assert_eq!(
            fs::read_to_string(templates.join("server.conf")).unwrap(),
            template::SERVER
        );
        for (directory, complete) in [
            ("templates", true),
            ("coredns", true),
            ("wg_confs", false),
            ("server", false),
        ] {
            assert_eq!(
                is_complete(root.path(), &root.path().join(directory)),
                complete,
                "{directory}"
            );
        }
    }

    #[test]
    fn everything_in_a_directory_gets_its_owner() {
        if !geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("peer1")).unwrap();
        let file = root.path().join("peer1/peer1.conf");
        fs::write(&file, "").unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        give_to(root.path(), Some(1234), Some(2345)).unwrap();
        let owner = |path: &Path| {
            let metadata = fs::symlink_metadata(path).unwrap();
            (metadata.uid(), metadata.gid())
        };
        for path in [root.path(), &file, &root.path().join("link")] {
            assert_eq!(owner(path), (1234, 2345), "{}", path.display());
        }
        assert_eq!(owner(outside.path()), (0, 0));
        // New files belong to whom their directory belongs.
        file::write(&root.path().join("peer1/key"), b"", Worth::Derived).unwrap();
        assert_eq!(owner(&root.path().join("peer1/key")), (1234, 2345));
    }
}
