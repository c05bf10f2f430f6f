//! Azure's virtual machines, with their networks: public addresses and security groups before them.
//!
//! ```text
//!   internet ── 203.0.113.N  gateway (the region) ── vmN ── 10.0.N.4 eth0: the machine
//! ```
//!
//! As at Azure, a machine knows nothing of its public address, and nothing comes in that no security group lets in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netlab::Host;
use netlab::serve::azure::{ContainerGroup, Machine, Machines, Opening, Ran, Refusal, Script};

use crate::guest::{Board, Guest};
use crate::network::Network;

/// The first public address of a machine is the one behind this.
const FIRST: u8 = 16;

/// The machines. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Region(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    internet: Host,
    region: Host,
    image: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    made: u8,
    /// By their IDs in lower case.
    there: BTreeMap<String, (u8, Arc<Guest>)>,
}

impl Region {
    /// A region at the network's host `gateway`, whose registry has the image of this archive.
    pub(crate) fn new(network: &Network, image: PathBuf) -> Self {
        network.gateway.forward();
        Self(Arc::new(Inner {
            internet: network.internet.clone(),
            region: network.gateway.clone(),
            image,
            state: Mutex::default(),
        }))
    }

    /// How many machines there are.
    pub(crate) fn count(&self) -> usize {
        self.state().there.len()
    }

    /// The only machine, and the address that it knows of itself.
    pub(crate) fn only(&self) -> (Arc<Guest>, IpAddr) {
        let state = self.state();
        let (number, guest) = state.there.values().next().expect("there is a machine");
        (Arc::clone(guest), own(*number).into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guest(&self, id: &str) -> Option<(u8, Arc<Guest>)> {
        self.state().there.get(&id.to_lowercase()).cloned()
    }

    /// Sets what reaches the machine of this number from outside.
    fn guard(&self, number: u8, open: &[Opening]) {
        let (public, own) = (public(number), own(number));
        let mut accept = String::new();
        for opening in open {
            let source = match &*opening.source {
                "*" | "Internet" => String::new(),
                prefix => format!("ip saddr {prefix} "),
            };
            let protocol = match &*opening.protocol.to_lowercase() {
                "*" => "meta l4proto { tcp, udp } th".to_owned(),
                protocol => protocol.to_owned(),
            };
            let (first, last) = opening.ports.clone().into_inner();
            accept += &format!("        {source}{protocol} dport {first}-{last} accept\n");
        }
        let rules = format!(
            "table ip vm{number}\ndelete table ip vm{number}\ntable ip vm{number} {{\n\
             \x20   chain in {{\n        type nat hook prerouting priority dstnat\n        ip daddr {public} dnat to {own}\n    }}\n\
             \x20   chain out {{\n        type nat hook postrouting priority srcnat\n        ip saddr {own} snat to {public}\n    }}\n\
             \x20   chain forward {{\n        type filter hook forward priority filter\n        oifname != vm{number} accept\n\
             \x20       ct state established,related accept\n{accept}        drop\n    }}\n}}\n"
        );
        self.0
            .region
            .command("nft")
            .args(["-f", "/dev/stdin"])
            .input(rules)
            .run();
    }
}

impl Machines for Region {
    fn boot(&self, machine: &Machine) -> Result<IpAddr, Refusal> {
        let number = {
            let mut state = self.state();
            state.made += 1;
            state.made
        };
        let (region, tap) = (&self.0.region, format!("vm{number}"));
        region.ip(&format!("tuntap add {tap} mode tap"));
        region.add_address(&tap, &format!("10.0.{number}.1/24"));
        region.ip(&format!("link set {tap} up"));
        self.0.internet.route(&format!("{} via 203.0.113.2", public(number)));
        self.guard(number, &machine.open);
        let board = Board {
            host: region,
            tap: &tap,
            address: format!("{}/24", own(number)),
            router: format!("10.0.{number}.1"),
            folder: &region.folder().join(&tap),
            image: self.0.image.clone(),
        };
        let guest = Guest::boot(&board, machine.custom_data.as_deref()).map_err(|said| {
            let message = format!(
                "OS Provisioning for VM '{}' did not finish in the allotted time. {said}",
                machine.name
            );
            Refusal::new(409, "OSProvisioningTimedOut", message)
        })?;
        self.state()
            .there
            .insert(machine.id.to_lowercase(), (number, Arc::new(guest)));
        Ok(public(number).into())
    }

    fn opened(&self, id: &str, open: &[Opening]) {
        if let Some((number, _)) = self.guest(id) {
            self.guard(number, open);
        }
    }

    fn run(&self, id: &str, script: &Script) -> Ran {
        match self.guest(id) {
            Some((_, guest)) => guest.run(&script.text, script.limit),
            None => Ran {
                exit: 1,
                ..Ran::default()
            },
        }
    }

    fn console(&self, id: &str) -> String {
        self.guest(id).map(|(_, guest)| guest.console()).unwrap_or_default()
    }

    fn start(&self, _group: &ContainerGroup) -> Result<IpAddr, Refusal> {
        Err(Refusal::new(409, "NoCapacity", "this region has virtual machines only"))
    }

    fn removed(&self, id: &str) {
        let gone = self.state().there.remove(&id.to_lowercase());
        drop(gone);
    }
}

fn public(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, FIRST + number)
}

fn own(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, number, 4)
}
