//! The client's side: writes requests, reads replies.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::{Error, Fault, reply::push, value};
use crate::{AllowedIpChange, PeerUpdate, PresharedKey, PrivateKey, PublicKey, Status, Update};

/// The request for an interface's status.
pub const GET: &str = "get=1\n\n";

/// The request that carries `update` out, with its blank line. May contain keys.
///
/// Where [`Update::replace_peers`] is set, the peers that `update` names begin anew at the other end.
pub fn set_request(update: &Update) -> Zeroizing<String> {
    // Room for all, so that growing leaves no copy of a key behind.
    let networks: usize = update.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(256 + 512 * update.peers.len() + 64 * networks));
    text.push_str("set=1\n");
    if let Some(key) = &update.private_key {
        push(&mut text, "private_key", &*key.danger_hex());
    }
    if let Some(port) = update.listen_port {
        push(&mut text, "listen_port", port);
    }
    if let Some(mark) = update.fwmark {
        push(&mut text, "fwmark", mark);
    }
    if update.replace_peers {
        push(&mut text, "replace_peers", true);
    }
    for peer in &update.peers {
        push_peer(&mut text, peer);
    }
    text.push('\n');
    text
}

fn push_peer(text: &mut String, peer: &PeerUpdate) {
    push(text, "public_key", peer.public_key.to_hex());
    if peer.update_only {
        push(text, "update_only", true);
    }
    if peer.remove {
        push(text, "remove", true);
        return;
    }
    if let Some(key) = &peer.preshared_key {
        push(text, "preshared_key", &*key.danger_hex());
    }
    if let Some(endpoint) = peer.endpoint {
        push(text, "endpoint", endpoint);
    }
    if let Some(secs) = peer.persistent_keepalive {
        push(text, "persistent_keepalive_interval", secs);
    }
    if peer.replace_allowed_ips {
        push(text, "replace_allowed_ips", true);
    }
    for change in &peer.allowed_ips {
        match change {
            AllowedIpChange::Add(network) => push(text, "allowed_ip", network),
            AllowedIpChange::Remove(network) => push(text, "allowed_ip", format_args!("-{network}")),
        }
    }
}

/// Reads the reply to a set request.
///
/// # Errors
///
/// [`Fault::Refused`] with the number that the interface gave, or what is wrong with the reply.
pub fn parse_set_reply(text: &str) -> Result<(), Error> {
    for (index, line) in text.lines().enumerate() {
        let line_error = |key, fault| Error::new(index + 1, key, fault);
        let (key, value) = line.split_once('=').ok_or(line_error("", Fault::NoEquals))?;
        if key == "errno" {
            return check_errno(value).map_err(|fault| line_error(key, fault));
        }
    }
    Err(Error::new(text.lines().count(), "", Fault::Truncated))
}

/// Reads the reply to [`GET`]. Keys that are not known are passed over.
///
/// # Errors
///
/// [`Fault::Refused`] with the number that the interface gave, or what is wrong with the reply.
pub fn parse_get_reply(text: &str, zone_index: &dyn Fn(&str) -> Option<u32>) -> Result<Status, Error> {
    let mut status = Status::default();
    let mut peer = None;
    for (index, line) in text.lines().enumerate() {
        let line_error = |key, fault| Error::new(index + 1, key, fault);
        let (key, value) = line.split_once('=').ok_or(line_error("", Fault::NoEquals))?;
        let result = match (key, peer) {
            ("errno", _) => {
                check_errno(value).map_err(|fault| line_error(key, fault))?;
                return Ok(status);
            }
            ("public_key", _) => PublicKey::from_hex(value).map_err(Fault::from).map(|key| {
                status.device.peers.entry(key).or_default();
                status.peers.entry(key).or_default();
                peer = Some(key);
            }),
            (_, None) => take_interface(&mut status, key, value),
            (_, Some(peer)) => take_peer(&mut status, peer, key, value, zone_index),
        };
        result.map_err(|fault| line_error(key, fault))?;
    }
    Err(Error::new(text.lines().count(), "", Fault::Truncated))
}

fn check_errno(value: &str) -> Result<(), Fault> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    match value::number(digits, i32::MAX.unsigned_abs().into())? {
        0 => Ok(()),
        errno => Err(Fault::Refused { errno }),
    }
}

fn take_interface(status: &mut Status, key: &str, value: &str) -> Result<(), Fault> {
    let device = &mut status.device;
    match key {
        "private_key" => device.private_key = Some(PrivateKey::from_hex(value)?).filter(|key| !key.is_zero()),
        "listen_port" => device.listen_port = Some(value::number(value, u16::MAX.into())?).filter(|port| *port != 0),
        "fwmark" => device.fwmark = Some(value::number(value, u32::MAX.into())?).filter(|mark| *mark != 0),
        _ => {}
    }
    Ok(())
}

