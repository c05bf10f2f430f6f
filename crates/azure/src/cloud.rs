//! Which Azure is spoken to: where its Resource Manager is, who signs people in, for whom tokens are.

use std::net::IpAddr;

use reqwest::Url;

/// For whom a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Resource Manager.
    Arm,
    /// Blobs and files.
    Storage,
    /// The ingestion of custom metrics.
    Monitor,
}

impl Audience {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Arm, Self::Storage, Self::Monitor];
}

/// One of the Azures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    management: Url,
    authority: Url,
    arm: String,
    monitor: String,
}

/// Why an address is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// There is no such cloud.
    #[error("there is no cloud {0}: it is AzureCloud, AzureChinaCloud or AzureUSGovernment")]
    Unknown(String),
    /// A token or a secret would travel in the clear.
    #[error("{0} is not taken: it must begin with https, or with http if it is on this machine")]
    Plain(String),
    /// It is no address of a server.
    #[error("{0} is no address of a server: give scheme and host, such as https://management.azure.com")]
    NoServer(String),
}

/// Tokens for storage are for the same audience everywhere.
const STORAGE: &str = "https://storage.azure.com";

impl Default for Cloud {
    fn default() -> Self {
        Self::fixed(
            "https://management.azure.com",
            "https://login.microsoftonline.com",
            "https://management.azure.com",
            "https://monitoring.azure.com/",
        )
    }
}

impl Cloud {
    /// Azure China, operated by 21Vianet.
    pub fn china() -> Self {
        Self::fixed(
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "https://management.core.chinacloudapi.cn",
            "https://monitoring.azure.cn/",
        )
    }

    /// Azure for the government of the United States.
    pub fn us_government() -> Self {
        Self::fixed(
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "https://management.core.usgovcloudapi.net",
            "https://monitoring.azure.us/",
        )
    }

    fn fixed(management: &str, authority: &str, arm: &str, monitor: &str) -> Self {
        let url = |text| Url::parse(text).expect("the addresses above are well formed");
        Self {
            management: url(management),
            authority: url(authority),
            arm: arm.to_owned(),
            monitor: monitor.to_owned(),
        }
    }

    /// By the name that `az cloud list` shows; letters may be of any case.
    ///
    /// # Errors
    ///
    /// If there is no such cloud.
    pub fn named(name: &str) -> Result<Self, CloudError> {
        match name.to_ascii_lowercase().as_str() {
            "" | "azurecloud" | "public" => Ok(Self::default()),
            "azurechinacloud" => Ok(Self::china()),
            "azureusgovernment" => Ok(Self::us_government()),
            _ => Err(CloudError::Unknown(name.to_owned())),
        }
    }

    /// The same with its Resource Manager reached elsewhere, such as by a private link. Tokens are for the same audience.
    ///
    /// # Errors
    ///
    /// If secrets would travel in the clear, or it is no server's address.
    pub fn with_management(mut self, address: &str) -> Result<Self, CloudError> {
        self.management = server(address)?;
        Ok(self)
    }

    /// The same with tokens for another audience, as an Azure Stack has one of its own.
    #[must_use]
    pub fn with_audience(mut self, audience: &str) -> Self {
        audience.trim_end_matches('/').clone_into(&mut self.arm);
        self
    }

    /// The same with another authority that gives tokens: `AZURE_AUTHORITY_HOST`. Without a scheme, https is meant.
    ///
    /// # Errors
    ///
    /// If secrets would travel in the clear, or it is no server's address.
    pub fn with_authority(mut self, address: &str) -> Result<Self, CloudError> {
        self.authority = if address.contains("://") {
            server(address)?
        } else {
            server(&format!("https://{address}"))?
        };
        Ok(self)
    }

    /// Where Resource Manager is.
    pub fn management(&self) -> &Url {
        &self.management
    }

    /// Who gives tokens.
    pub fn authority(&self) -> &Url {
        &self.authority
    }

    /// Where a region takes custom metrics: beside the audience of their tokens.
    pub fn metrics(&self, region: &str) -> Option<Url> {
        let mut url = Url::parse(&self.monitor).ok()?;
        let host = format!("{region}.{}", url.host_str()?);
        url.set_host(Some(&host)).ok()?;
        Some(url)
    }

    /// For whom a token is, as tokens name it. That of custom metrics ends in a slash, which is part of it.
    pub fn audience(&self, audience: Audience) -> &str {
        match audience {
            Audience::Arm => &self.arm,
            Audience::Storage => STORAGE,
            Audience::Monitor => &self.monitor,
        }
    }

