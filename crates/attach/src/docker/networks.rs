//! The networks that were made with a driver.

use std::collections::{BTreeMap, HashMap};

use bollard::{errors::Error as EngineError, models::Network as Found, query_parameters::ListNetworksOptions};

use super::Engine;
use crate::driver::Network;

impl Engine {
    /// The networks of `driver`, by their IDs.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn networks(&self, driver: &str) -> Result<BTreeMap<String, Network>, EngineError> {
        let filters = HashMap::from([("driver".to_owned(), vec![driver.to_owned()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let found = self.client().await?.list_networks(Some(options)).await?;
        Ok(found.into_iter().filter_map(network).collect())
    }
}

fn network(found: Found) -> Option<(String, Network)> {
    let configs = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let gateway = configs.into_iter().find_map(|config| config.gateway);
    // Docker 20.10 tells the prefix of a gateway that it got from a driver.
    let gateway = gateway.and_then(|text| text.split('/').next()?.parse().ok());
    let options = found.options.unwrap_or_default().into_iter().collect();
    Some((found.id?, Network::new(options, gateway)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_as_docker_tells_it() {
        // (configuration of its addresses, pool)
        for (config, pool) in [
            (
                r#"[{"Subnet":"0.0.0.0/0","Gateway":"247.1.2.3/32"}]"#,
                Some("247.1.2.3"),
            ),
            (r#"[{"Subnet":"0.0.0.0/0","Gateway":"247.1.2.3"}]"#, Some("247.1.2.3")),
            (r#"[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"}]"#, None),
            (r#"[{"Subnet":"172.18.0.0/16"}]"#, None),
            ("[]", None),
            ("null", None),
        ] {
            let text = format!(r#"{{"Id":"n","Options":{{"region":"swiss"}},"IPAM":{{"Config":{config}}}}}"#);
            let (id, read) = network(serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(id, "n");
            assert_eq!(read.options["region"], "swiss");
            assert_eq!(read.pool, pool.map(|pool| pool.parse().unwrap()), "{config}");
        }
    }
}
