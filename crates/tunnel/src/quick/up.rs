//! Brings a tunnel up.

use std::{
    io,
    time::{Duration, Instant},
};

use linux::{
    Family, address, link,
    netlink::Netlink,
    nftables::{Nftables, wall::Wall},
    resolv::{self, Resolv, Server},
    sysctl, wireguard,
};
use rustix::io::Errno;
use wg::{
    Device, IpNet,
    conf::{Conf, Endpoint, Interface, Table},
};

use super::{
    Error, Errors, Options, endpoint, guard, hook,
    interrupt::Ear,
    journal::{Journal, JournalError, LIMIT_OF_TURN, Records, Turn},
    mtu, native, routes,
    source::Source,
    undo::{self, Undo},
};
use crate::{Chosen, Plane, choose_interface, control::Control, device};

/// The setting without which answers to marked packets look as if they came from nowhere.
const SRC_VALID_MARK: &str = "net.ipv4.conf.all.src_valid_mark";

/// How often it is looked for a signal while others change routes and rules.
const INTERVAL_OF_TURN: Duration = Duration::from_millis(100);

/// A tunnel that was brought up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up {
    /// Its name.
    pub name: String,
    /// Who handles its packets, and why.
    pub chosen: Chosen,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Its peers.
    pub peers: usize,
    /// The routing table of its default routes, if it has any.
    pub table: Option<u32>,
}

/// Brings the tunnel of a configuration up.
///
/// # Errors
///
/// The first step that failed, or the signal that came before the last was done; all steps before are undone, and what
/// went wrong with that follows.
pub fn up(options: Options<'_>) -> Result<Up, Errors> {
    let Options {
        target,
        text,
        plane,
        retries,
        resolv_conf,
        signals,
        say,
    } = options;
    let source = Source::new(target)?;
    let conf = source.read(text, say)?;
    for warning in conf.warnings() {
        say(&format!("warning: {warning}"));
    }
    let interface = conf.interface();
    let chosen = choose_interface(plane)?;
    let mut netlink = Netlink::route().map_err(Error::from)?;
    let (mut journal, records) = Journal::open(&source.name)?;
    if let Some(error) = obstacle(&mut netlink, &source.name, &records)? {
        if records.is_empty() {
            journal.remove()?;
        }
        return Err(error.into());
    }
    let undo = Undo {
        name: &source.name,
        resolv_conf,
    };
    if !records.is_empty() {
        say(&format!("clearing away what an earlier {} left behind", source.name));
        Errors::check(undo.all(&mut netlink, &records))?;
        journal.clear()?;
    }
    journal.record("config", &source.path.to_string_lossy())?;
    let hooks = interface.pre_up.iter().chain(&interface.post_up);
    let are_native = !native::is_shells(hooks, &source.name);
    let mut attempt = Attempt {
        source: &source,
        conf: &conf,
        interface,
        chosen,
        retries,
        ear: Ear(signals),
        undo: &undo,
        netlink,
        journal,
        records: Records::default(),
        are_native,
        say,
    };
    match attempt.bring_up() {
        Ok(up) => Ok(up),
        Err(error) => {
            let mut others = undo.all(&mut attempt.netlink, &attempt.records);
            if others.is_empty() {
                others.extend(attempt.journal.remove().err().map(Error::from));
            }
            Err(Errors::with(error, others))
        }
    }
}

/// Why no tunnel of this name can be made.
fn obstacle(netlink: &mut Netlink, name: &str, records: &Records) -> Result<Option<Error>, Error> {
    let name = name.to_owned();
    Ok(link::find(netlink, &name)?.map(|link| {
        // What `down` would take down, and nothing else.
        if undo::is_served(&link) || (undo::is_tunnel(&link) && !records.is_empty()) {
            Error::IsUp { name }
        } else {
            Error::IsNoTunnel { name }
        }
    }))
}

struct Attempt<'a> {
    source: &'a Source,
    conf: &'a Conf,
    interface: Interface,
    chosen: Chosen,
    retries: Option<u32>,
    ear: Ear<'a>,
    undo: &'a Undo<'a>,
    netlink: Netlink,
    journal: Journal,
    /// What the journal says so far.
    records: Records,
    /// Whether what templates ask of iptables is done without it.
    are_native: bool,
    say: &'a mut dyn FnMut(&str),
}

