//! `deploy/Dockerfile`, built whole: its image is the one that `cargo xtask image` writes.
//!
//! The Engine has no way out, so the image that compiles is a stand-in of the same name: busybox, and a `cargo` that
//! puts the binary of the image under test where a compilation would leave it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::engine::{Engine, TAG};
use crate::network::Network;

/// What the image of the Dockerfile is called.
const BUILT: &str = "adit:built";

/// Programs that the Dockerfile runs.
const PROGRAMS: [&str; 8] = ["sh", "uname", "mkdir", "chmod", "cp", "ln", "echo", "printf"];

/// Stands in for the compiler; fails unless it is asked for a static release build of the program.
const CARGO: &str = r#"#!/bin/sh
set -e
test "$RUSTFLAGS" = -Ctarget-feature=+crt-static
test "$*" = "build --release --package adit --locked --target $(uname -m)-unknown-linux-gnu"
mkdir -p "target/$7/release"
cp /binary "target/$7/release/adit"
"#;

/// What of an image's configuration a container is started with, or somebody reads.
const SETTINGS: [&str; 10] = [
    "User",
    "Env",
    "Entrypoint",
    "Cmd",
    "ExposedPorts",
    "Volumes",
    "WorkingDir",
    "StopSignal",
    "Healthcheck",
    "Labels",
];

#[test]
fn the_dockerfile_builds_the_same_image() {
    crate::needs_an_engine!();
    netlab::requires!("busybox", "tar");
    let network = Network::new();
    let engine = Engine::start(&network);
    let made = config(&engine, TAG);
    let context = context(&network);
    let dockerfile = context.join("deploy/Dockerfile");
    make_compiler(&engine, &context);
    let mut build = engine
        .docker(&["build", "--network=none", "--tag", BUILT, "--file"])
        .arg(&dockerfile)
        .env("DOCKER_BUILDKIT", "0");
    for label in ["revision", "created"] {
        let name = format!("org.opencontainers.image.{label}");
        let value = made["Labels"][&name].as_str().expect("the image has the label");
        build = build.args(["--build-arg", &format!("{}={value}", label.to_uppercase())]);
    }
    build.arg(&context).limit(Duration::from_secs(120)).run();
    let built = config(&engine, BUILT);
    for setting in SETTINGS {
        assert_eq!(built[setting], made[setting], "{setting}");
    }
    assert_eq!(files(&engine, BUILT), files(&engine, TAG));
    let version = ["run", "--rm", "--network=none", BUILT, "--version"];
    assert!(engine.docker(&version).run().starts_with("adit "));
}

/// A folder with what the Dockerfile copies from the repository and needs.
#[track_caller]
fn context(network: &Network) -> PathBuf {
    let (root, context) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        network.gateway.folder().join("context"),
    );
    fs::create_dir_all(context.join("deploy")).expect("make a folder");
    for file in ["deploy/Dockerfile", "LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root.join(file), context.join(file)).expect("copy a file of the repository");
    }
    context
}

/// Makes the image that the Dockerfile's first stage begins with, beside the context.
#[track_caller]
fn make_compiler(engine: &Engine, context: &Path) {
    let dockerfile = fs::read_to_string(context.join("deploy/Dockerfile")).expect("read the Dockerfile");
    let name = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("FROM ")?.strip_suffix(" AS build"));
    let folder = context.with_file_name("compiler");
    let programs = folder.join("bin");
    fs::create_dir_all(&programs).expect("make a folder");
    let busybox = netlab::tool("busybox").expect("asked for before");
    fs::copy(busybox, programs.join("busybox")).expect("copy busybox");
    for program in PROGRAMS {
        std::os::unix::fs::symlink("busybox", programs.join(program)).expect("link a program");
    }
    fs::write(programs.join("cargo"), CARGO).expect("write a program");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(programs.join("cargo"), executable).expect("make a program executable");
    engine.docker(&["create", "--name", "binary", TAG]).run();
    let copy = engine.docker(&["cp", "binary:/usr/bin/adit"]);
    copy.arg(folder.join("binary")).run();
    let archive = context.with_file_name("compiler.tar");
    let pack = engine.tool("tar").arg("--create").arg("--file").arg(&archive);
    pack.arg("--directory").arg(&folder).arg(".").run();
    let import = engine.docker(&["import", "--change", "ENV PATH=/bin"]).arg(&archive);
    import.arg(name.expect("the first stage is called build")).run();
}

/// What the image is configured to.
#[track_caller]
fn config(engine: &Engine, image: &str) -> Value {
    let inspect = ["image", "inspect", "--format", "{{json .Config}}", image];
    serde_json::from_str(&engine.docker(&inspect).run()).expect("the Engine writes JSON")
}

/// Mode, owner, size and path of every file of the image, and where links lead.
#[track_caller]
fn files(engine: &Engine, image: &str) -> Vec<String> {
    let archive = engine.host.folder().join("files.tar");
    let id = engine.docker(&["create", image]).run();
    let export = engine.docker(&["export", "--output"]).arg(&archive);
    export.arg(id.trim()).run();
    let list = engine
        .tool("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--file"]);
    let listed = list.arg(&archive).run();
    let mut files: Vec<_> = listed.lines().map(without_time).collect();
    files.sort();
    files
}

/// A line of tar's list, without the date and the time in its fourth and fifth place.
fn without_time(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    [&words[..3], &words[5..]].concat().join(" ")
}
