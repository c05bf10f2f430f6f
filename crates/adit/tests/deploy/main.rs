//! What `deploy/` says: manifests and compose files that are right, and no more rights than they need.

mod azure;
mod on_docker;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Volumes that the profile "restricted" lets a pod have.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

/// The files of a folder of `deploy/`, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(deploy(folder)).expect("read a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("read a file");
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What of a pod breaks the profile "restricted" of Kubernetes' Pod Security Standards.
fn violations(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[host] == true {
            found.push(host.to_owned());
        }
    }
    for volume in list(&pod["volumes"]) {
        let kinds = volume.as_object().into_iter().flat_map(|volume| volume.keys());
        found.extend(
            kinds
                .filter(|kind| *kind != "name" && !VOLUMES.contains(&kind.as_str()))
                .map(|kind| format!("volume {kind}")),
        );
    }
    let all = &pod["securityContext"];
    if !list(&all["sysctls"]).is_empty() {
        found.push("sysctls".into());
    }
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    for container in containers.iter().flat_map(|kind| list(&pod[kind])) {
        found.extend(of_container(all, container));
    }
    found
}

fn of_container(all: &Value, container: &Value) -> Vec<String> {
    let own = &container["securityContext"];
    let setting = |name: &str| if own[name].is_null() { &all[name] } else { &own[name] };
    let dropped = list(&own["capabilities"]["drop"]);
    let added = list(&own["capabilities"]["add"]);
    let seccomp = setting("seccompProfile")["type"].as_str().unwrap_or_default();
    let ports = list(&container["ports"]);
    let rules = [
        ("privileged", own["privileged"] != true),
        ("allowPrivilegeEscalation", own["allowPrivilegeEscalation"] == false),
        ("runAsNonRoot", setting("runAsNonRoot") == &Value::Bool(true)),
        ("runAsUser", setting("runAsUser") != 0),
        ("drop ALL", dropped.contains(&Value::from("ALL"))),
        ("add", added.iter().all(|capability| capability == "NET_BIND_SERVICE")),
        ("seccompProfile", ["RuntimeDefault", "Localhost"].contains(&seccomp)),
        (
            "hostPort",
            ports
                .iter()
                .all(|port| port["hostPort"].is_null() || port["hostPort"] == 0),
        ),
        ("procMount", own["procMount"].is_null() || own["procMount"] == "Default"),
    ];
    let broken = rules.into_iter().filter(|(_, kept)| !kept);
    broken.map(|(rule, _)| rule.to_owned()).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn pod() -> Value {
    read(&deploy("kubernetes/deployment.yaml"))["spec"]["template"]["spec"].clone()
}

#[test]
fn the_pod_keeps_to_the_restricted_profile() {
    let pod = pod();
    assert_eq!(violations(&pod), [""; 0]);
    // More than the profile asks for.
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let namespace = read(&deploy("kubernetes/namespace.yaml"));
    let labels = &namespace["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn a_pod_that_breaks_the_restricted_profile_is_found_out() {
    // (where in the pod, what stands there, the rule that it breaks)
    for (place, value, rule) in [
        ("/hostNetwork", Value::Bool(true), "hostNetwork"),
        ("/securityContext/runAsNonRoot", Value::Bool(false), "runAsNonRoot"),
        ("/securityContext/runAsUser", Value::from(0), "runAsUser"),
        (
            "/securityContext/seccompProfile/type",
            Value::from("Unconfined"),
            "seccompProfile",
        ),
        (
            "/containers/0/securityContext/privileged",
            Value::Bool(true),
            "privileged",
        ),
        (
            "/containers/0/securityContext/allowPrivilegeEscalation",
            Value::Null,
            "allowPrivilegeEscalation",
        ),
        (
            "/containers/0/securityContext/capabilities/drop",
            Value::Null,
            "drop ALL",
        ),
        (
            "/containers/0/securityContext/capabilities/add",
            Value::from(vec!["NET_ADMIN"]),
            "add",
        ),
        ("/containers/0/ports/0/hostPort", Value::from(51820), "hostPort"),
        ("/volumes/0/hostPath", Value::from("/"), "volume hostPath"),
    ] {
        let mut pod = pod();
        let (parent, name) = place.rsplit_once('/').expect("a place has a parent");
        let parent = if parent.is_empty() {
            Some(&mut pod)
        } else {
            pod.pointer_mut(parent)
        };
        parent.expect("the place is there")[name] = value;
        assert_eq!(violations(&pod), [rule], "{place}");
    }
}

#[test]
fn the_manifests_belong_together() {
    let (deployment, service) = (
        read(&deploy("kubernetes/deployment.yaml")),
        read(&deploy("kubernetes/service.yaml")),
    );
    let (spec, pod) = (&deployment["spec"], &deployment["spec"]["template"]);
    assert_eq!(spec["selector"]["matchLabels"], pod["metadata"]["labels"]);
    assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
    let (port, container) = (&service["spec"]["ports"][0], &pod["spec"]["containers"][0]);
    assert_eq!(port["targetPort"], container["ports"][0]["name"]);
    assert_eq!(
        (&port["protocol"], &container["ports"][0]["protocol"]),
        (&"UDP".into(), &"UDP".into())
    );
    assert_eq!(spec["replicas"], 1, "a server's keys are for one server");
    let claim = read(&deploy("kubernetes/volume.yaml"));
    let volume = &pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"];
    assert_eq!(volume, &claim["metadata"]["name"]);
    for manifest in [&deployment, &service, &claim] {
        assert_eq!(manifest["metadata"]["namespace"], "adit");
    }
}

#[test]
fn systemd_takes_every_unit() {
    netlab::requires!("systemd-analyze");
    let folder = tempfile::tempdir().expect("make a folder");
    // (the type of service, whether systemd takes it): it judges, and is seen to judge.
    for (kind, taken) in [("Type=notify", true), ("Type=notifies", false)] {
        for unit in files("systemd") {
            let text = fs::read_to_string(&unit).expect("read a unit");
            let text = text.replace("/usr/local/bin/adit", env!("CARGO_BIN_EXE_adit"));
            let copy = folder.path().join(unit.file_name().expect("a unit has a name"));
            fs::write(&copy, text.replace("Type=notify", kind)).expect("copy a unit");
            let judged = Command::new("systemd-analyze")
                .args(["verify", "--man=no", "--recursive-errors=no"])
                .arg(&copy)
                .output()
                .expect("start systemd-analyze");
            let said = String::from_utf8_lossy(&judged.stderr);
            assert_eq!(judged.status.success(), taken, "{}: {said}", unit.display());
        }
    }
}

#[test]
fn kubernetes_takes_every_manifest() {
    netlab::requires!("kubernetes-validate");
    let program = netlab::tool("kubernetes-validate").expect("asked for before");
    let checked = Command::new(program)
        .arg("--strict")
        .args(files("kubernetes"))
        .output()
        .expect("start kubernetes-validate");
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    for file in files("kubernetes") {
        assert!(said.contains(&format!("{} passed", file.display())), "{said}");
    }
}

#[test]
fn compose_takes_every_file() {
    netlab::requires!("docker-compose");
    let program = netlab::tool("docker-compose").expect("asked for before");
    for file in files("compose") {
        let mut command = Command::new(&program);
        let checked = command.arg("--file").arg(&file).args(["config", "--quiet"]).output();
        let checked = checked.expect("start docker-compose");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {said}", file.display());
    }
}

#[test]
fn the_compose_files_ask_for_no_more_than_their_way_needs() {
    // (file, capabilities, devices, user)
    for (name, capabilities, devices, user) in [
        ("kernel.yml", &["NET_ADMIN", "NET_BIND_SERVICE"][..], &[][..], None),
        ("tun.yml", &["NET_ADMIN", "NET_BIND_SERVICE"], &["/dev/net/tun"], None),
        ("rootless.yml", &[], &[], Some("65534:65534")),
    ] {
        let service = read(&deploy("compose").join(name))["services"]["adit"].clone();
        assert_eq!(service["image"], "adit:latest", "{name}");
        assert_eq!(list(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(list(&service["cap_add"]), capabilities, "{name}");
        assert_eq!(list(&service["devices"]), devices, "{name}");
        assert_eq!(service["user"].as_str(), user, "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert!(
            service["privileged"].is_null() && service["network_mode"].is_null(),
            "{name}"
        );
    }
}
