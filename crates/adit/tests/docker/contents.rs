//! What the image holds, and that it is enough.

use std::time::Duration;

use crate::engine::{Engine, TAG};
use crate::network::Network;

#[test]
fn the_image_is_small_and_says_what_it_is() {
    crate::needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let inspect = |format: &str| {
        let said = engine.docker(&["image", "inspect", "--format", format, TAG]).run();
        said.trim().to_owned()
    };
    let size: u64 = inspect("{{.Size}}").parse().expect("a size");
    assert!(size <= 31_000_000, "{size}");
    // (what is asked, the answer)
    for (format, expected) in [
        ("{{json .Config.ExposedPorts}}", r#"{"51820/udp":{}}"#),
        ("{{json .Config.Volumes}}", r#"{"/config":{}}"#),
        ("{{json .Config.Entrypoint}}", r#"["/usr/bin/adit"]"#),
        ("{{json .Config.Cmd}}", r#"["serve"]"#),
        (
            "{{json .Config.Healthcheck.Test}}",
            r#"["CMD","/usr/bin/adit","health"]"#,
        ),
        (
            r#"{{index .Config.Labels "org.opencontainers.image.licenses"}}"#,
            "MIT OR Apache-2.0",
        ),
        (r#"{{index .Config.Labels "org.opencontainers.image.title"}}"#, "adit"),
    ] {
        assert_eq!(inspect(format), expected, "{format}");
    }
    for label in ["created", "description", "revision", "source", "version"] {
        let format = format!("{{{{index .Config.Labels \"org.opencontainers.image.{label}\"}}}}");
        assert_ne!(inspect(&format), "", "{label}");
    }
}

#[test]
fn there_is_no_shell_and_every_file_is_accounted_for() {
    crate::needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let archive = network.gateway.folder().join("root.tar");
    engine.docker(&["create", "--name", "files", TAG]).run();
    engine.docker(&["export", "--output"]).arg(&archive).arg("files").run();
    let listed = engine.tool("tar").arg("--list").arg("--file").arg(&archive).run();
    let of_docker = [
        "dev/",
        "proc/",
        "sys/",
        ".dockerenv",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
    ];
    let mut files: Vec<_> = listed
        .lines()
        .filter(|path| !path.ends_with('/') && !of_docker.iter().any(|start| path.starts_with(start)))
        .collect();
    files.sort_unstable();
    let expected = [
        "app/show-peer",
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/wireguard",
        "usr/bin/adit",
        "usr/share/doc/adit/LICENSE-APACHE",
        "usr/share/doc/adit/LICENSE-MIT",
    ];
    assert_eq!(files, expected);
    let shell = engine.docker(&["run", "--rm", "--entrypoint", "sh", TAG]).output();
    assert_eq!(shell.status.code(), Some(127), "{}", shell.stderr);
}

#[test]
fn other_subcommands_are_arguments() {
    crate::needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let said = engine.docker(&["run", "--rm", TAG, "--version"]).run();
    assert!(said.starts_with("adit "), "{said}");
    let ended = engine
        .docker(&[
            "run",
            "--rm",
            "--read-only",
            "--tmpfs=/adit",
            TAG,
            "launch",
            "--lifetime",
            "1s",
        ])
        .limit(Duration::from_secs(20))
        .output();
    let said = ended.stdout + &ended.stderr;
    assert!(ended.status.success() && said.contains("gateway ready"), "{said}");
}

#[test]
fn the_program_is_found_by_its_name() {
    crate::needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let gateway = engine.serve("gateway", &["--env=PEERS=1", "--env=SERVERURL=203.0.113.2"]);
    assert!(gateway.run(&["adit", "--version"]).starts_with("adit "));
}

#[test]
fn names_are_resolved_without_a_file_of_the_system() {
    crate::needs_an_engine!();
    let network = Network::new();
    let engine = Engine::start(&network);
    // `up` resolves the endpoint before anything else; the error tells what came of it.
    let folder = network.gateway.folder().join("names");
    std::fs::create_dir(&folder).expect("make a folder");
    let conf = |name: &str| {
        format!(
            "[Interface]\nPrivateKey = {key}\nAddress = 10.0.0.1/32\n[Peer]\nPublicKey = {key}\nEndpoint = {name}:51820\n",
            key = "aPxGwq8zERHQ3Q1cOZFdJ+cvJX5Ka4mLN38AyYKYF10="
        )
    };
    // (name, known?)
    for (name, known) in [(crate::network::NAME, true), ("nobody.example", false)] {
        std::fs::write(folder.join("wg0.conf"), conf(name)).expect("write a file");
        let volume = format!("--volume={}:/names", folder.display());
        let options = [
            "run",
            "--rm",
            "--cap-add=NET_ADMIN",
            "--device=/dev/net/tun",
            &volume,
            TAG,
        ];
        let ended = engine.docker(&options).args(["up", "/names/wg0.conf"]).output();
        assert_eq!(
            ended.status.success(),
            known,
            "{name}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
}
