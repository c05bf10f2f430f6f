//! What to do about an error, by its code.

use super::{Kind, ServiceError};

/// What is known of errors with one of these codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Azure's codes.
    pub codes: &'static [&'static str],
    /// What a caller makes of it.
    pub kind: Kind,
    /// What the person does, in a sentence or two.
    pub text: &'static str,
    /// Where that is written: a page below `https://learn.microsoft.com/`.
    pub source: &'static str,
}

const ARM: &str = "azure/azure-resource-manager/troubleshooting/common-deployment-errors";
const COMPUTE: &str = "troubleshoot/azure/virtual-machines/windows/error-messages";
const ACI: &str = "azure/container-instances/container-instances-troubleshooting";
const RBAC: &str = "azure/role-based-access-control/troubleshooting";
const MARKETPLACE: &str = "azure/virtual-machines/linux/cli-ps-findimage";

/// All that is known. A code stands once.
const REMEDIES: &[Remedy] = &[
    Remedy {
        codes: &["QuotaExceeded", "ResourceQuotaExceeded", "VCpuQuotaExceeded"],
        kind: Kind::Refused,
        text: "the subscription has no cores left in this region: end machines there, choose a smaller size or another region, \
               or ask for more (Azure portal: Subscriptions, Usage + quotas; or az quota update)",
        source: "azure/azure-resource-manager/troubleshooting/error-resource-quota",
    },
    Remedy {
        codes: &["OperationNotAllowed"],
        kind: Kind::Refused,
        text: "Azure does not allow it as things are; if the message speaks of cores or a quota: end machines there, choose a \
               smaller size or another region, or ask for more (Azure portal: Subscriptions, Usage + quotas)",
        source: "azure/azure-resource-manager/troubleshooting/error-resource-quota",
    },
    Remedy {
        codes: &[
            "SkuNotAvailable",
            "SkuNotSupported",
            "NotAvailableForSubscription",
            "InvalidSku",
        ],
        kind: Kind::Refused,
        text: "this size is not offered to the subscription in this region: choose another size or region \
               (az vm list-skus --location REGION --size SIZE --all --output table says why)",
        source: "azure/azure-resource-manager/troubleshooting/error-sku-not-available",
    },
    Remedy {
        codes: &[
            "AllocationFailed",
            "ZonalAllocationFailed",
            "OverconstrainedAllocationRequest",
            "OverconstrainedZonalAllocationRequest",
            "AllocationTimeout",
            "InsufficientCapacity",
        ],
        kind: Kind::Refused,
        text: "Azure has no room for this size there at the moment: choose another size or region, or try again later",
        source: "troubleshoot/azure/virtual-machines/windows/allocation-failure",
    },
    Remedy {
        codes: &["RequestDisallowedByPolicy", "RequestDisallowedByAzure"],
        kind: Kind::Denied,
        text: "a policy of the organisation forbids it: choose what it allows (often a region or a size), or ask who keeps the \
               policy for an exemption",
        source: "azure/azure-resource-manager/troubleshooting/error-policy-requestdisallowedbypolicy",
    },
    Remedy {
        codes: &[
            "MarketplacePurchaseEligibilityFailed",
            "VMMarketplaceInvalidInput",
            "ResourcePurchaseValidationFailed",
            "ResourcePurchaseCanceled",
        ],
        kind: Kind::Refused,
        text: "the image is sold in the Marketplace, and its terms are not accepted or may not be: accept them once with \
               az vm image terms accept --urn PUBLISHER:OFFER:SKU:VERSION, or use an offer without terms \
               (flatcar-container-linux-corevm-amd64)",
        source: MARKETPLACE,
    },
    Remedy {
        codes: &["AuthorizationFailed", "AuthorizationPermissionMismatch"],
        kind: Kind::Denied,
        text: "who is signed in may not do this: give it a role with exactly this action on this scope \
               (az role assignment create); a new assignment takes some minutes to hold",
        source: RBAC,
    },
    Remedy {
        codes: &["LinkedAuthorizationFailed"],
        kind: Kind::Denied,
        text: "who is signed in may not use something that the request refers to, such as a subnet, a security group or an \
               identity: give it the join or assign action on that",
        source: RBAC,
    },
    Remedy {
        codes: &["LinkedInvalidPropertyId", "InvalidResourceReference"],
        kind: Kind::Refused,
        text: "the request refers to something that is not there, or to no resource ID: look whether the network, the subnet and \
               the security group exist",
        source: "azure/azure-resource-manager/troubleshooting/error-not-found",
    },
    Remedy {
        codes: &[
            "AuthenticationFailed",
            "ExpiredAuthenticationToken",
            "InvalidAuthenticationToken",
            "InvalidAuthenticationTokenAudience",
        ],
        kind: Kind::Denied,
        text: "Azure does not take the token: sign in again (az login), or look at the credential's secret, cloud and this \
               machine's clock",
        source: ARM,
    },
    Remedy {
        codes: &["InvalidAuthenticationTokenTenant", "InvalidTenantId"],
        kind: Kind::Denied,
        text: "the token is of another tenant than the subscription: name the subscription's tenant (AZURE_TENANT_ID, or az login \
               --tenant)",
        source: ARM,
    },
    Remedy {
        codes: &["SubscriptionNotFound", "InvalidSubscriptionId", "InvalidSubscription"],
        kind: Kind::Denied,
        text: "there is no such subscription, or who is signed in has no role in it: compare with az account list",
        source: ARM,
    },
    Remedy {
        codes: &[
            "MissingSubscriptionRegistration",
            "SubscriptionNotRegistered",
            "NoRegisteredProviderFound",
        ],
        kind: Kind::Refused,
        text: "the subscription does not use this part of Azure yet: register it once with az provider register --namespace \
               NAMESPACE, and wait some minutes",
        source: "azure/azure-resource-manager/troubleshooting/error-register-resource-provider",
    },
    Remedy {
        codes: &[
            "ReadOnlyDisabledSubscription",
            "SubscriptionIsDisabled",
            "DisallowedOperation",
        ],
        kind: Kind::Denied,
        text: "the subscription is disabled: its owner enables it again (Azure portal: Subscriptions; often a bill or a spending \
               limit)",
        source: "azure/cost-management-billing/manage/subscription-disabled",
    },
    Remedy {
        codes: &["ScopeLocked"],
        kind: Kind::Denied,
        text: "a lock forbids changes: remove it (az lock list, az lock delete), or use another resource group",
        source: "azure/azure-resource-manager/management/lock-resources",
    },
    Remedy {
        codes: &["ResourceGroupNotFound"],
        kind: Kind::NotFound,
        text: "make the resource group first: az group create --name NAME --location REGION",
        source: "azure/azure-resource-manager/troubleshooting/error-not-found",
    },
    Remedy {
        codes: &["ResourceGroupBeingDeleted"],
        kind: Kind::Conflict,
        text: "the resource group is being removed: wait until it is gone, or use another one",
        source: ARM,
    },
    Remedy {
        codes: &[
            "ResourceNotFound",
            "ParentResourceNotFound",
            "NotFound",
            "StatusNotFound",
        ],
        kind: Kind::NotFound,
        text: "it is not there (any more)",
        source: "azure/azure-resource-manager/troubleshooting/error-not-found",
    },
    Remedy {
        codes: &["StorageAccountNotFound"],
        kind: Kind::Refused,
        text: "there is no such storage account: compare its name with az storage account list",
        source: "azure/azure-resource-manager/troubleshooting/error-storage-account-name",
    },
    Remedy {
        codes: &["ImageNotFound", "PlatformImageNotFound", "GalleryImageNotFound"],
        kind: Kind::Refused,
        text: "the region has no such image: compare publisher, offer, SKU and version with az vm image list --all --location \
               REGION --publisher PUBLISHER; version latest is safest",
        source: COMPUTE,
    },
    Remedy {
        codes: &[
            "PublicIPCountLimitReached",
            "StaticPublicIPCountLimitReached",
            "PublicIpAddressCountLimitReached",
        ],
        kind: Kind::Refused,
        text: "the subscription has no public addresses left in this region: end gateways there, choose another region, or ask \
               for more (Azure portal: Subscriptions, Usage + quotas, Networking)",
        source: "azure/networking/check-usage-against-limits",
    },
    Remedy {
        codes: &["ContainerGroupQuotaReached"],
        kind: Kind::Refused,
        text: "the subscription has no container groups or cores left in this region: end some, choose another region, or ask \
               for more (Azure portal: Subscriptions, Usage + quotas, Container Instances)",
        source: "azure/container-instances/container-instances-resource-and-quota-limits",
    },
    Remedy {
        codes: &[
            "InaccessibleImage",
            "ImagePullBackOff",
            "InvalidImageRegistryCredential",
            "RegistryErrorResponse",
            "ImagePullingError",
        ],
        kind: Kind::Refused,
        text: "Azure cannot fetch the container image: look at its name and tag, and at the registry's credentials",
        source: ACI,
    },
    Remedy {
        codes: &[
            "ImageTooLarge",
            "OsVersionNotSupported",
            "UnsupportedImageOsType",
            "ImageOsTypeNotMatchContainerGroup",
        ],
        kind: Kind::Refused,
        text: "Container Instances do not run this image: it must be for Linux on x86-64, and small",
        source: ACI,
    },
    Remedy {
        codes: &[
            "ServiceUnavailable",
            "ServerTimeout",
            "InternalServerError",
            "GatewayTimeout",
            "ServerBusy",
        ],
        kind: Kind::Transient,
        text: "Azure has trouble: try again in some minutes, or in another region (azure.status.microsoft shows more)",
        source: ACI,
    },
    Remedy {
        codes: &[
            "SubscriptionRequestsThrottled",
            "TooManyRequests",
            "ResourceRequestsThrottled",
            "OperationThrottled",
        ],
        kind: Kind::Transient,
        text: "too much was asked in too little time: try again in some minutes",
        source: "azure/azure-resource-manager/management/request-limits-and-throttling",
    },
    Remedy {
        codes: &[
            "OSProvisioningTimedOut",
            "OSProvisioningClientError",
            "OSProvisioningInternalError",
            "VMStartTimedOut",
        ],
        kind: Kind::Refused,
        text: "the machine was made, and its system did not report in time: look at its serial log (boot diagnostics), then end \
               it and try again",
        source: COMPUTE,
    },
    Remedy {
        codes: &[
            "LocationNotAvailableForResourceType",
            "LocationNotAvailableForResourceGroup",
            "InvalidLocation",
            "NoSuchRegion",
        ],
        kind: Kind::Refused,
        text: "there is no such region, or it does not offer this: choose one of az account list-locations --output table",
        source: ARM,
    },
    Remedy {
        codes: &["InvalidResourceLocation"],
        kind: Kind::Conflict,
        text: "a resource of this name is in another region already: remove it, or use another resource group",
        source: ARM,
    },
    Remedy {
        codes: &["RunCommandExtensionBusy", "ExtensionOperationInProgress"],
        kind: Kind::Transient,
        text: "the machine carries out another command: it takes one at a time, so wait until that ends",
        source: "azure/virtual-machines/run-command-overview",
    },
];