    /// The same as a scope of OAuth 2.
    pub fn scope(&self, audience: Audience) -> String {
        format!("{}/.default", self.audience(audience))
    }

    /// Whether a URL that an answer named leads to this cloud's Resource Manager, and nowhere else: a token goes there.
    pub fn owns(&self, url: &Url) -> bool {
        url.origin() == self.management.origin() && url.username().is_empty() && url.password().is_none()
    }
}

/// A server's address: scheme, host, perhaps a port.
fn server(address: &str) -> Result<Url, CloudError> {
    let none = || CloudError::NoServer(address.to_owned());
    let url = Url::parse(address).map_err(|_| none())?;
    let host = url.host_str().ok_or_else(none)?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !url.username().is_empty() || url.password().is_some() {
        return Err(none());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        _ => Err(CloudError::Plain(address.to_owned())),
    }
}

/// Whether a URL's host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || ip(host).is_some_and(|ip| ip.is_loopback())
}

/// Whether a URL's host is this machine, or what its platform puts beside it.
pub(crate) fn is_beside(host: &str) -> bool {
    is_loopback(host) || matches!(ip(host), Some(IpAddr::V4(ip)) if ip.is_link_local())
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_its_own_servers_and_audiences() {
        // (name, Resource Manager, authority, scope for it)
        for (name, management, authority, scope) in [
            (
                "AzureCloud",
                "https://management.azure.com/",
                "https://login.microsoftonline.com/",
                "https://management.azure.com/.default",
            ),
            (
                "azurechinacloud",
                "https://management.chinacloudapi.cn/",
                "https://login.chinacloudapi.cn/",
                "https://management.core.chinacloudapi.cn/.default",
            ),
            (
                "AzureUSGovernment",
                "https://management.usgovcloudapi.net/",
                "https://login.microsoftonline.us/",
                "https://management.core.usgovcloudapi.net/.default",
            ),
        ] {
            let cloud = Cloud::named(name).unwrap();
            assert_eq!(cloud.management().as_str(), management);
            assert_eq!(cloud.authority().as_str(), authority);
            assert_eq!(cloud.scope(Audience::Arm), scope);
            assert_eq!(cloud.scope(Audience::Storage), "https://storage.azure.com/.default");
        }
        let public = Cloud::default();
        assert_eq!(
            public.scope(Audience::Monitor),
            "https://monitoring.azure.com//.default",
            "the audience of custom metrics ends in a slash"
        );
        assert_eq!(
            public.metrics("westeurope").unwrap().as_str(),
            "https://westeurope.monitoring.azure.com/"
        );
        assert!(matches!(Cloud::named("AzureGermanCloud"), Err(CloudError::Unknown(_))));
    }

    #[test]
    fn nothing_travels_in_the_clear_but_on_this_machine() {
        // (address, is it taken?)
        for (address, is_taken) in [
            ("https://arm.example.org", true),
            ("https://arm.example.org:8443/", true),
            ("http://127.0.0.1:9000", true),
            ("http://localhost:9000", true),
            ("http://[::1]:9000", true),
            ("http://arm.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://169.254.169.254", false),
            ("https://arm.example.org/path", false),
            ("https://arm.example.org?query", false),
            ("https://someone@arm.example.org", false),
            ("file:///etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(Cloud::default().with_management(address).is_ok(), is_taken, "{address}");
        }
        let stack = Cloud::default().with_audience("https://management.example.org/");
        assert_eq!(stack.scope(Audience::Arm), "https://management.example.org/.default");
        let cloud = Cloud::default().with_authority("login.example.org").unwrap();
        assert_eq!(cloud.authority().as_str(), "https://login.example.org/");
        assert!(Cloud::default().with_authority("http://login.example.org").is_err());
    }

    #[test]
    fn a_url_belongs_to_the_cloud_by_scheme_host_and_port() {
        let cloud = Cloud::default();
        // (url, is it the cloud's?)
        for (url, is_owned) in [
            (
                "https://management.azure.com/subscriptions/s/operations/1?t=2&monitor=true",
                true,
            ),
            ("https://MANAGEMENT.azure.com:443/x", true),
            ("http://management.azure.com/x", false),
            ("https://management.azure.com:444/x", false),
            ("https://management.azure.com.example.org/x", false),
            ("https://management.azure.com@example.org/x", false),
            ("https://token@management.azure.com/x", false),
            ("https://169.254.169.254/metadata", false),
        ] {
            assert_eq!(cloud.owns(&Url::parse(url).unwrap()), is_owned, "{url}");
        }
    }
}
