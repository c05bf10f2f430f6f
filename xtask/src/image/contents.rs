//! What is in the image: its files, and what a container starts with.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tar::{EntryType, Header};

/// Users that programs look up by number, and no password for any.
const PASSWD: &str = "root:x:0:0:root:/config:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";

const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";

/// Both are built into the binary.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// The layer: everything that a container's root has, as tar.
///
/// Any user may write where a container keeps something (`/config`, the control socket, temporary files), so that the
/// image serves without root, too; an empty volume takes the mode of the folder that it is mounted on.
pub(super) fn layer(program: &[u8], licences: &[(&str, Vec<u8>)], made: u64) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, entry: Entry<'_>| {
        append(&mut tar, path, &entry, made).with_context(|| format!("put {path} into the layer"))
    };
    put("app/", Entry::Folder(0o755))?;
    put("app/show-peer", Entry::Link("/usr/bin/adit"))?;
    put("config/", Entry::Folder(0o1777))?;
    put("etc/", Entry::Folder(0o755))?;
    put("etc/group", Entry::File(0o644, GROUP.as_bytes()))?;
    put("etc/nsswitch.conf", Entry::File(0o644, NSSWITCH.as_bytes()))?;
    put("etc/passwd", Entry::File(0o644, PASSWD.as_bytes()))?;
    put("etc/wireguard", Entry::Link("/config/wg_confs"))?;
    put("run/", Entry::Folder(0o755))?;
    put("run/adit/", Entry::Folder(0o1777))?;
    put("tmp/", Entry::Folder(0o1777))?;
    for folder in ["usr/", "usr/bin/"] {
        put(folder, Entry::Folder(0o755))?;
    }
    put("usr/bin/adit", Entry::File(0o755, program))?;
    for folder in ["usr/share/", "usr/share/doc/", "usr/share/doc/adit/"] {
        put(folder, Entry::Folder(0o755))?;
    }
    for (name, text) in licences {
        put(&format!("usr/share/doc/adit/{name}"), Entry::File(0o644, text))?;
    }
    tar.into_inner().context("end the layer")
}

/// What stands at a path.
enum Entry<'a> {
    Folder(u32),
    File(u32, &'a [u8]),
    Link(&'a str),
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, entry: &Entry<'_>, made: u64) -> Result<()> {
    let mut header = Header::new_ustar();
    let (kind, mode, data) = match entry {
        Entry::Folder(mode) => (EntryType::Directory, *mode, &[][..]),
        Entry::File(mode, data) => (EntryType::Regular, *mode, *data),
        Entry::Link(target) => {
            header.set_link_name(target)?;
            (EntryType::Symlink, 0o777, &[][..])
        }
    };
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    header.set_mtime(made);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, data)?;
    Ok(())
}

/// The configuration of the image, but for its layer: OCI's, with the health check that Docker adds to it.
pub(super) fn config(made: u64, revision: &str) -> Value {
    const NANOSECONDS: u64 = 1_000_000_000;
    let made = super::rfc3339(made);
    json!({
        "created": &made,
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": "0",
            "Env": ["PATH=/usr/bin:/app"],
            "Entrypoint": ["/usr/bin/adit"],
            "Cmd": ["serve"],
            "ExposedPorts": { "51820/udp": {} },
            "Volumes": { "/config": {} },
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/adit", "health"],
                "Interval": 30 * NANOSECONDS,
                "Timeout": 5 * NANOSECONDS,
                "StartPeriod": 10 * NANOSECONDS,
                "Retries": 3,
            },
            "Labels": {
                "org.opencontainers.image.created": &made,
                "org.opencontainers.image.description":
                    "WireGuard gateway: kernel, TUN or no privilege at all; takes the place of linuxserver/wireguard",
                "org.opencontainers.image.documentation": "https://github.com/adit-vpn/adit/tree/main/docs",
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
                "org.opencontainers.image.revision": revision,
                "org.opencontainers.image.source": "https://github.com/adit-vpn/adit",
                "org.opencontainers.image.title": "adit",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            },
        },
        "history": [{ "created": &made, "created_by": "cargo xtask image" }],
    })
}

/// This machine's kind, in the words of the image format.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_binary_gives_the_same_layer() {
        let layer = || layer(b"program", &[("LICENSE-MIT", b"licence".to_vec())], 7).expect("a layer");
        assert_eq!(layer(), layer());
        let layer = layer();
        let mut archive = tar::Archive::new(&layer[..]);
        for entry in archive.entries().expect("entries") {
            let entry = entry.expect("an entry");
            assert_eq!(entry.header().mtime().expect("a time"), 7);
            assert_eq!(entry.header().uid().expect("a user"), 0);
        }
    }

    #[test]
    fn the_dockerfile_makes_the_same_image() {
        let root = crate::root();
        let dockerfile = std::fs::read_to_string(root.join("deploy/Dockerfile")).expect("read the Dockerfile");
        let config = &config(0, "")["config"];
        let text = |name: &str| config[name].as_str().expect("text").to_owned();
        let first = |name: &str| {
            let keys = config[name].as_object().expect("an object").keys();
            keys.cloned().collect::<Vec<_>>().join(" ")
        };
        let spaced = |name: &str| config[name].to_string().replace(',', ", ");
        let health = config["Healthcheck"]["Test"].to_string();
        let mut lines = vec![
            format!("CMD {}", health.replace("\"CMD\",", "").replace(',', ", ")),
            format!("ENV {}", config["Env"][0].as_str().expect("text")),
            format!("USER {}", text("User")),
            format!("WORKDIR {}", text("WorkingDir")),
            format!("VOLUME {}", first("Volumes")),
            format!("EXPOSE {}", first("ExposedPorts")),
            format!("STOPSIGNAL {}", text("StopSignal")),
            format!("ENTRYPOINT {}", spaced("Entrypoint")),
            format!("CMD {}", spaced("Cmd")),
        ];
        let labels = config["Labels"].as_object().expect("an object");
        for (name, value) in labels {
            let label = name.rsplit('.').next().expect("a name has a last part").to_uppercase();
            // What differs from build to build is an argument.
            lines.push(match &*label {
                "VERSION" | "REVISION" | "CREATED" => format!("{name}=\"${{{label}}}\""),
                _ => format!("{name}={value}"),
            });
        }
        lines.push(format!("ARG VERSION={}", labels["org.opencontainers.image.version"]));
        let layer = layer(b"", &[], 0).expect("a layer");
        for entry in tar::Archive::new(&layer[..]).entries().expect("entries") {
            let entry = entry.expect("an entry");
            if let Some(target) = entry.link_name().expect("a link") {
                let path = entry.path().expect("a path");
                lines.push(format!("ln -s {} {}", target.display(), path.display()));
            }
        }
        lines.extend(PASSWD.lines().chain(NSSWITCH.lines()).map(str::to_owned));
        for line in lines {
            let found = dockerfile.replace("\\n", "\n").contains(&line);
            assert!(found, "the Dockerfile lacks {line}");
        }
    }

    #[test]
    fn any_user_may_write_where_a_container_keeps_something() {
        let layer = layer(b"program", &[], 0).expect("a layer");
        let mut archive = tar::Archive::new(&layer[..]);
        let mut open = Vec::new();
        for entry in archive.entries().expect("entries") {
            let entry = entry.expect("an entry");
            if entry.header().mode().expect("a mode") == 0o1777 {
                open.push(entry.path().expect("a path").display().to_string());
            }
        }
        assert_eq!(open, ["config/", "run/adit/", "tmp/"]);
    }
}
