//! What the place is told: where, which machines, which image on them, how they are set up.

use ipnet::IpNet;

use super::super::site::Site;

/// The size of machines, unless the configuration says otherwise: one core and 1 GB, the smallest that is offered widely.
const SIZE: &str = "Standard_B1s";

/// WireGuard's usual port.
const PORT: u16 = 51_820;

/// What the place is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the place is called. Default `azure-vm`.
    pub name: String,
    /// Where in Azure.
    pub site: Site,
    /// Sizes of machines that an order may choose, the default first. Default `Standard_B1s`.
    pub sizes: Vec<String>,
    /// The machines' system. Default Flatcar.
    pub image: VmImage,
    /// What runs in a container on the machine.
    pub gateway: GatewayImage,
    /// How a machine becomes a gateway. Default by Ignition.
    pub setup: SetUp,
    /// How scripts are run on a machine. Default managed.
    pub run_command: RunCommand,
    /// The UDP port of gateways whose order names none. Default 51820.
    pub port: u16,
    /// Who may send to gateways at all; `None`, the default, is anybody. It is of the security group that all gateways of a
    /// region with one port share, so launchers that share a resource group say the same.
    pub source: Option<IpNet>,
}

/// The system of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmImage {
    /// Flatcar Container Linux (`corevm`, `stable-gen2`), which has neither terms nor a plan.
    Flatcar,
    /// The same from the Marketplace's older offer, which has both.
    FlatcarFree {
        /// Whether its terms are accepted in the subscription's name before a machine is made. Default no: then a person has
        /// to do that once.
        accept_terms: bool,
    },
    /// Another with Docker, systemd and, to be set up by Ignition, that.
    Other {
        /// Who publishes it.
        publisher: String,
        /// What is offered.
        offer: String,
        /// Which of the offer.
        sku: String,
        /// Which version; `latest` is safest.
        version: String,
        /// Whether it is sold with a plan of that name.
        plan: bool,
    },
}

/// What runs in a container on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayImage {
    /// adit's own image, where the machine can pull it. Clients bring their keys, and peers come and go.
    Adit(String),
    /// linuxserver's, or one that takes its place. It makes its clients' keys, and its peers are fixed.
    Linuxserver(String),
}

/// How a machine becomes a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetUp {
    /// By its first boot: custom data for Ignition.
    #[default]
    Ignition,
    /// By a script that Run Command carries out, on systems without Ignition.
    RunCommand,
}

/// How scripts are run on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunCommand {
    /// As a resource, which is removed afterwards. Not on ARM64.
    #[default]
    Managed,
    /// As an action, one at a time.
    Action,
}

/// What the place cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A name that is there twice, or is none.
    #[error("the size `{0}` is no name of its own of a size, such as Standard_B1s")]
    Size(String),
    /// None at all.
    #[error("no size is given: name one or more, such as Standard_B1s")]
    NoSize,
    /// An image that no container can have.
    #[error("`{0}` is no image of a container, such as ghcr.io/adit-vpn/adit:latest")]
    GatewayImage(String),
    /// A part of the machine's image is no name.
    #[error("`{0}` is no part of a machine's image: publisher, offer, SKU and version are letters, digits, -, _ and .")]
    VmImage(String),
    /// Nobody listens there.
    #[error("gateways cannot have the port 0: choose one from 1 to 65535")]
    Port,
    /// HTTPS cannot be set up.
    #[error(transparent)]
    Client(#[from] azure::SetUpError),
}

impl Config {
    /// Gateways of adit's own image on Flatcar, set up by Ignition.
    pub fn new(site: Site, gateway: GatewayImage) -> Self {
        Self {
            name: "azure-vm".to_owned(),
            site,
            sizes: vec![SIZE.to_owned()],
            image: VmImage::Flatcar,
            gateway,
            setup: SetUp::default(),
            run_command: RunCommand::default(),
            port: PORT,
            source: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (at, size) in self.sizes.iter().enumerate() {
            if !is_word(size) || self.sizes[..at].contains(size) {
                return Err(ConfigError::Size(size.clone()));
            }
        }
        if self.sizes.is_empty() {
            return Err(ConfigError::NoSize);
        }
        if !is_container_image(self.gateway.name()) {
            return Err(ConfigError::GatewayImage(self.gateway.name().to_owned()));
        }
        let (parts, _) = self.image.parts();
        if let Some(part) = parts.into_iter().find(|part| !is_word(part)) {
            return Err(ConfigError::VmImage(part.to_owned()));
        }
        if self.port == 0 {
            return Err(ConfigError::Port);
        }
        Ok(())
    }
}

impl GatewayImage {
    /// The image's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Adit(name) | Self::Linuxserver(name) => name,
        }
    }
}

impl VmImage {
    /// Publisher, offer, SKU and version; and whether it is sold with a plan.
    pub(super) fn parts(&self) -> ([&str; 4], bool) {
        const PUBLISHER: &str = "kinvolk";
        const SKU: &str = "stable-gen2";
        match self {
            Self::Flatcar => (
                [PUBLISHER, "flatcar-container-linux-corevm-amd64", SKU, "latest"],
                false,
            ),
            Self::FlatcarFree { .. } => ([PUBLISHER, "flatcar-container-linux-free", SKU, "latest"], true),
            Self::Other {
                publisher,
                offer,
                sku,
                version,
                plan,
            } => ([publisher, offer, sku, version], *plan),
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether a name can be an image's: it goes into a unit of systemd and into a script, where other letters mean something.
fn is_container_image(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && name.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_made() {
        let site = Site::new(
            "0b1f6471-1bf0-4dda-aec3-cb9272f09590",
            "adit",
            vec!["westeurope".to_owned()],
        )
        .unwrap();
        let with = |change: fn(&mut Config)| {
            let mut config = Config::new(
                site.clone(),
                GatewayImage::Adit("ghcr.io/adit-vpn/adit:1@sha256:ab".to_owned()),
            );
            change(&mut config);
            config.check().err()
        };
        assert_eq!(with(|_| {}), None);
        for (change, expected) in [
            ((|config| config.sizes.clear()) as fn(&mut Config), ConfigError::NoSize),
            (
                |config| config.sizes.push("Standard_B1s".to_owned()),
                ConfigError::Size("Standard_B1s".to_owned()),
            ),
            (
                |config| config.sizes.push("a b".to_owned()),
                ConfigError::Size("a b".to_owned()),
            ),
            (
                |config| config.gateway = GatewayImage::Adit("x; reboot".to_owned()),
                ConfigError::GatewayImage("x; reboot".to_owned()),
            ),
            (
                |config| config.gateway = GatewayImage::Linuxserver("--privileged".to_owned()),
                ConfigError::GatewayImage("--privileged".to_owned()),
            ),
            (
                |config| {
                    config.image = VmImage::Other {
                        publisher: "a".to_owned(),
                        offer: "b/c".to_owned(),
                        sku: "d".to_owned(),
                        version: "latest".to_owned(),
                        plan: false,
                    };
                },
                ConfigError::VmImage("b/c".to_owned()),
            ),
            (|config| config.port = 0, ConfigError::Port),
        ] {
            assert_eq!(with(change), Some(expected));
        }
    }
}
