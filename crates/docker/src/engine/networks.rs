//! The engine's networks.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use bollard::{
    errors::Error as EngineError,
    models::{Ipam, IpamConfig, Network as Found, NetworkCreateRequest},
    query_parameters::ListNetworksOptions,
};
use wg::IpNet;

use super::Engine;

/// A network, as the engine tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The driver that made it.
    pub driver: String,
    /// What it was made with by `-o`.
    pub options: BTreeMap<String, String>,
    /// Its addresses.
    pub subnets: Vec<IpNet>,
    /// The gateways in them.
    pub gateways: Vec<IpAddr>,
}

impl Engine {
    /// The networks of `driver`.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn networks(&self, driver: &str) -> Result<Vec<Network>, EngineError> {
        let filters = HashMap::from([("driver".to_owned(), vec![driver.to_owned()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let found = self.client().await?.list_networks(Some(options)).await?;
        Ok(found.into_iter().map(network).collect())
    }

    /// The network of this name or ID; `None` if there is none.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn network(&self, name: &str) -> Result<Option<Network>, EngineError> {
        match self.client().await?.inspect_network(name, None).await {
            Ok(found) => Ok(Some(network(Found {
                id: found.id,
                name: found.name,
                driver: found.driver,
                options: found.options,
                ipam: found.ipam,
                ..Found::default()
            }))),
            Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a network with its subnets and gateways, and gives its ID.
    ///
    /// # Errors
    ///
    /// What the engine says, or the driver through it.
    pub async fn create_network(&self, wanted: &Network) -> Result<String, EngineError> {
        let configs = wanted
            .subnets
            .iter()
            .zip(&wanted.gateways)
            .map(|(subnet, gateway)| IpamConfig {
                subnet: Some(subnet.to_string()),
                gateway: Some(gateway.to_string()),
                ..IpamConfig::default()
            });
        let request = NetworkCreateRequest {
            name: wanted.name.clone(),
            driver: Some(wanted.driver.clone()),
            enable_ipv6: Some(wanted.subnets.iter().any(|subnet| subnet.addr().is_ipv6())),
            ipam: Some(Ipam {
                config: Some(configs.collect()),
                ..Ipam::default()
            }),
            options: Some(wanted.options.clone().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        Ok(self.client().await?.create_network(request).await?.id)
    }

    /// Removes a network; nothing if there is none.
    ///
    /// # Errors
    ///
    /// What the engine says, as that containers are in it.
    pub async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        match self.client().await?.remove_network(id).await {
            Ok(()) | Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn network(found: Found) -> Network {
    let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    // Docker 20.10 tells the prefix of a gateway that it got from a driver.
    let address = |text: String| text.split('/').next()?.parse().ok();
    Network {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default(),
        driver: found.driver.unwrap_or_default(),
        options: found.options.unwrap_or_default().into_iter().collect(),
        subnets: configs
            .iter()
            .filter_map(|config| config.subnet.as_ref()?.parse().ok())
            .collect(),
        gateways: configs
            .into_iter()
            .filter_map(|config| address(config.gateway?))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_as_docker_tells_it() {
        // (configuration of its addresses, gateway)
        for (config, gateway) in [
            (
                r#"[{"Subnet":"0.0.0.0/0","Gateway":"247.1.2.3/32"}]"#,
                Some("247.1.2.3"),
            ),
            (r#"[{"Subnet":"0.0.0.0/0","Gateway":"247.1.2.3"}]"#, Some("247.1.2.3")),
            (
                r#"[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"}]"#,
                Some("172.18.0.1"),
            ),
            (r#"[{"Subnet":"172.18.0.0/16"}]"#, None),
            ("[]", None),
            ("null", None),
        ] {
            let text = format!(r#"{{"Id":"n","Options":{{"region":"swiss"}},"IPAM":{{"Config":{config}}}}}"#);
            let read = network(serde_json::from_str(&text).unwrap());
            assert_eq!(read.id, "n");
            assert_eq!(read.options["region"], "swiss");
            assert_eq!(
                read.gateways.first().copied(),
                gateway.map(|text| text.parse().unwrap()),
                "{config}"
            );
        }
    }
}
