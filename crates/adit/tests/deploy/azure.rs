//! The hub at Azure: what its template makes, what its machine boots with, what its roles allow.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use base64ct::{Base64, Encoding as _};
use launch::place::azure::{AzureContainer, AzureVm};
use serde_json::{Value, json};

use super::{deploy, list, read};
use crate::template::Template;

/// What goes into no place but the one for secrets.
const SECRET: &str = "the-secret~of-the.application";

/// What the place `azure-vm` needs only if it accepts an image's terms: no role has it.
const TERMS: &str = "Microsoft.MarketplaceOrdering/";

/// The largest custom data, in bytes before base64 (*Azure: custom data and cloud-init*).
const LARGEST: usize = 65_535;

fn given() -> Value {
    json!({
        "dnsLabel": "Office-VPN", "role": "ROLE", "lookRole": "LOOK", "image": "registry.example.org/adit:1", "clientId":
        "d2b7a0c1-3e59-4a86-b6f4-90c8e1f7a253", "clientSecret": SECRET, "sshPublicKey": "ssh-ed25519 AAAA",
    })
}

/// What the template makes.
fn made() -> Vec<(Option<String>, Value)> {
    let text = read(&deploy("azure/hub.json"));
    let template = Template::new(&text, &given());
    let made = template.resources();
    let outputs = template.outputs();
    assert_eq!(outputs["url"], "https://office-vpn.westeurope.cloudapp.azure.com");
    assert_eq!(template.unread(), [""; 0]);
    made
}

fn of<'a>(made: &'a [(Option<String>, Value)], kind: &str) -> &'a Value {
    let found = made.iter().find(|(_, resource)| resource["type"] == kind);
    &found.unwrap_or_else(|| panic!("no {kind}")).1
}

/// What the machine boots with.
fn ignition() -> Value {
    let made = made();
    let data = &of(&made, "Microsoft.Compute/virtualMachines")["properties"]["osProfile"]["customData"];
    let data = Base64::decode_vec(data.as_str().expect("custom data")).expect("base64");
    assert!(data.len() <= LARGEST, "{} bytes", data.len());
    serde_json::from_slice(&data).expect("JSON")
}

/// A file that Ignition writes.
fn file(path: &str) -> String {
    let ignition = ignition();
    let files = list(&ignition["storage"]["files"]);
    let file = files.iter().find(|file| file["path"] == path).expect("the file");
    let source = file["contents"]["source"].as_str().expect("a source");
    let source = source.strip_prefix("data:;base64,").expect("a data URL");
    String::from_utf8(Base64::decode_vec(source).expect("base64")).expect("text")
}

