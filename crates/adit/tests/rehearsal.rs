//! `adit launch --plan` and `--check` for places at Azure: what would be sent, and what is said to be in the way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use netlab::serve::azure::{Azure, Settings};
use serde_json::Value;

const PLACES: [&str; 2] = ["azure-vm", "azure-container"];

/// The program, with nothing in its environment that tells who it is.
fn launch(place: &str, region: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command
        .args([
            "launch",
            "--on",
            place,
            "--region",
            region,
            "--image",
            "adit.example/adit:1",
        ])
        .args(arguments)
        .env_clear()
        .env("HOME", "/nowhere")
        .stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Moments are of the day.
fn without_moments(text: &str) -> String {
    let is_moment = |word: &str| {
        word.len() >= 20 && word.get(4..5) == Some("-") && word.get(10..11) == Some("T") && word.starts_with("20")
    };
    let words = text.split_inclusive([' ', '"', '\n', '\\']);
    let mut shown = String::new();
    for word in words {
        let bare = word.trim_end_matches([' ', '"', '\n', '\\', ',']);
        if is_moment(bare) {
            shown.push_str("MOMENT");
            shown.push_str(&word[bare.len()..]);
        } else {
            shown.push_str(word);
        }
    }
    shown
}

/// What machines are told at their first boot, as it is before it is encoded: a moment is in it.
fn with_readable_data(text: &str) -> String {
    let mut shown = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once("\"customData\": \"") {
            Some((before, rest)) => {
                let (data, after) = rest.split_once('"').unwrap();
                let data = decode(data);
                shown.push_str(&format!("{before}\"customData\": {}{after}", Value::from(data)));
            }
            None => shown.push_str(line),
        }
    }
    shown
}

/// RFC 4648, section 4.
fn decode(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|known| *known == letter).unwrap();
        bits = (bits << 6 | u32::try_from(value).unwrap()) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn is_snapshot(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots/plan")
        .join(name);
    if std::env::var_os("ADIT_UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        text,
        "{}",
        path.display()
    );
}

