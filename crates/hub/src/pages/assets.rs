//! Style sheets, modules and pictures of the pages, built into the program.
//!
//! They lie in a folder whose name follows from their contents, so that a browser keeps them for good and never mixes those
//! of two versions; modules name each other without it.

use std::{fmt::Write, sync::LazyLock};

use axum::{
    body::Bytes,
    extract::Path,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

/// One file.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $media_type:expr,)+) => {
        &[$(Asset {
            name: $name,
            media_type: $media_type,
            content: include_bytes!(concat!("../../assets/", $name)),
        }),+]
    };
}

static ASSETS: &[Asset] = assets! {
    "actions.js": SCRIPT,
    "adit.css": STYLE,
    "api.js": SCRIPT,
    "clock.js": SCRIPT,
    "conf.js": SCRIPT,
    "devices.js": SCRIPT,
    "dom.js": SCRIPT,
    "favicon.svg": PICTURE,
    "keys.js": SCRIPT,
    "launch.js": SCRIPT,
    "lean-qr.js": SCRIPT,
    "lean-qr.txt": TEXT,
    "lease.js": SCRIPT,
    "morph.js": SCRIPT,
    "noscript.css": STYLE,
    "page.js": SCRIPT,
    "plot.js": SCRIPT,
    "qr.js": SCRIPT,
    "request.js": SCRIPT,
    "running.js": SCRIPT,
    "tokens.js": SCRIPT,
    "traffic.js": SCRIPT,
    "words.js": SCRIPT,
};

/// The folder's name: 16 hexadecimal digits of the hash of all files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for asset in ASSETS {
        hash.update(asset.name);
        hash.update(asset.content);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
});

/// Where a browser finds the file of this name.
pub(super) fn url(name: &str) -> String {
    debug_assert!(find(name).is_some(), "there is no asset {name}");
    format!("/assets/{}/{name}", *VERSION)
}

/// The modules that this one imports, and those that they import, so that a browser asks for all of them at once.
pub(super) fn imports(module: &str) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    let mut open = vec![module];
    while let Some(asset) = open.pop().and_then(find) {
        for name in imported(asset) {
            if name != module && !found.contains(&name) {
                found.push(name);
                open.push(name);
            }
        }
    }
    found.sort_unstable();
    found
}

fn imported(asset: &Asset) -> impl Iterator<Item = &'static str> {
    let text = if asset.media_type == SCRIPT {
        std::str::from_utf8(asset.content).unwrap_or_default()
    } else {
        ""
    };
    text.lines()
        .filter_map(|line| line.split_once(" from './").or_else(|| line.split_once("import './")))
        .filter_map(|(_, rest)| find(rest.split_once('\'')?.0).map(|asset| asset.name))
}

fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// Answers `GET /assets/{version}/{name}`. A file of another version is this one's, and is not kept.
pub(super) async fn serve(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = find(&name) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let tag = format!("\"{}\"", *VERSION);
    let keeping = if version == *VERSION {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let described: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, keeping),
        (header::ETAG, &tag),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        return (StatusCode::NOT_MODIFIED, described).into_response();
    }
    (described, Bytes::from_static(asset.content)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ASSETS.iter().map(|asset| asset.name).collect::<Vec<_>>());
    }

    #[test]
    fn every_module_that_is_imported_is_there_and_is_asked_for_at_once() {
        for asset in ASSETS
            .iter()
            .filter(|asset| asset.media_type == SCRIPT && asset.name != "lean-qr.js")
        {
            let text = std::str::from_utf8(asset.content).unwrap();
            for (_, rest) in text.lines().filter_map(|line| line.split_once("'./")) {
                let name = rest.split_once('\'').unwrap().0;
                assert!(find(name).is_some(), "{} imports {name}", asset.name);
                assert!(imports(asset.name).contains(&name), "{} imports {name}", asset.name);
            }
        }
    }

    #[test]
    fn no_script_makes_markup_of_text_or_keeps_a_secret_in_the_browser() {
        const FORBIDDEN: [&str; 9] = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "sessionStorage",
            "indexedDB",
            "document.cookie",
        ];
        for asset in ASSETS.iter().filter(|asset| asset.media_type == SCRIPT) {
            let text = std::str::from_utf8(asset.content).unwrap();
            for word in FORBIDDEN {
                assert!(!text.contains(word), "{} has {word}", asset.name);
            }
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for asset in ASSETS
            .iter()
            .filter(|asset| asset.media_type == SCRIPT || asset.media_type == STYLE)
        {
            let text = std::str::from_utf8(asset.content).unwrap();
            for (_, rest) in text.match_indices("://").map(|(at, _)| text.split_at(at)) {
                assert!(rest.starts_with("://www.w3.org/2000/svg"), "{}: {rest:.40}", asset.name);
            }
        }
    }

    #[test]
    fn the_qr_library_is_the_one_that_its_note_names() {
        let note = std::str::from_utf8(find("lean-qr.txt").unwrap().content).unwrap();
        let hash = note.lines().find_map(|line| line.strip_prefix("SHA-256: ")).unwrap();
        let found = Sha256::digest(find("lean-qr.js").unwrap().content);
        assert_eq!(found.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hash);
        for line in ["MIT License", "Copyright (c) 2021-2025 David Evans", "Version: 2.7.4"] {
            assert!(note.lines().any(|found| found == line), "{line}");
        }
    }
}
