//! What the containers of a network are called.

use bollard::errors::Error as EngineError;
use futures_util::future::join_all;
use wg::IpNet;

use super::Engine;
use crate::{Container, resolver::Member};

impl Engine {
    /// Who is in a network, by its name or ID, with the names by which the engine's own resolver would find them.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn members(&self, network: &str) -> Result<Vec<Member>, EngineError> {
        let found = self.client().await?.inspect_network(network, None).await?;
        let name = found.name.unwrap_or_default();
        let found = found.containers.unwrap_or_default().into_iter();
        let members = found.map(|(id, container)| {
            let name = &name;
            async move {
                // The network tells no aliases.
                let inspected = self.inspect(&id).await.ok().flatten();
                let mut member = inspected.map(|inspected| member(inspected, name)).unwrap_or_default();
                let own = container.name.unwrap_or_default();
                if !member.names.contains(&own) {
                    member.names.insert(0, own);
                }
                for address in [container.ipv4_address, container.ipv6_address].into_iter().flatten() {
                    let address = address.parse::<IpNet>().map(|network| network.addr());
                    member
                        .addresses
                        .extend(address.ok().filter(|address| !member.addresses.contains(address)));
                }
                member
            }
        });
        Ok(join_all(members).await)
    }
}

fn member(container: Container, network: &str) -> Member {
    let membership = container.networks.into_iter().find(|(name, _)| name == network);
    let membership = membership.map(|(_, membership)| membership).unwrap_or_default();
    let mut names = vec![container.name];
    names.extend(membership.aliases);
    Member {
        names,
        addresses: membership.addresses.iter().map(IpNet::addr).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Membership;

    #[test]
    fn a_member_is_called_by_its_name_and_its_aliases_in_the_network() {
        let membership = |alias: &str, address: &str| Membership {
            addresses: vec![address.parse().unwrap()],
            aliases: vec![alias.to_owned()],
            ..Membership::default()
        };
        let container = Container {
            name: "home-web-1".to_owned(),
            networks: [
                ("home".to_owned(), membership("web", "172.18.0.2/16")),
                ("away".to_owned(), membership("www", "172.19.0.2/16")),
            ]
            .into(),
            ..Container::default()
        };
        let expected = Member {
            names: vec!["home-web-1".to_owned(), "web".to_owned()],
            addresses: vec!["172.18.0.2".parse().unwrap()],
        };
        assert_eq!(member(container, "home"), expected);
    }
}
