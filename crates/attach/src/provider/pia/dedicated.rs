//! The server of a dedicated IP.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use rustls::ClientConfig;
use serde::Deserialize;

use super::{config::Config, credentials::Secret, list::Host, registration::is_login, token::clock};
use crate::provider::{ProviderError, https::Answer};

/// Where a dedicated IP is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dedicated {
    /// The region, as `us_texas`.
    pub(super) id: String,
    pub(super) host: Host,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDedicated {
    /// PIA does not take the account's token.
    Login,
    Failed(ProviderError),
}

impl Dedicated {
    /// Whether its server forwards ports: none in the United States does.
    pub(super) fn forwards(&self) -> bool {
        !self.id.starts_with("us_")
    }
}

/// Asks where the dedicated IP of the token `of` is.
pub(super) async fn find(
    of: &Secret,
    token: &Secret,
    config: &Config,
    web: &Arc<ClientConfig>,
) -> Result<Dedicated, NotDedicated> {
    let at = &config.endpoints.api;
    let unavailable = |why: String| {
        let text = format!("PIA does not tell where the dedicated IP is: {why}");
        NotDedicated::Failed(ProviderError::Unavailable(text))
    };
    let mut value = header::HeaderValue::try_from(format!("Token {}", token.danger_text()))
        .map_err(|error| unavailable(error.to_string()))?;
    value.set_sensitive(true);
    let question = Request::post(at.path("/dedicated_ip"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, value)
        .body(Full::from(
            serde_json::json!({ "tokens": [of.danger_text()] }).to_string(),
        ))
        .map_err(|error| unavailable(error.to_string()))?;
    let answer = at
        .ask(web, question)
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    read(&answer, SystemTime::now())
}

#[derive(Deserialize)]
struct Text {
    #[serde(default)]
    status: String,
    ip: Option<IpAddr>,
    cn: Option<String>,
    id: Option<String>,
    dip_expire: Option<u64>,
}

fn read(answer: &Answer, now: SystemTime) -> Result<Dedicated, NotDedicated> {
    let refused = |why: String| {
        let text = format!("the dedicated IP {why}: put a valid token there, or choose another region");
        NotDedicated::Failed(ProviderError::Refused(text))
    };
    let said = String::from_utf8_lossy(&answer.body);
    if is_login(answer.status, &said) || said.contains("HTTP Token: Access denied") {
        return Err(NotDedicated::Login);
    }
    let unavailable = |why: String| {
        let text = format!("PIA does not tell where the dedicated IP is: {why}");
        NotDedicated::Failed(ProviderError::Unavailable(text))
    };
    if answer.status != StatusCode::OK {
        return Err(unavailable(format!("it answers {}", answer.status)));
    }
    let all: Vec<Text> =
        serde_json::from_slice(&answer.body).map_err(|_| unavailable("its answer is not a list".to_owned()))?;
    let first = all
        .into_iter()
        .next()
        .ok_or_else(|| refused("is unknown to PIA".to_owned()))?;
    let expires = first
        .dip_expire
        .and_then(|end| UNIX_EPOCH.checked_add(Duration::from_secs(end.min(u64::from(u32::MAX)))));
    match expires {
        Some(end) if end <= now => return Err(refused(format!("has ended at {}", clock(end)))),
        _ if first.status != "active" => return Err(refused("is not active, says PIA".to_owned())),
        _ => {}
    }
    let (Some(ip), Some(cn), Some(id)) = (first.ip, first.cn, first.id) else {
        return Err(unavailable("its answer lacks ip, cn or id".to_owned()));
    };
    let host = Host { cn, ip };
    match host.is_sound() {
        true => Ok(Dedicated { id, host }),
        false => Err(unavailable("its answer names no server".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_server_or_says_why_not() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let good =
            r#"[{"status":"active","ip":"192.0.2.1","cn":"texas401","id":"us_texas","dip_expire":1800000001,"x":1}]"#;
        let ask = |status: u16, body: &str| {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: None,
                body: body.to_owned().into(),
            };
            read(&answer, now)
        };
        let dedicated = ask(200, good).unwrap();
        assert_eq!((&*dedicated.host.cn, dedicated.forwards()), ("texas401", false));
        assert!(ask(200, &good.replace("us_", "de_")).unwrap().forwards());
        for (status, body) in [(401, ""), (200, "HTTP Token: Access denied.\n")] {
            assert_eq!(ask(status, body), Err(NotDedicated::Login));
        }
        // (status, body, is it for good?, text)
        for (status, body, is_refused, text) in [
            (200, "[]".to_owned(), true, "unknown"),
            (200, good.replace("active", "expired"), true, "not active"),
            (200, good.replace("1800000001", "1800000000"), true, "has ended at 2027"),
            (200, good.replace("texas401", "../x"), false, "names no server"),
            (200, r#"[{"status":"active"}]"#.to_owned(), false, "lacks ip"),
            (200, "{}".to_owned(), false, "not a list"),
            (500, String::new(), false, "500"),
        ] {
            let Err(NotDedicated::Failed(error)) = ask(status, &body) else {
                panic!("{body}");
            };
            assert_eq!(matches!(error, ProviderError::Refused(_)), is_refused, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
