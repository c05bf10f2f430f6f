//! What goes wrong, and what is said of it.

use netlab::serve::azure::Way;

use super::{view::View, *};

#[tokio::test]
async fn what_azure_refuses_comes_with_its_words_and_what_to_do() {
    // (what goes wrong, Azure's code, a word of the remedy)
    type Wrong = fn(&Azure, &Stage);
    for (wrong, code, word) in [
        (
            (|_, stage| {
                let message = "The image 'ghcr.io/adit-vpn/adit:1' in container group 'x' is not accessible.";
                stage.play().refusal = Some(Refusal::new(400, "InaccessibleImage", message));
            }) as Wrong,
            "InaccessibleImage",
            "registry",
        ),
        (
            |azure, _| azure.set_quota("StandardCores", 0),
            "ContainerGroupQuotaReached",
            "",
        ),
        (
            |azure, _| azure.unregister("Microsoft.ContainerInstance"),
            "MissingSubscriptionRegistration",
            "az provider register --namespace microsoft.containerinstance",
        ),
        (
            |azure, _| {
                let policy = Trouble::Refused(Refusal::policy("adit"));
                azure.fail_times("PUT **/containerGroups/*", 9, policy);
            },
            "RequestDisallowedByPolicy",
            "policy",
        ),
    ] {
        let (azure, stage) = azure(Settings::default()).await;
        wrong(&azure, &stage);
        let fault = make(&azure, &config(&azure)).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Refused, code),
            "{fault:?}"
        );
        assert!(fault.remedy.contains(word), "{fault:?}");
        remove(&azure, &config(&azure), &Value::Null).await;
        assert_eq!(groups(&azure), [""; 0], "what was made of it is removed");
    }
}

#[tokio::test]
async fn an_operation_that_fails_says_why_in_every_way_that_azure_has() {
    for way in [Way::Both, Way::AsyncOperation, Way::Location, Way::State] {
        let (azure, _stage) = azure(Settings {
            way: Some(way),
            ..Settings::default()
        })
        .await;
        let refusal = Refusal::new(500, "InternalServerError", "It went wrong.");
        azure.fail_next("PUT **/containerGroups/*", Trouble::OperationFails(refusal));
        let fault = make(&azure, &config(&azure)).await.unwrap_err();
        // Where only the group tells, it tells no more than that.
        let code = if way == Way::State {
            "group_failed"
        } else {
            "InternalServerError"
        };
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Refused, code),
            "{way:?} {fault:?}"
        );
        remove(&azure, &config(&azure), &Value::Null).await;
        assert_eq!(groups(&azure), [""; 0]);
    }
}

#[tokio::test]
async fn without_its_resource_group_nothing_is_made_and_nothing_is_left() {
    let azure = Azure::start_with(Settings::default(), Stage::new());
    let fault = make(&azure, &config(&azure)).await.unwrap_err();
    assert_eq!(
        (fault.kind, fault.code.as_str()),
        (FaultKind::Refused, "ResourceGroupNotFound")
    );
    assert!(fault.remedy.contains("az group create"), "{fault:?}");
    remove(&azure, &config(&azure), &Value::Null).await;
}

#[tokio::test]
async fn a_gateway_that_ends_before_it_is_ready_says_why() {
    // (how its container is, what it said, code, word)
    for (life, log, code, word) in [
        (
            Life::Ended(1),
            "2026-11-18T11:06:40Z fault: plane_unavailable\nerror: no sockets\n",
            "plane_unavailable",
            "no sockets",
        ),
        (
            Life::Ended(2),
            "error: unrecognized subcommand 'node'\n",
            "gateway_ended",
            "unrecognized subcommand",
        ),
        (Life::Ended(139), "", "gateway_ended", "said nothing"),
        (Life::Ended(0), "", "container_ended", "ended by itself"),
        (
            Life::Running(3),
            "exec format error\n",
            "gateway_ended",
            "exec format error",
        ),
    ] {
        let (azure, stage) = azure(Settings::default()).await;
        (stage.play().life, stage.play().log) = (life, log.to_owned());
        let fault = make(&azure, &config(&azure)).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Refused, code),
            "{fault:?}"
        );
        assert!(fault.message.contains(word), "{fault:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_was_started_anew_is_found_with_its_key_and_its_address() {
    let (azure, stage) = azure(Settings::default()).await;
    let config = config(&azure);
    make(&azure, &config).await.unwrap();
    let place = place(&azure, config.clone());
    let look = || async { place.look(&job()).await };
    let restart = Request::new(
        Method::Post,
        requests::group(&config, job().id).path().join("restart").unwrap(),
        "2023-05-01",
    );
    // It has not said its key yet, and its address is another one then.
    (stage.play().log, stage.play().address) = (String::new(), 77);
    place.arm.send(&restart).await.unwrap();
    assert_eq!(look().await.unwrap_err().kind, FaultKind::NotYet);
    stage.play().log = says(2);
    let found = look().await.unwrap();
    assert_eq!(
        (found.endpoint.as_str(), found.public_key),
        ("192.0.2.77:31820", key(2))
    );
    stage.play().life = Life::Waiting;
    assert_eq!(look().await.unwrap_err().kind, FaultKind::NotYet, "it is started anew");
    for (life, message) in [
        (Life::Ended(0), "as it does at its time"),
        (Life::Ended(1), "exit code 1"),
    ] {
        stage.play().life = life;
        let fault = look().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Gone);
        assert!(fault.message.contains(message), "{fault:?}");
    }
    azure.fail_times("GET **/containerGroups/*", 9, Trouble::status(503));
    assert_eq!(look().await.unwrap_err().kind, FaultKind::Unclear, "nobody can tell");
    azure.fail_times("GET **/containerGroups/*", 0, Trouble::status(503));
}

