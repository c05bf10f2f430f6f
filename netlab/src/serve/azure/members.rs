//! The members that the service knows of each type of body, and a look at a body for others.
//!
//! The service refuses what it does not know, and so finds a client's slips. Only what this one understands is listed;
//! that each name is Microsoft's is checked by their models in Python (`tests/azure/flows.py`).

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

/// What a value may be.
#[derive(Clone, Debug)]
enum Shape {
    Text,
    Flag,
    Number,
    /// Names and texts.
    Tags,
    Any,
    /// One of these words, whatever their case.
    One(Vec<&'static str>),
    Object(Vec<Member>),
    List(Box<Self>),
}

/// A member of an object.
#[derive(Clone, Debug)]
struct Member {
    name: &'static str,
    is_required: bool,
    shape: Shape,
}

/// What is wrong with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Nobody knows this member, of the object at this path.
    Unknown(String, String),
    /// The member at this path is missing.
    Missing(String),
    /// The value at this path is of another kind, or not one of the words.
    Value(String, String),
}

/// A type of body.
#[derive(Debug)]
pub(super) struct Body {
    /// The type of the resource, or of what is asked.
    pub(super) name: &'static str,
    members: LazyLock<Shape>,
}

impl Body {
    pub(super) fn check(&self, body: &Value) -> Result<(), Wrong> {
        check(&self.members, body, "")
    }

    /// Name and members as JSON, for the judge.
    pub(super) fn outline(&self) -> Value {
        json!({ "name": self.name, "members": outline(&self.members) })
    }
}

/// Defines bodies: a name, and the members in the language of [`parse`].
macro_rules! bodies {
    ($($body:ident $name:literal $text:literal)+) => {
        $(pub(super) static $body: Body = Body { name: $name, members: LazyLock::new(|| read($text)) };)+
        /// All of them.
        pub(super) static ALL: &[&Body] = &[$(&$body),+];
    };
}

