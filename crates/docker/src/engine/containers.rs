//! Containers that are made, found and removed here.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum as Status, DeviceMapping, HealthConfig,
        HostConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{CreateContainerOptions, ListContainersOptions, RemoveContainerOptions},
};

use super::{CallError, Engine, plain, summarized};
use crate::Container;

/// A container as it is to be. It is not restarted, and goes with its volumes when it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The image.
    pub image: String,
    /// What its entry point is given; empty is what the image says.
    pub command: Vec<String>,
    /// Variables, without a secret: whoever may talk to the engine reads them.
    pub environment: BTreeMap<String, String>,
    /// User and group; `None` is what the image says.
    pub user: Option<String>,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// The UDP port that is reached from outside.
    pub publication: Option<Publication>,
    /// The network that it is in; `None` is the engine's default.
    pub network: Option<String>,
    /// Most memory, in bytes; `None` is any.
    pub memory_bytes: Option<u64>,
    /// Most processes and threads; `None` is any.
    pub pids: Option<u32>,
    /// Whether it starts without the capabilities that the engine gives to every container.
    pub drops_capabilities: bool,
    /// Capabilities that it has beyond that, such as `NET_ADMIN`.
    pub capabilities: Vec<String>,
    /// Devices of the host, which have the same path in the container.
    pub devices: Vec<String>,
    /// Kernel settings of its network.
    pub sysctls: BTreeMap<String, String>,
    /// Folders in memory, with their mount options.
    pub tmpfs: BTreeMap<String, String>,
    /// Whether nothing but those folders and volumes can be written.
    pub is_read_only: bool,
    /// Whether the image's health check is left out.
    pub without_health_check: bool,
    /// What the engine runs in place of the image's health check.
    pub check: Option<Check>,
}

/// A program that the engine runs in a container again and again, for as long as the container lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// How long after its end it is run again, and how long it may take.
    pub every: Duration,
}

/// A UDP port of a container that is reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// In the container.
    pub port: u16,
    /// The host's address; `None` is every one.
    pub address: Option<IpAddr>,
    /// The host's port; `None` is one that is free.
    pub host_port: Option<u16>,
}

/// A container that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
    /// How far it is.
    pub phase: Phase,
    /// The host's addresses and ports that lead to its UDP ports, by the port inside; empty while it does not run.
    pub published: BTreeMap<u16, Vec<(IpAddr, u16)>>,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not started yet.
    Created,
    /// Its first process is there.
    Running,
    /// It has ended, with this code if the engine tells it.
    Ended(Option<i64>),
    /// The engine removes it.
    Removing,
}

impl Engine {
    /// Makes a container, which does not run yet, and gives its ID.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`] without the image or the network, [`CallError::Conflict`] if the name is taken.
    pub async fn create(&self, wanted: &Wanted) -> Result<String, CallError> {
        let options = CreateContainerOptions {
            name: Some(wanted.name.clone()),
            ..CreateContainerOptions::default()
        };
        let made = self
            .client()
            .await?
            .create_container(Some(options), body(wanted))
            .await?;
        Ok(made.id)
    }

    /// The container of this name or ID; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As the engine says; never [`CallError::Missing`].
    pub async fn find(&self, container: &str) -> Result<Option<Found>, CallError> {
        match self
            .client()
            .await?
            .inspect_container(container, None)
            .await
            .map_err(CallError::from)
        {
            Ok(inspected) => Ok(Some(found(inspected))),
            Err(CallError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The containers that carry all these labels, running or not, without what only an inspection tells.
    ///
    /// # Errors
    ///
    /// As the engine says.
    pub async fn labelled(&self, labels: &[(&str, &str)]) -> Result<Vec<Container>, CallError> {
        let filter = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), filter)])),
            ..ListContainersOptions::default()
        };
        let listed = self.client().await?.list_containers(Some(options)).await?;
        // An engine that does not know the filter tells of all.
        let has_all = |container: &Container| {
            let has = |(name, value): &(&str, &str)| container.labels.get(*name).is_some_and(|found| found == value);
            labels.iter().all(has)
        };
        Ok(listed.into_iter().map(summarized).filter(has_all).collect())
    }

    /// Ends a container at once and removes it with its own volumes.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`] if there is none, [`CallError::Conflict`] while the engine is removing it.
    pub async fn remove(&self, container: &str) -> Result<(), CallError> {
        let options = RemoveContainerOptions {
            v: true,
            force: true,
            ..RemoveContainerOptions::default()
        };
        Ok(self.client().await?.remove_container(container, Some(options)).await?)
    }
}

