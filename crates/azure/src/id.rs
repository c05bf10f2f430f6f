//! Names a resource as Azure does: `/subscriptions/…/resourceGroups/…/providers/…`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::path::{NameError, Path, check};

/// The ID of a subscription, a resource group, or a resource. Azure is free with the case of letters, and so is `==`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId {
    subscription: String,
    group: Option<String>,
    provider: Option<Provider>,
}

#[derive(Clone)]
struct Provider {
    namespace: String,
    /// Type and name of the resource, of its child, and so on.
    names: Vec<(String, String)>,
}

/// Why something is no ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not of the form.
    #[error("{0:?} is no resource ID: it begins with /subscriptions/ and its parts come in pairs")]
    Form(String),
    /// A part cannot be a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl ResourceId {
    /// A subscription.
    ///
    /// # Errors
    ///
    /// If that cannot be a name.
    pub fn subscription(id: &str) -> Result<Self, NameError> {
        check(id)?;
        Ok(Self {
            subscription: id.to_owned(),
            group: None,
            provider: None,
        })
    }

    /// A resource group of the subscription.
    ///
    /// # Errors
    ///
    /// If that cannot be a name.
    pub fn in_group(&self, name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self {
            group: Some(name.to_owned()),
            provider: None,
            ..self.clone()
        })
    }

    /// A resource of the group, or of the subscription: `("Microsoft.Compute", "virtualMachines", "vm")`.
    ///
    /// # Errors
    ///
    /// If one of them cannot be a name.
    pub fn resource(&self, namespace: &str, kind: &str, name: &str) -> Result<Self, NameError> {
        [namespace, kind, name].into_iter().try_for_each(check)?;
        Ok(Self {
            provider: Some(Provider {
                namespace: namespace.to_owned(),
                names: vec![(kind.to_owned(), name.to_owned())],
            }),
            ..self.clone()
        })
    }

    /// A resource inside this one: `("subnets", "default")`. That of what is no resource is not changed.
    ///
    /// # Errors
    ///
    /// If one of them cannot be a name.
    pub fn child(&self, kind: &str, name: &str) -> Result<Self, NameError> {
        [kind, name].into_iter().try_for_each(check)?;
        let mut child = self.clone();
        if let Some(provider) = &mut child.provider {
            provider.names.push((kind.to_owned(), name.to_owned()));
        }
        Ok(child)
    }

    /// The subscription's ID.
    pub fn subscription_id(&self) -> &str {
        &self.subscription
    }

    /// The resource group's name.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The name of what it names: of the innermost resource, else of the group, else of the subscription.
    pub fn name(&self) -> &str {
        let resource = self.provider.as_ref().and_then(|provider| provider.names.last());
        resource
            .map(|(_, name)| name.as_str())
            .or(self.group.as_deref())
            .unwrap_or(&self.subscription)
    }

    /// The kind of resource: `Microsoft.Network/virtualNetworks/subnets`; `None` for groups and subscriptions.
    pub fn kind(&self) -> Option<String> {
        let provider = self.provider.as_ref()?;
        let kinds = provider.names.iter().map(|(kind, _)| kind.as_str());
        Some(
            [provider.namespace.as_str()]
                .into_iter()
                .chain(kinds)
                .collect::<Vec<_>>()
                .join("/"),
        )
    }

    /// The path that leads to it.
    pub fn path(&self) -> Path {
        Path::new(&self.parts()).expect("every part was checked")
    }

    fn parts(&self) -> Vec<&str> {
        let mut parts = vec!["subscriptions", &self.subscription];
        match (&self.group, &self.provider) {
            (Some(group), None) => parts.extend(["resourcegroups", group.as_str()]),
            (Some(group), Some(_)) => parts.extend(["resourceGroups", group.as_str()]),
            (None, _) => {}
        }
        if let Some(provider) = &self.provider {
            parts.extend(["providers", provider.namespace.as_str()]);
            parts.extend(
                provider
                    .names
                    .iter()
                    .flat_map(|(kind, name)| [kind.as_str(), name.as_str()]),
            );
        }
        parts
    }
}

