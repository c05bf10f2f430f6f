//! What is in the way of a container, and what is said of it.

use std::fs;

use launch::order::Order;
use launch::place::docker::{Config, Docker};
use launch::place::{FaultKind, Job, Place as _};

use super::{MINUTES, Stage, job};
use crate::engine::TAG;

#[test]
fn what_is_in_the_way_is_named_with_its_remedy() {
    crate::needs_an_engine!();
    let stage = Stage::new(|config| config);
    let refused = |job: &Job, place: &Docker| {
        let fault = stage.wait(place.create(job)).expect_err("something is in the way");
        assert_eq!(fault.kind, FaultKind::Refused, "{fault:?}");
        assert!(!fault.remedy.is_empty(), "{fault:?}");
        fault.code
    };
    let first = stage.launch(Job {
        order: Order {
            port: Some(443),
            ..job(MINUTES).order
        },
        ..job(MINUTES)
    });
    let (endpoint, _) = stage.bring(&first, &[]);
    assert_eq!(endpoint, "203.0.113.2:443");
    let second = Job {
        order: first.order.clone(),
        ..job(MINUTES)
    };
    assert_eq!(refused(&second, &stage.place), "port_taken");
    stage.remove(&second);
    let with_image = |image: &str| {
        let image = image.to_owned();
        stage.place(|config| Config { image, ..config })
    };
    assert_eq!(refused(&second, &with_image("example/nothing:1")), "image_missing");
    // An image that knows no `adit node`.
    let other = stage.engine.path("other.tar");
    let root = stage.engine.path("nothing");
    fs::create_dir(&root).expect("make a folder");
    stage
        .engine
        .host
        .command("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&other)
        .arg(".")
        .run();
    stage.engine.docker(&["import"]).arg(&other).arg("empty").run();
    let fault = stage
        .wait(with_image("empty").create(&job(MINUTES)))
        .expect_err("it holds nothing");
    assert_eq!(fault.kind, FaultKind::Refused, "{fault:?}");
    let taken = job(MINUTES);
    let name = taken.id.resource_name();
    stage
        .engine
        .docker(&["create", "--name", &name, "--mount=type=tmpfs,dst=/config", TAG])
        .run();
    assert_eq!(refused(&taken, &stage.place), "name_taken");
    stage.remove(&taken);
    assert!(stage.containers().contains(&name), "another's container is left alone");
    let network = Some("nowhere".to_owned());
    let nowhere = stage.place(|config| Config { network, ..config });
    assert_eq!(refused(&job(MINUTES), &nowhere), "network_missing");
}