fn body(wanted: &Wanted) -> ContainerCreateBody {
    let environment = wanted.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let no_check = || HealthConfig {
        test: Some(vec!["NONE".to_owned()]),
        ..HealthConfig::default()
    };
    let health_check = match &wanted.check {
        Some(check) => Some(health_check(check)),
        None => wanted.without_health_check.then(no_check),
    };
    let port = wanted
        .publication
        .map(|publication| format!("{}/udp", publication.port));
    ContainerCreateBody {
        image: Some(wanted.image.clone()),
        cmd: some(wanted.command.clone()),
        env: some(environment.collect()),
        user: wanted.user.clone(),
        labels: Some(wanted.labels.clone().into_iter().collect()),
        exposed_ports: port.map(|port| vec![port]),
        healthcheck: health_check,
        host_config: Some(host_config(wanted)),
        ..ContainerCreateBody::default()
    }
}

fn health_check(check: &Check) -> HealthConfig {
    let nanos = i64::try_from(check.every.as_nanos()).ok();
    let words = std::iter::once("CMD").chain(check.words.iter().map(String::as_str));
    HealthConfig {
        test: Some(words.map(str::to_owned).collect()),
        interval: nanos,
        timeout: nanos,
        ..HealthConfig::default()
    }
}

fn host_config(wanted: &Wanted) -> HostConfig {
    let devices = wanted.devices.iter().map(|path| DeviceMapping {
        path_on_host: Some(path.clone()),
        path_in_container: Some(path.clone()),
        cgroup_permissions: Some("rwm".to_owned()),
    });
    HostConfig {
        auto_remove: Some(true),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        cap_drop: wanted.drops_capabilities.then(|| vec!["ALL".to_owned()]),
        cap_add: some(wanted.capabilities.clone()),
        devices: some(devices.collect()),
        sysctls: Some(wanted.sysctls.clone().into_iter().collect()),
        tmpfs: Some(wanted.tmpfs.clone().into_iter().collect()),
        readonly_rootfs: Some(wanted.is_read_only),
        memory: wanted.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok()),
        pids_limit: wanted.pids.map(i64::from),
        network_mode: wanted.network.clone(),
        port_bindings: wanted.publication.map(port_bindings),
        ..HostConfig::default()
    }
}

