//! Debian's kernel for virtual machines, with the modules that a guest loads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::{self, Suite};
use crate::run;

/// The suite that the kernel is of: the newest one that is released.
const SUITE: &str = "trixie";

/// The package that depends on the newest kernel of its suite.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// What a guest loads at its start, besides what these depend on: nothing in it loads modules later.
const MODULES: [&str; 43] = [
    "overlay",
    "wireguard",
    "curve25519-x86_64",
    "chacha-x86_64",
    "poly1305-x86_64",
    "tun",
    "virtio_net",
    "veth",
    "dummy",
    "bridge",
    "br_netfilter",
    "sch_netem",
    "ip_tables",
    "iptable_filter",
    "ipt_REJECT",
    "nf_tables",
    "nf_log_syslog",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_quota",
    "nft_redir",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "xt_addrtype",
    "xt_connmark",
    "xt_MASQUERADE",
    "xt_TCPMSS",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_nat",
    "xt_tcpudp",
];

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// Its version, as `uname -r` says it.
    pub(crate) version: String,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// Where its modules are.
    modules: PathBuf,
}

/// A module, decompressed.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Kernel {
    /// The kernel below `tools`, if one has been unpacked there.
    pub(crate) fn unpacked(tools: &Path) -> Option<Self> {
        let folder = folder(tools);
        let images = std::fs::read_dir(folder.join("boot")).ok()?;
        let image = images.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("vmlinuz-"))
        })?;
        let version = image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        let modules = ["usr/lib/modules", "lib/modules"]
            .map(|path| folder.join(path).join(&version).join("kernel"))
            .into_iter()
            .find(|path| path.is_dir())?;
        Some(Self {
            version,
            image,
            modules,
        })
    }

    /// Fetches the kernel and unpacks it below `tools`.
    pub(crate) fn fetch(tools: &Path) -> Result<Self> {
        let suite = Suite::open(tools, SUITE)?;
        let name = suite.dependency(PACKAGE, "linux-image-")?;
        apt::unpack(&suite.download(&name)?, &folder(tools))?;
        Self::unpacked(tools).with_context(|| format!("there is no kernel in {name}"))
    }

    /// The modules that a guest loads, each behind those that it depends on.
    pub(crate) fn modules(&self) -> Result<Vec<Module>> {
        let mut files = HashMap::new();
        list(&self.modules, &mut files).context("list the kernel's modules")?;
        let mut ordered = Vec::new();
        for name in MODULES {
            load(name, &files, &mut ordered)?;
        }
        Ok(ordered)
    }
}

fn folder(tools: &Path) -> PathBuf {
    tools.join("linux").join(SUITE)
}

/// Adds a module to `ordered`, behind what it depends on.
fn load(name: &str, files: &HashMap<String, PathBuf>, ordered: &mut Vec<Module>) -> Result<()> {
    let name = name.replace('-', "_");
    if ordered.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let file = files
        .get(&name)
        .with_context(|| format!("the kernel has no module {name}"))?;
    let bytes = decompress(file)?;
    for needed in dependencies(&bytes) {
        load(&needed, files, ordered)?;
    }
    ordered.push(Module { name, bytes });
    Ok(())
}

/// Finds every module below `folder`, by its name with `_` for `-`, as the kernel does.
fn list(folder: &Path, files: &mut HashMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if let Some((name, _)) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split_once(".ko"))
        {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn decompress(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "ko") {
        return std::fs::read(file).with_context(|| format!("read {}", file.display()));
    }
    let output = Command::new("busybox").arg("xzcat").arg(file).output();
    let output = output.context("start busybox xzcat")?;
    anyhow::ensure!(output.status.success(), "{} cannot be decompressed", file.display());
    Ok(output.stdout)
}

/// What a module says that it depends on, in its section `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(start) = module.windows(key.len()).position(|bytes| bytes == key) else {
        return Vec::new();
    };
    let value = module[start + key.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let names = String::from_utf8_lossy(value).into_owned();
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether a machine has what runs a guest: `Err` names what is missing.
pub(crate) fn emulator() -> Result<(), &'static str> {
    if !run::works("qemu-system-x86_64", &["--version"]) {
        Err("qemu-system-x86_64")
    } else if !run::works("busybox", &["true"]) {
        Err("busybox")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_s_dependencies_are_read_from_it() {
        // (in the module, its dependencies)
        for (bytes, names) in [
            (
                &b"x\0depends=udp_tunnel,ip6_udp_tunnel\0name=wireguard\0"[..],
                &["udp_tunnel", "ip6_udp_tunnel"][..],
            ),
            (b"\0license=GPL\0depends=\0", &[]),
            (b"no such word", &[]),
        ] {
            assert_eq!(dependencies(bytes), names);
        }
    }
}