fn take_peer(
    status: &mut Status,
    name: PublicKey,
    key: &str,
    value: &str,
    zone_index: &dyn Fn(&str) -> Option<u32>,
) -> Result<(), Fault> {
    let peer = status.device.peers.entry(name).or_default();
    let happened = status.peers.entry(name).or_default();
    match key {
        "preshared_key" => peer.preshared_key = Some(PresharedKey::from_hex(value)?).filter(|key| !key.is_zero()),
        "endpoint" => peer.endpoint = Some(value::endpoint(value, zone_index)?),
        "persistent_keepalive_interval" => {
            peer.persistent_keepalive = Some(value::number(value, u16::MAX.into())?).filter(|secs| *secs != 0);
        }
        "allowed_ip" => {
            peer.allowed_ips.insert(value::network(value)?);
        }
        "last_handshake_time_sec" => {
            let secs = Duration::from_secs(value::number(value, u64::MAX)?);
            add_to_handshake(&mut happened.latest_handshake, secs)?;
        }
        "last_handshake_time_nsec" => {
            let nanos = Duration::from_nanos(value::number(value, u64::MAX)?);
            add_to_handshake(&mut happened.latest_handshake, nanos)?;
        }
        "rx_bytes" => happened.rx_bytes = value::number(value, u64::MAX)?,
        "tx_bytes" => happened.tx_bytes = value::number(value, u64::MAX)?,
        _ => {}
    }
    Ok(())
}

/// Adds one part of the time of a handshake; zero is "never".
fn add_to_handshake(handshake: &mut Option<SystemTime>, part: Duration) -> Result<(), Fault> {
    if part.is_zero() {
        return Ok(());
    }
    let sum = handshake.unwrap_or(SystemTime::UNIX_EPOCH).checked_add(part);
    *handshake = Some(sum.ok_or(Fault::Number {
        max: i64::MAX.unsigned_abs(),
    })?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{EINVAL, get_reply, set_reply},
        *,
    };
    use crate::{Device, Peer, PeerStatus};

    fn no_zone(_: &str) -> Option<u32> {
        None
    }

    fn status() -> Status {
        let networks = ["10.0.0.0/8", "fd00::/64"].map(|text| text.parse().unwrap());
        let peer = Peer {
            preshared_key: Some(PresharedKey::from_bytes([3; 32])),
            endpoint: Some("[fe80::1%3]:51820".parse().unwrap()),
            persistent_keepalive: Some(25),
            allowed_ips: networks.into_iter().collect(),
        };
        let happened = PeerStatus {
            latest_handshake: Some(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5)),
            rx_bytes: u64::MAX,
            tx_bytes: 7,
        };
        let (first, second) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        Status {
            device: Device {
                private_key: Some(PrivateKey::from_bytes([9; 32])),
                listen_port: Some(51820),
                fwmark: Some(0xca6c),
                peers: BTreeMap::from([(first, peer), (second, Peer::default())]),
            },
            peers: BTreeMap::from([(first, happened), (second, PeerStatus::default())]),
        }
    }

    #[test]
    fn a_reply_is_as_the_protocol_has_it() {
        let expected = format!(
            "private_key={}\nlisten_port=51820\nfwmark=51820\npublic_key={}\npreshared_key={}\nprotocol_version=1\n\
             endpoint=[fe80::1%3]:51820\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=7\n\
             rx_bytes=18446744073709551615\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\n\
             allowed_ip=fd00::/64\npublic_key={}\nprotocol_version=1\nlast_handshake_time_sec=0\n\
             last_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\nerrno=0\n\n",
            "09".repeat(32),
            "01".repeat(32),
            "03".repeat(32),
            "02".repeat(32),
        );
        assert_eq!(*get_reply(&status()), expected);
        assert_eq!(*get_reply(&Status::default()), "errno=0\n\n");
    }

    #[test]
    fn a_status_reads_back_from_its_reply() {
        for status in [status(), Status::default()] {
            assert_eq!(parse_get_reply(&get_reply(&status), &no_zone), Ok(status));
        }
    }

    #[test]
    fn keys_of_other_implementations_are_passed_over() {
        let text = format!(
            "own_public_key=x\njc=4\npublic_key={}\npreshared_key={}\nh1=2\nerrno=0\n\n",
            "02".repeat(32),
            "00".repeat(32)
        );
        let status = parse_get_reply(&text, &no_zone).unwrap();
        assert_eq!(
            status.device.peers,
            BTreeMap::from([(PublicKey::from_bytes([2; 32]), Peer::default())])
        );
    }

    #[test]
    fn a_reply_that_cannot_be_used_is_an_error() {
        for (text, line, fault) in [
            ("", 0, Fault::Truncated),
            ("listen_port=1\n", 1, Fault::Truncated),
            ("errno=-22\n\n", 1, Fault::Refused { errno: 22 }),
            ("fwmark=1\nerrno=98\n\n", 2, Fault::Refused { errno: 98 }),
            ("errno=x\n\n", 1, Fault::Number { max: 0x7fff_ffff }),
            ("\nerrno=0\n\n", 1, Fault::NoEquals),
        ] {
            let error = parse_get_reply(text, &no_zone).unwrap_err();
            assert_eq!((error.line, error.fault), (line, fault), "{text:?}");
            assert_eq!(parse_set_reply(text), Err(error), "{text:?}");
        }
        let text = format!(
            "public_key={}\nlast_handshake_time_sec={}\nerrno=0\n",
            "02".repeat(32),
            u64::MAX
        );
        assert!(parse_get_reply(&text, &no_zone).is_err());
    }

    #[test]
    fn an_answer_to_a_set_request_reads_back() {
        assert_eq!(set_reply(Err(EINVAL)), "errno=-22\n\n");
        assert_eq!(parse_set_reply(&set_reply(Ok(()))), Ok(()));
        assert_eq!(parse_set_reply(&set_reply(Err(EINVAL))).unwrap_err().errno(), EINVAL);
    }
}
