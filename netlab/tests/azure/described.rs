//! Microsoft's descriptions of the API judge what the fake takes and says, in the versions that there are.

use std::time::Duration;

use netlab::serve::azure::{Azure, Settings};
use netlab::wait_until;
use serde_json::{Value, json};

use crate::client::Client;

const NETWORK: &str = "/resourceGroups/adit/providers/Microsoft.Network";
const COMPUTE: &str = "/resourceGroups/adit/providers/Microsoft.Compute";
const CONTAINERS: &str = "/resourceGroups/adit/providers/Microsoft.ContainerInstance/containerGroups";

/// The subnet is no part of the descriptions; the interface is made by what is.
fn network(client: &Client, subscription: &str) -> String {
    let version = "?api-version=2024-05-01";
    let network = json!({ "location": "westeurope", "properties": { "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
        "subnets": [{ "name": "a", "properties": { "addressPrefix": "10.0.0.0/24" } }] } });
    client.expect(
        "PUT",
        &format!("{NETWORK}/virtualNetworks/adit{version}"),
        &network,
        201,
    );
    client.ready(&format!("{NETWORK}/virtualNetworks/adit{version}"));
    let subnet = format!("/subscriptions/{subscription}{NETWORK}/virtualNetworks/adit/subnets/a");
    let interface = json!({ "location": "westeurope", "properties": { "ipConfigurations": [
        { "name": "ip", "properties": { "subnet": { "id": subnet } } }] } });
    let path = format!("{NETWORK}/networkInterfaces/nic{version}");
    let made = client.expect("PUT", &path, &interface, 201);
    client.ready(&path);
    made["id"].as_str().expect("an ID is a text").to_owned()
}

fn machine(interface: &str, plan: bool) -> Value {
    let offer = if plan {
        "flatcar-container-linux-free"
    } else {
        "flatcar-container-linux-corevm-amd64"
    };
    let mut body = json!({
        "location": "westeurope", "tags": { "adit-lease": "1" },
        "properties": {
            "hardwareProfile": { "vmSize": "Standard_B1s" },
            "storageProfile": { "osDisk": { "createOption": "FromImage", "managedDisk": { "storageAccountType": "Standard_LRS" } },
                "imageReference": { "publisher": "kinvolk", "offer": offer, "sku": "stable-gen2", "version": "latest" } },
            "osProfile": { "computerName": "wg", "adminUsername": "core", "customData": "e30=", "linuxConfiguration": {
                "disablePasswordAuthentication": true, "ssh": { "publicKeys": [{ "path": "/home/core/.ssh/authorized_keys",
                    "keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBkN0zZ2x8j6m0J3b5Vw5mKq2Wq3x1m1yq1h1i0Yq9wX" }] } } },
            "networkProfile": { "networkInterfaces": [{ "id": interface, "properties": { "primary": true } }] },
        },
    });
    if plan {
        body["plan"] = json!({ "publisher": "kinvolk", "product": offer, "name": "stable-gen2" });
    }
    body
}

fn group() -> Value {
    json!({
        "location": "westeurope", "tags": { "adit-lease": "1" },
        "properties": { "osType": "Linux", "restartPolicy": "Never",
            "containers": [{ "name": "wg", "properties": { "image": "adit:1", "command": ["adit", "serve"],
                "resources": { "requests": { "cpu": 1.0, "memoryInGB": 0.5 } }, "ports": [{ "port": 443, "protocol": "UDP" }],
                "environmentVariables": [{ "name": "A", "value": "b" }, { "name": "C", "secureValue": "d" }] } }],
            "ipAddress": { "type": "Public", "ports": [{ "port": 443, "protocol": "UDP" }] } },
    })
}

fn machines(client: &Client, interface: &str) {
    let version = "?api-version=2019-03-01";
    let path = format!("{COMPUTE}/virtualMachines/wg{version}");
    // A plan's terms are accepted by sending them back.
    let terms = "/providers/Microsoft.MarketplaceOrdering/offerTypes/virtualmachine/publishers/kinvolk/offers/flatcar-container-linux-free/plans/stable-gen2/agreements/current?api-version=2015-06-01";
    client.expect("PUT", &path, &machine(interface, true), 400);
    let mut given = client.expect("GET", terms, &Value::Null, 200);
    given["properties"]["accepted"] = true.into();
    assert_eq!(client.expect("PUT", terms, &given, 200)["properties"]["accepted"], true);
    let made = client.expect("PUT", &path, &machine(interface, true), 201);
    assert_eq!(made["properties"]["provisioningState"], "Creating");
    client.ready(&path);
    client.expect("GET", &format!("{path}&$expand=instanceView"), &Value::Null, 200);
    client.expect(
        "GET",
        &format!("{COMPUTE}/virtualMachines/wg/instanceView{version}"),
        &Value::Null,
        200,
    );
    client.expect("PATCH", &path, &json!({ "tags": { "a": "b" } }), 200);
    let script =
        json!({ "commandId": "RunShellScript", "script": ["id"], "parameters": [{ "name": "a", "value": "b" }] });
    client.expect(
        "POST",
        &format!("{COMPUTE}/virtualMachines/wg/runCommand{version}"),
        &script,
        202,
    );
    client.ready(&path);
    client.expect("GET", &format!("{COMPUTE}/virtualMachines{version}"), &Value::Null, 200);
    client.expect(
        "GET",
        &format!("/providers/Microsoft.Compute/virtualMachines{version}"),
        &Value::Null,
        200,
    );
    client.expect("GET", &format!("{COMPUTE}/disks{version}"), &Value::Null, 200);
    client.expect(
        "POST",
        &format!("{COMPUTE}/virtualMachines/wg/powerOff{version}"),
        &Value::Null,
        202,
    );
    client.ready(&path);
    client.expect("DELETE", &path, &Value::Null, 202);
    client.gone(&path);
}

