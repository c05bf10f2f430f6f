//! Drawings that are part of pages. They take the colour of the text around them and are hidden from screen readers.

use maud::{Markup, html};

/// The product's mark: the way into a mountain.
pub(super) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" aria-hidden="true" focusable="false" {
            path.outer d="M3 29V16a13 13 0 0 1 26 0v13h-5V16a8 8 0 0 0-16 0v13z" {}
            path.inner d="M12 29V16.5a4 4 0 0 1 8 0V29z" {}
        }
    }
}

/// Something that went well.
pub(super) fn done() -> Markup {
    stroke("m5 12.5 4.5 4.5L19 7.5")
}

/// Something that went wrong.
pub(super) fn failed() -> Markup {
    stroke("M7 7l10 10M17 7 7 17")
}

/// To the device.
pub(super) fn down() -> Markup {
    stroke("M12 5v13m-5-5 5 5 5-5")
}

/// From the device.
pub(super) fn up() -> Markup {
    stroke("M12 19V6m-5 5 5-5 5 5")
}

fn stroke(path: &str) -> Markup {
    html! {
        svg.icon viewBox="0 0 24 24" aria-hidden="true" focusable="false" { path d=(path) {} }
    }
}
