//! A forwarded port: asked for through the tunnel, kept until a week before its end, and bound again and again.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64ct::{Base64, Encoding as _};
use http_body_util::Full;
use hyper::{Request, StatusCode};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    credentials::{Secret, danger_serialize},
    registration::is_login,
};
use crate::provider::{
    Dial, Forwarded, ProviderError,
    https::{self, Answer, encode, quote},
};

/// Where servers give ports, in the tunnel.
const PORT: u16 = 19999;

/// How long before its end a number is given up for another.
const RENEWAL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A number, and PIA's word for it: good on every server that forwards ports.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Grant {
    /// Base64 of JSON with the number and its end; and with the token.
    #[serde(serialize_with = "danger_serialize")]
    payload: Secret,
    #[serde(serialize_with = "danger_serialize")]
    signature: Secret,
}

/// Why there is no port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotForwarded {
    /// The server does not take the token.
    Login,
    /// The server does not take the grant: another is needed.
    Grant(String),
    /// Anything else.
    Failed(String),
}

impl From<NotForwarded> for ProviderError {
    fn from(error: NotForwarded) -> Self {
        match error {
            NotForwarded::Login => {
                Self::Unavailable("no forwarded port: the server does not take the token".to_owned())
            }
            NotForwarded::Grant(why) | NotForwarded::Failed(why) => {
                Self::Unavailable(format!("no forwarded port: {why}"))
            }
        }
    }
}

/// A server, as it is seen from inside the tunnel.
pub(super) struct Inside<'a> {
    pub(super) cn: &'a str,
    pub(super) vip: IpAddr,
    pub(super) dial: &'a dyn Dial,
    pub(super) trust: &'a Arc<ClientConfig>,
}

impl Grant {
    /// The number and its end; `None` if it is no grant of PIA's.
    pub(super) fn forwarded(&self) -> Option<Forwarded> {
        #[derive(Deserialize)]
        struct Payload {
            port: u16,
            expires_at: String,
        }
        let payload = Zeroizing::new(Base64::decode_vec(self.payload.danger_text()).ok()?);
        let payload: Payload = serde_json::from_slice(&payload).ok()?;
        Some(Forwarded {
            port: Some(payload.port).filter(|port| *port != 0)?,
            expires: humantime::parse_rfc3339(&payload.expires_at).ok()?,
        })
    }

    /// Whether it is still worth binding.
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        let expires = self.forwarded().map(|forwarded| forwarded.expires);
        expires.is_some_and(|expires| now + RENEWAL < expires)
    }
}

