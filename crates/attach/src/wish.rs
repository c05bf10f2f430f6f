//! What a container's labels ask for.
//!
//! | label | means | default |
//! |---|---|---|
//! | `adit.enable` | `true`: the tunnel is its only way out | `false` |
//! | `adit.provider` | `file`, `pia` or `gateway` | `file` with `adit.conf`, else the daemon's |
//! | `adit.region` | where the other end shall be | the provider's |
//! | `adit.conf` | which configuration of several | any |
//! | `adit.dns` | name servers, separated by commas | the provider's |
//! | `adit.lan` | networks that stay direct, separated by commas | none |
//! | `adit.port-forward` | `true`: a port that the provider forwards to it | `false` |
//! | `wg-docker.enable`, `wg-docker.region` | as `adit.enable` and `adit.region` of the provider `pia` | |

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use wg::IpNet;

/// What stands before the words of [`Wish`] in a label.
const PREFIX: &str = "adit.";

/// All words, in the order of the table above; `enable` is none of a network's.
const WORDS: [&str; 7] = ["enable", "provider", "region", "conf", "dns", "lan", "port-forward"];

/// What a container, or a network of the driver, is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The provider's name; `None` is the daemon's default.
    pub provider: Option<String>,
    /// Where the other end shall be; `None` is the provider's default.
    pub region: Option<String>,
    /// Which configuration of several; `None` is any.
    pub conf: Option<String>,
    /// Name servers instead of the provider's; empty is the provider's.
    pub dns: Vec<IpAddr>,
    /// Networks beside its neighbours' that are reached without the tunnel.
    pub lan: Vec<IpNet>,
    /// Whether the provider shall forward a port.
    pub port_forward: bool,
}

/// A label or an option makes no sense. The container stays closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// A word that there is not.
    #[error("{kind} {name}: there is none of this name; there are {}", words(*kind))]
    Unknown {
        /// Label or option.
        kind: Kind,
        /// The whole name.
        name: String,
    },
    /// A value that it does not take.
    #[error("{kind} {name}={value}: it takes {takes}")]
    Value {
        /// Label or option.
        kind: Kind,
        /// The whole name.
        name: String,
        /// What it has.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
}

/// Where a wish is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At a container: `adit.region`.
    Label,
    /// At a network: `-o region`.
    Option,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => "label",
            Self::Option => "option",
        })
    }
}

fn words(kind: Kind) -> String {
    match kind {
        Kind::Label => WORDS.map(|word| format!("{PREFIX}{word}")).join(", "),
        Kind::Option => WORDS[1..].join(", "),
    }
}

impl Wish {
    /// Reads a container's labels; `None` if they ask for no tunnel.
    ///
    /// # Errors
    ///
    /// [`WishError`], once a tunnel is asked for, or if it cannot be said whether one is.
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Result<Option<Self>, WishError> {
        let reader = |name: &'static str| Reader {
            kind: Kind::Label,
            name,
            value: labels.get(name).map(|value| value.trim()),
        };
        let theirs = reader("wg-docker.enable").truth()?;
        if !reader("adit.enable").truth()? && !theirs {
            return Ok(None);
        }
        let unknown = labels.keys().find(|name| {
            let word = name.strip_prefix(PREFIX);
            word.is_some_and(|word| !WORDS.contains(&word))
        });
        if let Some(name) = unknown {
            return Err(WishError::Unknown {
                kind: Kind::Label,
                name: name.clone(),
            });
        }
        let mut wish = Self::read(reader("adit.provider"), |word| Reader {
            kind: Kind::Label,
            name: LABELS[WORDS.iter().position(|known| *known == word).unwrap_or_default()],
            value: labels.get(&format!("{PREFIX}{word}")).map(|value| value.trim()),
        })?;
        if theirs {
            wish.provider.get_or_insert_with(|| "pia".to_owned());
            wish.region = wish.region.or_else(|| reader("wg-docker.region").text());
        }
        Ok(Some(wish))
    }

    /// Reads the options of a network of the driver.
    ///
    /// # Errors
    ///
    /// [`WishError`]. Options of Docker's own (`com.docker.…`) are passed over.
    pub fn of_options(options: &BTreeMap<String, String>) -> Result<Self, WishError> {
        let unknown = options
            .keys()
            .find(|name| !name.contains("com.docker.") && !WORDS[1..].contains(&name.as_str()));
        if let Some(name) = unknown {
            return Err(WishError::Unknown {
                kind: Kind::Option,
                name: name.clone(),
            });
        }
        let option = |name: &'static str| Reader {
            kind: Kind::Option,
            name,
            value: options.get(name).map(|value| value.trim()),
        };
        Self::read(option("provider"), option)
    }

    fn read<'a>(provider: Reader<'a>, word: impl Fn(&'static str) -> Reader<'a>) -> Result<Self, WishError> {
        let conf = word("conf").text();
        Ok(Self {
            provider: provider
                .provider()?
                .or_else(|| conf.is_some().then(|| "file".to_owned())),
            region: word("region").text(),
            conf,
            dns: word("dns").list("IP addresses, separated by commas")?,
            lan: word("lan").networks()?,
            port_forward: word("port-forward").truth()?,
        })
    }
}

/// The labels of [`WORDS`].
const LABELS: [&str; 7] = [
    "adit.enable",
    "adit.provider",
    "adit.region",
    "adit.conf",
    "adit.dns",
    "adit.lan",
    "adit.port-forward",
];

/// One label or option; an empty one is as none.
struct Reader<'a> {
    kind: Kind,
    name: &'static str,
    value: Option<&'a str>,
}

