//! QR codes of configurations, for terminals, as PNG and as SVG.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// The quiet zone around a code, in modules (ISO/IEC 18004, section 6.3.8).
const QUIET: usize = 4;

/// The quiet zone where a terminal of [`COLUMNS`] has no room for more; readers get along with it.
const NARROW_QUIET: usize = 2;

/// How wide a terminal is at least.
const COLUMNS: usize = 80;

/// A QR code. What it says may hold a private key: `Debug` hides it, and it is wiped from memory when dropped.
#[derive(Clone)]
pub struct Qr {
    /// Modules to a side.
    width: usize,
    /// Row by row; `true` is dark.
    modules: Zeroizing<Vec<bool>>,
}

/// A text that is too long for a QR code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a QR code holds at most {MAX_LEN} bytes, this text has {len}; import the file instead")]
pub struct TooLong {
    /// Bytes of the text.
    pub len: usize,
}

/// The longest text that a QR code always holds, in bytes: version 40, level L.
pub const MAX_LEN: usize = 2953;

/// How a terminal is drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Black on white by escape sequences, right on every background.
    Colours,
    /// Without escape sequences, right where the text is light and the background dark.
    Plain,
}

impl Qr {
    /// Makes the code of a text, with the least error correction: on a screen nothing is torn or dirty, and fewer
    /// modules are easier to scan.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if the text does not fit.
    pub fn new(text: &str) -> Result<Self, TooLong> {
        let too_long = TooLong { len: text.len() };
        let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| too_long)?;
        let colors = code.to_colors();
        Ok(Self {
            width: code.width(),
            modules: Zeroizing::new(colors.into_iter().map(|color| color == Color::Dark).collect()),
        })
    }

    /// Lines of half blocks, two rows of modules in each, every line with its end.
    pub fn terminal(&self, ink: Ink) -> Zeroizing<String> {
        let quiet = if self.width + 2 * QUIET <= COLUMNS {
            QUIET
        } else {
            NARROW_QUIET
        };
        let side = self.width + 2 * quiet;
        // At most three bytes to a block and 32 to the colours of a line.
        let mut text = Zeroizing::new(String::with_capacity(side.div_ceil(2) * (3 * side + 32)));
        for top in (0..side).step_by(2) {
            if ink == Ink::Colours {
                // Colours 16 and 231 are black and white on every palette.
                text.push_str("\x1b[38;5;16;48;5;231m");
            }
            for column in 0..side {
                let upper = self.is_dark(column, top, quiet);
                let lower = self.is_dark(column, top + 1, quiet);
                // The text's own colour is for dark modules, or in plain ink for light ones.
                let inked = |dark: bool| dark == (ink == Ink::Colours);
                text.push(match (inked(upper), inked(lower)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            text.push_str(if ink == Ink::Colours { "\x1b[0m\n" } else { "\n" });
        }
        text
    }

    /// A PNG file in black and white, `scale` pixels (1 to 64) to a module.
    pub fn png(&self, scale: u32) -> Zeroizing<Vec<u8>> {
        let scale = usize::try_from(scale.clamp(1, 64)).unwrap_or(1);
        let side = (self.width + 2 * QUIET) * scale;
        let row_len = side.div_ceil(8);
        let mut pixels = Zeroizing::new(Vec::with_capacity(side * row_len));
        for y in 0..side / scale {
            let start = pixels.len();
            for byte in 0..row_len {
                let light = |bit: usize| !self.is_dark((8 * byte + bit) / scale, y, QUIET);
                pixels.push((0..8).fold(0, |byte, bit| byte << 1 | u8::from(light(bit))));
            }
            for _ in 1..scale {
                pixels.extend_from_within(start..start + row_len);
            }
        }
        let side = u32::try_from(side).expect("at most 185 modules of 64 pixels");
        let mut file = Zeroizing::new(Vec::with_capacity(pixels.len() + 1024));
        let mut encoder = png::Encoder::new(&mut *file, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        // A row is as the one above it, but for one in `scale`.
        encoder.set_filter(png::Filter::Up);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&pixels))
            .expect("writing into memory does not fail, and the image has the size that the header says");
        file
    }

    /// An SVG document, one unit to a module; it takes the size that it is given.
    pub fn svg(&self) -> Zeroizing<String> {
        let side = self.width + 2 * QUIET;
        // A run has at most 20 bytes, and at most every other module begins one.
        let mut text = Zeroizing::new(String::with_capacity(256 + side * side * 10));
        let _infallible = write!(
            text,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">"##
        );
        let _infallible = write!(text, r##"<path fill="#fff" d="M0 0h{side}v{side}H0z"/><path d=""##);
        for y in 0..self.width {
            let row = &self.modules[y * self.width..][..self.width];
            let mut x = 0;
            for run in row.chunk_by(|left, right| left == right) {
                if run[0] {
                    let (at, len) = (x + QUIET, run.len());
                    let _infallible = write!(text, "M{at} {}h{len}v1h-{len}z", y + QUIET);
                }
                x += run.len();
            }
        }
        text.push_str("\"/></svg>\n");
        text
    }

    /// Whether the module is dark, counted from the corner of a quiet zone of this width; outside all is light.
    fn is_dark(&self, x: usize, y: usize, quiet: usize) -> bool {
        let inside = |position: usize| position.checked_sub(quiet).filter(|position| *position < self.width);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.modules[y * self.width + x],
            _ => false,
        }
    }
}

impl std::fmt::Debug for Qr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qr").field("width", &self.width).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_refused() {
        assert!(Qr::new(&"x".repeat(MAX_LEN)).is_ok());
        let error = Qr::new(&"x".repeat(MAX_LEN + 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a QR code holds at most 2953 bytes, this text has 2954; import the file instead"
        );
    }

    #[test]
    fn all_lines_on_a_terminal_are_equally_wide_and_fit_as_long_as_possible() {
        // (bytes of text, columns): versions 1, 14 with the narrow quiet zone, 15 too wide for any.
        for (len, columns) in [(1, 29), (458, 77), (459, 81)] {
            let qr = Qr::new(&"a".repeat(len)).unwrap();
            for line in qr.terminal(Ink::Plain).lines() {
                assert_eq!(line.chars().count(), columns);
            }
            assert!(qr.terminal(Ink::Colours).lines().all(|line| line.ends_with("\x1b[0m")));
        }
    }

    #[test]
    fn debug_shows_no_module() {
        assert_eq!(format!("{:?}", Qr::new("a").unwrap()), "Qr { width: 21, .. }");
    }
}