#[test]
fn a_plan_has_every_request_and_needs_no_account() {
    for place in PLACES {
        let folder = tempfile::tempdir().unwrap();
        let output = launch(place, "westeurope", &["--plan"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        is_snapshot(
            &format!("{place}.txt"),
            &without_moments(&with_readable_data(&text(&output))),
        );
        // The same for programs, one object a request.
        let json = launch(place, "westeurope", &["--plan", "--json"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let json = text(&json);
        let numbers = json
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64());
        let count = text(&output)
            .lines()
            .filter(|line| line.contains(". ") && line.contains(" https://"))
            .count();
        assert_eq!(
            numbers.collect::<Vec<_>>(),
            (1..=count as u64).map(Some).collect::<Vec<_>>()
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
    }
}

#[test]
fn no_secret_of_a_file_is_in_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "s3cr3t-of-the-registry\n").unwrap();
    let places = folder.path().join("places.yml");
    let yaml = format!(
        "- {{kind: azure-container, name: west, registry: {{server: r.example, user: u, password_file: {}}}}}\n",
        secret.display()
    );
    fs::write(&places, yaml).unwrap();
    let output = launch("west", "westeurope", &["--plan", "--places", places.to_str().unwrap()])
        .output()
        .unwrap();
    let text = text(&output);
    assert!(text.contains("r.example") && text.contains("<hidden>"), "{text}");
    assert!(!text.contains("s3cr3t") && !text.contains("AAAA"), "{text}");
}

fn checked(place: &str, azure: &Azure, region: &str, more: &[&str]) -> Output {
    let settings = azure.settings();
    launch(place, region, &["--check"])
        .args(more)
        .env("ADIT_AZURE_MANAGEMENT_URL", azure.url())
        .env("AZURE_AUTHORITY_HOST", azure.url())
        .env("AZURE_SUBSCRIPTION_ID", &settings.subscription)
        .env("AZURE_TENANT_ID", &settings.tenant)
        .env("AZURE_CLIENT_ID", &settings.client)
        .env("AZURE_CLIENT_SECRET", &settings.secret)
        .output()
        .unwrap()
}

/// A service with the resource group.
fn azure() -> Azure {
    let azure = Azure::start(Settings::default());
    let group = format!(
        "{}/subscriptions/{}/resourcegroups/adit?api-version=2021-04-01",
        azure.url(),
        azure.settings().subscription
    );
    let made = Command::new("curl")
        .args(["--silent", "--fail", "--request", "PUT", &group])
        .args(["--header", &format!("Authorization: Bearer {}", azure.token())])
        .args([
            "--header",
            "Content-Type: application/json",
            "--data",
            r#"{"location": "westeurope"}"#,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    azure
}

#[test]
fn a_check_says_that_all_is_fine_and_changes_nothing() {
    for place in PLACES {
        let azure = azure();
        let output = checked(place, &azure, "westeurope", &[]);
        let said = text(&output);
        assert!(
            output.status.success() && !said.contains('✗'),
            "{place}: {said} {output:?}"
        );
        assert!(
            said.lines().count() > 5 && said.contains("✓ the resource group adit"),
            "{said}"
        );
        let changes = azure
            .asked()
            .into_iter()
            .filter(|asked| asked.method != "GET" && asked.method != "HEAD");
        let changes: Vec<String> = changes
            .map(|asked| asked.target)
            .filter(|target| !target.contains("oauth2"))
            .collect();
        assert_eq!(changes.len(), 1, "{changes:?}");
    }
}

/// What is in the way, and what is said of it.
type Trouble = (
    &'static str,
    fn(&Azure),
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

#[test]
fn a_check_names_what_is_in_the_way_and_what_mends_it() {
    let reading = |azure: &Azure| {
        let scope = format!("/subscriptions/{}", azure.settings().subscription);
        azure.permit(&scope, &["*/read"]);
    };
    let other = "- {kind: azure-vm, vm_image: 'kinvolk:no-such-offer:stable:latest'}\n";
    let terms = "- {kind: azure-vm, vm_image: flatcar-free}\n";
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, yaml: &str| {
        let path = folder.path().join(name);
        fs::write(&path, yaml).unwrap();
        path
    };
    let (other, terms) = (file("other.yml", other), file("terms.yml", terms));
    let places = |path: &Path| -> &'static [&'static str] {
        let path: &'static str = Box::leak(path.to_str().unwrap().to_owned().into_boxed_str());
        Box::leak(Box::new(["--places", path]))
    };
    let (other, terms) = (places(&other), places(&terms));
    let none = |_: &Azure| {};
    let cases: [Trouble; 11] = [
        (
            "azure-vm",
            reading,
            "westeurope",
            &[],
            "virtualMachines/write",
            "az role assignment create",
        ),
        (
            "azure-container",
            reading,
            "westeurope",
            &[],
            "containerGroups/write",
            "az role assignment create",
        ),
        (
            "azure-vm",
            |azure| azure.set_quota("cores", 0),
            "westeurope",
            &[],
            "✗ the quota of cores",
            "",
        ),
        (
            "azure-container",
            |azure| azure.set_quota("StandardCores", 0),
            "westeurope",
            &[],
            "StandardCores",
            "ask Azure for more",
        ),
        (
            "azure-vm",
            |azure| azure.sell_out("Standard_B1s"),
            "westeurope",
            &[],
            "Standard_B1s cannot be had",
            "choose another size",
        ),
        ("azure-vm", none, "westeurope", other, "no-such-offer", ""),
        ("azure-vm", none, "westeurope", terms, "terms", "accept"),
        (
            "azure-vm",
            |azure| azure.unregister("Microsoft.Compute"),
            "westeurope",
            &[],
            "Microsoft.Compute",
            "az provider register",
        ),
        (
            "azure-container",
            |azure| azure.unregister("Microsoft.ContainerInstance"),
            "westeurope",
            &[],
            "Microsoft.ContainerInstance",
            "az provider register",
        ),
        (
            "azure-vm",
            none,
            "moonbase",
            &[],
            "no region moonbase",
            "az account list-locations",
        ),
        (
            "azure-container",
            none,
            "moonbase",
            &[],
            "no region moonbase",
            "az account list-locations",
        ),
    ];
    for (place, trouble, region, more, said, remedy) in cases {
        let azure = azure();
        trouble(&azure);
        let output = checked(place, &azure, region, more);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{place} {said}: {text} {output:?}");
        assert!(
            text.contains('✗') && text.contains(said) && text.contains(remedy),
            "{place} {said}: {text}"
        );
    }
}

#[test]
fn without_a_credential_a_check_says_how_to_get_one() {
    let azure = azure();
    let output = launch(
        "azure-vm",
        "westeurope",
        &[
            "--check",
            "--json",
            "--azure-subscription",
            &azure.settings().subscription,
        ],
    )
    .env("ADIT_AZURE_MANAGEMENT_URL", azure.url())
    .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!((&said["check"], &said["ok"]), (&"the credential".into(), &false.into()));
    assert_eq!(said["code"], "no_credential");
    assert!(said["remedy"].as_str().unwrap().contains("az login"), "{said}");
}