/// What Azure says where the code alone does not tell: terms of the Marketplace.
const LEGAL_TERMS: &str = "legal terms have not been accepted";

/// What is known of a code; the case of its letters does not matter.
pub(super) fn find(code: &str) -> Option<&'static Remedy> {
    let has = |remedy: &&Remedy| remedy.codes.iter().any(|known| known.eq_ignore_ascii_case(code));
    REMEDIES.iter().find(has)
}

/// What to do about an error with this code; `None` if that is not known.
pub fn remedy(code: &str) -> Option<&'static Remedy> {
    find(code)
}

/// What to do about this error, with what its message names.
pub(super) fn tell(error: &ServiceError) -> Option<String> {
    if error
        .all()
        .any(|(_, message)| message.to_ascii_lowercase().contains(LEGAL_TERMS))
    {
        return find("MarketplacePurchaseEligibilityFailed").map(|remedy| remedy.text.to_owned());
    }
    let (remedy, message) = error.all().find_map(|(code, message)| Some((find(code)?, message)))?;
    let mut text = remedy.text.to_owned();
    let is = |code: &str| remedy.codes.contains(&code);
    if is("AuthorizationFailed") || is("LinkedAuthorizationFailed") {
        if let Some(action) = quoted_after(message, &["perform action(s)", "perform action"]) {
            text.push_str(&format!("; the action is {action}"));
        }
        if let Some(scope) = quoted_after(message, &["over scope", "on the linked scope(s)", "on scope"]) {
            text.push_str(&format!("; the scope is {scope}"));
        }
    }
    if is("MissingSubscriptionRegistration")
        && let Some(namespace) = quoted_after(message, &["use namespace", "namespace"])
    {
        text = text.replace("NAMESPACE", namespace);
    }
    let policies = error.policies();
    if is("RequestDisallowedByPolicy") && !policies.is_empty() {
        text.push_str(&format!("; the policy is {}", policies.join(", ")));
    }
    Some(text)
}

