//! A life from the first request to nothing being left.

use std::collections::BTreeSet;

use netlab::serve::azure::{Opening, Output, Way};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_gateway_is_made_and_removed_in_every_way_even_if_each_step_is_another_process_s() {
    let managed = |_: &mut Config| {};
    let action = |config: &mut Config| config.run_command = RunCommand::Action;
    let by_script = |config: &mut Config| config.setup = SetUp::RunCommand;
    let both = |config: &mut Config| (config.setup, config.run_command) = (SetUp::RunCommand, RunCommand::Action);
    for (at, (change, way, output, scripts)) in [
        (managed as fn(&mut Config), None, Output::OneEntry, 1),
        (action, None, Output::OneEntry, 1),
        (action, Some(Way::Location), Output::TwoEntries, 1),
        (by_script, Some(Way::State), Output::OneEntry, 2),
        (both, Some(Way::Both), Output::OneEntry, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let settings = Settings {
            way,
            output,
            ..Settings::default()
        };
        let scene = Scene::with(settings, change).await;
        let mut job = job();
        scene.make(&mut job, at % 2 == 0).await.unwrap();
        let refs = refs::Refs::read(&job);
        assert_eq!(refs.endpoint().as_deref(), Some("127.0.0.1:51820"));
        assert_eq!(refs.public_key.map(|key| key.to_string()).as_deref(), Some(KEY));
        let ran = scene.rack.scripts();
        assert_eq!(ran.len(), scripts, "{ran:?}");
        assert_eq!(ran[0].text.contains("docker run"), scripts == 2);
        assert_eq!(
            scene.azure.left_of("Microsoft.Compute/virtualMachines/runCommands"),
            [""; 0]
        );
        let booted = &scene.rack.booted()[0];
        assert_eq!(booted.custom_data.is_some(), scripts == 1);
        let wireguard = Opening {
            protocol: "Udp".to_owned(),
            ports: 51_820..=51_820,
            source: "*".to_owned(),
        };
        assert_eq!(booted.open, [wireguard]);
        // Lists are late.
        let _late = scene.place.list("here").await.unwrap();
        assert_eq!(scene.place.list("here").await.unwrap(), [job.id]);
        assert_eq!(scene.place.list("there").await.unwrap(), []);
        scene.remove(&mut job).await;
        assert_eq!(scene.left(), [""; 0]);
        let _late = scene.place.list("here").await.unwrap();
        assert_eq!(scene.place.list("here").await.unwrap(), []);
        assert_eq!(scene.remove(&mut job).await, 1);
    }
}

#[tokio::test]
async fn the_network_is_made_once_and_compared_after_that() {
    let scene = Scene::new().await;
    let (mut first, mut second) = (job(), job());
    second.id = LeaseId::new(Moment::from_millis(1_795_000_000_001), 8);
    scene.make(&mut first, false).await.unwrap();
    scene.make(&mut second, false).await.unwrap();
    let puts = |kind: &str| scene.azure.count(&format!("PUT **/{kind}/*"));
    assert_eq!(
        (
            puts("virtualNetworks"),
            puts("networkSecurityGroups"),
            puts("virtualMachines")
        ),
        (1, 1, 2)
    );
    // Another port and a login are another group; another source changes what is there.
    let mut third = job();
    third.id = LeaseId::new(Moment::from_millis(1_795_000_000_002), 9);
    third.order.port = Some(443);
    third.order.ssh_key = Some(ssh::throw_away().unwrap());
    scene.make(&mut third, false).await.unwrap();
    assert_eq!(puts("networkSecurityGroups"), 2);
    let booted = scene.rack.booted().pop().unwrap();
    let open: Vec<_> = booted
        .open
        .iter()
        .map(|open| (open.protocol.as_str(), *open.ports.start()))
        .collect();
    assert_eq!(open, [("Udp", 443), ("Tcp", 22)]);
    assert_eq!(booted.ssh_keys, [third.order.ssh_key.clone().unwrap()]);
    let mut config = scene.place.config.clone();
    config.source = Some("192.0.2.0/24".parse().unwrap());
    let place = AzureVm::new(config, scene.place.arm.clone(), scene.secret.clone()).unwrap();
    for _ in 0..4 {
        let Creation::Pending { refs, .. } = place.create(&second).await.unwrap() else {
            break;
        };
        second.refs = refs;
    }
    second.refs = Value::Null;
    let mut fourth = Job {
        id: LeaseId::new(Moment::from_millis(1_795_000_000_003), 1),
        ..job()
    };
    while let Creation::Pending { refs, .. } = place.create(&fourth).await.unwrap() {
        fourth.refs = refs;
    }
    assert_eq!(puts("networkSecurityGroups"), 3);
    assert_eq!(scene.rack.booted().pop().unwrap().open[0].source, "192.0.2.0/24");
    for job in [&mut first, &mut second, &mut third, &mut fourth] {
        scene.remove(job).await;
    }
    assert_eq!(scene.left(), [""; 0]);
}

#[tokio::test]
async fn a_life_needs_the_actions_it_names_and_no_other() {
    let scene = Scene::with(Settings::default(), |config| {
        config.image = VmImage::FlatcarFree { accept_terms: true };
    })
    .await;
    let subscription = format!("/subscriptions/{}", scene.azure.settings().subscription);
    scene.azure.permit(&subscription, AzureVm::ACTIONS);
    let mut job = job();
    scene.make(&mut job, false).await.unwrap();
    let checks = scene.place.check(&job.order).await;
    assert!(checks.iter().all(|check| check.result.is_ok()), "{checks:#?}");
    scene.remove(&mut job).await;
    // Without any one of those that make and remove, it does not go on, or the check says so.
    assert_eq!(
        AzureVm::ACTIONS.iter().collect::<BTreeSet<_>>().len(),
        AzureVm::ACTIONS.len()
    );
    for without in &AzureVm::ACTIONS[..AzureVm::MAKING] {
        if without.contains("runCommand/") {
            continue;
        }
        let actions: Vec<&str> = AzureVm::ACTIONS
            .iter()
            .copied()
            .filter(|action| action != without)
            .collect();
        scene.azure.permit(&subscription, &actions);
        let checks = scene.place.check(&job.order).await;
        let wrong: Vec<_> = checks.iter().filter_map(|check| check.result.as_ref().err()).collect();
        assert!(
            wrong.iter().any(|fault| fault.message.contains(without)),
            "{without}: {checks:#?}"
        );
    }
    assert_eq!(scene.left(), [""; 0]);
}

#[tokio::test]
async fn a_plan_is_what_is_sent_and_holds_no_secret() {
    let scene = Scene::with(Settings::default(), |config| {
        config.image = VmImage::FlatcarFree { accept_terms: true };
        config.setup = SetUp::RunCommand;
    })
    .await;
    let mut job = job();
    let before = scene.azure.asked().len();
    let plan = scene.place.plan(&job);
    assert_eq!(scene.azure.asked().len(), before, "a plan sends nothing");
    scene.make(&mut job, false).await.unwrap();
    let _unanswered = scene.place.ask(&job, &Question::Report {}).await;
    scene.remove(&mut job).await;
    // Azure puts something behind the names of what it makes with the machine.
    let outline = |method: &str, path: &str| {
        let path = path.split('?').next().unwrap_or_default().to_lowercase();
        let mut parts: Vec<&str> = path.split('/').collect();
        if let Some(name) = parts.last_mut()
            && ["networkinterfaces", "publicipaddresses"]
                .iter()
                .any(|kind| path.contains(&format!("{kind}/")))
        {
            *name = "*";
        }
        format!("{method} {}", parts.join("/"))
    };
    let planned: BTreeSet<String> = plan
        .iter()
        .map(|request| outline(request.method.as_str(), request.path.as_str()))
        .collect();
    let is_other = |target: &str| {
        ["/operations/", "/oauth2/", "operationresults"]
            .iter()
            .any(|part| target.to_lowercase().contains(part))
    };
    let sent: BTreeSet<String> = scene
        .azure
        .asked()
        .iter()
        .skip(before)
        .filter(|asked| !is_other(&asked.target))
        .map(|asked| outline(&asked.method, &asked.target))
        .collect();
    let unplanned: Vec<_> = sent.difference(&planned).collect();
    assert!(unplanned.is_empty(), "{unplanned:#?}");
    let unsent: Vec<_> = planned.difference(&sent).collect();
    assert!(unsent.is_empty(), "{unsent:#?}");
    let text: String = plan
        .iter()
        .map(|request| request.plan(&Cloud::default()).to_string())
        .collect();
    assert!(!text.contains(&*scene.secret.key(job.id).danger_base64()));
    assert!(text.contains(ssh::THROWN_AWAY));
}

#[tokio::test]
async fn a_machine_has_tags_names_and_a_first_boot() {
    let scene = Scene::new().await;
    let mut job = job();
    job.order.region = Some("eastus".to_owned());
    job.order.size = Some("Standard_B1s".to_owned());
    scene.make(&mut job, false).await.unwrap();
    let id = scene.azure.left_of("Microsoft.Compute/virtualMachines").pop().unwrap();
    let wanted = scene.azure.wanted(&id).unwrap();
    assert_eq!(wanted["location"], "eastus");
    let tags = &wanted["tags"];
    assert_eq!(
        (&tags["adit-instance"], &tags["adit-lease"]),
        (&json!("here"), &json!(job.id.to_string()))
    );
    assert!(tags["adit-expires-at"].as_str().unwrap().ends_with('Z'));
    let booted = &scene.rack.booted()[0];
    let data = String::from_utf8(booted.custom_data.clone().unwrap()).unwrap();
    let key = scene.secret.key(job.id);
    assert!(data.contains(&key.public_key().to_string()) && !data.contains(&*key.danger_base64()));
    assert!(
        scene
            .azure
            .left()
            .iter()
            .any(|id| id.ends_with("/networkSecurityGroups/adit-eastus-udp-51820"))
    );
}
