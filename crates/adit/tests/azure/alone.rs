//! Leases at Azure without a hub: followed, changed and ended by other commands, and taken over from who was killed.

use std::fs;
use std::time::Duration;

use netlab::Command;
use serde_json::Value;

use crate::cloud::{IMAGE, Kind, Lit, SOON, quick};
use crate::lanes;
use crate::needs_machines;

/// A command of the person's: who he is to Azure is in the environment, and nothing else.
fn adit(lit: &Lit, arguments: &[&str]) -> Command {
    let (settings, url) = (lit.azure.settings(), lit.azure.url());
    let data = lit.hub.folder().join("launch");
    lit.hub
        .command(env!("CARGO_BIN_EXE_adit"))
        .arg("launch")
        .args(arguments)
        .arg("--data")
        .arg(data)
        .env("AZURE_AUTHORITY_HOST", url)
        .env("AZURE_TENANT_ID", &settings.tenant)
        .env("AZURE_CLIENT_ID", &settings.client)
        .env("AZURE_CLIENT_SECRET", &settings.secret)
}

/// A launch that stays. Where it launches is in its own environment.
fn launch(lit: &Lit, kind: Kind, output: &str) -> Command {
    let on = [
        "--on",
        kind.name(),
        "--region",
        "westeurope",
        "--image",
        IMAGE,
        "--json",
        "--output",
        output,
    ];
    adit(lit, &on)
        .env("AZURE_SUBSCRIPTION_ID", &lit.azure.settings().subscription)
        .env("ADIT_AZURE_MANAGEMENT_URL", lit.azure.url())
}

/// The lease of a launch that says that it is ready.
fn lease(printed: &str) -> String {
    let events = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ready = events.filter(|event| event["event"] == "ready");
    let ready = ready.next().expect("an event that says that it is ready");
    ready["lease"].as_str().expect("the lease's id").to_owned()
}

#[test]
fn a_lease_without_a_hub_is_shown_changed_and_ended_by_other_commands_and_by_ctrl_c() {
    needs_machines!();
    lanes::each(Kind::BOTH, |kind| {
        let lit = Lit::new(quick());
        let output = lit.hub.folder().join("output");
        let folder = output.to_str().expect("a path of letters");
        let mut launch = launch(&lit, kind, folder).spawn();
        launch.wait_for("\"event\":\"peer\"", SOON);
        let id = lease(&launch.stdout());
        let shown: Value = serde_json::from_str(&adit(&lit, &["show", &id, "--json"]).run()).expect("a lease");
        assert_eq!(
            (&shown["place"], &shown["state"]),
            (&kind.name().into(), &"ready".into()),
            "{shown}"
        );
        adit(&lit, &["extend", &id, "1h"]).run();
        adit(&lit, &["peer", "add", &id, "tablet"]).run();
        let configuration = adit(&lit, &["config", &id, "tablet"]).run();
        assert!(configuration.contains("Endpoint = 203.0.113.1:"), "{configuration}");
        assert!(output.join("tablet.conf").exists(), "it is beside the launch's own");
        launch.wait_for("\"event\":\"peer_added\"", SOON);
        launch.signal(libc::SIGINT);
        assert!(launch.wait(SOON).success(), "{}", launch.log());
        assert_eq!((lit.left(), lit.light.count()), (Vec::new(), 0), "{kind:?}");
        assert!(!output.join("tablet.conf").exists() && !output.join("peer1.conf").exists());
    });
}

#[test]
fn whoever_takes_over_needs_no_option_of_who_was_killed() {
    needs_machines!();
    lanes::each(Kind::BOTH, |kind| {
        let lit = Lit::new(quick());
        let output = lit.hub.folder().join("output");
        let mut launch = launch(&lit, kind, output.to_str().expect("a path of letters")).spawn();
        launch.wait_for("\"event\":\"peer\"", SOON);
        let id = lease(&launch.stdout());
        launch.signal(libc::SIGKILL);
        launch.wait(SOON);
        let kept = lit.hub.folder().join("launch/engines").join(&id);
        let text = fs::read_to_string(&kept).expect("what is kept of the lease");
        assert!(text.contains(&lit.azure.settings().subscription), "{text}");
        assert!(!text.contains(&lit.azure.settings().secret), "{text}");
        // Neither subscription nor address is in the environment of the next.
        let listed = adit(&lit, &["list"]).limit(Duration::from_secs(60)).run();
        assert!(listed.contains("ready"), "{listed}");
        adit(&lit, &["end", &id]).limit(Duration::from_secs(60)).run();
        assert_eq!((lit.left(), lit.light.count()), (Vec::new(), 0), "{kind:?}");
        assert!(!kept.exists(), "nothing is kept of what is over");
    });
}
