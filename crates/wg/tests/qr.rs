//! A decoder that we did not write reads our QR codes: zbar.
#![expect(clippy::disallowed_methods, reason = "the crate is pure, but its tests run programs")]
#![expect(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use wg::{
    PresharedKey, PrivateKey,
    conf::{Conf, Dns, Interface, Peer},
    qr::{Ink, MAX_LEN, Qr},
};

/// Whether `program` is there. Without it a test says aloud that it is skipped, unless `ADIT_TEST_ALL=1` is set.
fn has(test: &str, program: &str, package: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    assert!(
        found || env::var("ADIT_TEST_ALL").as_deref() != Ok("1"),
        "{test} needs {program} (Debian: {package})"
    );
    if !found {
        // Past the capture of cargo test, which would hide it.
        let line = format!("skipped: {test}: needs {program} (Debian: {package})\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    found
}

fn has_zbar(test: &str) -> bool {
    has(test, "zbarimg", "zbar-tools")
}

/// The file that people scan, with all that it usually holds.
fn conf() -> String {
    let private = PrivateKey::from_random([7; 32]);
    let peer = Peer {
        name: Some("gateway".to_owned()),
        preshared_key: Some(PresharedKey::from_bytes([9; 32])),
        allowed_ips: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        endpoint: Some("vpn.example.com:51820".parse().unwrap()),
        persistent_keepalive: Some(25),
        ..Peer::new(private.public_key())
    };
    let interface = Interface {
        private_key: Some(private),
        addresses: vec!["10.13.13.2/32".parse().unwrap(), "fd0d::2/128".parse().unwrap()],
        dns: vec![Dns::Server("10.13.13.1".parse().unwrap())],
        ..Interface::default()
    };
    Conf::build("peer1.conf", &interface, [&peer])
        .unwrap()
        .render()
        .to_string()
}

fn texts() -> [String; 3] {
    [
        "x".to_owned(),
        conf(),
        "The longest text. ".repeat(MAX_LEN).get(..MAX_LEN).unwrap().to_owned(),
    ]
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// What zbar reads in an image file.
fn decode(image: &Path) -> String {
    let output = Command::new("zbarimg")
        .args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"])
        .arg(image)
        .output()
        .unwrap();
    assert!(output.status.success(), "zbarimg found no code in {}", image.display());
    let text = String::from_utf8(output.stdout).unwrap();
    // zbarimg ends what it found with a line end of its own.
    text.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn zbar_reads_a_png_back() {
    if !has_zbar("zbar_reads_a_png_back") {
        return;
    }
    for (index, text) in texts().iter().enumerate() {
        for scale in [3, 8] {
            let file = path(&format!("code-{index}-{scale}.png"));
            fs::write(&file, &*Qr::new(text).unwrap().png(scale)).unwrap();
            assert_eq!(decode(&file), *text);
        }
    }
}

#[test]
fn zbar_reads_an_svg_back() {
    let name = "zbar_reads_an_svg_back";
    if !has_zbar(name) || !has(name, "rsvg-convert", "librsvg2-bin") {
        return;
    }
    for (index, text) in texts().iter().enumerate() {
        let (svg, png) = (
            path(&format!("code-{index}.svg")),
            path(&format!("code-{index}-svg.png")),
        );
        fs::write(&svg, &*Qr::new(text).unwrap().svg()).unwrap();
        let status = Command::new("rsvg-convert")
            .args(["--width", "900", "--output"])
            .args([&png, &svg])
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(decode(&png), *text);
    }
}

/// The brightness of a terminal's text and of its background.
#[derive(Clone, Copy)]
struct Palette {
    text: u8,
    background: u8,
}

/// Draws the lines as a terminal would, with a border of bare terminal; a block has 6 by 12 pixels.
fn draw(lines: &str, terminal: Palette) -> (usize, Vec<u8>) {
    let rows: Vec<Vec<(u8, u8)>> = lines.lines().map(|line| draw_line(line, terminal)).collect();
    let border = 3;
    let columns = rows.iter().map(Vec::len).max().unwrap() + 2 * border;
    let bare = (terminal.background, terminal.background);
    let mut pixels = Vec::new();
    for row in 0..rows.len() + 2 * border {
        let cells = row.checked_sub(border).and_then(|row| rows.get(row));
        for y in 0..12 {
            for column in 0..columns {
                let cell = column
                    .checked_sub(border)
                    .and_then(|column| cells?.get(column))
                    .unwrap_or(&bare);
                pixels.extend([if y < 6 { cell.0 } else { cell.1 }; 6]);
            }
        }
    }
    (columns * 6, pixels)
}

/// The brightness of the upper and lower half of each character.
fn draw_line(line: &str, terminal: Palette) -> Vec<(u8, u8)> {
    let mut cells = Vec::new();
    let mut ink = terminal;
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\x1b[") {
            let (codes, after) = sequence.split_once('m').unwrap();
            ink = match codes {
                "38;5;16;48;5;231" => Palette {
                    text: 0,
                    background: 255,
                },
                "0" => terminal,
                other => panic!("unknown sequence {other}"),
            };
            rest = after;
            continue;
        }
        let (text, background) = (ink.text, ink.background);
        cells.push(match character {
            '█' => (text, text),
            '▀' => (text, background),
            '▄' => (background, text),
            ' ' => (background, background),
            other => panic!("unknown character {other:?}"),
        });
        rest = &rest[character.len_utf8()..];
    }
    cells
}

#[test]
fn zbar_reads_a_terminal_back_whether_it_is_dark_or_light() {
    if !has_zbar("zbar_reads_a_terminal_back_whether_it_is_dark_or_light") {
        return;
    }
    let dark = Palette {
        text: 220,
        background: 20,
    };
    let light = Palette {
        text: 30,
        background: 250,
    };
    for (index, text) in texts().iter().enumerate() {
        let qr = Qr::new(text).unwrap();
        for (name, ink, terminal) in [
            ("dark", Ink::Colours, dark),
            ("light", Ink::Colours, light),
            ("plain", Ink::Plain, dark),
        ] {
            let (width, pixels) = draw(&qr.terminal(ink), terminal);
            let file = path(&format!("terminal-{index}-{name}.pgm"));
            let mut image = format!("P5\n{width} {}\n255\n", pixels.len() / width).into_bytes();
            image.extend(pixels);
            fs::write(&file, image).unwrap();
            assert_eq!(decode(&file), *text, "{name}");
        }
    }
}
