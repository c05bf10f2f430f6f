//! What stands behind the service: the machines and containers that it is asked for.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::fault::Refusal;

/// A virtual machine that is to boot.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The resource's ID, as the service writes it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its region, such as `westeurope`.
    pub location: String,
    /// Its size, such as `Standard_B1s`.
    pub size: String,
    /// Publisher, offer, SKU and version of its image, with colons between.
    pub image: String,
    /// The custom data, decoded.
    pub custom_data: Option<Vec<u8>>,
    /// The user data, decoded.
    pub user_data: Option<Vec<u8>>,
    /// The administrator's name.
    pub admin: String,
    /// The administrator's keys for SSH.
    pub ssh_keys: Vec<String>,
    /// The ID of its first network interface.
    pub interface: String,
    /// What its security groups let in.
    pub open: Vec<Opening>,
}

/// Ports that a security group lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// `Udp`, `Tcp` or `*`.
    pub protocol: String,
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// From where: a prefix, or `*`.
    pub source: String,
}

/// A script that a machine is to run as root.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its text, lines and all.
    pub text: String,
    /// Names and values of its parameters, the protected ones too.
    pub parameters: Vec<(String, String)>,
    /// Who runs it, if not root.
    pub user: Option<String>,
    /// How long it may take.
    pub limit: Duration,
}

/// What came of a script.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// All of its standard output; the service hands on the last 4,096 bytes.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    /// Its exit code.
    pub exit: i32,
}

/// A container group that is to start.
#[derive(Clone, Debug)]
pub struct ContainerGroup {
    /// The resource's ID, as the service writes it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// The containers.
    pub containers: Vec<Container>,
    /// The ports of the public address, and `TCP` or `UDP`.
    pub ports: Vec<(u16, String)>,
    /// `Always`, `OnFailure` or `Never`.
    pub restart: String,
}

/// One container of a group.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name in the group.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Its command; the image's own if it is empty.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: Vec<Variable>,
    /// The ports that it opens, and `TCP` or `UDP`.
    pub ports: Vec<(u16, String)>,
    /// How many processors it may use.
    pub cpu: f64,
    /// How much memory it may use, in GB.
    pub memory_gb: f64,
    /// Names of volumes, and where they are mounted.
    pub mounts: Vec<(String, String)>,
}

/// A variable of a container's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether it came as a secure value, which the service never shows.
    pub is_secret: bool,
}

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It does not run yet.
    Waiting,
    /// It runs, and was started anew this many times.
    Running(u32),
    /// It ended with this exit code, and is not started again.
    Ended(i32),
}

/// Runs what the service is asked for. Each method may take its time, on a thread of its own; the service answers other
/// requests meanwhile.
///
/// Whatever has a default does nothing by default.
pub trait Machines: Send + Sync {
    /// Boots a machine, and gives its public address once its agent is up.
    ///
    /// # Errors
    ///
    /// What the operation is to fail with.
    fn boot(&self, machine: &Machine) -> Result<IpAddr, Refusal>;

    /// The machine's security groups let this in from here on.
    fn opened(&self, _id: &str, _open: &[Opening]) {}

    /// Runs a script on a machine.
    fn run(&self, _id: &str, _script: &Script) -> Ran {
        Ran::default()
    }

    /// What the machine's serial console said.
    fn console(&self, _id: &str) -> String {
        String::new()
    }

    /// Switches a machine on or off; it is on when it has booted.
    fn power(&self, _id: &str, _on: bool) {}

    /// Starts a group, also one that was stopped, and gives its public address.
    ///
    /// # Errors
    ///
    /// What the operation is to fail with, such as `InaccessibleImage`.
    fn start(&self, group: &ContainerGroup) -> Result<IpAddr, Refusal>;

    /// Stops a group's containers.
    fn stop(&self, _id: &str) {}

    /// A container's output so far.
    fn logs(&self, _id: &str, _container: &str) -> String {
        String::new()
    }

    /// How a container is.
    fn life(&self, _id: &str, _container: &str) -> Life {
        Life::Running(0)
    }

    /// Removes a machine or a group, and returns when it is gone.
    fn removed(&self, _id: &str) {}
}

/// Machines that only have addresses, of 192.0.2.0/24 (RFC 5737).
#[derive(Debug, Default)]
pub struct NoMachines {
    addresses: AtomicU8,
}

impl NoMachines {
    fn address(&self) -> IpAddr {
        let number = self.addresses.fetch_add(1, Ordering::AcqRel);
        Ipv4Addr::new(192, 0, 2, number.wrapping_add(1)).into()
    }
}

impl Machines for NoMachines {
    fn boot(&self, _machine: &Machine) -> Result<IpAddr, Refusal> {
        Ok(self.address())
    }

    fn start(&self, _group: &ContainerGroup) -> Result<IpAddr, Refusal> {
        Ok(self.address())
    }
}
