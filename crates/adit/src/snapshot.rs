//! Compares texts with files under `tests/snapshots`; with `ADIT_UPDATE_SNAPSHOTS=1` writes them.

use std::{fs, path::Path};

/// Holds a text against the file of this name.
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    // What is left blank at a line's end is nobody's business, and no editor keeps it.
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
    if std::env::var_os("ADIT_UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs; if the change is meant, run the tests with ADIT_UPDATE_SNAPSHOTS=1\n--- expected\n{expected}\n--- found\n{text}",
        path.display()
    );
}
