//! The line in a gateway's output that says how it is reached, for whoever reads a container's log or a machine's console.

use serde::{Deserialize, Serialize};
use wg::PublicKey;

/// What begins the line.
const BEGINNING: &str = r#"{"adit":"ready","#;

/// What a gateway says of itself once it takes connections, as one line of JSON on its standard output.
///
/// ```text
/// {"adit":"ready","public_key":"…","listen_port":51820,"plane":"kernel"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its public key.
    pub public_key: PublicKey,
    /// The UDP port that it listens on, as it sees it.
    pub listen_port: u16,
    /// Who handles its packets.
    pub plane: String,
}

#[derive(Serialize)]
struct Line<'a> {
    adit: &'static str,
    #[serde(flatten)]
    ready: &'a Ready,
}

impl Ready {
    /// The line, without its end.
    pub fn line(&self) -> String {
        let line = Line {
            adit: "ready",
            ready: self,
        };
        serde_json::to_string(&line).expect("keys, numbers and words can be written")
    }

    /// The last such line of a log, whatever stands before it in the line, as a time and a name do. Of a gateway that was
    /// started anew that is the one that holds.
    pub fn find(log: &str) -> Option<Self> {
        let read = |line: &str| {
            let text = &line[line.find(BEGINNING)?..];
            serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
        };
        log.lines().rev().find_map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_of_a_log_holds() {
        let ready = |port| Ready {
            public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap(),
            listen_port: port,
            plane: "kernel".to_owned(),
        };
        let line = ready(1).line();
        assert_eq!(
            line,
            r#"{"adit":"ready","public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","listen_port":1,"plane":"kernel"}"#
        );
        let second = ready(2).line();
        for (log, expected) in [
            (String::new(), None),
            (line.clone(), Some(1)),
            (format!("{line}\r\n{second}\r\nmore\n"), Some(2)),
            (format!("[    3.1] adit[812]: {line} \u{1b}[0m\n"), Some(1)),
            (format!("{line}\n{}", &second[..40]), Some(1)),
            (r#"{"adit":"ready","public_key":"x"}"#.to_owned(), None),
            (r#"{"public_key":"x"}"#.to_owned(), None),
        ] {
            assert_eq!(Ready::find(&log).map(|ready| ready.listen_port), expected, "{log}");
        }
    }
}