fn port_bindings(publication: Publication) -> PortMap {
    let binding = PortBinding {
        host_ip: publication.address.map(|address| address.to_string()),
        host_port: Some(publication.host_port.unwrap_or(0).to_string()),
    };
    HashMap::from([(format!("{}/udp", publication.port), Some(vec![binding]))])
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn found(inspected: ContainerInspectResponse) -> Found {
    let state = inspected.state.unwrap_or_default();
    let ended = Phase::Ended(state.exit_code);
    let phase = match state.status {
        Some(Status::CREATED) => Phase::Created,
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => Phase::Running,
        Some(Status::REMOVING) => Phase::Removing,
        Some(Status::EXITED | Status::DEAD) => ended,
        Some(Status::EMPTY) | None if state.running == Some(true) => Phase::Running,
        Some(Status::EMPTY) | None => ended,
    };
    let ports = inspected
        .network_settings
        .and_then(|settings| settings.ports)
        .unwrap_or_default();
    Found {
        id: inspected.id.map(plain).unwrap_or_default(),
        labels: inspected
            .config
            .and_then(|config| config.labels)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        phase,
        published: ports
            .into_iter()
            .filter_map(|(port, bindings)| published(&port, bindings?))
            .collect(),
    }
}

/// `51820/udp` and where it is reached.
fn published(port: &str, bindings: Vec<PortBinding>) -> Option<(u16, Vec<(IpAddr, u16)>)> {
    let port = port.strip_suffix("/udp")?.parse().ok()?;
    let outside = bindings.into_iter().filter_map(|binding| {
        let host_port = binding.host_port?.parse().ok().filter(|port| *port != 0)?;
        // Docker tells an address, Podman nothing for all of them.
        let address = binding.host_ip.filter(|address| !address.is_empty());
        let address = address.map_or(Ok(IpAddr::from([0, 0, 0, 0])), |address| address.parse());
        Some((address.ok()?, host_port))
    });
    Some((port, outside.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_said_in_docker_s_words() {
        let wanted = Wanted {
            name: "adit-1".to_owned(),
            image: "adit:latest".to_owned(),
            command: vec!["node".to_owned()],
            user: Some("65534:65534".to_owned()),
            labels: BTreeMap::from([("adit.instance".to_owned(), "here".to_owned())]),
            publication: Some(Publication {
                port: 51_820,
                address: None,
                host_port: None,
            }),
            memory_bytes: Some(256 << 20),
            pids: Some(512),
            drops_capabilities: true,
            tmpfs: BTreeMap::from([("/run".to_owned(), "mode=0700".to_owned())]),
            is_read_only: true,
            without_health_check: true,
            ..Wanted::default()
        };
        let said = serde_json::to_value(body(&wanted)).unwrap();
        let host = &said["HostConfig"];
        for (found, expected) in [
            (&said["Image"], r#""adit:latest""#),
            (&said["Cmd"], r#"["node"]"#),
            (&said["User"], r#""65534:65534""#),
            (&said["Env"], "null"),
            (&said["Healthcheck"]["Test"], r#"["NONE"]"#),
            (&said["ExposedPorts"], r#"{"51820/udp":{}}"#),
            (&host["PortBindings"], r#"{"51820/udp":[{"HostPort":"0"}]}"#),
            (&host["AutoRemove"], "true"),
            (&host["RestartPolicy"]["Name"], r#""no""#),
            (&host["CapDrop"], r#"["ALL"]"#),
            (&host["CapAdd"], "null"),
            (&host["SecurityOpt"], r#"["no-new-privileges"]"#),
            (&host["ReadonlyRootfs"], "true"),
            (&host["Memory"], "268435456"),
            (&host["PidsLimit"], "512"),
            (&host["Tmpfs"], r#"{"/run":"mode=0700"}"#),
        ] {
            assert_eq!(found.to_string(), expected);
        }
        let tunnel = Wanted {
            capabilities: vec!["NET_ADMIN".to_owned()],
            devices: vec!["/dev/net/tun".to_owned()],
            publication: Some(Publication {
                port: 51_820,
                address: Some(IpAddr::from([203, 0, 113, 2])),
                host_port: Some(443),
            }),
            check: Some(Check {
                words: vec!["/bin/sh".to_owned(), "/look".to_owned()],
                every: Duration::from_secs(30),
            }),
            ..wanted
        };
        let mut said = serde_json::to_value(body(&tunnel)).unwrap();
        let check = r#"{"Interval":30000000000,"Test":["CMD","/bin/sh","/look"],"Timeout":30000000000}"#;
        assert_eq!(said["Healthcheck"].to_string(), check);
        let host = said["HostConfig"].take();
        assert_eq!(host["CapAdd"].to_string(), r#"["NET_ADMIN"]"#);
        assert_eq!(host["Devices"][0]["PathInContainer"], "/dev/net/tun");
        let binding = &host["PortBindings"]["51820/udp"][0];
        assert_eq!(
            (&binding["HostIp"], &binding["HostPort"]),
            (&"203.0.113.2".into(), &"443".into())
        );
    }

    #[test]
    fn a_container_is_told_by_its_phase_and_its_ports() {
        let (any, any_v6) = (IpAddr::from([0; 4]), IpAddr::from([0; 16]));
        // (state, ports, phase, where 51820 is reached)
        for (state, ports, phase, outside) in [
            (r#"{"Status":"created","ExitCode":0}"#, "{}", Phase::Created, vec![]),
            (
                r#"{"Status":"running"}"#,
                r#"{"51820/udp":[{"HostIp":"0.0.0.0","HostPort":"49153"},{"HostIp":"::","HostPort":"49154"}]}"#,
                Phase::Running,
                vec![(any, 49_153), (any_v6, 49_154)],
            ),
            (
                r#"{"Status":"paused"}"#,
                r#"{"51820/udp":[{"HostIp":"","HostPort":"443"}],"51820/tcp":null,"8080/tcp":[]}"#,
                Phase::Running,
                vec![(any, 443)],
            ),
            (
                r#"{"Status":"removing"}"#,
                r#"{"51820/udp":null}"#,
                Phase::Removing,
                vec![],
            ),
            (
                r#"{"Status":"exited","ExitCode":2}"#,
                "null",
                Phase::Ended(Some(2)),
                vec![],
            ),
            (r#"{"Status":"dead"}"#, "null", Phase::Ended(None), vec![]),
            (r#"{"Running":true}"#, "null", Phase::Running, vec![]),
        ] {
            let text = format!(r#"{{"Id":"e","State":{state},"NetworkSettings":{{"Ports":{ports}}}}}"#);
            let found = found(serde_json::from_str(&text).unwrap());
            assert_eq!(found.phase, phase, "{state}");
            assert_eq!(
                found.published.get(&51_820).cloned().unwrap_or_default(),
                outside,
                "{ports}"
            );
        }
    }
}
