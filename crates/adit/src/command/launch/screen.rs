//! Shows a lease to a person: lines that are painted over on a terminal, and plain ones elsewhere.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use gateway::{Name, server::PeerState};

use crate::amount;

/// Where nothing can be painted over, more peers than this are waited for in one line.
const MAX_WAITING_LINES: usize = 3;

/// What every line begins with.
const MARGIN: &str = "  ";

/// Where people read.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Option<Terminal>,
    quiet: bool,
    painted: usize,
    /// What was last said of each peer, where nothing can be painted over.
    said: Vec<Option<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Terminal {
    columns: usize,
    rows: usize,
}

impl Screen {
    /// Standard error. A quiet screen shows warnings only.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            terminal: if quiet { None } else { terminal() },
            quiet,
            painted: 0,
            said: Vec::new(),
        }
    }

    /// Whether a person is likely to be looking.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Whether a block of so many columns fits on the terminal.
    pub(crate) fn fits(&self, columns: usize) -> bool {
        self.terminal
            .is_none_or(|terminal| columns + MARGIN.len() <= terminal.columns)
    }

    /// Shows a line that stays.
    pub(crate) fn line(&mut self, line: &str) {
        if !self.quiet {
            self.put(&format!("  {line}\n"));
        }
    }

    /// Shows a text of several lines that stays, such as a QR code.
    pub(crate) fn block(&mut self, text: &str) {
        if !self.quiet {
            let lines = text.lines().fold(String::new(), |mut all, line| {
                all.push_str(MARGIN);
                all.push_str(line);
                all.push('\n');
                all
            });
            self.put(&lines);
        }
    }

    /// Shows a line that matters even to a program's operator.
    pub(crate) fn warning(&mut self, line: &str) {
        self.put(&format!("  note: {line}\n"));
    }

    /// Shows where the peers are: painted over the last time on a terminal, else only what has changed.
    pub(crate) fn peers(&mut self, peers: &[PeerState]) {
        if self.quiet {
            return;
        }
        match terminal().filter(|terminal| self.terminal.is_some() && peers.len() + 1 < terminal.rows) {
            Some(terminal) => self.paint(peers, terminal),
            None => self.say(peers),
        }
    }

    fn paint(&mut self, peers: &[PeerState], terminal: Terminal) {
        let mut frame = String::new();
        if self.painted > 0 {
            let _infallible = write!(frame, "\x1b[{}A", self.painted);
        }
        for peer in peers {
            let line = format!("  {}{}", waiting(&peer.name), progress(peer));
            let shown: String = line.chars().take(terminal.columns.saturating_sub(1)).collect();
            let _infallible = write!(frame, "\r\x1b[2K{shown}\n");
        }
        self.painted = peers.len();
        self.put_raw(&frame);
    }

    fn say(&mut self, peers: &[PeerState]) {
        if self.said.is_empty() && peers.len() > MAX_WAITING_LINES {
            put(&format!("  waiting for {} peers …\n", peers.len()));
        }
        self.said.resize(peers.len(), None);
        for (peer, said) in peers.iter().zip(&mut self.said) {
            let line = match (peer.latest_handshake, peer.endpoint) {
                (Some(_), Some(endpoint)) => format!("  {}: handshake from {endpoint}\n", peer.name),
                (Some(_), None) => format!("  {}: connected\n", peer.name),
                (None, _) if peers.len() > MAX_WAITING_LINES => continue,
                (None, _) => format!("  {}\n", waiting(&peer.name).trim_end()),
            };
            if said.as_ref() != Some(&line) {
                put(&line);
                *said = Some(line);
            }
        }
    }

    fn put(&mut self, text: &str) {
        // What comes above is not painted over.
        self.painted = 0;
        self.put_raw(text);
    }

    #[expect(clippy::unused_self, reason = "who has a screen may write on it")]
    fn put_raw(&self, text: &str) {
        put(text);
    }
}

fn put(text: &str) {
    // A lease goes on when nobody is looking.
    let _unseen = io::stderr().lock().write_all(text.as_bytes());
}

fn terminal() -> Option<Terminal> {
    let stderr = io::stderr();
    if !stderr.is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stderr).ok()?;
    Some(match (size.ws_col, size.ws_row) {
        (0, _) | (_, 0) => Terminal { columns: 80, rows: 24 },
        (columns, rows) => Terminal {
            columns: columns.into(),
            rows: rows.into(),
        },
    })
}

fn waiting(name: &Name) -> String {
    format!("waiting for {name} …  ")
}

/// What has come of the waiting, from the client's point of view: ↓ is what it downloaded.
fn progress(peer: &PeerState) -> String {
    match (peer.latest_handshake, peer.endpoint) {
        (Some(_), Some(endpoint)) => format!("handshake from {endpoint} · {}", transfer(peer)),
        (Some(_), None) => format!("connected · {}", transfer(peer)),
        (None, _) => String::new(),
    }
}

/// A client's traffic as it sees it.
pub(crate) fn transfer(peer: &PeerState) -> String {
    format!(
        "↓ {} ↑ {}",
        amount::bytes(peer.sent_bytes),
        amount::bytes(peer.received_bytes)
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_peer_is_waited_for_until_its_handshake() {
        let mut peer = PeerState {
            name: Name::numbered(1),
            public_key: wg::PublicKey::from_bytes([1; 32]),
            endpoint: None,
            latest_handshake: None,
            received_bytes: 0,
            sent_bytes: 0,
        };
        let line = |peer: &PeerState| format!("{}{}", waiting(&peer.name), progress(peer));
        assert_eq!(line(&peer), "waiting for peer1 …  ");
        peer.endpoint = Some("192.0.2.7:40112".parse().unwrap());
        peer.latest_handshake = Some(SystemTime::UNIX_EPOCH);
        (peer.sent_bytes, peer.received_bytes) = (12_400_000, 812_345);
        assert_eq!(
            line(&peer),
            "waiting for peer1 …  handshake from 192.0.2.7:40112 · ↓ 12.4 MB ↑ 812.3 kB"
        );
    }
}
