//! Registering a container's key with one server: `addKey`.

use std::{net::IpAddr, net::SocketAddr, sync::Arc};

use base64ct::{Base64, Encoding as _};
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use wg::{IpNet, PublicKey};
use zeroize::Zeroizing;

use super::{credentials::Secret, list::Host};
use crate::provider::https::{self, Answer, HttpsError, encode, quote};

/// How many name servers are taken.
const MAX_DNS: usize = 4;

/// By what a server knows the account.
#[derive(Clone, Debug)]
pub(super) enum Account {
    /// By the account's token.
    Token(Secret),
    /// By that of a dedicated IP.
    Dedicated(Secret),
}

/// What a server gives for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) server_key: PublicKey,
    /// UDP port of WireGuard.
    pub(super) port: u16,
    /// The container's address in the tunnel.
    pub(super) address: IpNet,
    /// The server's address in the tunnel, where ports are asked for; `None` if it told none.
    pub(super) vip: Option<IpAddr>,
    pub(super) dns: Vec<IpAddr>,
}

/// Why a server gives nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotRegistered {
    /// It does not take the token.
    Login,
    /// It is another server than the list says.
    Stale,
    /// Anything else: another server may do.
    Failed(String),
}

/// Registers `key` with the server, at the TCP port `port`.
pub(super) async fn register(
    host: &Host,
    port: u16,
    account: &Account,
    key: &PublicKey,
    trust: &Arc<ClientConfig>,
) -> Result<Registered, NotRegistered> {
    let pubkey = encode(&key.to_string());
    let question = match account {
        Account::Token(token) => Request::get(format!("/addKey?pt={}&pubkey={pubkey}", encode(token.danger_text()))),
        Account::Dedicated(token) => {
            let login = Zeroizing::new(format!("dedicated_ip_{}:{}", token.danger_text(), host.ip));
            let mut value = header::HeaderValue::try_from(format!("Basic {}", Base64::encode_string(login.as_bytes())))
                .map_err(|error| NotRegistered::Failed(error.to_string()))?;
            value.set_sensitive(true);
            Request::get(format!("/addKey?pubkey={pubkey}")).header(header::AUTHORIZATION, value)
        }
    };
    let question = question
        .body(Full::default())
        .map_err(|error| NotRegistered::Failed(error.to_string()))?;
    let connect = TcpStream::connect(SocketAddr::new(host.ip, port));
    match https::ask(connect, &host.cn, trust, question).await {
        Ok(answer) => read(&answer, key, account.secret()),
        Err(HttpsError::OtherName { .. }) => Err(NotRegistered::Stale),
        Err(error) => Err(NotRegistered::Failed(error.to_string())),
    }
}

impl Account {
    fn secret(&self) -> &str {
        match self {
            Self::Token(token) | Self::Dedicated(token) => token.danger_text(),
        }
    }
}