impl Attempt<'_> {
    fn bring_up(&mut self) -> Result<Up, Error> {
        let name = self.source.name.clone();
        self.run_hooks("PreUp")?;
        let resolve = |endpoint: &Endpoint| endpoint::resolve(endpoint, self.retries, self.ear, self.say);
        let update = self.conf.update(resolve)?;
        let mut device = Device::default();
        device.apply(&update);
        self.ear.check()?;
        let mut control = self.make()?;
        self.do_natively()?;
        self.ear.check()?;
        control.change(&update).map_err(|error| {
            if error.is_port_taken() {
                self.taken(&update)
            } else {
                error.into()
            }
        })?;
        let link = link::find(&mut self.netlink, &name)?;
        let index = link.ok_or_else(|| Error::Vanished { name: name.clone() })?.index;
        for address in &self.interface.addresses {
            address::add(&mut self.netlink, index, *address).map_err(|error| self.no_address(*address, error))?;
        }
        self.ear.check()?;
        let mtu = self.mtu(&device)?;
        link::set_mtu(&mut self.netlink, index, mtu)?;
        link::set_up(&mut self.netlink, index).map_err(|error| {
            if error.cause.kind() == io::ErrorKind::AddrInUse {
                // The kernel's WireGuard opens its sockets when it is switched on.
                self.taken(&update)
            } else {
                error.into()
            }
        })?;
        self.ear.check()?;
        self.set_resolvers()?;
        self.ear.check()?;
        self.add_routes(&mut control, &device, index)?;
        self.run_hooks("PostUp")?;
        self.ear.check()?;
        Ok(Up {
            name,
            chosen: self.chosen.clone(),
            mtu,
            peers: device.peers.len(),
            table: self.records.table(),
        })
    }

    /// Runs the commands of `PreUp` or `PostUp`, but for those that are done natively.
    fn run_hooks(&mut self, word: &'static str) -> Result<(), Error> {
        let name = self.source.name.clone();
        let commands = if word == "PreUp" {
            self.interface.pre_up.clone()
        } else {
            self.interface.post_up.clone()
        };
        let is_left = |hook: &String| !self.are_native || !native::is_native(hook, &name);
        let commands: Vec<String> = commands.into_iter().filter(is_left).collect();
        self.run_all(word, &commands)
    }

    fn run_all(&mut self, word: &'static str, commands: &[String]) -> Result<(), Error> {
        for command in commands {
            self.ear.check()?;
            let place = (&*self.source.name, &*self.source.path);
            hook::run(word, command, place, self.ear.0, self.say)?;
        }
        Ok(())
    }

    /// Does what templates ask of iptables without it. The interface is there: rules without theirs are taken for ones
    /// that a killed process has left.
    fn do_natively(&mut self) -> Result<(), Error> {
        let (name, interface) = (self.source.name.clone(), self.interface.clone());
        let hooks: Vec<&String> = interface.pre_up.iter().chain(&interface.post_up).collect();
        if self.are_native
            && let Err(error) = native::add(hooks.iter().copied(), &name)
        {
            (self.say)(&format!("warning: the shell does what nf_tables would: {error}"));
            self.are_native = false;
            let is_left = |hook: &&String| native::is_native(hook, &name);
            let left: Vec<String> = interface.pre_up.iter().filter(is_left).cloned().collect();
            self.run_all("PreUp", &left)?;
        }
        for wall in native::walls(hooks, &name).unwrap_or_default() {
            if self.are_native || !matches!(wall, Wall::Legacy { .. }) {
                let (what, remedy) = (wall.describe(), wall.remedy(&name));
                (self.say)(&format!(
                    "warning: what {name} forwards may be lost: {what}; let it pass: {remedy}"
                ));
            }
        }
        Ok(())
    }

    /// Makes the interface, on the plane that was chosen. The kernel's stays without a process.
    fn make(&mut self) -> Result<Control, Error> {
        let name = &self.source.name;
        if self.chosen.plane == Plane::Kernel {
            let link = wireguard::create(&mut self.netlink, name, 0)?;
            return Ok(Control::kernel(name, link.index)?);
        }
        device::start(name, &device::Home::Here, Some(self.journal.lock()?))?;
        Ok(Control::open(name)?)
    }

    /// Why an address cannot be had. A kernel that was booted without IPv6 says no more than that it cannot.
    fn no_address(&self, address: IpNet, error: linux::netlink::Error) -> Error {
        let answer = error.cause.raw_os_error().map(Errno::from_raw_os_error);
        if address.addr().is_ipv6() && matches!(answer, Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT)) {
            let file = self.source.path.clone();
            return Error::NoIpv6 { address, file };
        }
        error.into()
    }

    fn taken(&self, update: &wg::Update) -> Error {
        Error::Port {
            port: update.listen_port.unwrap_or_default(),
            file: self.source.path.clone(),
        }
    }

    fn mtu(&mut self, device: &Device) -> Result<u32, Error> {
        match self.interface.mtu {
            Some(mtu) => Ok(mtu.into()),
            None => {
                let endpoints = device.peers.values().filter_map(|peer| peer.endpoint);
                Ok(mtu::find(&mut self.netlink, endpoints.map(|endpoint| endpoint.ip()))?)
            }
        }
    }

    fn set_resolvers(&mut self) -> Result<(), Error> {
        if self.interface.dns.is_empty() {
            return Ok(());
        }
        let wanted = Resolv {
            servers: self
                .interface
                .dns_servers()
                .map(|(address, zone)| Server {
                    address,
                    zone: zone.map(str::to_owned),
                })
                .collect(),
            search: self.interface.dns_search().map(str::to_owned).collect(),
            options: Vec::new(),
        };
        Ok(resolv::set(self.undo.resolv_conf, &self.source.name, &wanted)?)
    }

    fn add_routes(&mut self, control: &mut Control, device: &Device, index: u32) -> Result<(), Error> {
        let networks = device.peers.values().flat_map(|peer| peer.allowed_ips.iter().copied());
        let networks = routes::in_order(networks);
        match self.interface.table {
            Table::Off => Ok(()),
            Table::Number(table) => Ok(routes::add_to_table(&mut self.netlink, index, &networks, table)?),
            Table::Auto => {
                let first_default = networks.iter().position(|network| network.prefix_len() == 0);
                let (networks, defaults) = networks.split_at(first_default.unwrap_or(networks.len()));
                routes::add_missing(&mut self.netlink, index, networks)?;
                if defaults.is_empty() {
                    return Ok(());
                }
                self.add_defaults(control, device, index, defaults)
            }
        }
    }

    /// Guards the tunnel's addresses. A kernel without nf_tables has tunnels all the same; one that has it, and not all
    /// that the guard is made of, is an error, as for wg-quick.
    fn guard(&mut self, family: Family, index: u32, table: u32) -> Result<(), Error> {
        let name = &self.source.name;
        let addresses = address::list(&mut self.netlink, index)?;
        match guard::add(name, family, &addresses, table) {
            Ok(()) => Ok(()),
            Err(error) if !Nftables::is_there() => {
                (self.say)(&format!(
                    "warning: nothing guards the addresses of {name} on other interfaces, as the kernel has no nf_tables: \
                     {error}"
                ));
                Ok(())
            }
            Err(cause) => Err(Error::Guard {
                name: name.clone(),
                cause,
            }),
        }
    }

    fn turn(&self) -> Result<Turn, Error> {
        let limit = Instant::now() + LIMIT_OF_TURN;
        loop {
            self.ear.check()?;
            match Turn::wait_for(INTERVAL_OF_TURN) {
                Err(JournalError::Turn { .. }) if Instant::now() < limit => {}
                turn => return Ok(turn?),
            }
        }
    }

    /// Makes default routes in a table of their own: the configuration's mark, or else a free one, is its number.
    fn add_defaults(
        &mut self,
        control: &mut Control,
        device: &Device,
        index: u32,
        defaults: &[IpNet],
    ) -> Result<(), Error> {
        // Nobody else takes the table, nor the setting for the other's, before all is written down and done.
        let _turn = self.turn()?;
        let table = routes::add_defaults(&mut self.netlink, index, defaults, device.fwmark)?;
        if device.fwmark.is_none() {
            control.change(&wg::Update {
                fwmark: Some(table),
                ..wg::Update::default()
            })?;
        }
        for network in defaults {
            let family = Family::of(network.addr());
            self.journal.record_table(family, table)?;
            self.records.tables.push((family, table));
            routes::add_rules(&mut self.netlink, family, table)?;
            self.guard(family, index, table)?;
            if network.addr().is_ipv4() {
                self.set_src_valid_mark()?;
            }
        }
        Ok(())
    }

    /// Switches the setting on. The last of the tunnels that wrote it down switches it off again.
    fn set_src_valid_mark(&mut self) -> Result<(), Error> {
        let is_on = sysctl::read(SRC_VALID_MARK)? == "1";
        if is_on && !self.journal.others_need_src_valid_mark() {
            return Ok(());
        }
        self.journal.record("src_valid_mark", "0")?;
        self.records.src_valid_mark = true;
        if is_on {
            return Ok(());
        }
        Ok(sysctl::write(SRC_VALID_MARK, "1")?)
    }
}

/// Switches the setting off again that [`up`] switched on, unless another tunnel needs it.
pub(super) fn reset_src_valid_mark(netlink: &mut Netlink) -> Result<(), Error> {
    if !routes::has_rules(netlink)? {
        sysctl::write(SRC_VALID_MARK, "0")?;
    }
    Ok(())
}