bodies! {
    RESOURCE_GROUP "ResourceGroup" "location! managedBy tags:m id name type properties:*"
    PROVIDER_REGISTRATION "ProviderRegistrationRequest" "thirdPartyProviderConsent:{ consentToAuthorization:b }"
    VIRTUAL_NETWORK "VirtualNetwork" "id name type etag location! tags:m properties!:{
        addressSpace!:{ addressPrefixes!:[s] } dhcpOptions:{ dnsServers:[s] } enableDdosProtection:b
        subnets:[{ id name! etag type properties!:{ addressPrefix addressPrefixes:[s] networkSecurityGroup:{ id! }
            defaultOutboundAccess:b privateEndpointNetworkPolicies privateLinkServiceNetworkPolicies
            provisioningState delegations:* serviceEndpoints:* } }]
        provisioningState resourceGuid }"
    SUBNET "Subnet" "id name etag type properties!:{ addressPrefix addressPrefixes:[s] networkSecurityGroup:{ id! }
        defaultOutboundAccess:b privateEndpointNetworkPolicies privateLinkServiceNetworkPolicies provisioningState
        delegations:* serviceEndpoints:* }"
    SECURITY_GROUP "NetworkSecurityGroup" "id name type etag location! tags:m properties:{ flushConnection:b
        securityRules:[{ id name! etag type properties!:{ description protocol!:=Tcp|Udp|Icmp|Esp|Ah|*
            sourcePortRange destinationPortRange sourceAddressPrefix destinationAddressPrefix sourcePortRanges:[s]
            destinationPortRanges:[s] sourceAddressPrefixes:[s] destinationAddressPrefixes:[s]
            access!:=Allow|Deny priority!:n direction!:=Inbound|Outbound provisioningState } }]
        defaultSecurityRules:* networkInterfaces:* subnets:* provisioningState resourceGuid }"
    SECURITY_RULE "SecurityRule" "id name etag type properties!:{ description protocol!:=Tcp|Udp|Icmp|Esp|Ah|*
        sourcePortRange destinationPortRange sourceAddressPrefix destinationAddressPrefix sourcePortRanges:[s]
        destinationPortRanges:[s] sourceAddressPrefixes:[s] destinationAddressPrefixes:[s]
        access!:=Allow|Deny priority!:n direction!:=Inbound|Outbound provisioningState }"
    PUBLIC_ADDRESS "PublicIPAddress" "id name type etag location! tags:m zones:[s]
        sku:{ name:=Basic|Standard tier:=Regional|Global } properties:{ publicIPAllocationMethod:=Static|Dynamic
        publicIPAddressVersion:=IPv4|IPv6 idleTimeoutInMinutes:n deleteOption:=Delete|Detach dnsSettings:{ domainNameLabel
        fqdn reverseFqdn } ipTags:* ipAddress ipConfiguration:* provisioningState resourceGuid }"
    INTERFACE "NetworkInterface" "id name type etag location! tags:m properties!:{ enableIPForwarding:b
        enableAcceleratedNetworking:b networkSecurityGroup:{ id! } primary:b macAddress virtualMachine:* dnsSettings:*
        ipConfigurations!:[{ id name! etag type properties!:{ primary:b subnet:{ id! } privateIPAddress
            privateIPAllocationMethod:=Static|Dynamic privateIPAddressVersion:=IPv4|IPv6
            publicIPAddress:{ id! properties:{ deleteOption:=Delete|Detach } } provisioningState } }]
        provisioningState resourceGuid }"
    MACHINE "VirtualMachine" "id name type etag location! tags:m zones:[s] plan:{ name publisher product promotionCode }
        identity:{ type:=SystemAssigned|UserAssigned|SystemAssigned,UserAssigned|None userAssignedIdentities:* principalId
            tenantId } properties!:{
        hardwareProfile!:{ vmSize! }
        storageProfile!:{ imageReference:{ id publisher offer sku version exactVersion }
            osDisk:{ osType:=Linux|Windows name createOption!:=FromImage|Attach|Empty caching:=None|ReadOnly|ReadWrite
                diskSizeGB:n deleteOption:=Delete|Detach managedDisk:{ id storageAccountType:=Standard_LRS|Premium_LRS|StandardSSD_LRS|StandardSSD_ZRS|Premium_ZRS|UltraSSD_LRS|PremiumV2_LRS } }
            dataDisks:* diskControllerType:=SCSI|NVMe }
        osProfile:{ computerName adminUsername adminPassword customData allowExtensionOperations:b
            requireGuestProvisionSignal:b secrets:*
            linuxConfiguration:{ disablePasswordAuthentication:b provisionVMAgent:b
                ssh:{ publicKeys:[{ path keyData }] }
                patchSettings:{ patchMode assessmentMode } enableVMAgentPlatformUpdates:b } }
        networkProfile!:{ networkApiVersion:=2020-11-01|2022-11-01
            networkInterfaces:[{ id properties:{ primary:b deleteOption:=Delete|Detach } }]
            networkInterfaceConfigurations:[{ name! tags:m properties:{ primary:b deleteOption:=Delete|Detach
                enableAcceleratedNetworking:b enableIPForwarding:b networkSecurityGroup:{ id! }
                ipConfigurations!:[{ name! properties:{ primary:b subnet:{ id! } privateIPAddressVersion:=IPv4|IPv6
                    publicIPAddressConfiguration:{ name! tags:m sku:{ name:=Basic|Standard tier:=Regional|Global }
                        properties:{ deleteOption:=Delete|Detach publicIPAllocationMethod:=Static|Dynamic
                            publicIPAddressVersion:=IPv4|IPv6 idleTimeoutInMinutes:n
                            dnsSettings:{ domainNameLabel! } } } } }] } }] }
        diagnosticsProfile:{ bootDiagnostics:{ enabled:b storageUri } }
        securityProfile:{ securityType:=TrustedLaunch|ConfidentialVM|Standard encryptionAtHost:b uefiSettings:{
            secureBootEnabled:b vTpmEnabled:b } }
        priority:=Regular|Low|Spot evictionPolicy:=Deallocate|Delete billingProfile:{ maxPrice:n } userData
        provisioningState vmId timeCreated instanceView:* }"
    MACHINE_UPDATE "VirtualMachineUpdate" "tags:m plan:* identity:* zones:[s] properties:*"
    RUN_COMMAND_INPUT "RunCommandInput" "commandId! script:[s] parameters:[{ name! value! }]"
    RUN_COMMAND "VirtualMachineRunCommand" "id name type location! tags:m properties:{
        source!:{ script scriptUri commandId } parameters:[{ name! value! }] protectedParameters:[{ name! value! }]
        asyncExecution:b runAsUser runAsPassword timeoutInSeconds:n outputBlobUri errorBlobUri
        outputBlobManagedIdentity:* errorBlobManagedIdentity:* treatFailureAsDeploymentFailure:b
        provisioningState instanceView:* }"
    DISK "Disk" "id name type managedBy location! tags:m zones:[s] sku:{ name tier } properties!:{
        creationData!:{ createOption! imageReference:* sourceResourceId } diskSizeGB:n osType diskState
        provisioningState timeCreated uniqueId }"
    CONTAINER_GROUP "ContainerGroup" "id name type location! tags:m zones:[s] identity:* properties!:{
        sku:=Standard|Dedicated|Confidential osType!:=Linux|Windows restartPolicy:=Always|OnFailure|Never
        priority:=Regular|Spot
        containers!:[{ name! properties!:{ image! command:[s]
            ports:[{ port!:n protocol:=TCP|UDP }]
            environmentVariables:[{ name! value secureValue }]
            resources!:{ requests!:{ cpu!:n memoryInGB!:n gpu:* } limits:{ cpu:n memoryInGB:n gpu:* } }
            volumeMounts:[{ name! mountPath! readOnly:b }]
            livenessProbe:* readinessProbe:* securityContext:{ privileged:b allowPrivilegeEscalation:b runAsUser:n
                runAsGroup:n seccompProfile capabilities:{ add:[s] drop:[s] } } instanceView:* } }]
        ipAddress:{ type!:=Public|Private ports!:[{ port!:n protocol:=TCP|UDP }] ip dnsNameLabel fqdn
            autoGeneratedDomainNameLabelScope }
        imageRegistryCredentials:[{ server! username password identity identityUrl }]
        volumes:[{ name! azureFile:{ shareName! storageAccountName! storageAccountKey readOnly:b }
            emptyDir:* secret:* gitRepo:* }]
        diagnostics:{ logAnalytics:{ workspaceId! workspaceKey! logType:=ContainerInsights|ContainerInstanceLogs
            metadata:* workspaceResourceId } }
        subnetIds:[{ id! name }] dnsConfig:* initContainers:* encryptionProperties:* extensions:* confidentialComputeProperties:*
        provisioningState instanceView:* }"
    CONTAINER_GROUP_UPDATE "Resource" "id name type location tags:m zones:[s]"
    EXEC "ContainerExecRequest" "command terminalSize:{ rows:n cols:n }"
    AGREEMENT "AgreementTerms" "id name type systemData:* properties!:{ publisher product plan licenseTextLink privacyPolicyLink
        marketplaceTermsLink retrieveDatetime signature accepted:b }"
}

