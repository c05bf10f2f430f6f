//! The hub on one machine, by compose.

use std::fs;
use std::process::Command;

use super::{deploy, list, read};

#[test]
fn compose_takes_the_hubs_file_once_it_knows_the_name() {
    netlab::requires!("docker-compose");
    let program = netlab::tool("docker-compose").expect("asked for before");
    let judge = |settings: &str| {
        let mut command = Command::new(&program);
        command.arg("--file").arg(deploy("docker/compose.yml"));
        command.arg("--env-file").arg(settings).env_remove("ADIT_HOST");
        let judged = command.args(["config"]).output().expect("start docker-compose");
        (
            judged.status.success(),
            String::from_utf8_lossy(&judged.stdout).into_owned(),
        )
    };
    assert!(!judge("/dev/null").0, "it starts without a name");
    let example = deploy("docker/.env.example");
    let (is_taken, said) = judge(example.to_str().expect("a path"));
    assert!(is_taken && said.contains("https://vpn.example.org"), "{said}");
}

#[test]
fn no_container_of_the_hubs_file_has_a_privilege() {
    let file = read(&deploy("docker/compose.yml"));
    // (service, capabilities)
    for (name, capabilities) in [("hub", &[][..]), ("proxy", &["NET_BIND_SERVICE"])] {
        let service = &file["services"][name];
        assert_eq!(list(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(list(&service["cap_add"]), capabilities, "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert!(
            service["privileged"].is_null() && service["devices"].is_null(),
            "{name}"
        );
        let volumes = list(&service["volumes"]).iter().filter_map(|volume| volume.as_str());
        assert!(
            volumes.into_iter().all(|volume| !volume.contains("docker.sock")),
            "{name}"
        );
    }
    assert_eq!(file["services"]["hub"]["user"], "65534:65534");
}

#[test]
fn the_hub_takes_its_settings_for_docker() {
    let folder = tempfile::tempdir().expect("make a folder");
    let settings = fs::read_to_string(deploy("docker/hub.yml")).expect("read a file");
    let path = folder.path().join("hub.yml");
    // As it is, and with what is commented out in it.
    let whole = settings
        .replace("\n#oidc", "\noidc")
        .replace("\n#  ", "\n  ")
        .replace("\n  #", "\n  ");
    let whole: Vec<_> = whole
        .lines()
        .filter(|line| !line.contains("Containers of their own") && !line.contains("Processes beside"))
        .collect();
    for settings in [settings, whole.join("\n")] {
        let data = folder.path().join("data").display().to_string();
        let settings = settings
            .replace("/config/hub", &data)
            .replace("/etc/adit/oidc-secret", &path.display().to_string());
        fs::write(&path, &settings).expect("write a file");
        let ran = Command::new(env!("CARGO_BIN_EXE_adit"))
            .args(["hub", "token", "ada", "--scope", "admin", "--config"])
            .arg(&path)
            .env_clear()
            .output()
            .expect("start adit");
        assert!(
            ran.status.success(),
            "{settings}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
