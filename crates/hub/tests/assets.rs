//! The pages' modules under Node: what they compute without a browser.

use std::{path::Path, process::Command};

#[test]
fn the_pages_modules_compute_what_they_should() {
    netlab::requires!("node");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("node")
        .arg(here.join("tests/assets.mjs"))
        .arg(here.join("assets"))
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
