//! Joins a link by a token: a WireGuard session of the token's key, and one question in it.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::tunnel::Plane;
use linux::{
    address, link,
    netlink::{Error as NetlinkError, Netlink},
    route::{self, Route},
};
use tokio::{net::lookup_host, time::sleep};
use wg::{Device, Endpoint, IpNet, Peer};

use crate::{
    HostName, Token,
    exchange::{self, Answer, Question, Registered, Registration},
    host::{
        MTU,
        tunnel::{self, TunnelError},
    },
    link::{Link, Settings},
    secret::Secret,
};

/// How long each of the member's addresses is tried: two handshakes (*REKEY_TIMEOUT* is 5 s).
const LIMIT: Duration = Duration::from_secs(7);

/// How long it is waited after a connection that was broken.
const PAUSE: Duration = Duration::from_millis(200);

/// How often all of them are.
const ROUNDS: usize = 2;

/// What a host that joins brings.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) token: Token,
    /// The key that it has made.
    pub(crate) key: Secret,
    pub(crate) name: HostName,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) port: u16,
    pub(crate) settings: Settings,
    pub(crate) plane: Plane,
}

/// Joining failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// The interface.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// Its address or route.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
    /// None of the names has an address.
    #[error("{0}: the name of the inviting host has no address here: look at this host's resolver")]
    NoAddress(String),
    /// Nobody answered.
    #[error(
        "no answer from {places}: {}UDP does not get there (a firewall, a router that does not forward the port, the wrong \
         --endpoint on the other host)",
        if *.is_late { "the token has expired, or " } else { "the token was used long ago, or " }
    )]
    Silent {
        /// Where the member is said to be.
        places: String,
        /// Whether the token has expired, by this host's clock.
        is_late: bool,
    },
    /// The member says no.
    #[error("{0}")]
    Refused(String),
    /// The member is of another version.
    #[error("what the inviting host answered makes no sense: are both of one version?")]
    Senseless,
}

/// Joins; gives the link, and how long it took until the member answered. The tunnel stays, and is to be made the link's.
///
/// # Errors
///
/// [`JoinError`]; then nothing is left but the key, for another try.
pub(crate) async fn join(wish: Wish) -> Result<(Link, Duration), JoinError> {
    let name = wish.token.link.tunnel();
    let joined = register(&wish, &name).await;
    match joined {
        Ok((registered, endpoint, took)) => {
            let Wish {
                token,
                key,
                port,
                settings,
                ..
            } = wish;
            let endpoint = Some((token.key, endpoint));
            let link = Link::joined(&token, key, registered, port, settings, endpoint);
            if link.is_none() {
                tunnel::remove(&name);
            }
            Ok((link.ok_or(JoinError::Senseless)?, took))
        }
        Err(error) => {
            tunnel::remove(&name);
            Err(error)
        }
    }
}

async fn register(wish: &Wish, name: &str) -> Result<(Registered, SocketAddr, Duration), JoinError> {
    let token = &wish.token;
    let (guest, member) = (
        token.addresses.of_guest(token.secret.one_time_address()),
        token.addresses.of_host(token.member),
    );
    set_up(wish, name, guest.into(), member.into())?;
    let mut addresses = Vec::new();
    for endpoint in &token.endpoints {
        if let Ok(found) = lookup_host(endpoint.to_string()).await {
            addresses.extend(found);
        }
    }
    let places = || {
        let texts: Vec<_> = token.endpoints.iter().map(Endpoint::to_string).collect();
        texts.join(", ")
    };
    if addresses.is_empty() {
        return Err(JoinError::NoAddress(places()));
    }
    let question = Question::Register(Registration {
        key: wish.key.private_key().public_key(),
        name: wish.name.clone(),
        endpoint: wish.endpoint.clone(),
    });
    let secret = token.secret.one_time_exchange();
    for address in addresses.iter().copied().cycle().take(addresses.len() * ROUNDS) {
        let begun = Instant::now();
        // One of a family that this host does not have is passed over.
        if tunnel::set_endpoint(name, token.key, address).is_err() {
            continue;
        }
        while let Some(left) = LIMIT.checked_sub(begun.elapsed()) {
            match exchange::ask(guest, member, &secret, &question, left).await {
                Ok(Answer::Registered(registered)) => return Ok((registered, address, begun.elapsed())),
                Ok(Answer::Refused { why }) => return Err(JoinError::Refused(why)),
                Ok(Answer::Synced(_)) => return Err(JoinError::Senseless),
                // Another host with the same token has the same address inside, and breaks the connection: one is first.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
    // Until it is forgotten, the member itself says so: its clock counts.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Err(JoinError::Silent {
        places: places(),
        is_late: now.as_secs() >= token.expires,
    })
}

/// Makes the interface, with the token's key and the member as its only peer.
fn set_up(wish: &Wish, name: &str, guest: IpAddr, member: IpAddr) -> Result<(), JoinError> {
    tunnel::remove(name);
    tunnel::open(name, wish.plane)?;
    let peer = Peer {
        allowed_ips: [IpNet::from(member)].into(),
        ..Peer::default()
    };
    let device = Device {
        private_key: Some(wish.token.secret.one_time_key()),
        listen_port: Some(wish.port),
        peers: [(wish.token.key, peer)].into(),
        ..Device::default()
    };
    tunnel::bring_to(name, device)?;
    let mut netlink = Netlink::route()?;
    if let Some(found) = link::find(&mut netlink, name)? {
        link::set_mtu(&mut netlink, found.index, MTU.into())?;
        address::add_at_once(&mut netlink, found.index, guest.into())?;
        link::set_up(&mut netlink, found.index)?;
        route::add(&mut netlink, &Route::direct(member.into(), found.index))?;
    }
    Ok(())
}
