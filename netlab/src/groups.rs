//! Control groups that a program leaves.

use std::path::{Path, PathBuf};

/// Removes the group `name` and those below it, in every hierarchy; whether none is left. One with a process stays.
#[must_use]
pub fn remove(name: &str) -> bool {
    let top = Path::new("/sys/fs/cgroup");
    let groups = folders(top)
        .into_iter()
        .chain([top.to_owned()])
        .map(|hierarchy| hierarchy.join(name));
    let groups: Vec<_> = groups.filter(|group| group.exists()).collect();
    for group in &groups {
        for path in folders(group).into_iter().chain([group.clone()]) {
            let _in_use = std::fs::remove_dir(path);
        }
    }
    groups.iter().all(|group| !group.exists())
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