#[test]
fn what_the_template_refers_to_is_there() {
    let made = made();
    let ids: BTreeSet<_> = made
        .iter()
        .filter(|(elsewhere, _)| elsewhere.is_none())
        .map(|(_, resource)| format!("/{}/{}", text(&resource["type"]), text(&resource["name"])))
        .collect();
    for (_, resource) in &made {
        for needed in list(&resource["dependsOn"]) {
            assert!(ids.contains(text(needed)), "{needed}");
        }
    }
    let machine = of(&made, "Microsoft.Compute/virtualMachines");
    assert_eq!(machine["identity"], json!({ "type": "SystemAssigned" }));
    let interface = of(&made, "Microsoft.Network/networkInterfaces");
    let configuration = &interface["properties"]["ipConfigurations"][0]["properties"];
    let (subnet, address) = (&configuration["subnet"]["id"], &configuration["publicIPAddress"]["id"]);
    assert_eq!(subnet, "/Microsoft.Network/virtualNetworks/subnets/adit-hub/hub");
    assert!(ids.contains(text(address)), "{address}");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_hub_is_reached_for_its_page_and_its_certificate_and_by_nothing_else() {
    let made = made();
    let group = of(&made, "Microsoft.Network/networkSecurityGroups");
    let rules = list(&group["properties"]["securityRules"])
        .iter()
        .map(|rule| &rule["properties"]);
    let open: Vec<_> = rules
        .map(|rule| {
            (
                text(&rule["access"]),
                text(&rule["protocol"]),
                text(&rule["destinationPortRange"]),
            )
        })
        .collect();
    assert_eq!(open, [("Allow", "Tcp", "443"), ("Allow", "Tcp", "80")]);
    let network = of(&made, "Microsoft.Network/virtualNetworks");
    let subnets = list(&network["properties"]["subnets"]);
    let guarded = subnets
        .iter()
        .all(|subnet| subnet["properties"]["networkSecurityGroup"]["id"].is_string());
    assert!(guarded && subnets.len() == 1);
    assert_eq!(
        of(&made, "Microsoft.Network/publicIPAddresses")["sku"]["name"],
        "Standard"
    );
}

#[test]
fn the_hubs_identity_has_the_two_roles_and_nothing_else() {
    let made = made();
    let roles: Vec<_> = made
        .iter()
        .filter(|(_, resource)| resource["type"] == "Microsoft.Authorization/roleAssignments")
        .map(|(at, resource)| {
            let properties = &resource["properties"];
            assert_eq!(properties["principalId"], "PRINCIPAL");
            (at.as_deref().unwrap_or_default(), text(&properties["roleDefinitionId"]))
        })
        .collect();
    let role = |name: &str| format!("/Microsoft.Authorization/roleDefinitions/{name}");
    let (launches, looks) = (role("ROLE"), role("LOOK"));
    let subscription = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
    assert_eq!(roles, [("adit", launches.as_str()), (subscription, looks.as_str())]);
}

#[test]
fn the_roles_allow_exactly_what_the_places_do() {
    let of = |name: &str| -> BTreeSet<String> {
        let role = read(&deploy("azure").join(name));
        for none in ["NotActions", "DataActions", "NotDataActions"] {
            assert_eq!(role[none], json!([]), "{name}");
        }
        let actions = list(&role["Actions"]);
        let all: BTreeSet<_> = actions.iter().map(|action| text(action).to_owned()).collect();
        assert_eq!(all.len(), actions.len(), "one is in {name} twice");
        all
    };
    let (launches, looks) = (of("role.json"), of("role-look.json"));
    assert!(launches.is_disjoint(&looks));
    let owned = |actions: &[&str]| -> BTreeSet<String> { actions.iter().map(|&action| action.to_owned()).collect() };
    let used: BTreeSet<String> = owned(AzureVm::ACTIONS)
        .union(&owned(AzureContainer::ACTIONS))
        .filter(|action| !action.starts_with(TERMS))
        .cloned()
        .collect();
    let both: BTreeSet<String> = launches.union(&looks).cloned().collect();
    let differing: Vec<_> = both.symmetric_difference(&used).collect();
    assert!(differing.is_empty(), "{differing:?}");
    // What makes, asks and removes is in the role of the one group; the other only reads.
    let making = owned(&AzureVm::ACTIONS[..AzureVm::MAKING]);
    assert!(making.is_subset(&launches));
    assert!(looks.iter().all(|action| action.ends_with("/read")), "{looks:?}");
}

#[test]
fn the_secret_goes_to_the_machine_by_the_one_protected_way() {
    let made = made();
    let with_secret: Vec<_> = made
        .iter()
        .filter(|(_, resource)| resource.to_string().contains(SECRET))
        .collect();
    let [(_, resource)] = with_secret.as_slice() else {
        panic!("{with_secret:?}");
    };
    let properties = &resource["properties"];
    let protected = json!([{ "name": "ADIT_OIDC_SECRET", "value": SECRET }]);
    assert_eq!(properties["protectedParameters"], protected);
    assert!(!ignition().to_string().contains(SECRET));
    // The script writes it where the hub reads it, for the hub alone.
    let folder = tempfile::tempdir().expect("make a folder");
    let script =
        text(&properties["source"]["script"]).replace("/etc/adit/secret", &folder.path().display().to_string());
    let script = script.replace("systemctl", "true").replace("chown", "true");
    let ran = Command::new("sh")
        .args(["-c", &script])
        .env("ADIT_OIDC_SECRET", SECRET)
        .output()
        .expect("start sh");
    assert!(
        ran.status.success() && ran.stdout.is_empty() && ran.stderr.is_empty(),
        "{ran:?}"
    );
    let written = folder.path().join("oidc");
    assert_eq!(fs::read_to_string(&written).expect("the secret"), format!("{SECRET}\n"));
    let mode = fs::metadata(&written).expect("the secret").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let hub = file("/etc/adit/hub.yml");
    assert!(hub.contains("client_secret_file: /etc/adit/secret/oidc\n"), "{hub}");
}

#[test]
fn ignition_takes_what_the_hubs_machine_boots_with() {
    let ignition = ignition();
    assert_eq!(ignition["ignition"]["version"], "3.3.0");
    let folders = list(&ignition["storage"]["directories"]);
    assert!(
        folders
            .iter()
            .all(|folder| folder["mode"] == 0o700 && folder["user"]["id"] == 65534)
    );
    netlab::requires!("ignition-validate");
    let folder = tempfile::tempdir().expect("make a folder");
    // It judges, and is seen to judge.
    for (version, taken) in [("3.3.0", true), ("9.9.9", false)] {
        let path = folder.path().join("config.ign");
        fs::write(&path, ignition.to_string().replace("3.3.0", version)).expect("write a file");
        let judged = Command::new("ignition-validate")
            .arg(&path)
            .output()
            .expect("start ignition-validate");
        assert_eq!(judged.status.success(), taken, "{judged:?}");
    }
}

#[test]
fn systemd_takes_the_units_of_the_hubs_machine() {
    netlab::requires!("systemd-analyze");
    let folder = tempfile::tempdir().expect("make a folder");
    let ignition = ignition();
    let units = list(&ignition["systemd"]["units"]);
    for unit in units {
        let contents = text(&unit["contents"]).replace("/usr/bin/docker", env!("CARGO_BIN_EXE_adit"));
        fs::write(folder.path().join(text(&unit["name"])), contents).expect("write a unit");
    }
    fs::write(folder.path().join("docker.service"), "[Service]\nExecStart=/bin/true\n").expect("write a unit");
    for unit in units {
        let judged = verify(&folder.path().join(text(&unit["name"])));
        assert!(
            judged.status.success() && judged.stderr.is_empty(),
            "{unit}: {judged:?}"
        );
        // What is enabled says where.
        let is_wanted = text(&unit["contents"]).contains("WantedBy=");
        assert_eq!(unit["enabled"] == true, is_wanted, "{unit}");
    }
    let wrong = folder.path().join("wrong.service");
    fs::write(&wrong, "[Service]\nType=never\nExecStart=/bin/true\n").expect("write a unit");
    assert!(!verify(&wrong).status.success(), "it judges nothing");
}

fn verify(unit: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]).arg(unit);
    command.env(
        "SYSTEMD_UNIT_PATH",
        unit.parent().expect("a folder").display().to_string() + ":",
    );
    command.output().expect("start systemd-analyze")
}

