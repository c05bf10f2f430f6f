//! The container engine: Docker, or Podman by its compatible socket.

mod containers;
mod error;
mod exec;
mod files;
mod images;
mod names;
mod networks;
mod start;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error as EngineError,
    models::{ContainerInspectResponse, ContainerSummary, EndpointSettings, EventMessage, EventMessageTypeEnum},
    query_parameters::{EventsOptions, ListContainersOptions},
};
use futures_util::StreamExt as _;
use tokio::sync::OnceCell;
use wg::IpNet;

pub use self::{
    containers::{Check, Found, Phase, Publication, Wanted},
    error::CallError,
    exec::Ran,
    files::Put,
    networks::Network,
};
use crate::{Container, container::Membership};

/// How long the engine may take for an answer. An inspection waits for a start that is under way.
const LIMIT_SECS: u64 = 60;

/// The first wait before an engine that is gone is looked for again, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What stands before a path in `DOCKER_HOST`.
const SCHEME: &str = "unix://";

/// What the engine says, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The engine answers; what happened before is not known.
    Back,
    /// It does not, and this is why.
    Lost(String),
    /// A container was made; it does not run.
    Created {
        /// Its ID.
        id: String,
        /// Its name.
        name: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// A container is given its networks, since it is about to start.
    Connecting {
        /// Its ID.
        id: String,
        /// The network's name.
        network: String,
        /// The network's ID.
        network_id: String,
    },
    /// A network was taken from a container, which may run or have failed to start.
    Disconnected {
        /// Its ID.
        id: String,
    },
    /// A container's first process runs.
    Started {
        /// Its ID.
        id: String,
    },
    /// It ended, and may start again.
    Ended {
        /// Its ID.
        id: String,
    },
    /// It is no more.
    Removed {
        /// Its ID.
        id: String,
    },
    /// It has another name.
    Renamed {
        /// Its ID.
        id: String,
        /// The new one.
        name: String,
    },
}

impl Event {
    /// Whether containers may be called otherwise after this, or others be in networks.
    pub fn changes_names(&self) -> bool {
        match self {
            Self::Connecting { .. } | Self::Disconnected { .. } | Self::Started { .. } | Self::Renamed { .. } => true,
            Self::Back | Self::Lost(_) | Self::Created { .. } | Self::Ended { .. } | Self::Removed { .. } => false,
        }
    }
}

/// The way to the engine.
#[derive(Clone, Debug)]
pub struct Engine {
    place: Arc<Path>,
    client: Arc<OnceCell<Docker>>,
}

impl Engine {
    /// The engine behind the socket at `place`, a path or `unix://` and a path. It need not be there yet.
    pub fn new(place: &Path) -> Self {
        let text = place.to_string_lossy();
        let path = text
            .strip_prefix(SCHEME)
            .map_or_else(|| place.to_owned(), PathBuf::from);
        Self {
            place: path.into(),
            client: Arc::default(),
        }
    }

    /// Where its socket is.
    pub fn place(&self) -> &Path {
        &self.place
    }

    async fn client(&self) -> Result<&Docker, EngineError> {
        let connect = || async {
            let place = self.place.to_string_lossy();
            let client = Docker::connect_with_unix(&place, LIMIT_SECS, API_DEFAULT_VERSION)?;
            client.negotiate_version().await
        };
        self.client.get_or_try_init(connect).await
    }

