//! Machines with linuxserver's image, which makes the keys.

use crate::{
    node::{Answer, END, START, Terms, WantedPeer},
    order::Keys,
};

use super::*;

const CLIENT: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";

fn conf() -> String {
    format!(
        "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.13.13.2\n\n[Peer]\n\
         PublicKey = {KEY}\nEndpoint = gateway.invalid:51820\nAllowedIPs = 0.0.0.0/0\n"
    )
}

fn said() -> String {
    format!(
        "peer phone {CLIENT} 10.13.13.2/32\npeer laptop {KEY} 10.13.13.3/32\n{START}\n{}{END}\n\n{}\n",
        conf(),
        ready()
    )
}

fn gateway_job() -> Job {
    let mut job = job();
    job.order.keys = Keys::Gateway;
    job.peers = ["phone", "laptop"]
        .map(|name| WantedPeer {
            name: name.to_owned(),
            public_key: None,
        })
        .to_vec();
    job
}

async fn scene(run_command: RunCommand) -> Scene {
    Scene::with(Settings::default(), |config| {
        config.gateway = GatewayImage::Linuxserver("lscr.io/linuxserver/wireguard:latest".to_owned());
        config.run_command = run_command;
    })
    .await
}

fn keys(name: &str) -> Question {
    let terms = Terms {
        endpoint: "127.0.0.1:51820".to_owned(),
        dns: Vec::new(),
        allowed_ips: vec!["0.0.0.0/0".parse().unwrap()],
        mtu: None,
    };
    Question::Keys {
        name: name.to_owned(),
        terms,
    }
}

#[tokio::test]
async fn a_configuration_comes_from_the_machine_and_is_in_no_store() {
    for run_command in [RunCommand::Managed, RunCommand::Action] {
        let scene = scene(run_command).await;
        scene.rack.says(&[&said(), &said()]);
        let mut job = gateway_job();
        scene.make(&mut job, false).await.unwrap();
        assert!(!job.refs.to_string().contains("yAnz5TF"));
        assert_eq!(
            scene.azure.left_of("Microsoft.Compute/virtualMachines/runCommands"),
            [""; 0]
        );
        let reached = scene.place.ask(&job, &Question::Report {}).await.unwrap();
        let Answer::Report(report) = reached.answer else {
            panic!("no report")
        };
        let peers: Vec<_> = report
            .peers
            .iter()
            .map(|peer| (peer.name.as_str(), peer.addresses.len()))
            .collect();
        assert_eq!(peers, [("phone", 1), ("laptop", 1)]);
        let reached = scene.place.ask(&job, &keys("Phone")).await.unwrap();
        let Answer::Configuration { public_key, text } = reached.answer else {
            panic!("no configuration")
        };
        assert_eq!(public_key.to_string(), CLIENT);
        assert!(
            text.danger_text().contains("Endpoint = 127.0.0.1:51820\n"),
            "it has the lease's endpoint"
        );
        let refused = scene.place.ask(&job, &keys("tablet")).await.unwrap();
        assert!(matches!(refused.answer, Answer::Refused { .. }));

        // Another process knows nothing, and reads it of the machine.
        let place = scene.restarted();
        let fault = place.ask(&job, &keys("phone")).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::NotYet, "configuration_read")
        );
        let began = Instant::now();
        let answer = loop {
            match place.ask(&job, &keys("phone")).await {
                Ok(reached) => break reached.answer,
                Err(fault) => assert_eq!(fault.kind, FaultKind::NotYet, "{fault}"),
            }
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        };
        assert!(matches!(answer, Answer::Configuration { .. }));
        scene.remove(&mut job).await;
        assert_eq!(scene.left(), [""; 0]);
        assert!(scene.place.memory.configuration(job.id, "phone").is_none());
    }
}

#[tokio::test]
async fn a_configuration_that_was_cut_off_is_an_error_and_never_a_sample() {
    let said = said();
    for cut in [
        &said[said.find("PrivateKey").unwrap()..],
        &said.replace(END, ""),
        &ready(),
    ] {
        let scene = scene(RunCommand::Managed).await;
        scene.rack.says(&[cut]);
        let fault = scene.make(&mut gateway_job(), false).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Refused, "output_unreadable")
        );
        assert!(!fault.message.contains("PrivateKey"), "{fault}");
    }
}

#[tokio::test]
async fn its_end_is_told_by_a_script_and_its_peers_stay() {
    let scene = scene(RunCommand::Managed).await;
    scene.rack.says(&[&said(), ""]);
    let mut job = gateway_job();
    scene.make(&mut job, false).await.unwrap();
    let bring = |peers: Vec<WantedPeer>| Question::Bring {
        peers,
        remaining_secs: 3_600,
    };
    scene.place.ask(&job, &bring(job.peers.clone())).await.unwrap();
    let began = Instant::now();
    while scene.rack.scripts().len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = &scene.rack.scripts()[1].text;
    assert!(
        told.contains("seconds=3600\n") || told.contains("seconds=3599\n"),
        "{told}"
    );
    let fault = scene
        .place
        .ask(&job, &bring(vec![job.peers[0].clone()]))
        .await
        .unwrap_err();
    assert_eq!(fault.code, "peers_fixed");
}
