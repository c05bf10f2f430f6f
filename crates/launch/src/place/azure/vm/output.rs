//! Reads what Run Command gives back: the last 4,096 bytes of what a script said, in one of three shapes.

use std::net::IpAddr;

use serde_json::Value;
use zeroize::Zeroizing;

use super::refs::Listed;
use crate::node::{Ready, START, Secret, extract};

/// What a script said.
pub(super) struct Said {
    pub(super) stdout: Zeroizing<String>,
    pub(super) stderr: Zeroizing<String>,
    /// `None` if that is not told.
    pub(super) exit: Option<i64>,
}

/// What the script that reads found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The gateway takes connections.
    Ready(Found),
    /// It has ended by itself.
    Ended,
    /// It starts; what the machine said last, which may be nothing.
    Starting(String),
}

/// A gateway that takes connections.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) ready: Ready,
    /// The peers that it made.
    pub(super) peers: Vec<Listed>,
    /// The configuration that was asked for, with its private key.
    pub(super) configuration: Option<Secret>,
}

/// What a script's output is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutputError {
    /// Not of Run Command.
    #[error("Azure's answer holds no output of a script")]
    Shape,
    /// It did not come to its end.
    #[error("the script on the machine did not come to its answer")]
    NoAnswer,
    /// Its beginning was cut off, or it holds no configuration.
    #[error("the gateway's configuration did not come whole: {0}")]
    Configuration(#[from] crate::node::ExtractError),
}

/// Reads the action's result: one entry with both outputs under headings, or an entry for each.
pub(super) fn of_action(result: &Value) -> Result<Said, OutputError> {
    // As the operation's URL or its `Location` gives it.
    let values = [
        &result["value"],
        &result["properties"]["output"]["value"],
        &result["output"]["value"],
    ];
    let entries = values.into_iter().find_map(Value::as_array).ok_or(OutputError::Shape)?;
    let of = |name: &str| {
        let entry = entries.iter().find(|entry| {
            let code = entry["code"].as_str().unwrap_or_default().to_ascii_lowercase();
            code.contains(name)
        });
        entry.and_then(|entry| entry["message"].as_str())
    };
    if let Some(stdout) = of("stdout") {
        return Ok(said(stdout, of("stderr").unwrap_or_default(), None));
    }
    let message = entries
        .first()
        .and_then(|entry| entry["message"].as_str())
        .ok_or(OutputError::Shape)?;
    let (_, rest) = message.split_once("[stdout]").ok_or(OutputError::Shape)?;
    // A script may write the heading, too: the last one is Azure's.
    let (stdout, stderr) = rest.rsplit_once("[stderr]").unwrap_or((rest, ""));
    Ok(said(stdout, stderr, None))
}

/// Reads the instance view of a command; `None` while it goes on.
pub(super) fn of_view(command: &Value) -> Result<Option<Said>, OutputError> {
    let view = &command["properties"]["instanceView"];
    let text = |name: &str| view[name].as_str().unwrap_or_default();
    match text("executionState").to_ascii_lowercase().as_str() {
        "succeeded" | "failed" | "timedout" | "canceled" => {
            Ok(Some(said(text("output"), text("error"), view["exitCode"].as_i64())))
        }
        "" if command["properties"].is_null() => Err(OutputError::Shape),
        _ => Ok(None),
    }
}

fn said(stdout: &str, stderr: &str, exit: Option<i64>) -> Said {
    Said {
        stdout: Zeroizing::new(stdout.to_owned()),
        stderr: Zeroizing::new(stderr.to_owned()),
        exit,
    }
}

impl Said {
    /// What the script that reads found out; with a configuration, if one was asked for.
    pub(super) fn read(&self, wants_configuration: bool) -> Result<Read, OutputError> {
        let lines = || self.stdout.lines().map(str::trim).filter(|line| !line.is_empty());
        let last = lines().next_back().ok_or(OutputError::NoAnswer)?;
        match last {
            r#"{"adit":"ended"}"# => return Ok(Read::Ended),
            r#"{"adit":"starting"}"# => return Ok(Read::Starting(self.last_words(last))),
            _ => {}
        }
        let ready = Ready::find(last).ok_or(OutputError::NoAnswer)?;
        let configuration = if wants_configuration {
            Some(extract(&self.stdout)?)
        } else {
            None
        };
        let peers = lines().take_while(|line| *line != START).filter_map(peer).collect();
        Ok(Read::Ready(Found {
            ready,
            peers,
            configuration,
        }))
    }

    /// The lines before the last, if no key can be in them.
    fn last_words(&self, last: &str) -> String {
        if self.stdout.contains("PrivateKey") || self.stdout.contains(START) {
            return String::new();
        }
        let lines: Vec<&str> = self
            .stdout
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && *line != last)
            .collect();
        let from = lines.len().saturating_sub(3);
        lines[from..].join("; ").chars().take(400).collect()
    }

    /// Why a script failed, in its own words.
    pub(super) fn complaint(&self) -> String {
        let words: Vec<&str> = self
            .stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let from = words.len().saturating_sub(3);
        words[from..].join("; ").chars().take(400).collect()
    }
}