    /// Tells `hear` what happens, for ever; an engine that is gone is looked for until it is back. After each
    /// [`Event::Back`] the caller lists: what happens from then on is told, whatever the list has already.
    pub async fn watch(&self, hear: impl Fn(Event)) {
        let mut wait = FIRST_WAIT;
        loop {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let reason = match self.follow(since, &hear, &mut wait).await {
                Ok(()) => "it closed the connection".to_owned(),
                Err(error) => explain(&error),
            };
            // Longer waits are those for an engine that was told to be lost.
            if wait == FIRST_WAIT {
                hear(Event::Lost(reason));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn follow(&self, since: Duration, hear: &impl Fn(Event), wait: &mut Duration) -> Result<(), EngineError> {
        let client = self.client().await?;
        client.ping().await?;
        *wait = FIRST_WAIT;
        hear(Event::Back);
        let filters = HashMap::from([("type".to_owned(), vec!["container".to_owned(), "network".to_owned()])]);
        let options = EventsOptions {
            since: Some(format!("{}.{:09}", since.as_secs(), since.subsec_nanos())),
            filters: Some(filters),
            ..EventsOptions::default()
        };
        let mut events = std::pin::pin!(client.events(Some(options)));
        while let Some(event) = events.next().await {
            if let Some(event) = read(event?) {
                hear(event);
            }
        }
        Ok(())
    }

    /// All containers, running or not, without what only [`Self::inspect`] tells.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn list(&self) -> Result<Vec<Container>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            ..ListContainersOptions::default()
        };
        let found = self.client().await?.list_containers(Some(options)).await?;
        Ok(found.into_iter().map(summarized).collect())
    }

    /// The addresses of a network, by its name or ID; none if the engine does not tell.
    pub async fn subnets(&self, network: &str) -> Vec<IpNet> {
        let Ok(client) = self.client().await else {
            return Vec::new();
        };
        let Ok(found) = client.inspect_network(network, None).await else {
            return Vec::new();
        };
        let configurations = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default().into_iter();
        configurations.filter_map(|one| one.subnet?.parse().ok()).collect()
    }

    /// The folder in which the engine keeps its containers' files; `None` if it does not tell.
    pub async fn root(&self) -> Option<PathBuf> {
        let info = self.client().await.ok()?.info().await.ok()?;
        info.docker_root_dir.map(PathBuf::from)
    }

    /// A container, by its ID or its name; `None` if there is none. Waits for a start that is under way.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        match self.client().await?.inspect_container(id, None).await {
            Ok(found) => Ok(Some(container(found))),
            Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the engine has many errors, which speak for themselves"
)]
/// What a person makes of the engine's error.
fn explain(error: &EngineError) -> String {
    match error {
        EngineError::SocketNotFoundError(path) => {
            format!("there is no socket {path}: start the engine, or name its socket by --docker")
        }
        EngineError::HyperLegacyError { .. } => "nobody answers at its socket: start the engine".to_owned(),
        other => other.to_string(),
    }
}

/// A name without Docker's slash.
fn plain(name: String) -> String {
    name.strip_prefix('/').map(str::to_owned).unwrap_or(name)
}

fn read(message: EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let (id, mut attributes) = (actor.id?, actor.attributes.unwrap_or_default());
    let action = message.action?;
    match (message.typ?, action.as_str()) {
        (EventMessageTypeEnum::CONTAINER, "create") => {
            let name = attributes.remove("name").unwrap_or_default();
            let labels = attributes.into_iter().collect();
            Some(Event::Created { id, name, labels })
        }
        (EventMessageTypeEnum::CONTAINER, "start") => Some(Event::Started { id }),
        (EventMessageTypeEnum::CONTAINER, "die") => Some(Event::Ended { id }),
        (EventMessageTypeEnum::CONTAINER, "destroy") => Some(Event::Removed { id }),
        (EventMessageTypeEnum::CONTAINER, "rename") => Some(Event::Renamed {
            id,
            name: attributes.remove("name")?,
        }),
        (EventMessageTypeEnum::NETWORK, "connect") => Some(Event::Connecting {
            id: attributes.remove("container")?,
            network: attributes.remove("name").unwrap_or_default(),
            network_id: id,
        }),
        (EventMessageTypeEnum::NETWORK, "disconnect") => Some(Event::Disconnected {
            id: attributes.remove("container")?,
        }),
        _ => None,
    }
}

/// What a list tells of a container.
fn summarized(summary: ContainerSummary) -> Container {
    Container {
        id: summary.id.unwrap_or_default(),
        name: summary
            .names
            .and_then(|names| names.into_iter().next())
            .map(plain)
            .unwrap_or_default(),
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        networks: memberships(summary.network_settings.and_then(|settings| settings.networks)),
        ..Container::default()
    }
}

fn container(found: ContainerInspectResponse) -> Container {
    let state = found.state.unwrap_or_default();
    let is_running = state.running == Some(true);
    let pid = state
        .pid
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > 0 && is_running);
    let network = found.network_settings.unwrap_or_default();
    Container {
        id: found.id.unwrap_or_default(),
        name: found.name.map(plain).unwrap_or_default(),
        labels: found
            .config
            .and_then(|config| config.labels)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        pid,
        namespace: network
            .sandbox_key
            .filter(|path| !path.is_empty() && is_running)
            .map(PathBuf::from),
        resolv_conf: found
            .resolv_conf_path
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        networks: memberships(network.networks),
    }
}

