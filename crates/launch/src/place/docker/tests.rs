//! What the place makes of an engine's answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Config, Docker, Host,
    fake::{Fake, Reply, json as body, refusal},
};
use crate::{
    LeaseId, Moment,
    node::{Answer, Question, Terms},
    order::{Order, everything},
    place::{Creation, FaultKind, Job, Place as _, Removal},
};

const REPORT: &str = "{\"answer\":\"report\",\"public_key\":\"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\",\
    \"listen_port\":51820,\"plane\":\"netstack\",\"addresses\":[\"10.13.13.1/24\"],\"remaining_secs\":1800,\"peers\":[]}\n";

const KEYS: &str = r#"{"answer":"configuration","public_key":"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
    "text":"[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"}"#;

pub(super) fn job() -> Job {
    Job {
        id: LeaseId::new(Moment::from_millis(1_795_000_000_000), 7),
        instance: "here".to_owned(),
        order: Order::plain("docker", 1_800),
        peers: Vec::new(),
        remaining: Duration::from_secs(1_800),
        refs: Value::Null,
    }
}

fn place(fake: &Fake) -> Docker {
    place_of(fake, false)
}

fn place_of(fake: &Fake, pulls: bool) -> Docker {
    let config = Config {
        socket: fake.socket(),
        pulls,
        ..Config::new(Host::Named("203.0.113.2".to_owned()))
    };
    Docker::new(config).unwrap()
}

fn container(status: &str, instance: &str) -> Reply {
    let ports = if status == "running" {
        json!({ "51820/udp": [{ "HostIp": "::", "HostPort": "49154" }, { "HostIp": "0.0.0.0", "HostPort": "49153" }] })
    } else {
        json!({})
    };
    let labels = json!({ "adit.instance": instance, "adit.lease": job().id.to_string() });
    let found = json!({
        "Id": "ab", "Name": format!("/{}", job().id.resource_name()), "Config": { "Labels": labels },
        "State": { "Status": status, "ExitCode": 3 }, "NetworkSettings": { "Ports": ports },
    });
    body(200, &found.to_string())
}

fn of(request: &str) -> String {
    request.replace("NAME", &job().id.resource_name())
}

fn no_container() -> Reply {
    refusal(404, "No such container: x")
}

