//! What goes wrong on the way, and what becomes of it.

use netlab::serve::azure::Fault as Trouble;

use super::*;

#[tokio::test]
async fn whatever_answer_is_lost_one_machine_is_made_and_nothing_is_left() {
    for (pattern, trouble) in [
        ("PUT **/virtualMachines/*", Trouble::LostAfter),
        ("PUT **/virtualMachines/*", Trouble::LostBefore),
        ("PUT **/virtualMachines/*", Trouble::CutShort),
        ("PUT **/virtualMachines/*", Trouble::OperationForgotten),
        ("PUT **/virtualNetworks/*", Trouble::LostAfter),
        ("PUT **/networkSecurityGroups/*", Trouble::Refused(Refusal::locked("x"))),
        ("PUT **/runCommands/*", Trouble::LostAfter),
        ("PUT **/runCommands/*", Trouble::OperationForgotten),
        ("GET **/runCommands/*", Trouble::status(503)),
        ("DELETE **/runCommands/*", Trouble::LostAfter),
        ("GET **/virtualMachines/*", Trouble::throttled(1)),
        ("GET **/publicIPAddresses/*", Trouble::LostBefore),
        ("DELETE **/virtualMachines/*", Trouble::LostAfter),
        ("DELETE **/virtualMachines/*", Trouble::OperationForgotten),
    ] {
        let scene = Scene::new().await;
        scene.azure.fail_next(pattern, trouble.clone());
        let mut job = job();
        scene
            .make(&mut job, true)
            .await
            .unwrap_or_else(|fault| panic!("{pattern} {trouble:?}: {fault:?}"));
        assert_eq!(scene.rack.booted().len(), 1, "{pattern} {trouble:?}");
        scene.remove(&mut job).await;
        assert_eq!(scene.left(), [""; 0], "{pattern} {trouble:?}");
    }
}

#[tokio::test]
async fn a_step_that_is_taken_twice_makes_nothing_twice() {
    let scene = Scene::new().await;
    let mut job = job();
    // Each step dies before it is noted, and is taken again with what was noted before it.
    loop {
        let _dies = scene.restarted().create(&job).await.unwrap();
        match scene.restarted().create(&job).await.unwrap() {
            Creation::Made { refs } => {
                job.refs = refs;
                break;
            }
            Creation::Pending { refs, .. } => job.refs = refs,
        }
    }
    assert_eq!(scene.rack.booted().len(), 1);
    loop {
        let _dies = scene.restarted().remove(&job).await.unwrap();
        match scene.restarted().remove(&job).await.unwrap() {
            Removal::Gone => break,
            Removal::Pending { refs, .. } => job.refs = refs,
        }
    }
    assert_eq!(scene.left(), [""; 0]);
}

#[tokio::test]
async fn what_azure_refuses_is_told_with_its_code_and_a_remedy() {
    let policy = Trouble::Refused(Refusal::policy("adit"));
    let purchase = |config: &mut Config| config.image = VmImage::FlatcarFree { accept_terms: false };
    let none = |_: &mut Config| {};
    let busy = Trouble::OperationFails(Refusal::new(
        409,
        "OSProvisioningTimedOut",
        "It did not report in time.",
    ));
    let full = Trouble::OperationFails(Refusal::new(409, "AllocationFailed", "There is no room."));
    for (change, trouble, code) in [
        (
            none as fn(&mut Config),
            Some(("PUT **/virtualMachines/*", policy)),
            "RequestDisallowedByPolicy",
        ),
        (none, Some(("PUT **/virtualMachines/*", busy)), "OSProvisioningTimedOut"),
        (none, Some(("PUT **/virtualMachines/*", full)), "AllocationFailed"),
        (purchase, None, "MarketplacePurchaseEligibilityFailed"),
        (
            |config| config.sizes = vec!["Standard_B2pts_v2".to_owned()],
            None,
            "InvalidParameter",
        ),
        (
            |config| config.site = Site::new(config.site.subscription(), "nowhere", vec!["eastus".to_owned()]).unwrap(),
            None,
            "ResourceGroupNotFound",
        ),
    ] {
        let scene = Scene::with(Settings::default(), change).await;
        if let Some((pattern, trouble)) = trouble {
            scene.azure.fail_next(pattern, trouble);
        }
        let mut job = job();
        let fault = scene.make(&mut job, false).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Refused, code),
            "{fault:?}"
        );
        assert_eq!(fault.remedy.is_empty(), code == "InvalidParameter", "{fault:?}");
        scene.remove(&mut job).await;
        assert_eq!(scene.left(), [""; 0]);
    }
}

#[tokio::test]
async fn another_s_machine_of_the_same_name_is_left_alone() {
    let scene = Scene::new().await;
    let mut job = job();
    scene.make(&mut job, false).await.unwrap();
    let mut other = Job {
        instance: "there".to_owned(),
        ..super::job()
    };
    let fault = scene.make(&mut other, false).await.unwrap_err();
    assert_eq!(fault.code, "name_taken");
    assert_eq!(scene.place.list("there").await.unwrap(), []);
    scene.remove(&mut other).await;
    assert_eq!(scene.azure.left_of("Microsoft.Compute/virtualMachines").len(), 1);
    assert!(scene.azure.left().iter().any(|id| id.contains("/disks/")));
}

