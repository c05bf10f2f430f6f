//! Shows a lease to a person: lines that are painted over on a terminal, and plain ones elsewhere.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    net::IpAddr,
    path::Path,
};

use gateway::{Name, server::PeerState};
use wg::qr::{Ink, Qr};
use zeroize::Zeroizing;

use super::{config::ShowQr, progress::Progress};
use crate::amount;

/// Most QR codes that are shown on a terminal unasked.
const MAX_UNASKED_QR: usize = 3;

/// Takes a line back that was shown last.
const TAKE_BACK: &str = "\x1b[1A\r\x1b[2K";

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
    /// Whether the last line is of something under way, and goes when something else is shown.
    is_passing: bool,
    /// What was last said of each peer, where nothing can be painted over.
    said: HashMap<String, String>,
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
            is_passing: false,
            said: HashMap::new(),
        }
    }

    /// Shows how far a gateway is, in one line that is painted over; nothing where that cannot be.
    pub(crate) fn progress(&mut self, progress: &Progress<'_>) {
        let Some(terminal) = self.terminal.and_then(|_| terminal()) else {
            return;
        };
        if let Some(line) = progress.line(terminal.columns.saturating_sub(MARGIN.len())) {
            self.put(&format!("{}\n", cut(&format!("{MARGIN}{line}"), terminal)));
            self.is_passing = true;
        }
    }

    /// Shows the configuration of one of so many peers as a QR code, unless nobody can be expected to scan it.
    pub(crate) fn qr(&mut self, show: ShowQr, conf: &str, peers: usize) -> anyhow::Result<()> {
        let is_unasked = match show {
            ShowQr::Never => return Ok(()),
            ShowQr::Always => false,
            ShowQr::Auto if self.terminal.is_none() || peers > MAX_UNASKED_QR => return Ok(()),
            ShowQr::Auto => true,
        };
        let qr = Qr::new(conf)?;
        let text = qr.terminal(ink());
        if is_unasked && !self.fits(columns(&qr.terminal(Ink::Plain))) {
            self.line("the terminal is too narrow for the QR code; --qr shows it all the same");
            return Ok(());
        }
        self.block(&text);
        Ok(())
    }

    /// Whether a block of so many columns fits on the terminal.
    fn fits(&self, columns: usize) -> bool {
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
    fn block(&mut self, text: &str) {
        if !self.quiet {
            let room = text.len() + text.lines().count() * (MARGIN.len() + 1);
            let mut lines = Zeroizing::new(String::with_capacity(room));
            for line in text.lines() {
                lines.push_str(MARGIN);
                lines.push_str(line);
                lines.push('\n');
            }
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
        self.take_back();
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
            let _infallible = write!(frame, "\r\x1b[2K{}\n", cut(&line, terminal));
        }
        // Those of peers that are gone.
        for _ in peers.len()..self.painted {
            frame.push_str("\r\x1b[2K\n");
        }
        self.painted = self.painted.max(peers.len());
        put(&frame);
    }

    fn say(&mut self, peers: &[PeerState]) {
        if self.said.is_empty() && peers.len() > MAX_WAITING_LINES {
            put(&format!("  waiting for {} peers …\n", peers.len()));
        }
        for peer in peers {
            let line = match (peer.latest_handshake, peer.endpoint) {
                (Some(_), Some(endpoint)) => format!("  {}: handshake from {endpoint}\n", peer.name),
                (Some(_), None) => format!("  {}: connected\n", peer.name),
                (None, _) if peers.len() > MAX_WAITING_LINES => continue,
                (None, _) => format!("  {}\n", waiting(&peer.name).trim_end()),
            };
            if self.said.get(peer.name.as_str()) != Some(&line) {
                put(&line);
                self.said.insert(peer.name.to_string(), line);
            }
        }
    }

    fn put(&mut self, text: &str) {
        // What comes above is not painted over.
        self.painted = 0;
        self.take_back();
        put(text);
    }

    fn take_back(&mut self) {
        if std::mem::take(&mut self.is_passing) {
            put(TAKE_BACK);
        }
    }
}

/// As much of a line as a terminal shows in one.
fn cut(line: &str, terminal: Terminal) -> String {
    line.chars().take(terminal.columns.saturating_sub(1)).collect()
}

/// Columns of a block of text.
fn columns(text: &str) -> usize {
    text.lines().next().map_or(0, |line| line.chars().count())
}

/// Where a peer's configuration is.
pub(super) fn handed(name: &str, width: usize, addresses: &[IpAddr], path: &Path) -> String {
    let addresses = addresses.iter().map(brief).collect::<Vec<_>>().join(", ");
    format!("{name:width$}   {addresses}   → {}", path.display())
}

/// An address as people tell it apart: the middle of a long one is left out.
fn brief(address: &IpAddr) -> String {
    let text = address.to_string();
    match (address, text.find(':'), text.find("::")) {
        (IpAddr::V6(_), Some(first), Some(gap)) if first + 1 < gap => format!("{}:…{}", &text[..first], &text[gap..]),
        _ => text,
    }
}

/// How QR codes are drawn: without colours if `NO_COLOR` has any value (no-color.org).
pub(super) fn ink() -> Ink {
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        Ink::Plain
    } else {
        Ink::Colours
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
    fn a_block_fits_where_there_is_no_terminal_or_one_that_is_wide_enough() {
        let of = |columns: Option<usize>| Screen {
            terminal: columns.map(|columns| Terminal { columns, rows: 24 }),
            ..Screen::new(true)
        };
        let qr = columns("██\n██\n");
        for (terminal, columns, fits) in [
            (None, 500, true),
            (Some(80), 78, true),
            (Some(80), 79, false),
            (Some(3), qr, false),
            (Some(4), qr, true),
        ] {
            assert_eq!(of(terminal).fits(columns), fits, "{columns} columns on {terminal:?}");
        }
    }

    #[test]
    fn a_line_is_cut_to_the_terminal_by_its_letters() {
        for (columns, line) in [(4, "wai"), (10, "waiting …"), (80, "waiting … ↓")] {
            assert_eq!(cut("waiting … ↓", Terminal { columns, rows: 24 }), line);
        }
    }

    #[test]
    fn a_long_address_is_shown_by_its_ends() {
        for (address, shown) in [
            ("10.13.13.2", "10.13.13.2"),
            ("fd0d:1:2:3::2", "fd0d:…::2"),
            ("fd00::2", "fd00::2"),
            ("fd0d:1:2:3:4:5:6:7", "fd0d:1:2:3:4:5:6:7"),
        ] {
            assert_eq!(brief(&address.parse().unwrap()), shown);
        }
    }

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
