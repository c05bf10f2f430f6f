//! The gateway's container on the machine: what `docker run` is told.

use std::time::SystemTime;

use wg::PublicKey;

use super::{super::fault::refused, config::GatewayImage};
use crate::{
    Moment,
    order::Keys,
    place::{Fault, Job, docker::linuxserver},
};

/// Where on the machine linuxserver's image keeps its files.
pub(super) const FOLDER: &str = "/etc/adit";

/// The script that ends a container whose image has no clock, as that image starts it.
pub(super) const END: &str = "/etc/adit/init/adit-end";

/// What that script is told, and where.
pub(super) const END_FILE: &str = "/etc/adit/end/in";

/// Most peers of a gateway that makes keys: all of them are told in the 4,096 bytes that Run Command gives back.
const MAX_PEERS: usize = 30;

/// What is said in place of the machine's address, which it does not know: whoever gets a configuration gets it with the
/// right one.
const NO_ADDRESS: &str = "gateway.invalid";

/// The gateway that is to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gateway<'a> {
    pub(super) job: &'a Job,
    pub(super) image: &'a GatewayImage,
    /// The UDP port that clients connect to.
    pub(super) port: u16,
    pub(super) launcher: PublicKey,
    pub(super) now: SystemTime,
}

impl Gateway<'_> {
    /// What cannot be had is refused before anything is made.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let (order, peers) = (&self.job.order, &self.job.peers);
        match self.image {
            GatewayImage::Adit(_) => Ok(()),
            GatewayImage::Linuxserver(_) if order.keys == Keys::Client => Err(refused(
                "keys_unfit",
                "this place makes clients' keys itself, and takes no public key",
                "ask for keys that the gateway makes",
            )),
            GatewayImage::Linuxserver(_) if order.idle_end_secs.is_some() => Err(refused(
                "idle_unfit",
                "whether clients of linuxserver's image are there cannot be told from outside of its machine",
                "launch without an end after idle time",
            )),
            GatewayImage::Linuxserver(_) if peers.len() > MAX_PEERS => Err(refused(
                "peers_unfit",
                format!(
                    "a machine with linuxserver's image takes {MAX_PEERS} peers, not {}",
                    peers.len()
                ),
                "launch several gateways, or one of adit's image",
            )),
            GatewayImage::Linuxserver(_) => match peers.iter().find(|peer| !linuxserver::is_name(&peer.name)) {
                Some(peer) => Err(refused(
                    "name_unfit",
                    format!("linuxserver's image gives no peer the name `{}`", peer.name),
                    "use letters and digits, and at least one letter",
                )),
                None => Ok(()),
            },
        }
    }

    /// The words behind `docker run` and its first options. None of them has a blank or means something to a shell.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = ["--name", "adit"].map(str::to_owned).to_vec();
        match self.image {
            GatewayImage::Adit(image) => self.adit(image, &mut words),
            GatewayImage::Linuxserver(image) => self.linuxserver(image, &mut words),
        }
        words
    }

    fn adit(&self, image: &str, words: &mut Vec<String>) {
        let job = self.job;
        let secs = job.remaining.as_secs().max(1);
        let until = humantime::format_rfc3339_seconds((Moment::from_system(self.now) + job.remaining).to_system());
        // The gateway answers DNS, and may be told to listen on a port such as 443: in the machine's own network either takes
        // a capability.
        let text = format!(
            "--network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_BIND_SERVICE --read-only \
             --tmpfs /run:size=1m,mode=0700 --tmpfs /config:size=1m,mode=0700 --no-healthcheck {image} node --lease {} --lifetime {secs} --until {until} \
             --listen {} --launcher {}",
            job.id, self.port, self.launcher
        );
        words.extend(text.split_whitespace().map(str::to_owned));
        if let Some(mtu) = job.order.mtu {
            words.extend(["--mtu".to_owned(), mtu.to_string()]);
        }
    }

    fn linuxserver(&self, image: &str, words: &mut Vec<String>) {
        let order = &self.job.order;
        let text = format!(
            "--cap-add NET_ADMIN --sysctl net.ipv4.ip_forward=1 --sysctl net.ipv4.conf.all.src_valid_mark=1 \
             --publish {}:51820/udp --volume {FOLDER}/config:/config --volume {FOLDER}/init:/custom-cont-init.d:ro \
             --volume {FOLDER}/end:/adit-end",
            self.port
        );
        words.extend(text.split_whitespace().map(str::to_owned));
        let names: Vec<&str> = self.job.peers.iter().map(|peer| peer.name.as_str()).collect();
        let allowed: Vec<String> = order.allowed_ips.iter().map(ToString::to_string).collect();
        let dns = order.dns.as_deref().unwrap_or_default();
        let is_plain = |item: &&String| {
            item.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:-".contains(&byte))
        };
        let dns: Vec<&str> = dns.iter().filter(is_plain).map(String::as_str).collect();
        let settings = [
            ("PEERS", names.join(",")),
            ("SERVERURL", NO_ADDRESS.to_owned()),
            ("SERVERPORT", self.port.to_string()),
            ("ALLOWEDIPS", allowed.join(",")),
            ("PEERDNS", dns.join(",")),
            // Keys do not belong in the log: no pictures of configurations there.
            ("LOG_CONFS", "false".to_owned()),
        ];
        for (name, value) in settings.into_iter().filter(|(_, value)| !value.is_empty()) {
            words.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        words.push(image.to_owned());
    }
}