/// Reads members: names with a blank between, each with `!` if it must be there, and with `:` and a shape unless it is a
/// text. Shapes are `b`, `n`, `m` (tags), `*` (anything), `=A|B`, `{ … }` and `[…]`.
fn read(text: &'static str) -> Shape {
    let mut words = text.split_whitespace();
    Shape::Object(members(&mut words))
}

fn members(words: &mut std::str::SplitWhitespace<'static>) -> Vec<Member> {
    let mut members = Vec::new();
    while let Some(word) = words.next() {
        if word.starts_with('}') {
            break;
        }
        let (name, shape) = word.split_once(':').unwrap_or((word, "s"));
        let shape = match shape {
            "{" => Shape::Object(self::members(words)),
            "[{" => Shape::List(Box::new(Shape::Object(self::members(words)))),
            plain => one(plain),
        };
        members.push(Member {
            name: name.trim_end_matches('!'),
            is_required: name.ends_with('!'),
            shape,
        });
    }
    members
}

fn one(shape: &'static str) -> Shape {
    match shape {
        "s" => Shape::Text,
        "b" => Shape::Flag,
        "n" => Shape::Number,
        "m" => Shape::Tags,
        "*" => Shape::Any,
        "[s]" => Shape::List(Box::new(Shape::Text)),
        other => match other.strip_prefix('=') {
            Some(words) => Shape::One(words.split('|').collect()),
            None => panic!("{other} is no shape"),
        },
    }
}