impl fmt::Display for ResourceId {
    /// As bodies hold it: not percent-encoded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.parts().into_iter().enumerate() {
            let part = if at == 2 && part == "resourcegroups" {
                "resourceGroups"
            } else {
                part
            };
            write!(f, "/{part}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.to_string().to_lowercase() == other.to_string().to_lowercase()
    }
}

impl Eq for ResourceId {}

impl FromStr for ResourceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Form(text.chars().take(400).collect());
        let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(wrong)?.split('/').collect();
        let [first, subscription, rest @ ..] = parts.as_slice() else {
            return Err(wrong());
        };
        if !first.eq_ignore_ascii_case("subscriptions") {
            return Err(wrong());
        }
        let mut id = Self::subscription(subscription)?;
        let rest = match rest {
            [word, group, rest @ ..] if word.eq_ignore_ascii_case("resourceGroups") => {
                id = id.in_group(group)?;
                rest
            }
            rest => rest,
        };
        match rest {
            [] => Ok(id),
            [word, namespace, kind, name, rest @ ..] if word.eq_ignore_ascii_case("providers") => {
                id = id.resource(namespace, kind, name)?;
                let pairs = rest.chunks_exact(2);
                if !pairs.remainder().is_empty() {
                    return Err(wrong());
                }
                for pair in pairs {
                    id = id.child(pair[0], pair[1])?;
                }
                Ok(id)
            }
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for ResourceId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_as_azure_writes_them() {
        // (text, name, group, kind)
        for (text, name, group, kind) in [
            ("/subscriptions/s", "s", None, None),
            ("/subscriptions/s/resourceGroups/rg", "rg", Some("rg"), None),
            (
                "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm",
                "vm",
                Some("rg"),
                Some("Microsoft.Compute/virtualMachines"),
            ),
            (
                "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/n/subnets/default",
                "default",
                Some("rg"),
                Some("Microsoft.Network/virtualNetworks/subnets"),
            ),
            (
                "/subscriptions/s/providers/Microsoft.Compute/locations/westeurope",
                "westeurope",
                None,
                Some("Microsoft.Compute/locations"),
            ),
        ] {
            let id: ResourceId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!((id.name(), id.group(), id.kind().as_deref()), (name, group, kind));
            assert_eq!(text.to_uppercase().parse(), Ok(id), "case does not matter");
        }
        for text in [
            "",
            "/",
            "subscriptions/s",
            "/subscriptions",
            "/subscriptions/",
            "/subscriptions//resourceGroups/rg",
            "/subscriptions/s/resourceGroups",
            "/subscriptions/s/resourceGroups/..",
            "/subscriptions/s/providers/Microsoft.Compute",
            "/subscriptions/s/providers/Microsoft.Compute/virtualMachines",
            "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm/extensions",
            "/tenants/t/resourceGroups/rg",
        ] {
            assert!(text.parse::<ResourceId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_encoded_and_an_id_is_not() {
        let group = ResourceId::subscription("s").unwrap().in_group("länder (1)").unwrap();
        assert_eq!(group.to_string(), "/subscriptions/s/resourceGroups/länder (1)");
        assert_eq!(
            group.path().as_str(),
            "/subscriptions/s/resourcegroups/l%C3%A4nder%20%281%29"
        );
        let machine = group.resource("Microsoft.Compute", "virtualMachines", "vm").unwrap();
        assert!(
            machine
                .path()
                .as_str()
                .starts_with("/subscriptions/s/resourceGroups/l%C3%A4nder%20%281%29/providers/")
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(text in "/subscriptions/[a-z%/.A-Z-]{0,30}|\\PC{0,40}") {
            if let Ok(id) = text.parse::<ResourceId>() {
                prop_assert_eq!(id.to_string().parse::<ResourceId>(), Ok(id));
            }
        }
    }
}
