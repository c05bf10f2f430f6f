//! The custom data by which a machine's first boot makes it a gateway. *Ignition: configuration specification 3.3.0.*
//!
//! No secret is in it: the gateway's keys are born on the machine, and of the launcher's only the public one is there.

use serde_json::{Value, json};

use super::{
    config::GatewayImage,
    container::{END, END_FILE, FOLDER, Gateway, end},
};
use crate::place::docker::linuxserver;

/// The version of the specification, which every Flatcar of the last years reads.
const VERSION: &str = "3.3.0";

/// The unit that runs the container.
pub(super) const UNIT: &str = "adit-gateway.service";

/// The custom data, for these keys beside those that Azure itself puts on the machine.
pub(super) fn config(gateway: &Gateway<'_>, ssh_key: Option<&str>) -> Value {
    let mut config = json!({
        "ignition": { "version": VERSION },
        "systemd": { "units": [{ "name": UNIT, "enabled": true, "contents": unit(gateway) }] },
    });
    if let GatewayImage::Linuxserver(_) = gateway.image {
        let (_, told) = end(gateway.now, gateway.job.remaining.as_secs());
        config["storage"] = json!({
            "directories": [{ "path": format!("{FOLDER}/config"), "mode": 0o700 }],
            "files": [
                file(END, 0o755, linuxserver::END_SCRIPT),
                file(END_FILE, 0o644, &told),
            ],
        });
    }
    if let Some(key) = ssh_key {
        config["passwd"] = json!({ "users": [{ "name": super::requests::ADMIN, "sshAuthorizedKeys": [key] }] });
    }
    config
}

fn file(path: &str, mode: u32, text: &str) -> Value {
    json!({ "path": path, "mode": mode, "overwrite": true, "contents": { "source": format!("data:,{}", encoded(text)) } })
}

/// As a URL's data (*RFC 2397*).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for half in [byte >> 4, byte & 15] {
                encoded.extend(char::from_digit(half.into(), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    encoded
}

fn unit(gateway: &Gateway<'_>) -> String {
    // What systemd replaces in a line (*systemd.unit(5), specifiers; systemd.service(5), command lines*).
    let words = gateway.words().join(" ").replace('%', "%%").replace('$', "$$");
    format!(
        "[Unit]\n\
         Description=The WireGuard gateway of the lease {id}\n\
         Wants=network-online.target docker.service\n\
         After=network-online.target docker.service\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStartPre=-/usr/sbin/modprobe wireguard\n\
         ExecStartPre=/usr/sbin/sysctl -q -w net.ipv4.ip_forward=1\n\
         ExecStartPre=-/usr/sbin/sysctl -q -w net.ipv6.conf.all.forwarding=1\n\
         ExecStartPre=-/usr/bin/docker rm --force adit\n\
         ExecStart=/usr/bin/docker run --rm {words}\n\
         ExecStop=-/usr/bin/docker stop adit\n\
         Restart=on-failure\n\
         RestartSec=5\n\
         TimeoutStartSec=0\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        id = gateway.job.id,
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::place::azure::vm::tests::job;

    #[test]
    fn the_first_boot_makes_a_gateway_and_holds_no_secret() {
        let mut job = job();
        for (image, has_files) in [
            (GatewayImage::Adit("adit:1".to_owned()), false),
            (GatewayImage::Linuxserver("ls:1".to_owned()), true),
        ] {
            job.order.keys = crate::order::Keys::Gateway;
            let gateway = Gateway {
                job: &job,
                image: &image,
                port: 51_820,
                launcher: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap(),
                now: SystemTime::UNIX_EPOCH,
            };
            let config = config(&gateway, Some("ecdsa-sha2-nistp256 AAAA"));
            assert_eq!(config["ignition"]["version"], "3.3.0");
            let unit = &config["systemd"]["units"][0];
            assert_eq!((&unit["name"], &unit["enabled"]), (&json!(UNIT), &json!(true)));
            let contents = unit["contents"].as_str().unwrap();
            assert!(
                contents.contains("ExecStart=/usr/bin/docker run --rm --name adit "),
                "{contents}"
            );
            assert_eq!(config["passwd"]["users"][0]["name"], "core");
            let files = config["storage"]["files"].as_array().map_or(0, Vec::len);
            assert_eq!(files == 2, has_files);
            assert!(!config.to_string().contains("PrivateKey"));
        }
    }

    #[test]
    fn a_file_arrives_as_it_is() {
        assert_eq!(encoded("a b%\n\"ö"), "a%20b%25%0A%22%C3%B6");
    }
}