#[test]
fn the_two_containers_of_the_hubs_machine_have_no_privilege() {
    let ignition = ignition();
    let units = list(&ignition["systemd"]["units"]);
    // (unit, capabilities, the address that the hub trusts as its proxy's, ports)
    for (name, capabilities, ports) in [
        ("adit-hub.service", &[][..], &[][..]),
        (
            "adit-proxy.service",
            &["NET_BIND_SERVICE"],
            &["80:80/tcp", "443:443/tcp"],
        ),
    ] {
        let unit = units.iter().find(|unit| unit["name"] == name).expect("the unit");
        let contents = text(&unit["contents"]);
        let start = contents
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="))
            .expect("a start");
        let words: Vec<_> = start.split(' ').collect();
        let values = |option: &str| -> Vec<&str> {
            let pairs = words.windows(2).filter(|pair| pair[0] == option);
            pairs.map(|pair| pair[1]).collect()
        };
        assert_eq!(values("--cap-add"), capabilities, "{name}");
        assert_eq!(values("--cap-drop"), ["ALL"], "{name}");
        assert_eq!(values("--publish"), ports, "{name}");
        assert_eq!(values("--user"), ["65534:65534"], "{name}");
        assert!(
            words.contains(&"--read-only") && !words.contains(&"--privileged"),
            "{name}"
        );
        assert!(
            values("--volume").iter().all(|volume| !volume.contains("docker.sock")),
            "{name}"
        );
    }
    let proxy = units
        .iter()
        .find(|unit| unit["name"] == "adit-proxy.service")
        .expect("the unit");
    assert!(text(&proxy["contents"]).contains("--ip 172.30.53.2 "));
    assert!(file("/etc/adit/hub.yml").contains("trusted_proxies: [172.30.53.2]\n"));
    assert!(
        file("/etc/adit/Caddyfile")
            .contains("office-vpn.westeurope.cloudapp.azure.com {\n\treverse_proxy adit-hub:8790 {")
    );
}