/// Whether a server's answer says that it does not take the token.
pub(super) fn is_login(status: StatusCode, message: &str) -> bool {
    status == StatusCode::UNAUTHORIZED || message.to_ascii_lowercase().starts_with("login failed")
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Text {
    status: String,
    message: String,
    server_key: String,
    server_port: u16,
    server_vip: String,
    peer_ip: String,
    peer_pubkey: String,
    dns_servers: Vec<Value>,
}

/// Reads the answer to `addKey` for `key`.
fn read(answer: &Answer, key: &PublicKey, secret: &str) -> Result<Registered, NotRegistered> {
    let failed = |why: &str| NotRegistered::Failed(why.to_owned());
    let text: Option<Text> = serde_json::from_slice(&answer.body).ok();
    let message = text.as_ref().map_or("", |text| &*text.message);
    if is_login(answer.status, message) {
        return Err(NotRegistered::Login);
    }
    if answer.status != StatusCode::OK {
        let text = format!("it answers {} {}", answer.status, quote(message, &[secret]));
        return Err(failed(text.trim_end()));
    }
    let text = text.ok_or_else(|| failed("its answer is not the JSON of addKey"))?;
    if text.status != "OK" {
        return Err(failed(&format!("it says {:?}", quote(&text.message, &[secret]))));
    }
    if text.peer_pubkey.parse() != Ok(*key) {
        return Err(failed("it has registered another key"));
    }
    let is_usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback();
    let address = text
        .peer_ip
        .parse::<IpNet>()
        .or_else(|_| text.peer_ip.parse::<IpAddr>().map(IpNet::from));
    let address = address.ok().filter(|address| is_usable(&address.addr()));
    let dns = text.dns_servers.iter().filter_map(|dns| dns.as_str()?.parse().ok());
    Ok(Registered {
        server_key: text
            .server_key
            .parse()
            .map_err(|_| failed("its answer holds no server_key"))?,
        port: Some(text.server_port)
            .filter(|port| *port != 0)
            .ok_or_else(|| failed("its answer holds no server_port"))?,
        address: address.ok_or_else(|| failed("its answer holds no peer_ip"))?,
        vip: text.server_vip.parse().ok().filter(is_usable),
        dns: dns.filter(is_usable).take(MAX_DNS).collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> PublicKey {
        PublicKey::from_bytes([7; 32])
    }

    fn answer(status: u16, body: impl Into<hyper::body::Bytes>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            body: body.into(),
        }
    }

    fn good() -> String {
        format!(
            r#"{{"status":"OK","server_key":"{}","server_port":1337,"server_ip":"192.0.2.1","server_vip":"10.1.128.1","peer_ip":"10.1.2.3","peer_pubkey":"{}","dns_servers":["10.0.0.243",7,"x","127.0.0.1","10.0.0.242"],"new":{{}}}}"#,
            PublicKey::from_bytes([9; 32]),
            key()
        )
    }

    #[test]
    fn a_server_s_answer_is_checked() {
        let registered = read(&answer(200, good()), &key(), "tok").unwrap();
        assert_eq!(registered.address, "10.1.2.3/32".parse().unwrap());
        assert_eq!((registered.port, registered.vip), (1337, "10.1.128.1".parse().ok()));
        assert_eq!(
            registered.dns,
            ["10.0.0.243", "10.0.0.242"].map(|dns| dns.parse::<IpAddr>().unwrap())
        );

        let failed = |why: &str| NotRegistered::Failed(why.to_owned());
        let swap = |from: &str, to: &str| good().replace(from, to);
        for (status, body, error) in [
            (
                200,
                r#"{"status":"ERROR","message":"Login failed!"}"#.to_owned(),
                NotRegistered::Login,
            ),
            (401, String::new(), NotRegistered::Login),
            (
                200,
                r#"{"status":"ERROR","message":"no room\n"}"#.to_owned(),
                failed("it says \"no room\""),
            ),
            (
                200,
                r#"{"status":"ERROR","message":"for tok"}"#.to_owned(),
                failed("it says \"(hidden, for it repeats a secret)\""),
            ),
            (503, String::new(), failed("it answers 503 Service Unavailable")),
            (302, String::new(), failed("it answers 302 Found")),
            (200, "7".to_owned(), failed("its answer is not the JSON of addKey")),
            (
                200,
                swap(&key().to_string(), &PublicKey::from_bytes([8; 32]).to_string()),
                failed("it has registered another key"),
            ),
            (
                200,
                swap("\"server_port\":1337", "\"server_port\":0"),
                failed("its answer holds no server_port"),
            ),
            (200, swap("10.1.2.3", "0.0.0.0"), failed("its answer holds no peer_ip")),
            (200, swap("server_key", "x"), failed("its answer holds no server_key")),
        ] {
            assert_eq!(read(&answer(status, body.clone()), &key(), "tok"), Err(error), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(body in proptest::collection::vec(any::<u8>(), 0..100), cut in 0..good().len(), byte: u8) {
            let _either = read(&answer(200, body), &key(), "tok");
            let mut broken = good().into_bytes();
            broken[cut] = byte;
            let _either = read(&answer(200, broken), &key(), "tok");
        }
    }
}