impl Inside<'_> {
    /// Gets a number.
    pub(super) async fn grant(&self, token: &Secret, now: SystemTime) -> Result<Grant, NotForwarded> {
        let path = format!("/getSignature?token={}", encode(token.danger_text()));
        let answer = self.ask(path).await?;
        read_grant(&answer, token, now)
    }

    /// Has the number forwarded for the next 15 minutes and some more.
    pub(super) async fn bind(&self, grant: &Grant) -> Result<(), NotForwarded> {
        let path = format!(
            "/bindPort?payload={}&signature={}",
            encode(grant.payload.danger_text()),
            encode(grant.signature.danger_text())
        );
        let answer = self.ask(path).await?;
        read_binding(&answer, grant)
    }

    async fn ask(&self, path: String) -> Result<Answer, NotForwarded> {
        let question = Request::get(path).body(Full::default());
        let question = question.map_err(|error| NotForwarded::Failed(error.to_string()))?;
        let connect = self.dial.tcp(SocketAddr::new(self.vip, PORT));
        let answer = https::ask(connect, self.cn, self.trust, question).await;
        answer.map_err(|error| NotForwarded::Failed(error.to_string()))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Text {
    status: String,
    message: String,
    payload: Secret,
    signature: Secret,
}

/// What a server says to either question, if it says yes.
fn read(answer: &Answer, secrets: &[&str]) -> Result<Text, NotForwarded> {
    let text: Option<Text> = serde_json::from_slice(&answer.body).ok();
    let plain = String::from_utf8_lossy(&answer.body);
    let message = match &text {
        Some(text) => &*text.message,
        None => &*plain,
    };
    let said = quote(message, secrets);
    // Not the token is wrong then, but the way or the region.
    if message.contains("Unauthorized client") {
        return Err(NotForwarded::Failed(format!(
            "the server says {said:?}: the request did not come through its tunnel, or the region forwards no ports"
        )));
    }
    if is_login(answer.status, message) {
        return Err(NotForwarded::Login);
    }
    if answer.status == StatusCode::CONFLICT || message.contains("busy") {
        return Err(NotForwarded::Grant(format!("the server says {said:?}")));
    }
    match text {
        Some(text) if answer.status == StatusCode::OK && text.status == "OK" => Ok(text),
        _ if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS => {
            Err(NotForwarded::Failed(format!("the server answers {}", answer.status)))
        }
        _ => Err(NotForwarded::Grant(format!(
            "the server answers {} {said:?}",
            answer.status
        ))),
    }
}

fn read_grant(answer: &Answer, token: &Secret, now: SystemTime) -> Result<Grant, NotForwarded> {
    let text = read(answer, &[token.danger_text()])?;
    let grant = Grant {
        payload: text.payload,
        signature: text.signature,
    };
    match grant.forwarded() {
        None => Err(NotForwarded::Failed(
            "the server gave a port without a number or an end".to_owned(),
        )),
        Some(forwarded) if forwarded.expires <= now => Err(NotForwarded::Failed(
            "the server gave a port whose time is over".to_owned(),
        )),
        Some(_) => Ok(grant),
    }
}

fn read_binding(answer: &Answer, grant: &Grant) -> Result<(), NotForwarded> {
    match read(answer, &[grant.payload.danger_text(), grant.signature.danger_text()]) {
        Ok(_yes) => Ok(()),
        // The token in the payload may be an old one.
        Err(NotForwarded::Login) => Err(NotForwarded::Grant(
            "the server does not take the port's signature".to_owned(),
        )),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn grant(payload: &str) -> Grant {
        Grant {
            payload: Secret::new(Base64::encode_string(payload.as_bytes())),
            signature: Secret::new("sig"),
        }
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_grant_is_good_until_a_week_before_its_end() {
        let end = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let day = Duration::from_secs(24 * 60 * 60);
        let with = |expires: &str| grant(&format!(r#"{{"token":"t","port":47047,"expires_at":"{expires}"}}"#));
        let good = with("2027-01-15T08:00:00.000000000Z");
        let forwarded = good.forwarded().unwrap();
        assert_eq!((forwarded.port, forwarded.expires), (47047, end));
        for (now, is_good) in [
            (end - 8 * day, true),
            (end - 7 * day, false),
            (end, false),
            (end + day, false),
        ] {
            assert_eq!(good.is_good(now), is_good);
        }
        assert!(!with("soon").is_good(end - 8 * day));
        assert!(
            grant(r#"{"port":0,"expires_at":"2027-01-15T08:00:00Z"}"#)
                .forwarded()
                .is_none()
        );
    }

    #[test]
    fn an_answer_says_whether_another_grant_would_help() {
        let grant = grant("x");
        let (failed, wanted) = (
            |error| matches!(error, NotForwarded::Failed(_)),
            |error| matches!(error, NotForwarded::Grant(_)),
        );
        read_binding(
            &answer(200, r#"{"status":"OK","message":"port scheduled for add"}"#),
            &grant,
        )
        .unwrap();
        for (status, body, needs_another) in [
            (409, "port 47047 is busy. try again", true),
            (200, r#"{"status":"ERROR","message":"port 1 is busy."}"#, true),
            (200, r#"{"status":"ERROR","message":"signature is wrong"}"#, true),
            (401, "{}", true),
            (401, "Unauthorized client", false),
            (429, "", false),
            (500, "", false),
        ] {
            let ask = || read_binding(&answer(status, body), &grant).unwrap_err();
            assert_eq!(
                (wanted(ask()), failed(ask())),
                (needs_another, !needs_another),
                "{body}"
            );
        }
        let token = Secret::new("t");
        let ask = |status, body: &str| read_grant(&answer(status, body), &token, UNIX_EPOCH).err();
        assert_eq!(ask(401, "{}"), Some(NotForwarded::Login));
        assert_eq!(
            ask(200, r#"{"status":"ERROR","message":"Login failed!"}"#),
            Some(NotForwarded::Login)
        );
        assert!(ask(200, r#"{"status":"OK","payload":"","signature":""}"#).is_some_and(failed));
        assert!(ask(401, "Unauthorized client").is_some_and(failed));
    }

    proptest! {
        #[test]
        fn no_grant_is_too_strange(payload in ".{0,60}", port: u32, expires in "[0-9TZ:.+-]{0,30}") {
            let _either = Grant { payload: Secret::new(payload.clone()), signature: Secret::default() }.forwarded();
            let _either = grant(&payload).forwarded();
            let text = format!(r#"{{"port":{port},"expires_at":"{expires}"}}"#);
            prop_assert!(port < 65536 || grant(&text).forwarded().is_none());
            let _either = read(&answer(200, &payload), &["x"]).is_ok();
        }
    }
}
