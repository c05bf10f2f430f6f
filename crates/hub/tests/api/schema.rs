//! The API as schemathesis sees it: thousands of requests, right and wrong, made from the description alone.

use std::{fs, time::Duration};

use hub::config::{Typed, TypedLimits, TypedRates};

use crate::{
    listener::{Listening, listen},
    stage::{Hub, LIMIT, TOKEN},
};

/// What is no fault of the API.
///
/// A value may fit its schema and yet not be had: a place that is not configured, an extension beyond the ceiling. And an
/// address that sends wrong tokens has to wait, so `ignored_auth` would shut all others out; refusals.rs and the tests of
/// sign-in look at that. A lease that was ended stays to be read, as history, which `use_after_free` takes for a leak.
const SETTINGS: &str = "\
[checks.positive_data_acceptance]
expected-statuses = [\"2xx\", 401, 403, 404, 409, 422, 429]
[checks.ignored_auth]
enabled = false
[checks.use_after_free]
enabled = false
";

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    netlab::requires!("schemathesis");
    let program = netlab::tool("schemathesis").expect("asked for before");
    let many = Some(1_000_000);
    let hub = Hub::with(Typed {
        limits: TypedLimits {
            leases_per_user: many,
            leases: many,
            ..TypedLimits::default()
        },
        rates: TypedRates {
            per_user: many,
            per_address: many,
        },
        ..Typed::default()
    });
    // Something that is there, for operations that want it.
    let lease = hub.ready_lease().await;
    let Listening {
        address, stop, served, ..
    } = listen(hub).await;
    let folder = tempfile::tempdir().unwrap();
    let document = hub::api::document().to_json().unwrap();
    fs::write(folder.path().join("openapi.json"), document).unwrap();
    let there = format!(
        "[parameters]\n\"path.name\" = \"phone\"\n\"path.id\" = {}\n",
        lease["id"]
    );
    fs::write(folder.path().join("schemathesis.toml"), format!("{there}{SETTINGS}")).unwrap();
    let run = tokio::process::Command::new(program)
        .current_dir(folder.path())
        .args([
            "run",
            "openapi.json",
            "--no-color",
            "--continue-on-failure",
            "--workers",
            "2",
            "--max-examples",
            "15",
        ])
        .args([
            "--request-timeout",
            "60",
            "--seed",
            "1",
            "--url",
            &format!("http://{address}"),
        ])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(300), run)
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let _gone = stop.send(());
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}