#[tokio::test]
async fn one_that_somebody_stopped_or_removed_has_gone() {
    let (azure, _stage) = azure(Settings::default()).await;
    let config = config(&azure);
    let refs = make(&azure, &config).await.unwrap();
    let place = place(&azure, config.clone());
    let stop = requests::group(&config, job().id).path().join("stop").unwrap();
    place
        .arm
        .send(&Request::new(Method::Post, stop, "2023-05-01"))
        .await
        .unwrap();
    let fault = place.look(&job()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Gone, "container_ended"));
    remove(&azure, &config, &refs).await;
    let fault = place.look(&job()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Gone, "container_gone"));
}

#[test]
fn an_image_that_is_not_pulled_is_told_from_other_trouble() {
    let group = |provisioning: &str, state: &str, message: &str| {
        View::read(
            &json!({"properties": {"provisioningState": provisioning, "containers": [{"name": "adit", "properties": {
            "instanceView": {"currentState": {"state": state}, "events": [
                {"name": "Pulling", "type": "Normal", "message": "pulling image \"x\""},
                {"name": "Failed", "type": "Warning", "message": message},
            ]}}}]}}),
        )
    };
    let pull = "Failed to pull image \"x\": rpc error: unauthorized";
    for (provisioning, state, message, code) in [
        ("Pending", "Waiting", pull, Some("image_not_pulled")),
        ("Failed", "Waiting", pull, Some("image_not_pulled")),
        ("Succeeded", "Running", pull, None),
        ("Pending", "Waiting", "Error: something else", None),
        ("Failed", "Waiting", "Error: something else", Some("group_failed")),
        ("Unhealthy", "Waiting", "", Some("group_failed")),
    ] {
        let failure = group(provisioning, state, message).failure("x");
        assert_eq!(
            failure.as_ref().map(|fault| fault.code.as_str()),
            code,
            "{provisioning} {message}"
        );
        if let Some(failure) = failure {
            assert!(failure.kind == FaultKind::Refused && !failure.remedy.is_empty());
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_seen_before_anything_is_made() {
    // (what is wrong, what is asked for, the name of the check that fails)
    type Wrong = fn(&Azure);
    let order = Order::plain("azure-container", 1_800);
    let port = |port| Order {
        port: Some(port),
        ..order.clone()
    };
    let region = Order {
        region: Some("mars".to_owned()),
        ..order.clone()
    };
    for (wrong, order, failing) in [
        ((|_| {}) as Wrong, order.clone(), None),
        (|_| {}, port(500), None),
        (|_| {}, port(51_820), Some("the port 51820")),
        (|_| {}, region, Some("the region mars")),
        (
            |azure| azure.unregister("Microsoft.ContainerInstance"),
            order.clone(),
            Some("the provider Microsoft.ContainerInstance"),
        ),
        (
            |azure| azure.set_quota("StandardCores", 0),
            order.clone(),
            Some("the quota of container groups in westeurope"),
        ),
    ] {
        let (azure, _stage) = azure(Settings::default()).await;
        wrong(&azure);
        let before = azure.asked().len();
        let checks = place(&azure, config(&azure)).check(&order).await;
        assert!(
            azure.asked()[before..]
                .iter()
                .all(|asked| asked.method == "GET" || asked.target.contains("/token"))
        );
        let failed: Vec<_> = checks.iter().filter(|check| check.result.is_err()).collect();
        assert_eq!(failed.is_empty(), failing.is_none(), "{failed:?}");
        if let Some(failing) = failing {
            let fault = failed
                .iter()
                .find(|check| check.name == failing)
                .and_then(|check| check.result.clone().err());
            assert!(
                fault.is_some_and(|fault| !fault.remedy.is_empty()),
                "{failing}: {checks:?}"
            );
        }
        assert_eq!(groups(&azure), [""; 0]);
    }
}