#[test]
fn the_hub_takes_the_settings_that_its_machine_has() {
    let folder = tempfile::tempdir().expect("make a folder");
    let at = folder.path().display().to_string();
    let settings = file("/etc/adit/hub.yml");
    let settings = settings.replace("/var/lib/adit", &at).replace("/etc/adit/secret", &at);
    let (path, secret) = (folder.path().join("hub.yml"), folder.path().join("oidc"));
    fs::write(secret, SECRET).expect("write a file");
    // (what stands there instead, whether it is taken): it judges, and is seen to judge.
    for (kind, taken) in [("azure-vm", true), ("azure-machine", false)] {
        fs::write(&path, settings.replace("azure-vm", kind)).expect("write a file");
        let ran = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["hub", "token", "ada", "--scope", "read", "--config"])
            .arg(&path)
            .env_clear()
            .output()
            .expect("start adit");
        assert_eq!(ran.status.success(), taken, "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// An `az` that answers as the real one, and notes what it was asked.
const AZ: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$NOTES"
case "$1 $2 $3 $4" in
"ad app list "*) cat "$KNOWN" ;;
"ad app create "*) echo the-app ;;
"ad sp list "*) : ;;
"ad sp create "*) echo the-principal ;;
"ad signed-in-user show "*) echo me ;;
"rest --method GET "*) echo 0 ;;
"ad app credential reset") echo "$SECRET" ;;
esac
"#;

#[test]
fn the_application_is_registered_once_and_its_secret_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("make a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("az"), AZ).expect("write a script");
    fs::set_permissions(at("az"), fs::Permissions::from_mode(0o755)).expect("make it a program");
    let path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let run = |url: &str| {
        let mut command = Command::new("sh");
        command.arg(deploy("azure/entra.sh")).arg(url).arg(at("secret"));
        command
            .env("PATH", &path)
            .env("NOTES", at("notes"))
            .env("KNOWN", at("known"))
            .env("SECRET", SECRET);
        command.output().expect("start sh")
    };
    // (what the directory knows already, whether an application is made)
    for (known, creates) in [("", true), ("the-app\n", false)] {
        fs::write(at("known"), known).expect("write a file");
        fs::write(at("notes"), "").expect("write a file");
        fs::write(at("secret"), "an older one, readable").expect("write a file");
        let ran = run("https://vpn.example.org/");
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "the-app\n");
        assert_eq!(
            fs::read_to_string(at("secret")).expect("the secret"),
            format!("{SECRET}\n")
        );
        let mode = fs::metadata(at("secret")).expect("the secret").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let asked = fs::read_to_string(at("notes")).expect("notes");
        assert_eq!(asked.contains("ad app create"), creates, "{asked}");
        assert!(
            asked.contains("--web-redirect-uris https://vpn.example.org/login/callback"),
            "{asked}"
        );
        assert!(
            asked.contains("appRoleAssignmentRequired=true") && !asked.contains(SECRET),
            "{asked}"
        );
        // Its roles are those that the hub looks for.
        for role in ["user", "admin"] {
            assert!(asked.contains(&format!("\"value\": \"{role}\"")), "{asked}");
            assert!(file("/etc/adit/hub.yml").contains(&format!("  {role}_values: [{role}]\n")));
        }
    }
    for wrong in ["http://vpn.example.org", "vpn.example.org"] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong}");
    }
}