/// What the script that ends a container is told: the round, by which it knows what it has read, and what is left.
pub(super) fn end(now: SystemTime, secs: u64) -> (u64, String) {
    let round = Moment::from_system(now).as_millis();
    (round, format!("{round} {secs} .\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{node::WantedPeer, place::azure::vm::tests::job};

    const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

    fn gateway<'a>(job: &'a Job, image: &'a GatewayImage) -> Gateway<'a> {
        Gateway {
            job,
            image,
            port: 443,
            launcher: KEY.parse().unwrap(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
        }
    }

    #[test]
    fn adits_container_may_do_nothing_but_the_network() {
        let mut job = job();
        job.order.mtu = Some(1_280);
        let image = GatewayImage::Adit("ghcr.io/adit-vpn/adit:1".to_owned());
        let words = gateway(&job, &image).words().join(" ");
        assert_eq!(
            words,
            format!(
                "--name adit --network host --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_BIND_SERVICE --read-only \
                 --tmpfs /run:size=1m,mode=0700 --tmpfs /config:size=1m,mode=0700 --no-healthcheck ghcr.io/adit-vpn/adit:1 node --lease {} --lifetime 1800 \
                 --until 2026-11-18T11:36:40Z --listen 443 --launcher {KEY} --mtu 1280",
                job.id
            )
        );
    }

    #[test]
    fn linuxservers_container_has_its_environment_and_its_end() {
        let mut job = job();
        job.order.keys = Keys::Gateway;
        job.order.dns = Some(vec![
            "1.1.1.1".to_owned(),
            "example.com".to_owned(),
            "$(reboot)".to_owned(),
        ]);
        job.peers = ["phone", "laptop"].map(peer).to_vec();
        let image = GatewayImage::Linuxserver("lscr.io/linuxserver/wireguard".to_owned());
        let gateway = gateway(&job, &image);
        gateway.check().unwrap();
        let words = gateway.words().join(" ");
        for part in [
            "--publish 443:51820/udp",
            "--env PEERS=phone,laptop",
            "--env ALLOWEDIPS=0.0.0.0/0,::/0",
            "--env PEERDNS=1.1.1.1,example.com ",
            "--volume /etc/adit/end:/adit-end",
            " lscr.io/linuxserver/wireguard",
        ] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
        assert!(!words.contains("reboot"));
    }

    fn peer(name: &str) -> WantedPeer {
        WantedPeer {
            name: name.to_owned(),
            public_key: None,
        }
    }

    #[test]
    fn what_linuxservers_image_cannot_is_refused_before_anything_is_made() {
        let image = GatewayImage::Linuxserver("lscr.io/linuxserver/wireguard".to_owned());
        for (keys, names, idle, code) in [
            (Keys::Gateway, vec!["phone"], None, None),
            (Keys::Client, vec!["phone"], None, Some("keys_unfit")),
            (Keys::Gateway, vec!["my-phone"], None, Some("name_unfit")),
            (Keys::Gateway, vec!["phone", "7"], None, Some("name_unfit")),
            (Keys::Gateway, vec!["phone"], Some(300), Some("idle_unfit")),
            (Keys::Gateway, vec!["p"; 31], None, Some("peers_unfit")),
        ] {
            let mut job = job();
            (job.order.keys, job.order.idle_end_secs) = (keys, idle);
            job.peers = names.into_iter().map(peer).collect();
            let fault = gateway(&job, &image).check().err();
            assert_eq!(fault.map(|fault| fault.code).as_deref(), code);
        }
    }
}
