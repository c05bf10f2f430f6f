"""Drives the fake by Microsoft's own libraries, as somebody would who keeps gateways on machines and in containers.

Reads JSON on standard input: the services that are there, and the members that they know. Prints what it did, a line for
each; ends with an error at the first thing that is not as the libraries or this script expect.
"""

import base64
import json
import re
import sys
import time

from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError, ClientAuthenticationError
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute import models as compute_models
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.containerinstance import models as container_models
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network import models as network_models
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources import models as resource_models

LOCATION = "westeurope"
IMAGE = {"publisher": "kinvolk", "offer": "flatcar-container-linux-corevm-amd64", "sku": "stable-gen2", "version": "latest"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBkN0zZ2x8j6m0J3b5Vw5mKq2Wq3x1m1yq1h1i0Yq9wX a@b"
TAGS = {"adit-instance": "one", "adit-lease": "01J0000000000000000000000", "adit-expires-at": "2026-11-21T04:00:00Z"}
# The service is on loopback, and there is nothing to wait for.
QUICK = {"enforce_https": False}
LONG = {"enforce_https": False, "polling_interval": 0}


class Token:
    """A token that the service issued."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **kwargs):
        return AccessToken(self.token, int(time.time()) + 3000)


class Service:
    def __init__(self, given):
        credential, subscription = Token(given["token"]), given["subscription"]
        one = lambda kind: kind(credential, subscription, base_url=given["url"])
        self.name, self.url, self.subscription = given["name"], given["url"], subscription
        self.compute, self.network = one(ComputeManagementClient), one(NetworkManagementClient)
        self.resources, self.containers = one(ResourceManagementClient), one(ContainerInstanceManagementClient)


def refused(kind, code, status, action):
    """What `action` raises, which must be of this class, code and status."""
    try:
        action()
    except kind as error:
        assert type(error) is kind or kind is HttpResponseError, type(error)
        assert status is None or error.status_code == status, (error.status_code, error)
        assert error.error is None or error.error.code == code, (error.error.code, code)
        assert code is None or error.error is not None, error
        return error
    raise AssertionError(f"{code} was not raised")


def said(name, *what):
    print(f"{name}:", *what)


def machine(subnet, guard, name="wg", **more):
    public = {"name": "pip", "sku": {"name": "Standard", "tier": "Regional"},
              "properties": {"deleteOption": "Delete", "publicIPAllocationMethod": "Static"}}
    part = {"name": "ip", "properties": {"primary": True, "subnet": {"id": subnet}, "publicIPAddressConfiguration": public}}
    interface = {"name": "nic", "properties": {"primary": True, "deleteOption": "Delete", "networkSecurityGroup": {"id": guard},
                                               "ipConfigurations": [part]}}
    body = {
        "location": LOCATION, "tags": TAGS,
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_B1s"},
            "storageProfile": {"imageReference": dict(IMAGE), "osDisk": {
                "createOption": "FromImage", "deleteOption": "Delete", "managedDisk": {"storageAccountType": "Standard_LRS"}}},
            "osProfile": {"computerName": name, "adminUsername": "core",
                          "customData": base64.b64encode(b'{"ignition":{"version":"3.3.0"}}').decode(),
                          "linuxConfiguration": {"disablePasswordAuthentication": True, "provisionVMAgent": True, "ssh": {
                              "publicKeys": [{"path": "/home/core/.ssh/authorized_keys", "keyData": KEY}]}}},
            "networkProfile": {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [interface]},
        },
    }
    body.update(more)
    return body


def group(image="ghcr.io/adit-vpn/adit:1", port=443):
    variables = [{"name": "ADIT_PEERS", "value": "public"}, {"name": "ADIT_TOKEN", "secureValue": "secret"}]
    container = {"name": "wg", "properties": {
        "image": image, "command": ["adit", "serve"], "resources": {"requests": {"cpu": 1.0, "memoryInGB": 0.5}},
        "ports": [{"port": port, "protocol": "UDP"}], "environmentVariables": variables}}
    return container_models.ContainerGroup.from_dict({
        "location": LOCATION, "tags": TAGS, "properties": {
            "osType": "Linux", "restartPolicy": "Never", "containers": [container],
            "ipAddress": {"type": "Public", "ports": [{"port": port, "protocol": "UDP"}]}}})


def network(service, name):
    """A resource group, a network and a security group; the IDs of its subnet and of the group."""
    made = service.resources.resource_groups.create_or_update(name, {"location": "West Europe", "tags": TAGS}, **QUICK)
    assert made.location == LOCATION and made.properties.provisioning_state == "Succeeded", made
    assert service.resources.resource_groups.check_existence(name, **QUICK)
    guard = service.network.network_security_groups.begin_create_or_update(name, "adit", {
        "location": LOCATION, "properties": {"securityRules": [{"name": "wg", "properties": {
            "protocol": "Udp", "direction": "Inbound", "access": "Allow", "priority": 100, "sourceAddressPrefix": "*",
            "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "51820"}}]}}, **LONG).result()
    assert guard.properties.provisioning_state == "Succeeded", guard
    assert guard.properties.security_rules[0].properties.destination_port_range == "51820"
    rule = service.network.security_rules.begin_create_or_update(name, "adit", "ssh", {"properties": {
        "protocol": "Tcp", "direction": "Inbound", "access": "Allow", "priority": 110, "sourceAddressPrefix": "192.0.2.7",
        "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "22"}}, **LONG).result()
    assert rule.name == "ssh"
    service.network.security_rules.begin_delete(name, "adit", "ssh", **LONG).result()
    assert [rule.name for rule in service.network.security_rules.list(name, "adit", **QUICK)] == ["wg"]
    made = service.network.virtual_networks.begin_create_or_update(name, "adit", {
        "location": LOCATION, "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [
            {"name": "gateways", "properties": {"addressPrefix": "10.0.0.0/24"}}]}}, **LONG).result()
    assert made.properties.subnets[0].properties.provisioning_state == "Succeeded"
    subnet = service.network.subnets.begin_create_or_update(
        name, "adit", "more", {"properties": {"addressPrefix": "10.0.1.0/24"}}, **LONG).result()
    assert subnet.name == "more"
    service.network.subnets.begin_delete(name, "adit", "more", **LONG).result()
    return made.properties.subnets[0].id, guard.id


def machines(service, name):
    """A machine from its request to its end, with all that is made with it."""
    compute, web = service.compute, service.network
    subnet, guard = network(service, name)
    made = compute.virtual_machines.begin_create_or_update(
        name, "wg", machine(subnet, guard), etag="*", match_condition=MatchConditions.IfMissing, **LONG).result()
    assert made.properties.provisioning_state == "Succeeded" and made.tags == TAGS
    assert made.properties.os_profile.custom_data is None
    assert made.properties.storage_profile.os_disk.managed_disk.storage_account_type == "Standard_LRS"
    refused(ResourceExistsError, "PreconditionFailed", 412, lambda: compute.virtual_machines.begin_create_or_update(
        name, "wg", machine(subnet, guard), etag="*", match_condition=MatchConditions.IfMissing, **LONG))
    again = compute.virtual_machines.begin_create_or_update(name, "wg", machine(subnet, guard), **LONG).result()
    assert again.properties.vm_id == made.properties.vm_id
    changed = machine(subnet, guard)
    changed["properties"]["osProfile"]["customData"] = base64.b64encode(b"other").decode()
    refused(HttpResponseError, "PropertyChangeNotAllowed", 409,
            lambda: compute.virtual_machines.begin_create_or_update(name, "wg", changed, **LONG))
    view = compute.virtual_machines.get(name, "WG", expand="instanceView", **QUICK).properties.instance_view
    assert view.vm_agent.statuses[0].display_status == "Ready"
    assert [status.code for status in view.statuses] == ["ProvisioningState/succeeded", "PowerState/running"]

    interface = web.network_interfaces.get(name, made.properties.network_profile.network_interfaces[0].id.split("/")[-1], **QUICK)
    assert interface.properties.virtual_machine.id == made.id
    public = interface.properties.ip_configurations[0].properties.public_ip_address.id.split("/")[-1]
    assert web.public_ip_addresses.get(name, public, **QUICK).properties.ip_address.startswith("192.0.2.")
    refused(HttpResponseError, "NicInUse", 400, lambda: web.network_interfaces.begin_delete(name, interface.name, **LONG))
    refused(HttpResponseError, "PublicIPAddressCannotBeDeleted", 400,
            lambda: web.public_ip_addresses.begin_delete(name, public, **LONG))
    refused(HttpResponseError, "InUseSubnetCannotBeDeleted", 400,
            lambda: web.subnets.begin_delete(name, "adit", "gateways", **LONG))
    refused(HttpResponseError, "InUseNetworkSecurityGroupCannotBeDeleted", 400,
            lambda: web.network_security_groups.begin_delete(name, "adit", **LONG))

    # Lists are late, and that of the subscription writes groups as it likes.
    of_group = lambda: [found.name for found in compute.virtual_machines.list(name, **QUICK)]
    assert of_group() == [] and of_group() == ["wg"], of_group()
    (found,) = [found for found in compute.virtual_machines.list_all(**QUICK) if found.name == "wg" and name.lower() in found.id.lower()]
    assert found.tags == TAGS and found.id != made.id and found.id.lower() == made.id.lower()
    by_tag = lambda: [found for found in service.resources.resources.list(
        filter="tagName eq 'adit-lease' and tagValue eq '01J0000000000000000000000'", **QUICK) if name in found.id]
    by_tag()
    assert [found.type for found in by_tag()] == ["Microsoft.Compute/virtualMachines"], by_tag()
    assert by_tag()[0].tags is None
    kinds = [found.type for found in service.resources.resources.list_by_resource_group(
        name, filter="resourceType eq 'Microsoft.Compute/virtualMachines'", **QUICK)]
    assert kinds == ["Microsoft.Compute/virtualMachines"]
    tagged = compute.virtual_machines.begin_update(name, "wg", {"tags": {**TAGS, "adit-expires-at": "later"}}, **LONG).result()
    assert tagged.tags["adit-expires-at"] == "later"

    script = {"commandId": "RunShellScript", "script": ["#!/bin/sh", "echo $name"], "parameters": [{"name": "name", "value": "x"}]}
    ran = compute.virtual_machines.begin_run_command(name, "wg", script, **LONG).result()
    assert ran.value[0].code == "ProvisioningState/succeeded"
    assert ran.value[0].message == "Enable succeeded: \n[stdout]\nran 2 lines with name=x\n\n[stderr]\n", ran.value[0].message
    command = {"location": LOCATION, "properties": {
        "source": {"script": "echo hello"}, "protectedParameters": [{"name": "secret", "value": "y"}], "timeoutInSeconds": 300}}
    managed = compute.virtual_machine_run_commands
    assert managed.begin_create_or_update(name, "wg", "setup", command, **LONG).result().properties.provisioning_state == "Succeeded"
    view = managed.get_by_virtual_machine(name, "wg", "setup", expand="instanceView", **QUICK).properties
    assert view.protected_parameters is None
    assert (view.instance_view.execution_state, view.instance_view.exit_code) == ("Succeeded", 0)
    assert view.instance_view.output == "ran 1 lines with secret=y\n", view.instance_view.output
    assert managed.get_by_virtual_machine(name, "wg", "setup", **QUICK).properties.instance_view is None
    failing = {"location": LOCATION, "properties": {"source": {"script": "exit 3"}, "treatFailureAsDeploymentFailure": True}}
    refused(HttpResponseError, "VMExtensionProvisioningError", None, lambda: managed.begin_create_or_update(
        name, "wg", "fails", failing, **LONG).result()) if service.name != "State" else None
    managed.begin_delete(name, "wg", "setup", **LONG).result()
    refused(ResourceNotFoundError, "ResourceNotFound", 404,
            lambda: managed.get_by_virtual_machine(name, "wg", "setup", **QUICK))

    compute.virtual_machines.begin_power_off(name, "wg", **LONG).result()
    refused(HttpResponseError, "OperationNotAllowed", 409, lambda: compute.virtual_machines.begin_run_command(
        name, "wg", script, **LONG))
    compute.virtual_machines.begin_start(name, "wg", **LONG).result()

    compute.virtual_machines.begin_delete(name, "wg", force_deletion=True, **LONG).result()
    refused(ResourceNotFoundError, "ResourceNotFound", 404, lambda: compute.virtual_machines.get(name, "wg", **QUICK))
    refused(ResourceNotFoundError, "ResourceNotFound", 404, lambda: web.public_ip_addresses.get(name, public, **QUICK))
    # It lingers in lists, and then is gone.
    assert of_group() == ["wg"] and of_group() == []
    compute.virtual_machines.begin_delete(name, "wg", **LONG).result()
    kinds = lambda: sorted(found.type for found in service.resources.resources.list_by_resource_group(name, **QUICK))
    kinds()
    assert kinds() == ["Microsoft.Network/networkSecurityGroups", "Microsoft.Network/virtualNetworks"], kinds()


def detached(service, name):
    """A machine whose body says nothing of deletion leaves all behind that was made for it."""
    subnet, guard = f"/subscriptions/{service.subscription}/resourceGroups/{name}/providers/Microsoft.Network/virtualNetworks/adit/subnets/gateways", None
    part = {"name": "ip", "properties": {"subnet": {"id": subnet}}}
    public = service.network.public_ip_addresses.begin_create_or_update(name, "pip", {
        "location": LOCATION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}, **LONG).result()
    part["properties"]["publicIPAddress"] = {"id": public.id}
    interface = service.network.network_interfaces.begin_create_or_update(
        name, "nic", {"location": LOCATION, "properties": {"ipConfigurations": [part]}}, **LONG).result()
    body = machine(subnet, guard)
    body["properties"]["networkProfile"] = {"networkInterfaces": [{"id": interface.id}]}
    del body["properties"]["storageProfile"]["osDisk"]["deleteOption"]
    service.compute.virtual_machines.begin_create_or_update(name, "wg", body, **LONG).result()
    service.compute.virtual_machines.begin_delete(name, "wg", **LONG).result()
    (disk,) = [disk for _ in range(2) for disk in service.compute.disks.list_by_resource_group(name, **QUICK)][-1:]
    assert disk.managed_by is None and disk.properties.disk_state == "Unattached"
    service.compute.disks.begin_delete(name, disk.name, **LONG).result()
    service.network.network_interfaces.begin_delete(name, "nic", **LONG).result()
    service.network.public_ip_addresses.begin_delete(name, "pip", **LONG).result()


def containers(service, name):
    """A container group from its request to its end."""
    groups = service.containers.container_groups
    made = groups.begin_create_or_update(name, "wg", group(), **LONG).result()
    assert made.provisioning_state == "Succeeded" and made.ip_address.ip.startswith("192.0.2."), made
    shown = groups.get(name, "wg", **QUICK)
    assert shown.instance_view.state == "Running"
    assert [(variable.name, variable.value, variable.secure_value) for variable in shown.containers[0].environment_variables] == [
        ("ADIT_PEERS", "public", None), ("ADIT_TOKEN", None, None)]
    log = service.containers.containers.list_logs(name, "wg", "wg", tail=1, **QUICK)
    assert log.content == "the log of wg\n", log.content
    spoken = service.containers.containers.execute_command(name, "wg", "wg", {
        "command": "/bin/sh", "terminalSize": {"rows": 24, "cols": 80}}, **QUICK)
    assert spoken.web_socket_uri.startswith("wss://")
    groups.stop(name, "wg", **QUICK)
    assert groups.get(name, "wg", **QUICK).instance_view.state == "Stopped"
    groups.begin_start(name, "wg", **LONG).result()
    assert groups.get(name, "wg", **QUICK).instance_view.state == "Running"
    tagged = groups.update(name, "wg", container_models.Resource(tags={"a": "b"}), **QUICK)
    assert tagged.tags == {"a": "b"}
    of_group = lambda: [found.name for found in groups.list_by_resource_group(name, **QUICK)]
    assert of_group() == [] and of_group() == ["wg"]
    assert [found.instance_view for found in groups.list(**QUICK) if name in found.id] == [None]
    bigger = group()
    bigger.containers[0].resources.requests.cpu = 2
    refused(HttpResponseError, "InvalidContainerGroupUpdate", 400, lambda: groups.begin_create_or_update(name, "wg", bigger, **LONG))
    for port in (51820, 22, 20000):
        refused(HttpResponseError, "InvalidPort", 400, lambda: groups.begin_create_or_update(name, "x", group(port=port), **LONG))
    refused(HttpResponseError, "InaccessibleImage", None, lambda: groups.begin_create_or_update(
        name, "x", group(image="nowhere/none"), **LONG).result()) if service.name != "State" else None
    groups.begin_delete(name, "x", **LONG).result()
    groups.begin_delete(name, "wg", **LONG).result()
    refused(ResourceNotFoundError, "ResourceNotFound", 404, lambda: groups.get(name, "wg", **QUICK))


def checks(service, name):
    """What can be asked before anything is made."""
    compute = service.compute
    versions = compute.virtual_machine_images.list(LOCATION, "kinvolk", IMAGE["offer"], "stable-gen2", **QUICK)
    assert versions and versions[0].location == LOCATION
    refused(ResourceNotFoundError, "NotFound", 404, lambda: compute.virtual_machine_images.list(LOCATION, "kinvolk", "x", "y", **QUICK))
    sizes = {size.name for size in compute.resource_skus.list(filter=f"location eq '{LOCATION}'", **QUICK)}
    assert "Standard_B1s" in sizes
    usage = {usage.name.value: usage for usage in compute.usage.list(LOCATION, **QUICK)}
    assert usage["cores"].limit == 10
    assert "PublicIPAddresses" in {usage.name.value for usage in service.network.usages.list(LOCATION, **QUICK)}
    assert "ContainerGroups" in {usage.name.value for usage in service.containers.location.list_usage(LOCATION, **QUICK)}
    assert list(service.containers.location.list_capabilities(LOCATION, **QUICK))
    assert service.resources.providers.register("Microsoft.Compute", **QUICK).registration_state == "Registered"
    assert service.resources.providers.get("Microsoft.Network", **QUICK).registration_state == "Registered"
    named = [group.name for _ in range(2) for group in service.resources.resource_groups.list(
        filter="tagName eq 'adit-instance' and tagValue eq 'one'", **QUICK)]
    assert name in named


def refusals(service, name):
    """What the service does not take, each by its class and its code."""
    compute, web = service.compute, service.network
    subnet = f"/subscriptions/{service.subscription}/resourceGroups/{name}/providers/Microsoft.Network/virtualNetworks/adit/subnets/gateways"
    guard = f"/subscriptions/{service.subscription}/resourceGroups/{name}/providers/Microsoft.Network/networkSecurityGroups/adit"
    put = lambda body, group=name: compute.virtual_machines.begin_create_or_update(group, "bad", body, **LONG)
    refused(ResourceNotFoundError, "ResourceGroupNotFound", 404, lambda: put(machine(subnet, guard), "nowhere"))
    refused(ResourceNotFoundError, "ResourceNotFound", 404, lambda: compute.virtual_machines.get(name, "none", **QUICK))
    refused(ResourceNotFoundError, "NotFound", 404, lambda: web.subnets.get(name, "adit", "none", **QUICK))
    cases = [
        ("SkuNotAvailable", 409, lambda body: body["properties"]["hardwareProfile"].update(vmSize="Standard_B1ls")),
        ("InvalidParameter", 400, lambda body: body["properties"]["hardwareProfile"].update(vmSize="Huge")),
        ("PlatformImageNotFound", 404, lambda body: body["properties"]["storageProfile"]["imageReference"].update(sku="none")),
        ("VMMarketplaceInvalidInput", 400, lambda body: body["properties"]["storageProfile"]["imageReference"].update(
            offer="flatcar-container-linux-free")),
        ("InvalidParameter", 400, lambda body: body["properties"]["osProfile"].update(customData="no base64")),
        ("InvalidParameter", 400, lambda body: body["properties"]["networkProfile"].pop("networkApiVersion")),
        ("InvalidRequestContent", 400, lambda body: body["properties"].update(colour="red")),
        ("InvalidTagNameCharacters", 400, lambda body: body.update(tags={"a/b": "c"})),
        ("LocationNotAvailableForResourceType", 400, lambda body: body.update(location="nowhere")),
    ]
    for code, status, change in cases:
        body = machine(subnet, guard)
        change(body)
        kind = ResourceNotFoundError if status == 404 else ResourceExistsError if status == 409 else HttpResponseError
        refused(kind, code, status, lambda: put(body))
    plan = {"publisher": "kinvolk", "product": "flatcar-container-linux-free", "name": "stable-gen2"}
    with_plan = machine(subnet, guard, plan=plan)
    with_plan["properties"]["storageProfile"]["imageReference"]["offer"] = plan["product"]
    error = refused(HttpResponseError, "MarketplacePurchaseEligibilityFailed", 400, lambda: put(with_plan))
    assert "Legal terms have not been accepted for this item on this subscription" in error.error.details[0].message
    big = machine(subnet, guard)
    big["properties"]["hardwareProfile"]["vmSize"] = "Standard_D2s_v3"
    error = refused(ResourceExistsError, "OperationNotAllowed", 409, lambda: put(big))
    assert "standardDSv3Family quota" in error.message, error.message
    basic = {"location": LOCATION, "sku": {"name": "Basic"}, "properties": {"publicIPAllocationMethod": "Dynamic"}}
    refused(HttpResponseError, "IPv4BasicSkuPublicIpCountLimitReached", 400,
            lambda: web.public_ip_addresses.begin_create_or_update(name, "pip", basic, **LONG))
    error = refused(HttpResponseError, "InvalidRequestFormat", 400, lambda: web.network_security_groups.begin_create_or_update(
        name, "bad", {"location": LOCATION, "properties": {"colour": "red"}}, **LONG))
    assert error.error.details[0].code == "InvalidJson" and "Could not find member 'colour'" in error.error.details[0].message
    refused(HttpResponseError, "InvalidResourceReference", 400, lambda: put(machine(subnet + "none", guard)))
    nobody = ComputeManagementClient(Token("nothing"), service.subscription, base_url=service.url)
    refused(ClientAuthenticationError, "InvalidAuthenticationToken", 401, lambda: nobody.virtual_machines.get(name, "x", **QUICK))


def faults(service, name):
    """What was ordered to go wrong, and is put right by the libraries' own policies."""
    # 429 with a second to wait, then the answer.
    began = time.monotonic()
    service.resources.resource_groups.get(name, headers={"x-ms-client-request-id": "throttled"}, **QUICK)
    assert time.monotonic() - began >= 1
    # An operation that fails says why.
    error = refused(HttpResponseError, "AllocationFailed", None, lambda: service.network.network_security_groups.begin_create_or_update(
        name, "failing", {"location": LOCATION, "properties": {}}, **LONG).result())
    assert error.error.message == "There is no room.", error
    failed = service.network.network_security_groups.get(name, "failing", **QUICK)
    assert failed.properties.provisioning_state == "Failed"
    # A lock is answered by 429, and the libraries try again.
    service.network.network_security_groups.begin_delete(name, "failing", **LONG).result()


def shapes(members):
    """Compares the members that the service knows with those of Microsoft's models."""
    where = [compute_models, network_models, resource_models, container_models]
    checked = 0

    def fields(model):
        if hasattr(model, "_attribute_map"):
            known = {}
            for name, mapped in model._attribute_map.items():
                *path, last = mapped["key"].split(".")
                place = known
                for part in path:
                    place = place.setdefault(part, {})
                place[last] = mapped["type"]
            return known
        fields = {}
        for kind in reversed(model.__mro__):
            for name, field in getattr(kind, "__dict__", {}).items():
                if type(field).__name__ == "_RestField":
                    fields[field._rest_name_input or name] = kind.__annotations__.get(name, "")
        return fields

    def model_of(kind, module):
        """The model that a type's name stands for, looking through lists and options."""
        if isinstance(kind, dict):
            return kind
        for name in re.findall(r"\w+", str(kind)):
            if name not in ("List", "Optional", "Union") and isinstance(getattr(module, name, None), type):
                return getattr(module, name)
        return None

    def look(known, model, module, path):
        nonlocal checked
        if isinstance(known, list):
            known = known[0]
        if not isinstance(known, dict) or "=" in known:
            return
        names = model if isinstance(model, dict) else fields(model)
        for name, below in known.items():
            assert name in names, f"{path}.{name} is not Microsoft's: {sorted(names)}"
            checked += 1
            if isinstance(below, (dict, list)):
                found = model_of(names[name], module)
                if found is not None:
                    look(below, found, module, f"{path}.{name}")
                elif isinstance(below, dict) and "=" not in below:
                    raise AssertionError(f"{path}.{name} has no model: {names[name]}")

    for body in members:
        found = [module for module in where if hasattr(module, body["name"])]
        # More than one library may have a model of the name; one of them is it.
        for module in found:
            try:
                look(body["members"], getattr(module, body["name"]), module, body["name"])
                break
            except AssertionError:
                if module is found[-1]:
                    raise
        if not found:
            said("shapes", body["name"], "has no model")
    assert checked > 300, checked
    said("shapes", f"{checked} members are Microsoft's")


def main():
    given = json.load(sys.stdin)
    shapes(given["members"])
    for service in map(Service, given["services"]):
        name = "Adit-Test"
        began = time.monotonic()
        machines(service, name)
        if service.name == "Default":
            checks(service, name)
            detached(service, name)
            refusals(service, name)
            faults(service, name)
        containers(service, name)
        service.resources.resource_groups.begin_delete(
            name, force_deletion_types="Microsoft.Compute/virtualMachines", **LONG).result()
        assert not service.resources.resource_groups.check_existence(name, **QUICK)
        said(service.name, f"{time.monotonic() - began:.1f} s")


main()