/// What stands in quotes behind one of these words.
fn quoted_after<'m>(message: &'m str, words: &[&str]) -> Option<&'m str> {
    words.iter().find_map(|word| {
        let rest = message.split_once(word)?.1.trim_start_matches([' ', ':']);
        let quote = rest
            .chars()
            .next()
            .filter(|letter| matches!(letter, '\'' | '"' | '`'))?;
        let inside = rest[1..].split_once(quote)?.0;
        (!inside.is_empty()).then_some(inside)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_code_stands_once_and_every_remedy_says_something_and_where_from() {
        let mut seen = HashSet::new();
        for remedy in REMEDIES {
            for code in remedy.codes {
                assert!(seen.insert(code.to_ascii_lowercase()), "{code} twice");
            }
            let is_plain = remedy.text.len() > 20 && !remedy.text.ends_with('.') && !remedy.text.contains("  ");
            assert!(is_plain, "{:?}", remedy.codes);
            assert!(
                !remedy.source.starts_with('/') && remedy.source.contains('/'),
                "{}",
                remedy.source
            );
        }
    }

    #[test]
    fn a_remedy_names_what_the_error_names() {
        let policy = json!([{"type": "PolicyViolation", "info": {"policyDefinitionDisplayName": "Allowed locations", "policyAssignmentName": "eu-only"}}]);
        // (error, what the remedy says)
        for (error, expected) in [
            (
                json!({"code": "AuthorizationFailed", "message": "The client 'x' with object id 'y' does not have authorization to perform action 'Microsoft.Compute/virtualMachines/write' over scope '/subscriptions/s/resourceGroups/rg' or the scope is invalid."}),
                "; the action is Microsoft.Compute/virtualMachines/write; the scope is /subscriptions/s/resourceGroups/rg",
            ),
            (
                json!({"code": "LinkedAuthorizationFailed", "message": "The client has permission to perform action 'Microsoft.Compute/virtualMachines/write' on scope 'a'; however, it does not have permission to perform action(s) 'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '/subscriptions/s/x'"}),
                "; the action is Microsoft.Network/virtualNetworks/subnets/join/action; the scope is /subscriptions/s/x",
            ),
            (
                json!({"code": "MissingSubscriptionRegistration", "message": "The subscription is not registered to use namespace 'Microsoft.ContainerInstance'. See"}),
                "az provider register --namespace Microsoft.ContainerInstance,",
            ),
            (
                json!({"code": "RequestDisallowedByPolicy", "message": "Resource 'vm' was disallowed by policy.", "additionalInfo": policy}),
                "; the policy is Allowed locations (assignment eu-only)",
            ),
            (
                json!({"code": "InvalidTemplateDeployment", "message": "m", "details": [{"code": "RequestDisallowedByPolicy", "message": "n", "additionalInfo": policy}]}),
                "; the policy is Allowed locations (assignment eu-only)",
            ),
            (
                json!({"code": "BadRequest", "message": "Legal terms have not been accepted for this item on this subscription."}),
                "az vm image terms accept",
            ),
            (
                json!({"code": "OperationNotAllowed", "message": "Operation could not be completed as it results in exceeding approved standardBSFamily Cores quota."}),
                "Usage + quotas",
            ),
        ] {
            let body = json!({ "error": error }).to_string();
            let remedy = ServiceError::read(403, body.as_bytes(), None).remedy().unwrap();
            assert!(remedy.contains(expected), "{remedy}");
        }
        assert_eq!(ServiceError::read(400, b"{\"code\":\"Unheard\"}", None).remedy(), None);
    }

    #[test]
    fn what_is_not_allowed_is_never_taken_for_gone() {
        // (status, code, kind)
        for (status, code, kind) in [
            (404, "SubscriptionNotFound", Kind::Denied),
            (404, "ResourceGroupNotFound", Kind::NotFound),
            (404, "ResourceNotFound", Kind::NotFound),
            (404, "PlatformImageNotFound", Kind::Refused),
            (409, "ScopeLocked", Kind::Denied),
            (409, "SkuNotAvailable", Kind::Refused),
            (409, "ContainerGroupQuotaReached", Kind::Refused),
            (409, "ReadOnlyDisabledSubscription", Kind::Denied),
            (409, "ResourceGroupBeingDeleted", Kind::Conflict),
            (200, "ServiceUnavailable", Kind::Transient),
            (401, "InvalidAuthenticationTokenTenant", Kind::Denied),
        ] {
            let body = json!({ "error": { "code": code, "message": "m" } }).to_string();
            assert_eq!(ServiceError::read(status, body.as_bytes(), None).kind(), kind, "{code}");
        }
    }
}
