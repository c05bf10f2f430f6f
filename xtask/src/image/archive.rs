//! The file that the image travels in: what `docker save` writes, which is an OCI image layout, too.
//!
//! ```text
//!   oci-layout, index.json ─▶ blobs/sha256/MANIFEST ─┬─▶ blobs/sha256/CONFIG
//!   manifest.json (Docker) ──────────────────────────┴─▶ blobs/sha256/LAYER
//! ```

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The archive of an image with one layer, called `tag`.
pub(super) fn write(layer: &[u8], mut config: Value, tag: &str, made: u64) -> Result<Vec<u8>> {
    let layer = Blob::new(layer.to_vec());
    // The layer is not compressed, so that its digest is that of its contents.
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [layer.digest()] });
    let config = Blob::new(serde_json::to_vec(&config)?);
    let manifest = Blob::new(serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }))?);
    let mut listed = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    listed["annotations"] = json!({
        "io.containerd.image.name": format!("docker.io/library/{tag}"),
        "org.opencontainers.image.ref.name": tag.rsplit_once(':').map_or("latest", |(_, version)| version),
    });
    listed["platform"] = json!({ "architecture": super::contents::architecture(), "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });
    let docker = json!([{ "Config": config.path(), "RepoTags": [tag], "Layers": [layer.path()] }]);
    let mut files = vec![
        ("index.json".to_owned(), serde_json::to_vec(&index)?),
        ("manifest.json".to_owned(), serde_json::to_vec(&docker)?),
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
    ];
    files.extend([config, manifest, layer].map(|blob| (blob.path(), blob.data)));
    let mut tar = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        header.set_mtime(made);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, &path, &data[..])
            .with_context(|| format!("put {path} into the archive"))?;
    }
    tar.into_inner().context("end the archive")
}

/// A piece that is found by the digest of its contents.
struct Blob {
    data: Vec<u8>,
    hash: String,
}

impl Blob {
    fn new(data: Vec<u8>) -> Self {
        let hash = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { data, hash }
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({ "mediaType": kind, "digest": self.digest(), "size": self.data.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn docker_and_oci_find_the_same_configuration_and_layer() {
        let archive = write(b"layer", json!({ "os": "linux" }), "adit:1.2", 5).expect("an archive");
        let mut files = HashMap::new();
        for entry in tar::Archive::new(&archive[..]).entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let (path, mut data) = (entry.path().expect("a path").display().to_string(), Vec::new());
            entry.read_to_end(&mut data).expect("data");
            files.insert(path, data);
        }
        let read = |path: &str| -> Value { serde_json::from_slice(&files[path]).expect("JSON") };
        let named = |value: &Value| {
            let digest = value["digest"].as_str().expect("a digest");
            format!("blobs/{}", digest.replace(':', "/"))
        };
        let docker = &read("manifest.json")[0];
        let listed = &read("index.json")["manifests"][0];
        let oci = read(&named(listed));
        assert_eq!(docker["Config"], named(&oci["config"]));
        assert_eq!(docker["Layers"][0], named(&oci["layers"][0]));
        assert_eq!(docker["RepoTags"][0], "adit:1.2");
        assert_eq!(listed["annotations"]["org.opencontainers.image.ref.name"], "1.2");
        let config = read(docker["Config"].as_str().expect("a path"));
        assert_eq!(config["rootfs"]["diff_ids"][0], oci["layers"][0]["digest"]);
        assert_eq!(files[docker["Layers"][0].as_str().expect("a path")], b"layer");
    }
}
