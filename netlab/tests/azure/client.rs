//! A client that sends what is written, by curl.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use netlab::serve::azure::Azure;
use netlab::wait_until;
use serde_json::Value;

/// Sends requests for paths below a subscription.
pub(crate) struct Client {
    url: String,
    token: String,
    subscription: String,
    /// How long it waits for an answer, in seconds.
    pub(crate) patience: u32,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Said {
    /// 0 if nothing did.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Said {
    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.trim())
    }

    /// The code of a refusal, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Client {
    /// One that asks at `url`, with a token of the service's.
    pub(crate) fn new(azure: &Azure, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: azure.token(),
            subscription: azure.settings().subscription.clone(),
            patience: 20,
        }
    }

    /// Sends a request with arguments for curl more, which may be another `Authorization:`.
    pub(crate) fn ask(&self, method: &str, url: &str, body: &str, more: &[&str]) -> Said {
        let mut command = Command::new("curl");
        let token = format!("Authorization: Bearer {}", self.token);
        command.args([
            "-sS",
            "-i",
            "-g",
            "-m",
            &self.patience.to_string(),
            "-w",
            "\n%{http_code}",
        ]);
        if !more.iter().any(|header| header.starts_with("Authorization:")) {
            command.args(["-H", &token]);
        }
        command.args(more).args(["-X", method]).arg(url);
        if !body.is_empty() {
            command.args(["--data-binary", "@-"]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("start curl");
        let mut input = child.stdin.take().expect("its input is a pipe");
        input.write_all(body.as_bytes()).expect("hand over the body");
        drop(input);
        let output = child.wait_with_output().expect("wait for curl");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let (said, status) = output.rsplit_once('\n').expect("curl ends with a line");
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((said, ""));
        Said {
            status: status.parse().expect("a status is a number"),
            head: head.to_owned(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    /// Sends a request for a path below the subscription.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Said {
        let url = format!("{}/subscriptions/{}{path}", self.url, self.subscription);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.ask(method, &url, &body, &["-H", "Content-Type: application/json"])
    }

    /// Sends what must be answered so.
    #[track_caller]
    pub(crate) fn expect(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let said = self.send(method, path, body);
        assert_eq!(said.status, status, "{method} {path}: {said:?}");
        said.body
    }

    /// Waits until a resource is ready.
    #[track_caller]
    pub(crate) fn ready(&self, path: &str) {
        wait_until(path, Duration::from_secs(20), || {
            let found = self.expect("GET", path, &Value::Null, 200);
            (found["properties"]["provisioningState"] == "Succeeded").then_some(())
        });
    }

    /// Waits until a resource is gone.
    #[track_caller]
    pub(crate) fn gone(&self, path: &str) {
        wait_until(path, Duration::from_secs(20), || {
            (self.send("GET", path, &Value::Null).status == 404).then_some(())
        });
    }
}