fn memberships(networks: Option<HashMap<String, EndpointSettings>>) -> BTreeMap<String, Membership> {
    let networks = networks.unwrap_or_default().into_iter();
    networks
        .map(|(name, found)| (name.clone(), membership(&name, found)))
        .collect()
}

/// Whether a network's containers find each other by name: not on Docker's own networks, which have these names.
pub fn has_names(network: &str) -> bool {
    !matches!(network, "bridge" | "host" | "none" | "podman")
}

fn membership(name: &str, found: EndpointSettings) -> Membership {
    let address = |address: Option<String>, len: Option<i64>| {
        let address: IpAddr = address?.parse().ok()?;
        IpNet::new(address, u8::try_from(len?).ok()?).ok()
    };
    let gateway = |address: Option<String>| address?.parse().ok();
    let addresses = [
        address(found.ip_address, found.ip_prefix_len),
        address(found.global_ipv6_address, found.global_ipv6_prefix_len),
    ];
    Membership {
        network: found.network_id.unwrap_or_default(),
        endpoint: found.endpoint_id.unwrap_or_default(),
        has_names: has_names(name),
        addresses: addresses.into_iter().flatten().collect(),
        gateways: [gateway(found.gateway), gateway(found.ipv6_gateway)]
            .into_iter()
            .flatten()
            .collect(),
        aliases: found.aliases.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    fn message(typ: EventMessageTypeEnum, action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        EventMessage {
            typ: Some(typ),
            action: Some(action.to_owned()),
            actor: Some(EventActor {
                id: Some("i".to_owned()),
                attributes: Some(attributes.collect()),
            }),
            ..EventMessage::default()
        }
    }

    #[test]
    fn what_matters_of_the_engine_s_events_is_heard() {
        use EventMessageTypeEnum::{CONTAINER, NETWORK};
        let id = || "i".to_owned();
        let labels = BTreeMap::from([("adit.enable".to_owned(), "true".to_owned())]);
        let created = Event::Created {
            id: id(),
            name: "web".to_owned(),
            labels,
        };
        for (message, expected) in [
            (
                message(CONTAINER, "create", &[("name", "web"), ("adit.enable", "true")]),
                Some(created),
            ),
            (message(CONTAINER, "start", &[]), Some(Event::Started { id: id() })),
            (
                message(CONTAINER, "die", &[("exitCode", "0")]),
                Some(Event::Ended { id: id() }),
            ),
            (message(CONTAINER, "exec_start: sh", &[]), None),
            (message(NETWORK, "create", &[("name", "n")]), None),
            (
                message(NETWORK, "connect", &[("container", "c"), ("name", "bridge")]),
                Some(Event::Connecting {
                    id: "c".to_owned(),
                    network: "bridge".to_owned(),
                    network_id: id(),
                }),
            ),
            (message(NETWORK, "connect", &[]), None),
        ] {
            assert_eq!(read(message), expected);
        }
    }

    #[test]
    fn a_container_is_read_as_docker_20_10_tells_it() {
        let text = r#"{"Id":"ea9b","Name":"/zed","State":{"Running":true,"Pid":545},"Config":{"Labels":{"a":"b"}},
            "ResolvConfPath":"/data/ea9b/resolv.conf","NetworkSettings":{"SandboxKey":"/run/docker/netns/ad4b",
            "Networks":{"bridge":{"NetworkID":"4861","EndpointID":"e3b3","Gateway":"172.17.0.1","IPAddress":"172.17.0.2",
            "IPPrefixLen":16,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"Aliases":null},
            "home":{"NetworkID":"1","EndpointID":"2","Gateway":"","IPAddress":"172.18.0.9","IPPrefixLen":16,
            "Aliases":["web"]}}}}"#;
        let read = container(serde_json::from_str(text).unwrap());
        assert_eq!(
            (read.id.as_str(), read.name.as_str(), read.pid),
            ("ea9b", "zed", Some(545))
        );
        assert_eq!(read.namespace, Some("/run/docker/netns/ad4b".into()));
        let bridge = &read.networks["bridge"];
        assert_eq!(bridge.gateways, ["172.17.0.1".parse::<IpAddr>().unwrap()]);
        assert!(!bridge.has_names && read.networks["home"].has_names);
        let neighbours: Vec<IpNet> = ["172.17.0.0/16", "172.18.0.0/16"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(read.neighbours(), neighbours);
    }
}
