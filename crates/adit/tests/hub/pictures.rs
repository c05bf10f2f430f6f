//! Every page in each of its states, by the eyes of axe and for the guide: `docs/images` has what a browser photographed.

use std::fs;
use std::path::Path;

use netlab::Lab;
use serde_json::{Value, json};

use crate::browser::visit;
use crate::stage::Hub;

/// Most bytes of a picture: pages of the guide load at once.
const LARGEST: u64 = 150_000;

#[test]
fn every_page_can_be_read_by_everybody_and_is_shown_in_the_guide() {
    needs_a_browser!();
    let host = Lab::new().host("gateway");
    let hub = Hub::start(
        &host,
        &[
            "--place",
            "simulate,docker",
            "--simulate-speed",
            "15",
            "--docker",
            "/run/there-is-no-engine.sock",
        ],
    );
    let is_update = std::env::var_os("ADIT_UPDATE_IMAGES").is_some();
    let args = json!({ "link": hub.link, "shrinks": is_update });
    let visit = visit(&host, "pictures.mjs", &args);
    let names = visit.said[0]["pictures"].as_array().expect("the visit names pictures");
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images");
    if is_update {
        for old in fs::read_dir(&pictures).unwrap().flatten() {
            if old.file_name().to_string_lossy().starts_with("hub-") {
                fs::remove_file(old.path()).unwrap();
            }
        }
        for name in names.iter().filter_map(Value::as_str) {
            fs::copy(visit.screenshot(name), pictures.join(format!("hub-{name}.png"))).unwrap();
        }
    }
    for name in names.iter().filter_map(Value::as_str) {
        let file = pictures.join(format!("hub-{name}.png"));
        let size = fs::metadata(&file).map_or(0, |found| found.len());
        assert!(size > 0, "docs/images has no hub-{name}.png: ADIT_UPDATE_IMAGES=1");
        assert!(size <= LARGEST, "{} has {size} bytes", file.display());
    }
}
