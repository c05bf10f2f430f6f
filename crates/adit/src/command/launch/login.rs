//! The key pair that opens a gateway's machine by SSH, made here: only its public part leaves this program.

use anyhow::Context as _;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::{
    LineEnding, PrivateKey,
    private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData},
    public::Ed25519PublicKey,
};
use zeroize::Zeroizing;

/// The name of the private part's file; no peer's configuration has it.
pub(super) const FILE: &str = "ssh_key";

/// Who logs in, on every image that a machine of ours has.
pub(super) const USER: &str = "core";

/// A key pair.
#[derive(Debug)]
pub(super) struct Login {
    key: PrivateKey,
}

impl Login {
    /// A new one.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut seed = Zeroizing::new([0; Ed25519PrivateKey::BYTE_SIZE]);
        getrandom::fill(&mut *seed).context("cannot read this system's random source")?;
        let public = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .ok()
            .and_then(|pair| pair.public_key().as_ref().try_into().ok())
            .context("cannot make an SSH key")?;
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(public),
            private: Ed25519PrivateKey::from_bytes(&seed),
        };
        let key = PrivateKey::new(KeypairData::Ed25519(pair), "").context("cannot make an SSH key")?;
        Ok(Self { key })
    }

    /// The public part as a request has it.
    pub(super) fn public(&self) -> anyhow::Result<String> {
        self.key.public_key().to_openssh().context("cannot write the SSH key")
    }

    /// The private part as a file that `ssh -i` takes. The comment, which is in the file, says whose it is.
    pub(super) fn private(&self, comment: &str) -> anyhow::Result<Zeroizing<String>> {
        write(self.key.clone(), comment)
    }
}

/// The comment of a file that [`Login::private`] made.
pub(super) fn comment(text: &str) -> Option<String> {
    let key = PrivateKey::from_openssh(text).ok()?;
    Some(key.comment().to_owned()).filter(|comment| !comment.is_empty())
}

/// The file with another comment.
pub(super) fn relabel(text: &str, comment: &str) -> anyhow::Result<Zeroizing<String>> {
    write(PrivateKey::from_openssh(text).context("is no SSH key")?, comment)
}

/// What logs in, where a gateway has this endpoint.
pub(super) fn command(file: &std::path::Path, endpoint: &str) -> String {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    format!("ssh -i {} {USER}@{host}", file.display())
}

fn write(mut key: PrivateKey, comment: &str) -> anyhow::Result<Zeroizing<String>> {
    key.set_comment(comment);
    key.to_openssh(LineEnding::LF).context("cannot write the SSH key")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

    use super::*;

    #[test]
    fn a_pair_is_one_that_ssh_itself_takes() {
        let (login, other) = (Login::new().unwrap(), Login::new().unwrap());
        let public = login.public().unwrap();
        assert_ne!(public, other.public().unwrap());
        assert!(public.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"), "{public}");
        let file = login.private("adit launch: x").unwrap();
        assert_eq!(comment(&file).as_deref(), Some("adit launch: x"));
        let again = relabel(&file, "adit lease: x").unwrap();
        assert_eq!(comment(&again).as_deref(), Some("adit lease: x"));
        assert_eq!(comment("[Interface]\n"), None);
        netlab::requires!("ssh-keygen");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, again.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let keygen = netlab::tool("ssh-keygen").unwrap();
        let output = Command::new(keygen).arg("-y").arg("-f").arg(&path).output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim(),
            format!("{public} adit lease: x")
        );
    }

    #[test]
    fn the_command_names_the_address_without_the_port() {
        for (endpoint, expected) in [
            ("203.0.113.7:51820", "ssh -i adit/ssh_key core@203.0.113.7"),
            ("[2001:db8::7]:51820", "ssh -i adit/ssh_key core@2001:db8::7"),
            ("vpn.example.org:443", "ssh -i adit/ssh_key core@vpn.example.org"),
        ] {
            assert_eq!(command(Path::new("adit/ssh_key"), endpoint), expected);
        }
    }
}
