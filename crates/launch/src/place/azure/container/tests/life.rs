//! A life: made, found, removed, whatever becomes of answers.

use netlab::serve::azure::Way;

use super::*;

#[tokio::test]
async fn a_gateway_is_made_found_and_removed_in_every_way_that_azure_has() {
    for way in [
        None,
        Some(Way::Both),
        Some(Way::AsyncOperation),
        Some(Way::Location),
        Some(Way::State),
        Some(Way::AtOnce),
    ] {
        let (azure, stage) = azure(Settings {
            way,
            ..Settings::default()
        })
        .await;
        let config = config(&azure);
        let refs = make(&azure, &config).await.unwrap();
        let noted = Refs::read(&with_refs(&refs));
        let target = noted.target().unwrap();
        assert_eq!(
            (target.endpoint.as_str(), target.public_key),
            ("192.0.2.1:31820", key(1)),
            "{way:?}"
        );
        assert_eq!(place(&azure, config.clone()).look(&job()).await, Ok(target));
        assert_eq!(stage.play().groups.len(), 1, "made once");
        remove(&azure, &config, &refs).await;
        assert_eq!((groups(&azure), stage.play().removed), (Vec::new(), 1), "{way:?}");
    }
}

#[tokio::test]
async fn a_group_is_as_its_lease_and_needs_no_privilege() {
    let (azure, stage) = azure(Settings::default()).await;
    let config = Config {
        sizes: vec!["0.5x1".to_owned(), "2x3.5".to_owned()],
        ..config(&azure)
    };
    let mut job = job();
    job.order.size = Some("2x3.5".to_owned());
    job.order.region = Some("eastus".to_owned());
    job.order.port = Some(500);
    job.order.mtu = Some(1_380);
    let place = place(&azure, config);
    place.create(&job).await.unwrap();
    let group = azure.wanted(&groups(&azure)[0]).unwrap();
    assert_eq!(group["location"], "eastus");
    assert_eq!(
        (&group["tags"][INSTANCE], &group["tags"][LEASE]),
        (&json!("here"), &json!(job.id.to_string()))
    );
    let until = group["tags"][EXPIRES_AT].as_str().unwrap().to_owned();
    let properties = &group["properties"];
    assert_eq!(properties["restartPolicy"], "OnFailure");
    assert_eq!(
        properties["ipAddress"],
        json!({"type": "Public", "ports": [{"port": 500, "protocol": "UDP"}]})
    );
    let container = &properties["containers"][0]["properties"];
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": 2.0, "memoryInGB": 3.5})
    );
    assert!(container["securityContext"].is_null() && container["environmentVariables"].is_null());
    let words = container["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap());
    let command = words.collect::<Vec<_>>().join(" ");
    let expected = format!(
        "/usr/bin/adit node --lease {} --lifetime 1800 --until {until} --listen 500 --plane netstack --launcher {} --mtu 1380",
        job.id,
        place.gateways.launcher(job.id)
    );
    assert_eq!(command, expected);
    drop(stage);
}

#[tokio::test]
async fn no_lost_answer_makes_a_second_group_or_leaves_one() {
    let path = "**/containerGroups/*";
    for (method, trouble) in [
        ("PUT", Trouble::LostBefore),
        ("PUT", Trouble::LostAfter),
        ("PUT", Trouble::CutShort),
        ("PUT", Trouble::status(503)),
        ("PUT", Trouble::throttled(1)),
        ("PUT", Trouble::OperationForgotten),
        ("GET", Trouble::LostBefore),
        ("GET", Trouble::status(500)),
        ("DELETE", Trouble::LostBefore),
        ("DELETE", Trouble::LostAfter),
        ("DELETE", Trouble::status(502)),
        ("DELETE", Trouble::OperationForgotten),
        (
            "DELETE",
            Trouble::OperationFails(Refusal::new(500, "InternalServerError", "It went wrong.")),
        ),
    ] {
        let (azure, stage) = azure(Settings::default()).await;
        let config = config(&azure);
        azure.fail_next(&format!("{method} {path}"), trouble.clone());
        let refs = make(&azure, &config).await.unwrap();
        assert_eq!(
            (groups(&azure).len(), stage.play().groups.len()),
            (1, 1),
            "{method} {trouble:?}"
        );
        remove(&azure, &config, &refs).await;
        assert_eq!(groups(&azure), [""; 0], "{method} {trouble:?}");
    }
}

#[tokio::test]
async fn a_life_takes_no_other_action_than_those_that_are_named() {
    let (azure, _stage) = azure(Settings::default()).await;
    let config = config(&azure);
    let scope = config.site.group_id().to_string();
    azure.permit(&scope, AzureContainer::ACTIONS);
    let refs = make(&azure, &config).await.unwrap();
    let place = place(&azure, config.clone());
    place.look(&job()).await.unwrap();
    place.list("here").await.unwrap();
    remove(&azure, &config, &refs).await;
    assert_eq!(groups(&azure), [""; 0]);
    // Without any of them it does not come about.
    for missing in AzureContainer::ACTIONS {
        let others: Vec<_> = AzureContainer::ACTIONS
            .iter()
            .filter(|action| *action != missing)
            .copied()
            .collect();
        azure.permit(&scope, &others);
        let fault = match make(&azure, &config).await {
            Err(fault) => fault,
            Ok(refs) => place.remove(&with_refs(&refs)).await.unwrap_err(),
        };
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Refused, "AuthorizationFailed")
        );
        let message = fault.message.to_lowercase();
        assert!(message.contains(&missing.to_lowercase()), "{message}");
        azure.permit(&scope, AzureContainer::ACTIONS);
        remove(&azure, &config, &Value::Null).await;
    }
}

#[tokio::test]
async fn a_sweep_sees_the_launchers_own_leases_on_every_page() {
    let (azure, _stage) = azure(Settings {
        page: 1,
        list_lag: 0,
        ..Settings::default()
    })
    .await;
    let place = place(&azure, config(&azure));
    let mut expected = Vec::new();
    for (number, instance) in [(1, "here"), (2, "elsewhere"), (3, "here")] {
        let id = LeaseId::new(Moment::from_millis(1_795_000_000_000), number);
        let job = Job {
            id,
            instance: instance.to_owned(),
            ..job()
        };
        place.create(&job).await.unwrap();
        expected.extend((instance == "here").then_some(id));
    }
    assert_eq!(place.list("here").await, Ok(expected));
}

#[tokio::test]
async fn anothers_group_is_neither_used_nor_removed() {
    let (azure, stage) = azure(Settings::default()).await;
    let config = config(&azure);
    make(&azure, &config).await.unwrap();
    let place = place(&azure, config);
    let foreign = Job {
        instance: "elsewhere".to_owned(),
        ..job()
    };
    assert_eq!(place.create(&foreign).await.unwrap_err().code, "name_taken");
    assert_eq!(place.look(&foreign).await.unwrap_err().kind, FaultKind::Gone);
    assert_eq!(place.remove(&foreign).await, Ok(Removal::Gone));
    assert_eq!((groups(&azure).len(), stage.play().removed), (1, 0));
}
