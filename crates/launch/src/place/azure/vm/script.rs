//! The scripts that Run Command carries out on a machine.

use super::{
    config::GatewayImage,
    container::{END, END_FILE, FOLDER, Gateway, end},
};
use crate::place::docker::linuxserver;

const READ: &str = include_str!("scripts/read.sh");
const SET_UP: &str = include_str!("scripts/set_up.sh");
const TELL_END: &str = include_str!("scripts/tell_end.sh");

/// How often a script looks for the gateway, every two seconds: Run Command waits for it.
const TRIES: u32 = 45;

/// Reads the gateway's key, and the configuration of a peer whose keys it makes.
pub(super) fn read(image: &GatewayImage, peer: Option<&str>) -> String {
    let kind = match image {
        GatewayImage::Adit(_) => "adit",
        GatewayImage::Linuxserver(_) => "linuxserver",
    };
    let peer = peer.filter(|peer| linuxserver::is_name(peer)).unwrap_or_default();
    format!("#!/bin/sh\nkind={kind} peer={peer} tries={TRIES}\n{READ}")
}

/// Makes the machine a gateway, on systems without Ignition. May be run twice.
pub(super) fn set_up(gateway: &Gateway<'_>) -> String {
    let mut script = format!("#!/bin/sh\n{SET_UP}");
    if let GatewayImage::Linuxserver(_) = gateway.image {
        let (_, told) = end(gateway.now, gateway.job.remaining.as_secs());
        script += &format!(
            "mkdir -p {FOLDER}/config {FOLDER}/init {FOLDER}/end\n\
             chmod 700 {FOLDER}/config\n\
             echo '{}' >{END_FILE}\n\
             cat >{END} <<'END-OF-SCRIPT'\n{}END-OF-SCRIPT\n\
             chmod 755 {END}\n",
            told.trim_end(),
            linuxserver::END_SCRIPT,
        );
    }
    let words: Vec<String> = gateway.words().iter().map(|word| format!("'{word}'")).collect();
    script += &format!("docker run --detach --restart on-failure {}\n", words.join(" "));
    script
}

/// Tells a gateway without a clock of its own how long it may live from here on.
pub(super) fn tell_end(round: u64, secs: u64) -> String {
    format!("#!/bin/sh\nround={round} seconds={secs}\n{TELL_END}")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::SystemTime};

    use super::*;
    use crate::place::azure::vm::tests::job;

    const LINE: &str = r#"{"adit":"ready","public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","listen_port":1,"plane":"kernel"}"#;

    /// Runs a script with programs in place of the machine's.
    fn run(script: &str, programs: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in programs {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let config = folder.path().join("config");
        for (name, text) in [
            (
                "wg_confs/wg0.conf",
                "[Interface]\nAddress = 10.13.13.1\nPrivateKey = s\n\n[Peer]\n# peer_phone\nPublicKey = p\nPresharedKey = q\n\
                 AllowedIPs = 10.13.13.2/32,192.168.1.0/24\n",
            ),
            ("peer_phone/peer_phone.conf", "[Interface]\nPrivateKey = t"),
        ] {
            fs::create_dir_all(config.join(name).parent().unwrap()).unwrap();
            fs::write(config.join(name), text).unwrap();
        }
        let script = script
            .replace("/etc/adit/config", &config.display().to_string())
            .replace("tries=45", "tries=1");
        let output = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("PATH", path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_answer_is_the_last_line_whatever_the_machine_says() {
        let adit = GatewayImage::Adit("adit:1".to_owned());
        let logs = format!("[ \"$1\" = logs ] && printf 'x\\n%s\\n' '{LINE}'; exit 0");
        let ended = "case $1 in inspect) echo exited 0 ;; *) exit 1 ;; esac";
        let silent = "echo 'manifest unknown' >&2; exit 1";
        let no_unit = ("systemctl", "exit 1");
        let journal = ("journalctl", "echo pulling");
        for (docker, systemctl, last) in [
            (logs.as_str(), no_unit, LINE),
            (ended, no_unit, r#"{"adit":"ended"}"#),
            (silent, no_unit, r#"{"adit":"starting"}"#),
            (
                silent,
                (
                    "systemctl",
                    "printf 'ActiveState=inactive\\nResult=success\\nExecMainStartTimestampMonotonic=7\\n'",
                ),
                r#"{"adit":"ended"}"#,
            ),
            (
                silent,
                (
                    "systemctl",
                    "printf 'ActiveState=inactive\\nResult=success\\nExecMainStartTimestampMonotonic=0\\n'",
                ),
                r#"{"adit":"starting"}"#,
            ),
        ] {
            let output = run(&read(&adit, None), &[("docker", docker), systemctl, journal]);
            assert_eq!(output.lines().last(), Some(last), "{output}");
            assert_eq!(
                output.contains("manifest unknown"),
                last.contains("starting"),
                "{output}"
            );
        }
    }

    #[test]
    fn linuxservers_peers_and_one_configuration_come_before_the_answer() {
        let image = GatewayImage::Linuxserver("ls:1".to_owned());
        let docker = ("docker", "[ \"$1\" = exec ] && echo KEY");
        let output = run(&read(&image, Some("phone")), &[docker]);
        assert_eq!(
            output,
            "peer phone p 10.13.13.2/32\n=== WIREGUARD_CLIENT_CONFIG_START ===\n[Interface]\nPrivateKey = t\n\
             === WIREGUARD_CLIENT_CONFIG_END ===\n\n\
             {\"adit\":\"ready\",\"public_key\":\"KEY\",\"listen_port\":51820,\"plane\":\"kernel\"}\n"
        );
        assert!(!run(&read(&image, None), &[docker]).contains("PrivateKey"));
        let wrong = run(&read(&image, Some("$(reboot)")), &[docker]);
        assert!(!wrong.contains("PrivateKey"), "{wrong}");
    }

    #[test]
    fn a_machine_is_set_up_once() {
        let job = job();
        for image in [
            GatewayImage::Adit("adit:1".to_owned()),
            GatewayImage::Linuxserver("ls:1".to_owned()),
        ] {
            let gateway = Gateway {
                job: &job,
                image: &image,
                port: 51_820,
                launcher: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap(),
                now: SystemTime::UNIX_EPOCH,
            };
            let root = tempfile::tempdir().unwrap();
            let script = set_up(&gateway).replace("/etc/adit", &root.path().display().to_string());
            let fresh = ("docker", "[ \"$1\" != inspect ] && echo \"$@\"");
            let (modprobe, sysctl) = (("modprobe", "exit 0"), ("sysctl", "exit 0"));
            let ran = run(&script, &[fresh, modprobe, sysctl]);
            assert!(
                ran.starts_with("run --detach --restart on-failure --name adit "),
                "{ran}"
            );
            let again = ("docker", "echo \"$@\" >&2");
            assert_eq!(run(&script, &[again, modprobe, sysctl]), "");
        }
    }
}
