//! What is seen of a gateway that does not answer, and before anything is made.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_gone_only_if_its_machine_is() {
    let scene = Scene::new().await;
    let mut job = job();
    scene.make(&mut job, false).await.unwrap();
    let fault = scene.place.ask(&job, &Question::Report {}).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unclear, "{fault:?}");
    let machine = names::machine(&scene.place.config.site, job.id);
    let path = machine.path().join("deallocate").unwrap();
    let stop = azure::Request::new(azure::Method::Post, path, "2024-11-01");
    scene.place.arm.carry_out(&stop, Duration::from_secs(60)).await.unwrap();
    let fault = scene.place.ask(&job, &Question::Report {}).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Gone, "machine_stopped"));
    scene.remove(&mut job.clone()).await;
    let fault = scene.place.ask(&job, &Question::Report {}).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Gone, "machine_gone"));
}

#[tokio::test]
async fn a_gateway_that_was_started_anew_is_read_anew() {
    const OTHER: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    let scene = Scene::new().await;
    scene.rack.says(&[&ready(), &ready().replace(KEY, OTHER)]);
    let mut job = job();
    scene.make(&mut job, false).await.unwrap();
    let began = Instant::now();
    loop {
        let _unanswered = scene.place.ask(&job, &Question::Report {}).await.unwrap_err();
        if let (Some(ready), false) = scene.place.memory.read(job.id) {
            assert_eq!(ready.public_key.to_string(), OTHER);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    // It is read once in a while, however often it gives no answer.
    let _unanswered = scene.place.ask(&job, &Question::Report {}).await.unwrap_err();
    assert_eq!(scene.rack.scripts().len(), 2);
}

#[tokio::test]
async fn a_check_says_what_is_wrong_and_what_mends_it() {
    let none = |_: &Azure| {};
    let size = |config: &mut Config| config.sizes = vec!["Standard_B2pts_v2".to_owned()];
    let purchase = |config: &mut Config| config.image = VmImage::FlatcarFree { accept_terms: false };
    let same = |_: &mut Config| {};
    for (change, trouble, name, code) in [
        (same as fn(&mut Config), none as fn(&Azure), "", ""),
        (
            same,
            |azure| azure.sell_out("Standard_B1s"),
            "the size Standard_B1s",
            "SkuNotAvailable",
        ),
        (
            same,
            |azure| azure.set_quota("cores", 0),
            "the quota of cores in the region",
            "QuotaExceeded",
        ),
        (
            same,
            |azure| azure.set_quota("PublicIPAddresses", 0),
            "the quota of public addresses",
            "QuotaExceeded",
        ),
        (
            same,
            |azure| azure.unregister("Microsoft.Network"),
            "the provider Microsoft.Network",
            "MissingSubscriptionRegistration",
        ),
        (size, none, "the size Standard_B2pts_v2", "run_command_unfit"),
        (
            purchase,
            none,
            "the terms of flatcar-container-linux-free",
            "MarketplacePurchaseEligibilityFailed",
        ),
    ] {
        let scene = Scene::with(Settings::default(), change).await;
        trouble(&scene.azure);
        let before = scene.azure.left();
        let checks = scene.place.check(&job().order).await;
        let wrong: Vec<_> = checks
            .iter()
            .filter_map(|check| Some((check.name.as_str(), check.result.as_ref().err()?)))
            .collect();
        let found: Vec<_> = wrong.iter().map(|(name, fault)| (*name, fault.code.as_str())).collect();
        let expected = if code.is_empty() { vec![] } else { vec![(name, code)] };
        assert_eq!(found, expected, "{wrong:?}");
        assert!(wrong.iter().all(|(_, fault)| !fault.remedy.is_empty()), "{wrong:?}");
        assert_eq!(scene.azure.left(), before);
        let is_reading =
            |asked: &&netlab::serve::azure::Asked| asked.method != "GET" && !asked.target.contains("/oauth2/");
        assert_eq!(
            scene.azure.asked().iter().filter(is_reading).count(),
            1,
            "the group alone was made"
        );
    }
}

#[test]
fn the_place_offers_regions_sizes_and_a_login() {
    let regions = vec!["westeurope".to_owned(), "eastus".to_owned()];
    let site = Site::new("0b1f6471-1bf0-4dda-aec3-cb9272f09590", "adit", regions.clone()).unwrap();
    let config = Config::new(site, GatewayImage::Adit("adit:1".to_owned()));
    let variables = Credentials {
        tenant: Some("t".to_owned()),
        client: Some("c".to_owned()),
        secret: Some("s".to_owned().into()),
        ..Credentials::default()
    };
    let credential = Credential::choose(Choice::Auto, &variables).unwrap();
    let arm = Arm::new(Cloud::default(), credential).unwrap();
    let secret = LauncherSecret::of(tempfile::tempdir().unwrap().path()).unwrap();
    let place = AzureVm::new(config, arm, secret).unwrap();
    let offered = place.describe();
    assert_eq!(
        (offered.regions, offered.sizes),
        (regions, vec!["Standard_B1s".to_owned()])
    );
    assert!(offered.takes_public_keys && offered.offers_ssh);
    assert_eq!(json!(offered.name), json!("azure-vm"));
}