impl Reader<'_> {
    fn wrong(&self, takes: &'static str) -> WishError {
        WishError::Value {
            kind: self.kind,
            name: self.name.to_owned(),
            value: self.value.unwrap_or_default().to_owned(),
            takes,
        }
    }

    fn text(&self) -> Option<String> {
        self.value.filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn truth(&self) -> Result<bool, WishError> {
        match self.value.unwrap_or_default() {
            "true" | "True" | "1" | "yes" => Ok(true),
            "" | "false" | "False" | "0" | "no" => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn provider(&self) -> Result<Option<String>, WishError> {
        match self.value.unwrap_or_default() {
            "" => Ok(None),
            name @ ("file" | "pia" | "gateway") => Ok(Some(name.to_owned())),
            _ => Err(self.wrong("file, pia or gateway")),
        }
    }

    fn list<T: FromStr>(&self, takes: &'static str) -> Result<Vec<T>, WishError> {
        let texts = self.value.unwrap_or_default().split(',').map(str::trim);
        let read = texts.filter(|text| !text.is_empty()).map(str::parse);
        read.collect::<Result<_, _>>().map_err(|_| self.wrong(takes))
    }

    /// Networks of which none is everything: that would be no tunnel.
    fn networks(&self) -> Result<Vec<IpNet>, WishError> {
        let networks: Vec<IpNet> = self.list("networks as 192.168.1.0/24, separated by commas")?;
        if networks.iter().any(|network| network.prefix_len() == 0) {
            return Err(self.wrong("networks that are less than everything, as 192.168.1.0/24"));
        }
        Ok(networks.iter().map(IpNet::trunc).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_tunnel_is_asked_for_by_a_label_that_says_so() {
        for (labels, asked) in [
            (&[][..], false),
            (&[("adit.region", "swiss")], false),
            (&[("adit.enable", "false")], false),
            (&[("adit.enable", "")], false),
            (&[("adit.enable", "true")], true),
            (&[("adit.enable", " 1 ")], true),
            (&[("wg-docker.enable", "true")], true),
            (&[("wg-docker.enable", "true"), ("wg-docker.other", "1")], true),
        ] {
            let wish = Wish::of_labels(&map(labels)).unwrap();
            assert_eq!(wish.is_some(), asked, "{labels:?}");
        }
    }

    #[test]
    fn each_label_is_understood() {
        let labels = [
            ("adit.enable", "true"),
            ("adit.provider", "pia"),
            ("adit.region", "swiss"),
            ("adit.dns", "10.0.0.243, fd00::1"),
            ("adit.lan", "192.168.1.77/24,fd07::/48"),
            ("adit.port-forward", "true"),
            ("com.docker.compose.service", "torrent"),
        ];
        let expected = Wish {
            provider: Some("pia".to_owned()),
            region: Some("swiss".to_owned()),
            conf: None,
            dns: ["10.0.0.243", "fd00::1"].map(|text| text.parse().unwrap()).into(),
            lan: ["192.168.1.0/24", "fd07::/48"].map(|text| text.parse().unwrap()).into(),
            port_forward: true,
        };
        assert_eq!(Wish::of_labels(&map(&labels)), Ok(Some(expected.clone())));
        let options: Vec<_> = labels[1..6].iter().map(|(name, value)| (&name[5..], *value)).collect();
        assert_eq!(Wish::of_options(&map(&options)), Ok(expected));
    }

    #[test]
    fn the_labels_of_wg_docker_mean_pia() {
        // (labels, provider, region)
        for (labels, provider, region) in [
            (&[("wg-docker.enable", "true")][..], "pia", None),
            (
                &[("wg-docker.enable", "true"), ("wg-docker.region", "swiss")],
                "pia",
                Some("swiss"),
            ),
            (
                &[
                    ("wg-docker.enable", "true"),
                    ("wg-docker.region", "swiss"),
                    ("adit.region", "at"),
                ],
                "pia",
                Some("at"),
            ),
            (&[("wg-docker.enable", "true"), ("adit.conf", "home")], "file", None),
        ] {
            let wish = Wish::of_labels(&map(labels)).unwrap().unwrap();
            assert_eq!(wish.provider.as_deref(), Some(provider), "{labels:?}");
            assert_eq!(wish.region.as_deref(), region, "{labels:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value, error) in [
            (
                "adit.enable",
                "maybe",
                "label adit.enable=maybe: it takes true or false",
            ),
            (
                "adit.provider",
                "nord",
                "label adit.provider=nord: it takes file, pia or gateway",
            ),
            (
                "adit.dns",
                "one.one",
                "label adit.dns=one.one: it takes IP addresses, separated by commas",
            ),
            (
                "adit.lan",
                "192.168.1.0/33",
                "label adit.lan=192.168.1.0/33: it takes networks as 192.168.1.0/24, separated by commas",
            ),
            (
                "adit.lan",
                "0.0.0.0/0",
                "label adit.lan=0.0.0.0/0: it takes networks that are less than everything, as 192.168.1.0/24",
            ),
            (
                "adit.regoin",
                "swiss",
                "label adit.regoin: there is none of this name; there are adit.enable, adit.provider, adit.region, \
                 adit.conf, adit.dns, adit.lan, adit.port-forward",
            ),
        ] {
            let labels = map(&[("adit.enable", "true"), (name, value)]);
            assert_eq!(Wish::of_labels(&labels).unwrap_err().to_string(), error);
        }
        let error = Wish::of_options(&map(&[("enable", "true")])).unwrap_err();
        let expected =
            "option enable: there is none of this name; there are provider, region, conf, dns, lan, port-forward";
        assert_eq!(error.to_string(), expected);
    }
}
