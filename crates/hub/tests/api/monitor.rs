//! Custom metrics for Azure Monitor, as the hub sends them.

use std::time::Duration;

use azure::{
    Arm, Cloud, Credential,
    credential::{Choice, Settings, Way},
};
use hub::{
    Config, Monitor,
    config::{Typed, TypedAzureMonitor},
};
use launch::{Clock, place::simulate::Simulate};
use netlab::serve::azure::{Azure, Settings as Manners};

use crate::{
    listener::listen,
    stage::{Hub, LIMIT, memory, quick},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_tells_azure_monitor_of_its_gateways_and_sessions_by_its_managed_identity() {
    let azure = Azure::start(Manners::default());
    let resource = format!(
        "/subscriptions/{}/resourceGroups/adit/providers/Microsoft.ContainerInstance/containerGroups/hub",
        azure.settings().subscription
    );
    let config = Config::new(Typed {
        azure_monitor: Some(TypedAzureMonitor {
            resource: Some(resource.clone()),
            region: Some("West Europe".to_owned()),
            endpoint: Some(azure.url()),
        }),
        ..Typed::default()
    })
    .unwrap();
    let settings = Settings {
        metadata_host: Some(azure.url()),
        ..Settings::default()
    };
    let credential = Credential::choose(Choice::Only(Way::ManagedIdentity), &settings).unwrap();
    let arm = Arm::new(Cloud::default(), credential).unwrap();
    let monitor = Monitor::new(config.azure_monitor.as_ref().unwrap(), &arm).unwrap();
    let hub = Hub::monitored(config, Simulate::new(quick()), memory(), Clock::system(), Some(monitor));
    hub.ready_lease().await;
    let listening = listen(hub).await;
    let come = async {
        while azure.metrics().len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, come).await.unwrap();
    listening.stop.send(()).unwrap();
    listening.served.await.unwrap().unwrap();
    let asked = azure.asked();
    let post = asked.iter().find(|asked| asked.method == "POST").unwrap();
    assert_eq!(post.target, format!("{resource}/metrics"));
    let token = asked
        .iter()
        .find(|asked| asked.target.starts_with("/metadata"))
        .unwrap();
    assert!(
        token.target.contains("resource=https%3A%2F%2Fmonitoring.azure.com%2F"),
        "{}",
        token.target
    );
    let metrics = azure.metrics();
    let sum = |name: &str| {
        let metric = metrics
            .iter()
            .find(|metric| metric["data"]["baseData"]["metric"] == name);
        let data = &metric.unwrap()["data"]["baseData"];
        assert_eq!(
            (
                &data["namespace"],
                &data["dimNames"][0],
                &data["series"][0]["dimValues"][0]
            ),
            (&"adit".into(), &"Place".into(), &"simulate".into())
        );
        data["series"][0]["sum"].as_f64().unwrap()
    };
    assert_eq!(sum("ReadyGateways"), 1.0);
    for name in ["ActiveSessions", "ReceivedBytes", "SentBytes", "ConnectionSeconds"] {
        assert!(sum(name) >= 0.0, "{name}");
    }
}
