//! The description of the API: its snapshot, and what it promises.

use std::{collections::BTreeSet, fs, path::Path};

use hub::api::document;

#[test]
fn the_description_is_what_it_was() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("ADIT_UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "docs/openapi.json differs; if the change is meant, run the tests with ADIT_UPDATE_SNAPSHOTS=1"
    );
}

#[test]
fn no_request_has_a_field_for_a_private_key() {
    let document = serde_json::to_value(document()).unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (property, _) in properties {
            assert!(!property.contains("private"), "{name}.{property}");
        }
    }
}

#[test]
fn every_operation_has_a_name_and_says_how_it_fails() {
    let document = serde_json::to_value(document()).unwrap();
    let mut names = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            for status in ["401", "403", "404", "405", "421", "429", "500", "503"] {
                assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
            }
            let has_body = operation["requestBody"].is_object();
            assert_eq!(operation["responses"]["415"].is_object(), has_body, "{method} {path}");
        }
    }
    assert!(names.len() > 18, "{names:?}");
}