#[tokio::test]
async fn a_gateway_is_made_started_and_found_again() {
    let (inspect, create, start) = (
        of("GET /containers/NAME/json"),
        "POST /containers/create",
        "POST /containers/ab/start",
    );
    let fake = Fake::start(&[
        (&inspect, &[no_container(), container("running", "here")]),
        (create, &[body(201, r#"{"Id":"ab","Warnings":[]}"#)]),
        ("POST /containers/ab/attach", &[Reply::Says("", "gateway ready\n")]),
        (start, &[Reply::Status(204, Vec::new())]),
        ("GET /containers/ab/json", &[container("running", "here")]),
    ]);
    let place = place(&fake);
    let made = Creation::Made {
        refs: json!({ "container": "ab", "port": 49_153 }),
    };
    assert_eq!(place.create(&job()).await, Ok(made.clone()));
    assert_eq!(place.create(&job()).await, Ok(made));
    let requests = fake.requests();
    let count = |wanted: &str| requests.iter().filter(|request| *request == wanted).count();
    assert_eq!((count(create), count(start)), (1, 1), "{requests:?}");
    let said = fake.body(create);
    assert_eq!(said["Labels"]["adit.instance"], "here");
    assert_eq!(said["Labels"]["adit.lease"], job().id.to_string());
    assert!(said["Labels"]["adit.expires-at"].as_str().unwrap().ends_with('Z'));
    let command = said["Cmd"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap());
    let command: Vec<&str> = command.collect();
    let expected = format!(
        "node --lease {} --lifetime 1800 --listen 51820 --plane netstack",
        job().id
    );
    assert_eq!(command.join(" "), expected);
    assert_eq!(
        (&said["User"], &said["HostConfig"]["CapDrop"]),
        (&json!("65534:65534"), &json!(["ALL"]))
    );
}

#[tokio::test]
async fn what_is_there_is_gone_on_with_or_left_alone() {
    // (its state, whose, how often it is started, what comes of it)
    for (status, instance, starts, expected) in [
        ("created", "here", 1, "made"),
        ("running", "here", 0, "made"),
        ("running", "elsewhere", 0, "name_taken"),
        ("created", "elsewhere", 0, "name_taken"),
        ("exited", "here", 0, "container_gone"),
        ("removing", "here", 0, "pending"),
    ] {
        let fake = Fake::start(&[
            (&of("GET /containers/NAME/json"), &[container(status, instance)]),
            ("POST /containers/ab/attach", &[Reply::Says("", "gateway ready\n")]),
            ("POST /containers/ab/start", &[Reply::Status(204, Vec::new())]),
            ("GET /containers/ab/json", &[container("running", "here")]),
        ]);
        let result = match place(&fake).create(&job()).await {
            Ok(Creation::Made { .. }) => "made".to_owned(),
            Ok(Creation::Pending { .. }) => "pending".to_owned(),
            Err(fault) => {
                assert_eq!(fault.kind, FaultKind::Refused);
                fault.code
            }
        };
        assert_eq!(result, expected, "{status} {instance}");
        let started = fake
            .requests()
            .iter()
            .filter(|request| request.ends_with("/start"))
            .count();
        assert_eq!(started, starts, "{status} {instance}");
    }
}

#[tokio::test]
async fn a_missing_image_is_fetched_or_named() {
    let replies = |pull: Reply| {
        Fake::start(&[
            (&of("GET /containers/NAME/json"), &[no_container()]),
            ("POST /containers/create", &[refusal(404, "No such image: adit:latest")]),
            (
                "GET /images/adit:latest/json",
                &[refusal(404, "No such image: adit:latest")],
            ),
            ("POST /images/create", &[pull]),
        ])
    };
    let fake = replies(refusal(500, "unused"));
    let fault = place(&fake).create(&job()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, "image_missing"));
    for (pull, kind, code) in [
        (refusal(404, "pull access denied"), FaultKind::Refused, "image_missing"),
        (
            refusal(500, "lookup registry.example: no such host"),
            FaultKind::Unclear,
            "image_not_fetched",
        ),
    ] {
        let fake = replies(pull);
        let place = place_of(&fake, true);
        let fault = loop {
            match place.create(&job()).await {
                Ok(Creation::Pending { doing, .. }) => assert!(doing.contains("adit:latest"), "{doing}"),
                Ok(Creation::Made { .. }) => panic!("there is no image"),
                Err(fault) => break fault,
            }
        };
        assert_eq!((fault.kind, fault.code.as_str()), (kind, code));
        let pulls = fake
            .requests()
            .iter()
            .filter(|request| *request == "POST /images/create")
            .count();
        assert_eq!(pulls, 1, "several steps share one");
    }
}

#[tokio::test]
async fn a_gateway_that_ends_at_once_is_refused_with_what_it_said() {
    let fake = Fake::start(&[
        (&of("GET /containers/NAME/json"), &[no_container()]),
        ("POST /containers/create", &[body(201, r#"{"Id":"ab","Warnings":[]}"#)]),
        (
            "POST /containers/ab/attach",
            &[Reply::Says("", "error: unrecognized subcommand 'node'\n")],
        ),
        ("POST /containers/ab/start", &[Reply::Status(204, Vec::new())]),
        ("GET /containers/ab/json", &[no_container()]),
    ]);
    let fault = place(&fake).create(&job()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_str()), (FaultKind::Refused, "gateway_ended"));
    assert!(fault.message.contains("unrecognized subcommand"), "{}", fault.message);
}

/// An engine in which a program says something and ends with a code.
fn with_program(output: &'static str, complaint: &'static str, code: i64, inspected: Reply) -> Fake {
    let ended = format!(r#"{{"Running":false,"ExitCode":{code}}}"#);
    Fake::start(&[
        ("POST /containers/ab/exec", &[body(201, r#"{"Id":"e"}"#)]),
        ("POST /exec/e/start", &[Reply::Says(output, complaint)]),
        ("GET /exec/e/json", &[body(200, &ended)]),
        (&of("GET /containers/NAME/json"), &[inspected]),
    ])
}

fn job_with_refs() -> Job {
    Job {
        refs: json!({ "container": "ab", "port": 49_153 }),
        ..job()
    }
}

#[tokio::test]
async fn a_gateway_is_asked_by_a_program_in_its_container() {
    let fake = with_program(REPORT, "", 0, container("running", "here"));
    let reached = place(&fake).ask(&job_with_refs(), &Question::Report {}).await.unwrap();
    assert_eq!(reached.endpoint, "203.0.113.2:49153");
    assert!(matches!(reached.answer, Answer::Report(_)));
    let words = json!(["/usr/bin/adit", "ask", "--json", r#"{"ask":"report"}"#]);
    assert_eq!(fake.body("POST /containers/ab/exec")["Cmd"], words);
    // Without what was noted, the container is looked for.
    assert!(place(&fake).ask(&job(), &Question::Report {}).await.is_ok());
}

#[tokio::test]
async fn keys_are_taken_whole_and_not_shown() {
    let question = Question::Keys {
        name: "phone".to_owned(),
        terms: Terms {
            endpoint: "203.0.113.2:49153".to_owned(),
            dns: Vec::new(),
            allowed_ips: everything(),
            mtu: None,
        },
    };
    let fake = with_program(KEYS, "", 0, container("running", "here"));
    let reached = place(&fake).ask(&job_with_refs(), &question).await.unwrap();
    assert!(!format!("{reached:?}").contains("yAnz5TF"));
    let Answer::Configuration { public_key, text } = reached.answer else {
        panic!("no configuration")
    };
    assert_eq!(public_key.to_string(), "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=");
    assert!(text.danger_text().starts_with("[Interface]\nPrivateKey = "));
    let fake = with_program(&KEYS[..KEYS.len() - 40], "", 1, container("running", "here"));
    let fault = place(&fake).ask(&job_with_refs(), &question).await.unwrap_err();
    assert!(!format!("{fault:?}").contains("PrivateKey"), "{fault:?}");
}

#[tokio::test]
async fn gone_is_told_from_what_cannot_be_told() {
    let ask = async |fake: &Fake| {
        place(fake)
            .ask(&job_with_refs(), &Question::Report {})
            .await
            .unwrap_err()
    };
    // (exit code, complaint, what an inspection says, kind, code)
    for (code, complaint, inspected, kind, expected) in [
        (
            1,
            "error: no gateway answers",
            container("running", "here"),
            FaultKind::NotYet,
            "starting",
        ),
        (
            2,
            "error: unrecognized subcommand 'ask'",
            container("running", "here"),
            FaultKind::Refused,
            "image_unfit",
        ),
        (127, "", container("running", "here"), FaultKind::Refused, "image_unfit"),
        (137, "", container("exited", "here"), FaultKind::Gone, "container_gone"),
        (137, "", no_container(), FaultKind::Gone, "container_gone"),
        (
            137,
            "",
            container("running", "elsewhere"),
            FaultKind::Gone,
            "container_gone",
        ),
        (
            137,
            "",
            refusal(500, "out of memory"),
            FaultKind::Unclear,
            "engine_failed",
        ),
    ] {
        let fault = ask(&with_program("", complaint, code, inspected)).await;
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (kind, expected),
            "{code} {complaint}"
        );
    }
    // (what the engine says to a program, what an inspection says, kind)
    for (refused, inspected, kind) in [
        (no_container(), no_container(), FaultKind::Gone),
        (
            refusal(409, "Container ab is not running"),
            container("exited", "here"),
            FaultKind::Gone,
        ),
        (
            refusal(409, "Container ab is paused"),
            container("paused", "here"),
            FaultKind::Unclear,
        ),
        (
            refusal(500, "cannot exec"),
            container("running", "here"),
            FaultKind::Unclear,
        ),
    ] {
        let shown = format!("{refused:?}");
        let fake = Fake::start(&[
            ("POST /containers/ab/exec", &[refused]),
            (&of("GET /containers/NAME/json"), &[inspected]),
        ]);
        assert_eq!(ask(&fake).await.kind, kind, "{shown}");
    }
    let fake = with_program(REPORT, "", 0, no_container());
    let place = place(&fake);
    drop(fake);
    let fault = place.ask(&job_with_refs(), &Question::Report {}).await.unwrap_err();
    assert_eq!(
        (fault.kind, fault.code.as_str()),
        (FaultKind::Unclear, "engine_unreachable")
    );
    assert!(!fault.remedy.is_empty());
}

#[tokio::test]
async fn removal_takes_what_carries_the_labels_and_nothing_else() {
    let lease = job().id.to_string();
    let listed = |instance: &str| json!({ "Id": "ab", "Labels": { "adit.instance": instance, "adit.lease": lease } });
    let pending = Removal::Pending {
        refs: Value::Null,
        after: super::SOON,
    };
    for (found, removal, expected) in [
        (json!([]), Reply::Status(204, Vec::new()), Some(Removal::Gone)),
        (
            json!([listed("elsewhere")]),
            refusal(500, "not to be asked"),
            Some(Removal::Gone),
        ),
        (
            json!([listed("here")]),
            Reply::Status(204, Vec::new()),
            Some(Removal::Gone),
        ),
        (json!([listed("here")]), no_container(), Some(Removal::Gone)),
        (
            json!([listed("here")]),
            refusal(409, "removal of container ab is already in progress"),
            Some(pending),
        ),
        (json!([listed("here")]), refusal(500, "device or resource busy"), None),
    ] {
        let fake = Fake::start(&[
            ("GET /containers/json", &[body(200, &found.to_string())]),
            ("DELETE /containers/ab", &[removal]),
        ]);
        let result = place(&fake).remove(&job()).await;
        match expected {
            Some(expected) => assert_eq!(result, Ok(expected)),
            None => assert_eq!(result.unwrap_err().kind, FaultKind::Unclear),
        }
    }
}

#[tokio::test]
async fn a_sweep_sees_leases_and_passes_over_what_is_none() {
    let lease = job().id.to_string();
    let found = json!([
        { "Id": "1", "Labels": { "adit.instance": "here", "adit.lease": lease } },
        { "Id": "2", "Labels": { "adit.instance": "here", "adit.lease": "x" } },
        { "Id": "3", "Labels": { "adit.instance": "here" } },
        { "Id": "4", "Labels": { "adit.instance": "elsewhere", "adit.lease": lease } },
        { "Id": "5", "Labels": { "adit.instance": "here", "adit.lease": lease } },
        { "Id": "6" },
    ]);
    let fake = Fake::start(&[("GET /containers/json", &[body(200, &found.to_string())])]);
    assert_eq!(place(&fake).list("here").await, Ok(vec![job().id]));
}
