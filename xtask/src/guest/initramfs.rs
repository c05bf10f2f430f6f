//! The first files of a guest: an archive that the kernel unpacks into memory.
//!
//! ```text
//!   bin/busybox   modules/NN-NAME.ko   init   and empty folders to mount on
//! ```

use crate::guest::kernel::Module;

/// Loads the modules, lays memory over the host's files so that they can be "written", and goes on there.
///
/// `switch_root` rather than `chroot`: who enters a mount namespace later starts at its root, not at a process's.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do $b insmod $module || echo "no $module"; done
$b mount -t virtiofs -o ro host /host
$b mount -t tmpfs tmpfs /written
$b mkdir /written/files /written/work
$b mount -t overlay -o lowerdir=/host,upperdir=/written/files,workdir=/written/work overlay /root
for folder in proc sys dev; do $b mount --move /$folder /root/$folder; done
for word in $($b cat /root/proc/cmdline); do case $word in adit.job=*) job=${word#adit.job=} ;; esac; done
exec $b switch_root /root /bin/busybox sh $job
"#;

const FOLDERS: [&str; 8] = ["bin", "modules", "proc", "sys", "dev", "host", "written", "root"];

/// The archive with `busybox`, which is static, and `modules` in their order.
pub(crate) fn archive(busybox: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, 0o040_755, &[]);
    }
    archive.add("bin/busybox", 0o100_755, busybox);
    for (number, module) in modules.iter().enumerate() {
        archive.add(
            &format!("modules/{number:02}-{}.ko", module.name),
            0o100_644,
            &module.bytes,
        );
    }
    archive.add("init", 0o100_755, INIT.as_bytes());
    archive.close()
}

/// An archive in cpio's "newc" format, as the kernel's documentation has it (`buffer-format.rst`).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    count: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.count += 1;
        let mut fields = [0; 13];
        (fields[0], fields[1], fields[4]) = (self.count, mode as usize, 1);
        (fields[6], fields[11]) = (content.len(), name.len() + 1);
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Fills up to the next multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn close(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_head_its_name_and_its_content_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.add("init", 0o100_755, b"hello");
        let bytes = archive.close();
        assert!(bytes.starts_with(b"07070100000001000081ed00000000000000000000000100000000"));
        assert_eq!(&bytes[54..62], b"00000005", "the content's length");
        assert_eq!(&bytes[110..116], b"init\0\0");
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.len().is_multiple_of(4));
    }
}
