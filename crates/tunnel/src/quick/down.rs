//! Takes a tunnel down.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use linux::{
    Family, address,
    link::{self, Link},
    netlink::Netlink,
};
use wg::{
    Device,
    conf::{Conf, Interface, Setting, Table},
};

use super::{
    Error, Errors, Options, hook,
    journal::{Journal, Records},
    native, routes,
    source::Source,
    undo::{self, Undo},
};
use crate::control::Control;

/// Takes a tunnel down, whoever brought it up, and clears away what is left of one whose process has died.
///
/// # Errors
///
/// All steps that failed; the others are done.
pub fn down(options: Options<'_>) -> Result<(), Errors> {
    let Options {
        target,
        text,
        resolv_conf,
        say,
        plane: _,
        retries: _,
        signals: _,
    } = options;
    let mut source = Source::new(target)?;
    let name = source.name.clone();
    let mut netlink = Netlink::route().map_err(Error::from)?;
    let (journal, mut records) = Journal::open(&name)?;
    let link = link::find(&mut netlink, &name)
        .map_err(Error::from)?
        .filter(undo::is_served);
    if link.is_none() && records.is_empty() {
        journal.remove()?;
        return Err(Error::IsNotUp { name }.into());
    }
    // By name, the file is the one that the tunnel came from.
    let by_name = !target.to_string_lossy().contains('/');
    if let Some(path) = records.config.clone().filter(|_| by_name) {
        source.path = path;
    }
    let mut errors = Vec::new();
    let conf = source.read(text, say).map_err(|error| errors.push(error.into())).ok();
    let interface = conf.as_ref().map(Conf::interface).unwrap_or_default();
    // What `up` did without iptables goes without it.
    let are_native = native::is_there(&name);
    let mut run = |word, commands: &[String], errors: &mut Vec<Error>| {
        for command in commands {
            if are_native && native::is_native(command, &name) {
                continue;
            }
            let ran = hook::run(word, command, (&name, &source.path), None, say);
            errors.extend(ran.err().map(Error::from));
        }
    };
    run("PreDown", &interface.pre_down, &mut errors);
    let device = link
        .as_ref()
        .and_then(|_| Control::open(&name).ok()?.status().ok())
        .map(|status| status.device);
    if let (Some(link), Some(conf), Some(device)) = (&link, &conf, &device)
        && interface.save_config
        && text.is_none()
    {
        let saved = save(&mut netlink, link, conf.clone(), device, &records, &source.path);
        errors.extend(saved.err());
    }
    if records.is_empty()
        && let Some(link) = &link
    {
        match foreign_tables(&mut netlink, link, &interface, device.as_ref()) {
            Ok(tables) => records.tables = tables,
            Err(error) => errors.push(error),
        }
    }
    let undo = Undo {
        name: &name,
        resolv_conf,
    };
    let undone = undo.all(&mut netlink, &records);
    let complete = undone.is_empty();
    errors.extend(undone);
    run("PostDown", &interface.post_down, &mut errors);
    // What could not be undone is tried again by the next `down`.
    if complete {
        errors.extend(journal.remove().err().map(Error::from));
    }
    Errors::check(errors)
}

/// The tables of default routes that wg-quick made, whose number is the tunnel's mark.
fn foreign_tables(
    netlink: &mut Netlink,
    link: &Link,
    interface: &Interface,
    device: Option<&Device>,
) -> Result<Vec<(Family, u32)>, Error> {
    let device = device.filter(|_| interface.table == Table::Auto);
    match device.and_then(|device| device.fwmark) {
        Some(mark) => Ok(routes::with_default(netlink, link.index, mark)?),
        None => Ok(Vec::new()),
    }
}

/// Writes the tunnel as it is into its file: peers, port, addresses, and the MTU if the file had one.
fn save(
    netlink: &mut Netlink,
    link: &Link,
    mut conf: Conf,
    device: &Device,
    records: &Records,
    path: &Path,
) -> Result<(), Error> {
    let unwritable = |cause| Error::Unwritable {
        path: path.to_owned(),
        cause,
    };
    let there = conf.interface();
    let mut device = device.clone();
    if records.table() == device.fwmark {
        // A mark that `up` chose; the next one chooses again.
        device.fwmark = there.fwmark;
    }
    let public_key = |key: &Option<wg::PrivateKey>| key.as_ref().map(wg::PrivateKey::public_key);
    if public_key(&device.private_key) == public_key(&there.private_key) {
        // The kernel's WireGuard clears the bits of a key that mean nothing.
        device.private_key = there.private_key.clone();
    }
    conf.save(&device).map_err(unwritable)?;
    let addresses = address::list(netlink, link.index)?;
    let added: Vec<_> = addresses
        .iter()
        .filter(|found| !is_link_local(found))
        .copied()
        .collect();
    let same = added.len() == there.addresses.len() && added.iter().all(|found| there.addresses.contains(found));
    if !same && !added.is_empty() {
        conf.set_interface(Setting::Address(added)).map_err(unwritable)?;
    }
    if there.mtu.is_some_and(|mtu| u32::from(mtu) != link.mtu) {
        let mtu = u16::try_from(link.mtu).unwrap_or(u16::MAX);
        conf.set_interface(Setting::Mtu(mtu)).map_err(unwritable)?;
    }
    let text = conf.render();
    // A link stays one; the file that it leads to is written.
    let written = fs::canonicalize(path).and_then(|target| replace(&target, text.as_bytes()));
    written.map_err(|cause| Error::Save {
        path: path.to_owned(),
        cause,
    })
}

/// Whether the kernel gives an interface such an address by itself.
fn is_link_local(address: &wg::IpNet) -> bool {
    matches!(address, wg::IpNet::V6(v6) if v6.addr().is_unicast_link_local())
}

/// Puts a file in another's place in one step, for its owner alone.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".tmp");
    let fresh = PathBuf::from(fresh);
    let _stale = fs::remove_file(&fresh);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        path.parent()
            .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    let written = write();
    if written.is_err() {
        let _best_effort = fs::remove_file(&fresh);
    }
    written
}
