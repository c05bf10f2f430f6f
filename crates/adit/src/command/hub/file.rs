//! A hub's file of settings.
//!
//! YAML, as compose files and Kubernetes have it, which people write by hand and comment; every JSON file is one, too.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use gateway::reach::Host;
use hub::config::Typed;
use serde::{Deserialize, de::DeserializeOwned};
use serde_yaml_ng::{Mapping, Value};

use crate::{
    cloud::{AzureSettings, ContainerSettings, VmSettings},
    command::launch::simulation::{SimulateOptions, check_faults, check_speed},
    options::PlaneChoice,
};

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// What is the hub's own.
    pub(super) hub: Typed,
    /// What belongs to this machine.
    pub(super) machine: Machine,
}

/// What belongs to the machine that a hub runs on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Machine {
    /// Where leases, accounts and the audit are kept.
    pub(super) data: Option<PathBuf>,
    /// Where clients reach this machine.
    #[serde(deserialize_with = "parsed")]
    pub(super) endpoint: Option<Host>,
    /// Who handles the packets of gateways on this machine.
    #[serde(deserialize_with = "plane")]
    pub(super) plane: Option<PlaneChoice>,
    /// Where gateways run; the first is taken if a request names none.
    #[serde(deserialize_with = "places")]
    pub(super) places: Vec<PlaceSettings>,
}

/// A place.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum PlaceSettings {
    /// Processes on this machine.
    Local {},
    /// Containers of adit's image.
    Docker(DockerSettings),
    /// Containers of linuxserver's image.
    Linuxserver(DockerSettings),
    /// Nothing at all, with samples for configurations.
    Simulate(SimulateSettings),
    /// Virtual machines at Azure.
    AzureVm(Box<VmSettings>),
    /// Container groups at Azure.
    AzureContainer(Box<ContainerSettings>),
}

impl PlaceSettings {
    /// Those of a place at Azure.
    pub(crate) fn azure(self) -> Option<AzureSettings> {
        match self {
            Self::AzureVm(vm) => Some(AzureSettings::Vm(vm)),
            Self::AzureContainer(container) => Some(AzureSettings::Container(container)),
            Self::Local {} | Self::Docker(_) | Self::Linuxserver(_) | Self::Simulate(_) => None,
        }
    }
}

/// Reads the places of a file: a hub's, or one with a list of places and nothing else.
pub(crate) fn read_places(path: &Path) -> anyhow::Result<Vec<PlaceSettings>> {
    let about = || path.display().to_string();
    let text = text_of(path)?;
    let list = serde_yaml_ng::from_str::<Value>(&text).with_context(about)?;
    match list {
        Value::Sequence(_) => places(list).with_context(about),
        Value::Null | Value::Mapping(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {
            Ok(Settings::parse(&text).with_context(about)?.machine.places)
        }
    }
}

/// A trial run.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SimulateSettings {
    /// How many times as fast as a cloud it is.
    pub(super) speed: Option<f64>,
    /// How many of a hundred calls go wrong.
    pub(super) faults: Option<u8>,
}

impl SimulateSettings {
    /// What the file says, if that can be.
    pub(super) fn checked(self) -> anyhow::Result<SimulateOptions> {
        let wrong = |key: &'static str| move |problem: String| anyhow::anyhow!("places: simulate: {key}: {problem}");
        Ok(SimulateOptions {
            simulate_speed: self.speed.map(check_speed).transpose().map_err(wrong("speed"))?,
            simulate_faults: self.faults.map(check_faults).transpose().map_err(wrong("faults"))?,
        })
    }
}

/// A container engine. What is left out is the place's default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DockerSettings {
    pub(super) name: Option<String>,
    pub(super) socket: Option<PathBuf>,
    pub(super) image: Option<String>,
    pub(super) pulls: bool,
    /// Whether gateways may use the kernel's WireGuard; adit's image alone.
    pub(super) net_admin: bool,
    /// Where clients reach the engine's machine.
    #[serde(deserialize_with = "parsed")]
    pub(super) endpoint: Option<Host>,
    /// The engine's address on which gateways listen.
    pub(super) address: Option<IpAddr>,
    pub(super) network: Option<String>,
    pub(super) memory_mb: Option<u64>,
    /// Sizes by name, the default first.
    pub(super) sizes: Vec<SizeSettings>,
}

/// A size of machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizeSettings {
    pub(super) name: String,
    pub(super) memory_mb: u64,
}

/// The keys of [`Machine`]; all others are the hub's.
const MACHINE: [&str; 4] = ["data", "endpoint", "plane", "places"];

