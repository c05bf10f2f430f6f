//! What a person writes of places at Azure, and what is said of it if it is wrong.

use std::collections::BTreeMap;

use super::*;

const ID: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";

fn read(yaml: &str) -> anyhow::Result<AzureSettings> {
    Ok(serde_yaml_ng::from_str(yaml)?)
}

fn opened(yaml: &str, variables: &[(&str, &str)]) -> anyhow::Result<AzurePlace> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    read(yaml)?
        .filled(&variable)
        .open(LauncherSecret::danger_known(), &Secrets::Of(&variable), &variable)
}

#[test]
fn every_setting_reaches_its_place() {
    let AzureSettings::Vm(vm) = read(
        "{kind: azure-vm, subscription: 0b1f6471-1bf0-4dda-aec3-cb9272f09590, group: vpn, region: westeurope, \
         regions: [eastus, westeurope], image: 'r.example/adit:1', gateway: linuxserver, sizes: [Standard_B2s], \
         vm_image: 'a:b:c:latest', plan: true, setup: run-command, run_command: action, port: 4500, source: 10.0.0.0/8}",
    )
    .unwrap() else {
        panic!("a machine")
    };
    let config = vm.config().unwrap();
    assert_eq!(config.site.regions(), ["westeurope", "eastus"]);
    assert_eq!((config.site.group(), config.port), ("vpn", 4500));
    assert_eq!(config.sizes, ["Standard_B2s"]);
    assert_eq!(config.source, Some("10.0.0.0/8".parse().unwrap()));
    let text = format!("{config:?}");
    for part in ["Linuxserver", "RunCommand", "Action", "plan: true"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{}=\n", "A".repeat(43))).unwrap();
    let yaml = format!(
        "{{kind: azure-container, subscription: {ID}, region: eastus, image: 'r.example/adit:1', cpu: 2, memory_gb: 1.5, \
         sizes: [2x4], port: 500, restart: never, registry: {{server: r.example, user: u, password_file: {file}}}, \
         persistence: {{files: {{account: a, share: s, key_file: {file}}}, state_key_file: {file}}}, \
         logs: {{workspace_id: w, workspace_key_file: {file}}}}}",
        file = file.display()
    );
    let settings = read(&yaml).unwrap();
    let AzureSettings::Container(container) = &settings else {
        panic!("a container")
    };
    let config = container.config(&Secrets::Of(&|_| None)).unwrap();
    assert_eq!((config.cpu, config.memory_gb, config.port), (2.0, 1.5, 500));
    assert!(config.registry.is_some() && config.persistence.is_some() && config.logs.is_some());
    // What is kept beside a lease has the files, and is read again as it was.
    let kept = serde_json::to_string(&settings).unwrap();
    assert!(!kept.contains("AAAA"), "{kept}");
    assert_eq!(serde_json::from_str::<AzureSettings>(&kept).unwrap(), settings);
}

#[test]
fn what_is_left_out_comes_from_the_environment_and_what_is_written_wins() {
    let vm = "{kind: azure-vm, region: westeurope, image: 'r.example/adit:1'}";
    let client = [
        ("AZURE_SUBSCRIPTION_ID", ID),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "s"),
    ];
    opened(vm, &client).unwrap();
    let filled = read("{kind: azure-vm, group: mine, management_url: 'https://arm.example'}")
        .unwrap()
        .filled(&|name| Some(name.to_owned()));
    let AzureSettings::Vm(filled) = filled else {
        panic!("a machine")
    };
    assert_eq!(filled.group.as_deref(), Some("mine"));
    assert_eq!(filled.management_url.as_deref(), Some("https://arm.example"));
    assert_eq!(filled.subscription.as_deref(), Some("AZURE_SUBSCRIPTION_ID"));
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_key() {
    let vm = |more: &str| format!("{{kind: azure-vm, subscription: {ID}, region: westeurope, image: a, {more}}}");
    let container =
        |more: &str| format!("{{kind: azure-container, subscription: {ID}, region: westeurope, image: a, {more}}}");
    for (yaml, part) in [
        (
            "{kind: azure-vm, region: westeurope, image: a}".to_owned(),
            "place azure-vm: subscription is missing",
        ),
        (
            "{kind: azure-vm, subscription: mine, region: x, image: a}".to_owned(),
            "subscription: `mine`",
        ),
        (
            format!("{{kind: azure-vm, subscription: {ID}, image: a}}"),
            "region: no region is given",
        ),
        (
            format!("{{kind: azure-vm, subscription: {ID}, region: westeurope}}"),
            "image is missing",
        ),
        (vm("name: west, vm_image: debian"), "place west: vm_image: `debian`"),
        (vm("accept_terms: true"), "accept_terms is for flatcar-free"),
        (
            vm("management_url: 'http://arm.example'"),
            "management_url: http://arm.example",
        ),
        (vm("cloud: Moon"), "cloud: there is no cloud Moon"),
        (
            vm("credential: password"),
            "credential: there is no credential password",
        ),
        (vm("credential: client-secret"), "AZURE_TENANT_ID"),
        (
            container("restart: always"),
            "restart: gateways cannot be restarted always",
        ),
        (container("port: 51820"), "51820"),
        (
            container("registry: {server: s, user: u}"),
            "registry: password_file is missing",
        ),
        (
            container("registry: {server: s, user: u, password_file: /nowhere}"),
            "password_file: /nowhere",
        ),
        (
            container("registry: {server: s, user: u, password: p}"),
            "unknown field `password`",
        ),
        (
            container("persistence: {state_key_file: /dev/null}"),
            "state_key_file: /dev/null: is empty",
        ),
        (container("sise: 1"), "unknown field `sise`"),
    ] {
        let error = format!("{:#}", opened(&yaml, &[]).unwrap_err());
        assert!(error.contains(part), "{yaml}: {error}");
    }
}

#[test]
fn a_plan_needs_no_account_and_no_secret() {
    let yaml = "{kind: azure-container, region: westeurope, image: a, \
                registry: {server: s, user: u, password_file: /nowhere}}";
    read(yaml).unwrap().of_nobody().open_for_plan().unwrap();
}