fn containers(client: &Client) {
    let version = "?api-version=2018-10-01";
    let path = format!("{CONTAINERS}/wg{version}");
    let made = client.expect("PUT", &path, &group(), 201);
    assert_eq!(
        made["properties"]["containers"][0]["properties"]["environmentVariables"][1],
        json!({ "name": "C" })
    );
    client.ready(&path);
    let container = format!("{CONTAINERS}/wg/containers/wg");
    client.expect("GET", &format!("{container}/logs{version}&tail=5"), &Value::Null, 200);
    let command = json!({ "command": "/bin/sh", "terminalSize": { "rows": 24, "cols": 80 } });
    client.expect("POST", &format!("{container}/exec{version}"), &command, 200);
    client.expect("POST", &format!("{CONTAINERS}/wg/restart{version}"), &Value::Null, 204);
    client.expect("POST", &format!("{CONTAINERS}/wg/stop{version}"), &Value::Null, 204);
    client.expect("POST", &format!("{CONTAINERS}/wg/start{version}"), &Value::Null, 202);
    client.ready(&path);
    client.expect("GET", &format!("{CONTAINERS}{version}"), &Value::Null, 200);
    client.expect(
        "GET",
        &format!("/providers/Microsoft.ContainerInstance/containerGroups{version}"),
        &Value::Null,
        200,
    );
    client.expect("DELETE", &path, &Value::Null, 202);
    client.gone(&path);
}

fn checks(client: &Client) {
    let (compute, at) = (
        "/providers/Microsoft.Compute",
        "/providers/Microsoft.Compute/locations/westeurope",
    );
    let image = "publishers/kinvolk/artifacttypes/vmimage/offers/flatcar-container-linux-corevm-amd64/skus/stable-gen2/versions";
    for path in [
        "?api-version=2019-06-01",
        "/locations?api-version=2019-06-01",
        "/resourcegroups?api-version=2019-08-01",
        "/resources?api-version=2019-08-01&$filter=tagName%20eq%20'adit-lease'",
        "/resourceGroups/adit/resources?api-version=2019-08-01",
        "/providers/Microsoft.Compute?api-version=2019-08-01",
        "/providers/Microsoft.ContainerInstance/locations/westeurope/usages?api-version=2018-10-01",
        "/resourcegroups/adit/providers/Microsoft.Authorization/permissions?api-version=2018-01-01-preview",
        &format!("{compute}/skus?api-version=2019-04-01"),
        &format!("{at}/usages?api-version=2019-03-01"),
        &format!("{at}/vmSizes?api-version=2019-03-01"),
        &format!("{at}/{image}?api-version=2019-03-01"),
        &format!("{at}/{image}/latest?api-version=2019-03-01"),
    ] {
        client.expect("GET", path, &Value::Null, 200);
    }
    client.expect(
        "POST",
        "/providers/Microsoft.Compute/register?api-version=2019-08-01",
        &Value::Null,
        200,
    );
}

#[test]
fn microsoft_s_descriptions_find_no_fault_in_what_is_said() {
    if let Some(missing) = netlab::missing(&Azure::JUDGED).or_else(|| netlab::missing(&["curl"])) {
        netlab::skip(&missing);
        return;
    }
    let azure = Azure::start(Settings::default());
    let prism = azure.judged();
    let subscription = azure.settings().subscription.clone();
    let client = Client::new(&azure, prism.url());
    let path = "/resourcegroups/adit?api-version=2019-08-01";
    client.expect(
        "PUT",
        path,
        &json!({ "location": "westeurope", "tags": { "a": "b" } }),
        201,
    );
    client.expect("GET", path, &Value::Null, 200);
    let interface = network(&client, &subscription);
    checks(&client);
    machines(&client, &interface);
    containers(&client);
    client.expect("DELETE", path, &Value::Null, 202);
    client.gone(path);
    assert_eq!(azure.left(), [""; 0]);
    assert_eq!(prism.complaints(), [""; 0]);

    // The judge is awake: what is not described is refused, whoever says it.
    let mut body = group();
    body["properties"]["containers"][0]["properties"]["image"].take();
    client.expect("PUT", &format!("{CONTAINERS}/wg?api-version=2018-10-01"), &body, 422);
    wait_until("the judge says what it refuses", Duration::from_secs(5), || {
        prism.complaints().first().cloned()
    });
}