#[tokio::test]
async fn a_removal_that_fails_again_and_again_leaves_nothing_in_the_end() {
    for trouble in [
        Trouble::status(500),
        Trouble::OperationFails(Refusal::new(409, "Conflict", "Something is wrong.")),
        Trouble::Refused(Refusal::new(409, "OperationNotAllowed", "It is being created.")),
    ] {
        let scene = Scene::new().await;
        let mut job = job();
        scene.make(&mut job, false).await.unwrap();
        scene
            .azure
            .fail_times("DELETE **/virtualMachines/*", 9, trouble.clone());
        scene.remove(&mut job).await;
        assert_eq!(scene.left(), [""; 0], "{trouble:?}");
    }
}

#[tokio::test]
async fn what_outlives_its_machine_is_found_and_removed_without_a_store() {
    let scene = Scene::new().await;
    let mut job = job();
    // Its machine goes in the middle of being made, and takes nothing along.
    while scene.rack.booted().is_empty() {
        if let Creation::Pending { refs, .. } = scene.place.create(&job).await.unwrap() {
            job.refs = refs;
        }
    }
    job.refs = Value::Null;
    scene.remove(&mut job).await;
    assert_eq!(scene.left(), [""; 0]);
    // An interface with its address, and a disk, that are there alone.
    let name = names::beside(&job);
    let address = scene
        .place
        .config
        .site
        .resource("Microsoft.Network", "publicIPAddresses", &name)
        .unwrap();
    let body = serde_json::json!({ "location": "westeurope", "sku": { "name": "Standard" },
        "properties": { "publicIPAllocationMethod": "Static" } });
    let put = azure::Request::new(azure::Method::Put, &address, "2024-05-01").with_body(body);
    scene.place.arm.carry_out(&put, Duration::from_secs(60)).await.unwrap();
    for _late in 0..2 {
        scene.place.list("here").await.unwrap();
    }
    assert_eq!(scene.place.list("here").await.unwrap(), [job.id]);
    assert_eq!(scene.place.list("there").await.unwrap(), []);
    scene.remove(&mut job).await;
    assert_eq!(scene.left(), [""; 0]);
}

#[tokio::test]
async fn a_machine_that_is_still_being_made_is_removed() {
    let scene = Scene::with(
        Settings {
            looks: 50,
            longest: Duration::from_secs(60),
            ..Settings::default()
        },
        |_| {},
    )
    .await;
    let mut job = job();
    while scene.azure.left_of("Microsoft.Compute/virtualMachines").is_empty() {
        match scene.place.create(&job).await {
            Ok(Creation::Pending { refs, .. }) => job.refs = refs,
            Ok(Creation::Made { .. }) => panic!("too early"),
            Err(fault) => assert_eq!(fault.kind, FaultKind::Unclear),
        }
    }
    scene.remove(&mut job).await;
    assert_eq!(scene.left(), [""; 0]);
}

#[tokio::test]
async fn another_clock_here_changes_nothing() {
    for secs in [-86_400, 86_400] {
        let scene = Scene::new().await;
        scene.azure.skew(secs);
        let mut job = job();
        scene.make(&mut job, true).await.unwrap();
        let _late = scene.place.list("here").await.unwrap();
        assert_eq!(scene.place.list("here").await.unwrap(), [job.id]);
        scene.remove(&mut job).await;
        assert_eq!(scene.left(), [""; 0]);
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_yet_is_asked_again() {
    for setup in [SetUp::Ignition, SetUp::RunCommand] {
        let scene = Scene::with(Settings::default(), |config| config.setup = setup).await;
        let late = Refusal::new(409, "VMExtensionProvisioningTimeout", "The agent is silent.");
        scene
            .azure
            .fail_next("PUT **/runCommands/*", Trouble::OperationFails(late));
        let mut job = job();
        let doings = scene.make(&mut job, true).await.unwrap();
        assert!(
            doings.iter().any(|doing| doing.contains("The agent is silent")),
            "{doings:?}"
        );
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_start_says_why_and_none_is_made_up() {
    for change in [(|_| {}) as fn(&mut Config), |config| {
        config.run_command = RunCommand::Action
    }] {
        let scene = Scene::with(Settings::default(), change).await;
        scene
            .rack
            .says(&["manifest unknown\n{\"adit\":\"starting\"}\n", "cut of"]);
        let mut job = job();
        let doings = scene.make(&mut job, true).await.unwrap();
        assert!(
            doings
                .iter()
                .any(|doing| doing.contains("it last said: manifest unknown")),
            "{doings:?}"
        );
        assert_eq!(scene.rack.scripts().len(), 3);

        let scene = Scene::with(Settings::default(), change).await;
        scene.rack.says(&["{\"adit\":\"ended\"}\n"]);
        let fault = scene.make(&mut super::job(), false).await.unwrap_err();
        assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, "gateway_ended"));
    }
}