/// Reads `peer NAME KEY ADDRESS`.
fn peer(line: &str) -> Option<Listed> {
    let mut words = line.strip_prefix("peer ")?.split(' ');
    let (name, public_key) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let address = words.next()?;
    let address: IpAddr = address.split('/').next()?.parse().ok()?;
    Some(Listed {
        name,
        public_key,
        address,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINE: &str = r#"{"adit":"ready","public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","listen_port":1,"plane":"kernel"}"#;

    const CONF: &str = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n\
        Address = 10.13.13.2\n\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n\
        Endpoint = gateway.invalid:51820\nAllowedIPs = 0.0.0.0/0\n";

    fn shapes(stdout: &str) -> Vec<Said> {
        let one = format!("Enable succeeded: \n[stdout]\n{stdout}\n[stderr]\noh\n");
        let entry = |code: &str, message: &str| json!({ "code": code, "level": "Info", "message": message });
        let action = json!({ "value": [entry("ProvisioningState/succeeded", &one)] });
        let two = json!({ "value": [
            entry("ComponentStatus/StdOut/succeeded", stdout), entry("ComponentStatus/StdErr/succeeded", "oh\n")
        ] });
        let view = json!({ "properties": { "instanceView": {
            "executionState": "Succeeded", "exitCode": 0, "output": stdout, "error": "oh\n"
        } } });
        vec![
            of_action(&action).unwrap(),
            of_action(&two).unwrap(),
            of_action(&json!({ "properties": { "output": two } })).unwrap(),
            of_view(&view).unwrap().unwrap(),
        ]
    }

    #[test]
    fn an_answer_is_the_same_in_every_shape() {
        let with_conf = format!(
            "peer phone HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw= 10.13.13.2/32\n{START}\n{CONF}{}\n\n{LINE}\n",
            crate::node::END
        );
        let cut = &with_conf[with_conf.find("PrivateKey").unwrap()..];
        let headless = with_conf.replace(START, "");
        let endless = with_conf.replace(crate::node::END, "");
        // (output, is a configuration asked for?, what is read: ready, ended, starting, error)
        for (output, wants, expected) in [
            (LINE.to_owned(), false, "ready"),
            (format!("pulling\n{LINE}\n\n"), false, "ready"),
            (format!("[stderr]\n{LINE}\n"), false, "ready"),
            (with_conf.clone(), true, "ready"),
            (cut.to_owned(), true, "error"),
            (headless, true, "error"),
            (endless, true, "error"),
            (LINE.to_owned(), true, "error"),
            (format!("{LINE}\nmore\n"), false, "error"),
            (LINE[..60].to_owned(), false, "error"),
            (String::new(), false, "error"),
            ("x\n{\"adit\":\"ended\"}\n".to_owned(), false, "ended"),
            (
                "manifest unknown\n{\"adit\":\"starting\"}\n".to_owned(),
                true,
                "starting",
            ),
        ] {
            for said in shapes(&output) {
                let read = said.read(wants);
                let word = match &read {
                    Ok(Read::Ready(found)) => {
                        assert_eq!(found.configuration.is_some(), wants);
                        assert_eq!(found.peers.len(), usize::from(wants));
                        "ready"
                    }
                    Ok(Read::Ended) => "ended",
                    Ok(Read::Starting(words)) => {
                        assert_eq!(words, "manifest unknown");
                        "starting"
                    }
                    Err(_) => "error",
                };
                assert_eq!(word, expected, "{output}");
                assert_eq!(said.complaint(), "oh");
                assert!(!format!("{read:?}").contains("yAnz5TF"));
            }
        }
    }

    #[test]
    fn wherever_an_output_is_cut_off_its_configuration_is_whole_or_an_error() {
        let whole = format!("pulled\n{START}\n{CONF}{}\n\n{LINE}\n", crate::node::END);
        for at in 0..whole.len() {
            for part in [&whole[at..], &whole[..at]] {
                for said in shapes(part) {
                    if let Ok(Read::Ready(found)) = said.read(true) {
                        assert_eq!(
                            found.configuration.as_ref().map(Secret::danger_text),
                            Some(CONF),
                            "{part}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_is_in_no_complaint_of_a_gateway_that_starts() {
        let output = format!("{CONF}\n{{\"adit\":\"starting\"}}\n");
        for said in shapes(&output) {
            assert_eq!(said.read(false), Ok(Read::Starting(String::new())));
        }
    }

    #[test]
    fn what_is_no_output_is_an_error() {
        for result in [
            json!(null),
            json!({}),
            json!({ "value": [] }),
            json!({ "value": [{ "message": "x" }] }),
        ] {
            assert_eq!(of_action(&result).err(), Some(OutputError::Shape), "{result}");
        }
        assert_eq!(of_view(&json!(null)).err(), Some(OutputError::Shape));
        for state in ["Running", "Pending", "Unknown"] {
            let command = json!({ "properties": { "instanceView": { "executionState": state } } });
            assert!(matches!(of_view(&command), Ok(None)));
        }
        assert!(matches!(of_view(&json!({ "properties": {} })), Ok(None)));
    }
}