fn check(shape: &Shape, value: &Value, path: &str) -> Result<(), Wrong> {
    let wrong = || Err(Wrong::Value(path.to_owned(), value.to_string()));
    match (shape, value) {
        // A null is as good as nothing.
        (_, Value::Null) | (Shape::Any, _) | (Shape::Text, Value::String(_)) | (Shape::Flag, Value::Bool(_)) => Ok(()),
        (Shape::Number, Value::Number(_)) => Ok(()),
        (Shape::Tags, Value::Object(tags)) if tags.values().all(Value::is_string) => Ok(()),
        (Shape::One(words), Value::String(word)) => {
            let word = word.replace(' ', "");
            if words.iter().any(|known| known.eq_ignore_ascii_case(&word)) {
                Ok(())
            } else {
                wrong()
            }
        }
        (Shape::List(shape), Value::Array(values)) => {
            let mut values = values.iter().enumerate();
            values.try_for_each(|(index, value)| check(shape, value, &format!("{path}[{index}]")))
        }
        (Shape::Object(members), Value::Object(values)) => check_members(members, values, path),
        _ => wrong(),
    }
}

fn check_members(members: &[Member], values: &Map<String, Value>, path: &str) -> Result<(), Wrong> {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for (name, value) in values {
        let Some(member) = members.iter().find(|member| member.name == name) else {
            return Err(Wrong::Unknown(name.clone(), path.to_owned()));
        };
        check(&member.shape, value, &below(name))?;
    }
    let missing = members.iter().find(|member| {
        let value = values.get(member.name);
        member.is_required && value.is_none_or(Value::is_null)
    });
    missing.map_or(Ok(()), |member| Err(Wrong::Missing(below(member.name))))
}

fn outline(shape: &Shape) -> Value {
    match shape {
        Shape::Object(members) => {
            let members = members.iter();
            Value::Object(
                members
                    .map(|member| (member.name.to_owned(), outline(&member.shape)))
                    .collect(),
            )
        }
        Shape::List(of) => json!([outline(of)]),
        Shape::One(words) => json!({ "=": words }),
        Shape::Text | Shape::Flag | Shape::Number | Shape::Tags | Shape::Any => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_refused_for_what_is_unknown_missing_or_of_another_kind() {
        let rule = |rule: Value| json!({ "location": "x", "properties": { "securityRules": [{ "name": "a", "properties": rule }] } });
        let right = json!({ "protocol": "udp", "access": "Allow", "priority": 100, "direction": "Inbound" });
        assert_eq!(SECURITY_GROUP.check(&rule(right.clone())), Ok(()));
        let path = "properties.securityRules[0].properties";
        for (name, value, wrong) in [
            (
                "colour",
                json!("red"),
                Wrong::Unknown("colour".to_owned(), path.to_owned()),
            ),
            ("access", Value::Null, Wrong::Missing(format!("{path}.access"))),
            (
                "access",
                json!("Maybe"),
                Wrong::Value(format!("{path}.access"), "\"Maybe\"".to_owned()),
            ),
            (
                "priority",
                json!("1"),
                Wrong::Value(format!("{path}.priority"), "\"1\"".to_owned()),
            ),
        ] {
            let mut body = right.clone();
            body[name] = value;
            assert_eq!(SECURITY_GROUP.check(&rule(body)), Err(wrong));
        }
    }

    #[test]
    fn every_body_can_be_read() {
        for body in ALL {
            assert!(body.outline()["members"].is_object(), "{}", body.name);
        }
    }
}
