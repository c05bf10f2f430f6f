//! The client against the fake of Azure, which Microsoft's libraries and descriptions judge.

use netlab::serve::azure::{self, Azure, Fault, Refusal, Way as Followed};
use serde_json::Value;

use super::*;
use crate::{ArmError, Kind, ResourceId};

const LIMIT: Duration = Duration::from_secs(600);
const NETWORK: &str = "2024-05-01";

fn connected(azure: &Azure) -> (Arm, ResourceId) {
    let known = azure.settings();
    let settings = Settings {
        tenant: Some(known.tenant.clone()),
        client: Some(known.client.clone()),
        secret: Some(known.secret.clone().into()),
        ..Settings::default()
    };
    let credential = Credential::choose(Choice::Auto, &settings).unwrap();
    let cloud = Cloud::default().with_management(&azure.url()).unwrap();
    let cloud = cloud.with_authority(&azure.url()).unwrap();
    let arm = Arm::with_clock(cloud, credential, Leap::new()).unwrap();
    let group = ResourceId::subscription(&known.subscription)
        .unwrap()
        .in_group("adit")
        .unwrap();
    (arm, group)
}

fn guard(group: &ResourceId) -> ResourceId {
    group
        .resource("Microsoft.Network", "networkSecurityGroups", "adit")
        .unwrap()
}

fn guarded(group: &ResourceId) -> Request {
    Request::new(Method::Put, &guard(group), NETWORK).with_body(json!({"location": "westeurope", "properties": {}}))
}

async fn make_group(arm: &Arm, group: &ResourceId) {
    let made = Request::new(Method::Put, group, "2025-04-01").with_body(json!({"location": "westeurope"}));
    arm.carry_out(&made, LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_group_is_made_filled_listed_and_removed_in_every_way_of_following() {
    for way in [
        None,
        Some(Followed::Location),
        Some(Followed::State),
        Some(Followed::AtOnce),
        Some(Followed::Both),
    ] {
        let azure = Azure::start(azure::Settings {
            way,
            page: 1,
            list_lag: 0,
            ..azure::Settings::default()
        });
        let (arm, group) = connected(&azure);
        assert!(!arm.exists(&group, "2025-04-01").await.unwrap());
        assert_eq!(
            arm.find(&Request::new(Method::Get, &guard(&group), NETWORK)).await,
            Ok(None)
        );
        make_group(&arm, &group).await;
        assert!(arm.exists(&group, "2025-04-01").await.unwrap());
        let made = arm.carry_out(&guarded(&group), LIMIT).await.unwrap();
        assert_eq!(made["properties"]["provisioningState"], "Succeeded", "{way:?}");
        let named: ResourceId = made["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(named, guard(&group));
        let other = group
            .resource("Microsoft.Network", "networkSecurityGroups", "other")
            .unwrap();
        let body = json!({"location": "westeurope", "properties": {}});
        arm.carry_out(&Request::new(Method::Put, &other, NETWORK).with_body(body), LIMIT)
            .await
            .unwrap();
        let all = Path::try_from(format!("{}/resources", group.path())).unwrap();
        let all = arm.list(&Request::new(Method::Get, all, "2025-04-01")).await.unwrap();
        assert_eq!(all.len(), 2, "{way:?}: {all:?}");
        for id in [&guard(&group), &other, &group] {
            let version = if id == &group { "2025-04-01" } else { NETWORK };
            let gone = arm.carry_out(&Request::new(Method::Delete, id, version), LIMIT).await;
            assert_eq!(gone, Ok(Value::Null), "{way:?} {id}");
        }
        assert_eq!(azure.left(), [""; 0], "{way:?}");
        assert_eq!(azure.tokens(), 1);
    }
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_leaves_one_resource_and_then_none() {
    let faults = [
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::CutShort,
        Fault::status(503),
        Fault::throttled(7),
        Fault::Refused(Refusal::locked("the network")),
        Fault::OperationForgotten,
    ];
    for fault in faults {
        // What was begun ends by the machine's clock, over which the client's leaps.
        let azure = Azure::start(azure::Settings {
            longest: Duration::ZERO,
            ..azure::Settings::default()
        });
        let (arm, group) = connected(&azure);
        make_group(&arm, &group).await;
        for method in ["PUT", "DELETE"] {
            azure.fail_next(&format!("{method} **/networkSecurityGroups/*"), fault.clone());
        }
        let made = arm.carry_out(&guarded(&group), LIMIT).await.unwrap();
        assert_eq!(made["name"], "adit", "{fault:?}");
        assert_eq!(
            azure.left_of("Microsoft.Network/networkSecurityGroups").len(),
            1,
            "{fault:?}"
        );
        // Its tokens are taken no more: another is got on the way.
        azure.expire_tokens();
        let gone = Request::new(Method::Delete, &guard(&group), NETWORK);
        arm.carry_out(&gone, LIMIT).await.unwrap();
        assert_eq!(
            azure.left_of("Microsoft.Network/networkSecurityGroups"),
            [""; 0],
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn what_fails_or_is_refused_says_why_and_what_to_do() {
    let failed = Refusal::new(409, "AllocationFailed", "There is no room.");
    // (fault, code, kind, what the remedy says)
    for (fault, code, kind, remedy) in [
        (
            Fault::OperationFails(failed),
            "AllocationFailed",
            Kind::Refused,
            "another size or region",
        ),
        (
            Fault::Refused(Refusal::policy("adit")),
            "RequestDisallowedByPolicy",
            Kind::Denied,
            "Allowed locations (assignment places)",
        ),
    ] {
        let azure = Azure::start(azure::Settings::default());
        let (arm, group) = connected(&azure);
        make_group(&arm, &group).await;
        azure.fail_next("PUT **/networkSecurityGroups/*", fault);
        let error = arm.carry_out(&guarded(&group), LIMIT).await.unwrap_err();
        assert_eq!(error.service().map(|error| error.cause().0), Some(code), "{error}");
        assert_eq!(error.kind(), kind);
        assert!(error.remedy().unwrap().contains(remedy), "{:?}", error.remedy());
    }
    let azure = Azure::start(azure::Settings::default());
    let (arm, group) = connected(&azure);
    make_group(&arm, &group).await;
    azure.unregister("Microsoft.Network");
    let error = arm.carry_out(&guarded(&group), LIMIT).await.unwrap_err();
    assert!(
        error.remedy().unwrap().contains("--namespace microsoft.network"),
        "{error}: {:?}",
        error.remedy()
    );
    azure.permit(
        &group.to_string(),
        &["Microsoft.Resources/subscriptions/resourceGroups/read"],
    );
    let error = arm
        .carry_out(&Request::new(Method::Delete, &group, "2025-04-01"), LIMIT)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ArmError::Service { .. }) && error.kind() == Kind::Denied,
        "{error}"
    );
    assert!(
        error
            .remedy()
            .unwrap()
            .contains("the action is microsoft.resources/subscriptions/resourcegroups/delete"),
        "{:?}",
        error.remedy()
    );
}
