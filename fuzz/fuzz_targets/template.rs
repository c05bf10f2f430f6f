//! Templates: read, rendered, and nothing of a value is taken for a template.
#![no_main]

use gateway::template::{Source, Template};
use libfuzzer_sys::fuzz_target;
use zeroize::Zeroizing;

/// Every value looks like a template.
struct Sly;

const SLY: &str = "$(cat /x) ${X} `x` \\";

impl Source for Sly {
    fn variable(&self, _: &str) -> Option<String> {
        Some(SLY.to_owned())
    }

    fn file(&self, _: &str) -> Result<Zeroizing<String>, String> {
        Ok(Zeroizing::new(SLY.to_owned()))
    }
}

fuzz_target!(|text: &str| {
    if let Ok(template) = Template::parse("fuzz", text) {
        let rendered = template.render(&Sly).expect("every file is there");
        assert!(rendered.ends_with('\n'));
        if !text.contains(['$', '\\', '`']) {
            assert_eq!(rendered.trim_end_matches('\n'), text.trim_end_matches('\n'));
        }
    }
});
