//! What is kept of a gateway, and how it goes on from that.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use gateway::Name;
use launch::Moment;

use super::{
    super::{
        member::{Key, Member, Traffic},
        state::{Gone, Kept, KeptPeer},
    },
    Desk,
};

impl Desk {
    /// What is to be kept; `now` is the time since this machine was started, `today` the same moment on the wall.
    pub(in super::super) fn kept(&mut self, now: Duration, today: SystemTime) -> Kept {
        let peer = |member: &Member| KeptPeer {
            name: member.name.to_string(),
            public_key: member.key.map(|key| key.public),
            is_made: member.key.is_some_and(|key| key.is_made),
            addresses: member.addresses.clone(),
        };
        let mut gone = Vec::with_capacity(self.gone.len());
        for name in &self.gone {
            gone.push(Gone {
                name: name.to_string(),
                // It has them: they are kept for it.
                addresses: self.network.lease(name.as_str()).unwrap_or_default(),
            });
        }
        Kept {
            due: Moment::from_system(today) + self.due.saturating_sub(now),
            listen_port: self.gateway.listen_port(),
            subnets: self
                .network
                .gateway_addresses()
                .iter()
                .map(ipnet::IpNet::trunc)
                .collect(),
            peers: self.members.iter().map(peer).collect(),
            gone,
        }
    }

    /// Goes on with the peers that there were. None had come yet.
    ///
    /// # Errors
    ///
    /// They do not fit this gateway.
    pub(in super::super) fn resume(&mut self, kept: &Kept) -> anyhow::Result<()> {
        let mut members = Vec::with_capacity(kept.peers.len());
        let parse = |name: &str| name.parse::<Name>().context("a name in the state names no peer");
        // Claims first: nobody is leased what another had.
        for (name, addresses) in kept
            .peers
            .iter()
            .map(|peer| (&peer.name, &peer.addresses))
            .chain(kept.gone.iter().map(|gone| (&gone.name, &gone.addresses)))
        {
            self.network.claim(name, addresses);
        }
        for peer in &kept.peers {
            let name = parse(&peer.name)?;
            members.push(Member {
                addresses: self.network.lease(name.as_str())?,
                key: peer.public_key.map(|public| Key {
                    public,
                    is_made: peer.is_made,
                }),
                name,
                before: Traffic::default(),
            });
        }
        for gone in &kept.gone {
            self.gone.push_back(parse(&gone.name)?);
        }
        self.gateway
            .set_peers(members.iter().filter_map(Member::peer).collect())?;
        self.members = members;
        Ok(())
    }
}