impl Settings {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&text_of(path)?).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let all = match serde_yaml_ng::from_str(text)? {
            Value::Null => Mapping::new(),
            Value::Mapping(all) => all,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Sequence(_) | Value::Tagged(_) => {
                bail!("is no list of settings such as `listen: 127.0.0.1:8790`");
            }
        };
        let is_machine = |key: &Value| key.as_str().is_some_and(|key| MACHINE.contains(&key));
        let (machine, hub): (Mapping, Mapping) = all.into_iter().partition(|(key, _)| is_machine(key));
        Ok(Self {
            hub: section(hub)?,
            machine: section(machine)?,
        })
    }
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    let about = || path.display().to_string();
    if fs::metadata(path).with_context(about)?.len() > LARGEST {
        bail!("{}: larger than {LARGEST} bytes", path.display());
    }
    fs::read_to_string(path).with_context(about)
}

/// Each place by itself, so that an error names it.
fn places<'de, D>(deserializer: D) -> Result<Vec<PlaceSettings>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let all = Vec::<Value>::deserialize(deserializer)?;
    let read = |(at, place): (usize, Value)| {
        let name = ["name", "kind"].iter().find_map(|key| place.get(key)?.as_str());
        let name = name.map_or_else(|| format!("places[{at}]"), |name| format!("places: {name}"));
        serde_yaml_ng::from_value(place).map_err(|error| serde::de::Error::custom(format!("{name}: {error}")))
    };
    all.into_iter().enumerate().map(read).collect()
}

fn section<T: DeserializeOwned>(mapping: Mapping) -> anyhow::Result<T> {
    Ok(serde_yaml_ng::from_value(Value::Mapping(mapping))?)
}

fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}

fn plane<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<PlaneChoice>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let read = |text: String| {
        <PlaneChoice as clap::ValueEnum>::from_str(&text, false)
            .map_err(|_| serde::de::Error::custom(format!("plane: `{text}` is none of auto, kernel, tun, netstack")))
    };
    text.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_is_the_hubs_and_what_is_the_machines() {
        let settings = Settings::parse(
            "# For the office.\n\
             listen: 0.0.0.0:8443\n\
             public_url: https://vpn.example.org\n\
             tls: {certificate: /etc/adit/cert.pem, key: /etc/adit/key.pem}\n\
             oidc:\n  issuer: https://id.example.org\n  client_id: adit\n  admin_values: [admins]\n\
             limits: {leases_per_user: 2}\n\
             profiles:\n  work:\n    description: the office's networks\n    allowed_ips: [10.0.0.0/8]\n\
             data: /var/lib/adit/hub\n\
             endpoint: vpn.example.org\n\
             plane: netstack\n\
             places:\n  - kind: local\n  - {kind: docker, image: 'adit:1', sizes: [{name: small, memory_mb: 128}]}\n",
        )
        .unwrap();
        assert_eq!(settings.hub.limits.leases_per_user, Some(2));
        assert_eq!(settings.hub.profiles["work"].allowed_ips.as_ref().unwrap().len(), 1);
        assert_eq!(settings.machine.data.as_deref(), Some(Path::new("/var/lib/adit/hub")));
        assert_eq!(settings.machine.plane, Some(PlaneChoice::Netstack));
        assert!(matches!(
            &settings.machine.places[..],
            [PlaceSettings::Local {}, PlaceSettings::Docker(docker)] if docker.sizes[0].memory_mb == 128
        ));
        hub::Config::new(settings.hub).unwrap();

        let json = r#"{"listen": "127.0.0.1:9000", "places": [{"kind": "simulate", "speed": 10}]}"#;
        let json = Settings::parse(json).unwrap();
        let [PlaceSettings::Simulate(simulate)] = &json.machine.places[..] else {
            panic!("one place: {:?}", json.machine.places)
        };
        assert_eq!(simulate.checked().unwrap().simulate_speed, Some(10.0));
        let too_many = SimulateSettings {
            faults: Some(101),
            ..SimulateSettings::default()
        };
        assert!(too_many.checked().unwrap_err().to_string().contains("faults: must be"));
        assert_eq!(json.hub.listen.as_deref(), Some("127.0.0.1:9000"));
        assert!(Settings::parse("").unwrap().machine.places.is_empty());
    }

    #[test]
    fn a_wrong_file_says_what_is_wrong() {
        for (text, part) in [
            ("listne: 127.0.0.1:1", "listne"),
            ("oidc: {issuer: x, secret: y}", "secret"),
            ("places: [{kind: moon}]", "moon"),
            ("places: [{kind: local, image: x}]", "image"),
            ("places: [{kind: docker, sise: 1}]", "sise"),
            (
                "places: [{kind: azure-vm, sise: 1}]",
                "places: azure-vm: unknown field `sise`",
            ),
            (
                "places: [{kind: azure-container, name: west, cpu: x}]",
                "places: west: ",
            ),
            ("plane: fast", "plane"),
            ("endpoint: 'a b'", "a b"),
            ("- listen", "no list of settings"),
            ("listen: [", "line"),
            ("profiles: {work: {lifetime: 1}}", "lifetime"),
        ] {
            let error = format!("{:#}", Settings::parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
