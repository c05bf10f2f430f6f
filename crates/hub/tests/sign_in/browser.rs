//! Somebody with a browser, or with a program, and what a browser says of itself.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use hub::server::Peer;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::hub::Hub;

/// Longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(20);

/// A browser with its cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) hub: Hub,
    pub(crate) cookies: BTreeMap<String, String>,
}

/// What a hub answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is asked.
#[derive(Clone)]
pub(crate) struct Question {
    method: &'static str,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
}

impl Question {
    /// A page that somebody opens.
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path).with("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    }

    /// What a program asks.
    pub(crate) fn api(method: &'static str, path: &str) -> Self {
        Self::new(method, path).with("accept", "application/json")
    }

    /// A form, without what shows where it comes from.
    pub(crate) fn form(path: &str, fields: &[(&str, &str)]) -> Self {
        let mut body = openidconnect::url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        Self {
            body: body.finish(),
            ..Self::new("POST", path).with("content-type", "application/x-www-form-urlencoded")
        }
    }

    fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        ));
        self
    }

    pub(crate) fn by(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self {
            body: body.to_string(),
            ..self.with("content-type", "application/json")
        }
    }

    /// As a browser asks because of a page of the hub's own.
    pub(crate) fn on_own_page(self, hub: &Hub) -> Self {
        self.with("sec-fetch-site", "same-origin")
            .with("origin", &hub.app.config.origin.to_string())
    }
}

impl Browser {
    pub(crate) fn new(hub: &Hub) -> Self {
        Self {
            hub: hub.clone(),
            cookies: BTreeMap::new(),
        }
    }

    /// Asks with the cookies, and keeps those that are set.
    pub(crate) async fn ask(&mut self, question: Question) -> Answer {
        let answer = self.peek(question).await;
        for set in answer.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            if set.contains("Max-Age=0;") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Asks with the cookies, and forgets what is set.
    pub(crate) async fn peek(&self, question: Question) -> Answer {
        let config = &self.hub.app.config;
        let host = config.origin.to_string();
        let host = host.split("//").nth(1).unwrap();
        let mut request = Request::builder().method(question.method).uri(&question.path);
        if question.headers.iter().all(|(name, _)| name != header::HOST) {
            request = request.header(header::HOST, host);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        for (name, value) in question.headers {
            request = request.header(name, value);
        }
        let peer = if config.is_local {
            "127.0.0.1:40000"
        } else {
            "10.0.0.7:40000"
        };
        if !config.is_local {
            request = request.header("x-forwarded-for", "198.51.100.7");
        }
        let mut request = request.body(Body::from(question.body)).unwrap();
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        let answer = tokio::time::timeout(LIMIT, self.hub.router.clone().oneshot(request))
            .await
            .unwrap()
            .unwrap();
        let (head, body) = answer.into_parts();
        let body = tokio::time::timeout(LIMIT, body.collect())
            .await
            .unwrap()
            .unwrap()
            .to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Question::get(path)).await
    }

    /// Who the hub takes this browser for; `None`: for nobody.
    pub(crate) async fn me(&self) -> Option<Value> {
        let answer = self.peek(Question::api("GET", "/api/v1/me")).await;
        (answer.status == 200).then(|| serde_json::from_slice(&answer.body).unwrap())
    }

    /// What the pages of this session send along with forms.
    pub(crate) async fn csrf(&self) -> String {
        let page = self.peek(Question::get("/")).await;
        let text = page.text();
        let (_, rest) = text
            .split_once("name=\"csrf-token\" content=\"")
            .unwrap_or_else(|| panic!("{text}"));
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The code of the problem, if it is one.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether it begins a session.
    pub(crate) fn begins_session(&self) -> bool {
        self.headers.get_all(header::SET_COOKIE).iter().any(|set| {
            let set = set.to_str().unwrap();
            (set.starts_with("adit=") || set.starts_with("__Host-adit=")) && !set.contains("Max-Age=0;")
        })
    }
}
