//! The checks that seed 000 lists, by its names for them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use launch::State;
use launch::launcher::Launcher;
use launch::lease::Kind as Told;
use launch::node::{Answer, END, Question, START, Terms};
use launch::order::{Keys, Order};
use launch::place::azure::vm::{GatewayImage, RunCommand};
use launch::place::simulate::{Simulate, Times};
use launch::place::{Fault, Reached};
use netlab::serve::azure::{ContainerGroup, Machine, Machines, Output, Ran, Refusal, Script, Settings};

use crate::cloud::{INSTANCE, Kind, Lit, admin, create, launcher, life, quick, reach};
use crate::hand::Hand;
use crate::lanes;
use crate::needs_machines;

/// What a gateway that is made passes through, in this order.
const PROGRESS: [Told; 4] = [Told::Requested, Told::Provisioning, Told::Configuring, Told::Ready];

/// The kinds of a lease's notices up to its being ready.
async fn told(launcher: &Launcher, id: launch::LeaseId) -> Vec<Told> {
    let notices = launcher
        .notices(&admin(), id, 0)
        .await
        .expect("the lease has a history");
    notices
        .into_iter()
        .map(|numbered| numbered.notice.kind)
        .take(PROGRESS.len())
        .collect()
}

/// A trial run: no account, a cloud's times (shortened), and a configuration that says that it is a sample.
#[test]
fn vm_provisioning_simulation() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be had");
    runtime.block_on(async {
        let place = Simulate::new(Times::default().at_speed(100.0));
        let launcher = launcher(INSTANCE, vec![place]);
        let id = create(&launcher).await;
        let ready = reach(&launcher, id, &[State::Ready, State::Removed]).await;
        assert!(ready.is_sample);
        assert_eq!(told(&launcher, id).await, PROGRESS);
        let gateway = ready.gateway.expect("a gateway that is ready is known");
        // Of the networks that are for documents (RFC 5737).
        assert!(gateway.endpoint.starts_with("192.0.2."), "{gateway:?}");
        launcher.end(&admin(), id).await.expect("a lease can be ended");
        reach(&launcher, id, &[State::Removed]).await;
    });
}

/// Whoever asks again and again sees the states in their order, and what Azure is at.
#[test]
fn status_polling_with_progression() {
    needs_machines!();
    lanes::each(Kind::BOTH, |kind| {
        let lit = Lit::new(Settings::default());
        lit.live(async || {
            let launcher = launcher(INSTANCE, vec![lit.place(kind)]);
            let id = create(&launcher).await;
            let (mut states, mut doing) = (Vec::new(), Vec::new());
            while states.last() != Some(&State::Ready) {
                let lease = launcher.read(&admin(), id).await.expect("the lease is there");
                assert!(lease.state.is_running(), "{kind:?}: {lease:?}");
                states.push(lease.state);
                doing.push(lease.doing);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            states.dedup();
            doing.dedup();
            let order = [State::Requested, State::Provisioning, State::Configuring, State::Ready];
            // One may pass between two looks.
            let mut rest = order.iter();
            assert!(
                states.iter().all(|state| rest.any(|next| next == state)),
                "{kind:?}: {states:?}"
            );
            assert!(states.contains(&State::Provisioning), "{kind:?}: {states:?}");
            assert!(doing.len() >= 3, "{kind:?}: {doing:?}");
            assert_eq!(told(&launcher, id).await, PROGRESS);
            launcher.end(&admin(), id).await.expect("a lease can be ended");
            reach(&launcher, id, &[State::Removed]).await;
        });
    });
}

const CONF: &str = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.13.13.2\n\n\
    [Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nEndpoint = gateway.invalid:51820\nAllowedIPs = 0.0.0.0/0\n";

const READY: &str = r#"{"adit":"ready","public_key":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","listen_port":51820,"plane":"kernel"}"#;

const PEER: &str = "peer phone HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw= 10.13.13.2/32";

/// Machines on which every script says the same.
struct Says(String);

impl Machines for Says {
    fn boot(&self, _machine: &Machine) -> Result<IpAddr, Refusal> {
        Ok(Ipv4Addr::new(192, 0, 2, 1).into())
    }

    fn start(&self, _group: &ContainerGroup) -> Result<IpAddr, Refusal> {
        Ok(Ipv4Addr::new(192, 0, 2, 2).into())
    }

    fn run(&self, _id: &str, _script: &Script) -> Ran {
        Ran {
            stdout: self.0.clone(),
            ..Ran::default()
        }
    }
}

/// Makes a gateway of linuxserver's image on machines that say this, and asks for the configuration of its peer.
async fn configuration(lit: &Lit, run_command: RunCommand) -> Result<Reached, Fault> {
    let place = lit.vm(|config| {
        config.gateway = GatewayImage::Linuxserver("lscr.io/linuxserver/wireguard:latest".to_owned());
        config.run_command = run_command;
    });
    let mut hand = Hand::new(place);
    hand.job.peers[0].public_key = None;
    hand.job.order = Order {
        keys: Keys::Gateway,
        ..hand.job.order
    };
    hand.make().await?;
    let question = Question::Keys {
        name: "phone".to_owned(),
        terms: Terms {
            endpoint: "192.0.2.1:51820".to_owned(),
            dns: Vec::new(),
            allowed_ips: hand.job.order.allowed_ips.clone(),
            mtu: None,
        },
    };
    hand.place.ask(&hand.job, &question).await
}

/// The configuration that a script prints comes whole, in each form of Run Command, or not at all: never a sample.
#[test]
fn config_extraction_logic() {
    needs_machines!();
    let whole = format!("{PEER}\n{START}\n{CONF}{END}\n\n{READY}\n");
    let cases = [
        ("whole", whole.clone(), true),
        (
            "after much else",
            format!("{}\n{whole}", "pulling\n".repeat(2_000)),
            true,
        ),
        ("without its first marker", whole.replace(START, ""), false),
        ("without its last marker", whole.replace(END, ""), false),
        ("without both", format!("{PEER}\n{CONF}\n{READY}\n"), false),
        (
            "cut at its beginning",
            whole[whole.find("Address").unwrap_or(0)..].to_owned(),
            false,
        ),
        (
            "so long that its beginning is cut off",
            format!("{PEER}\n{START}\n{CONF}{}{END}\n\n{READY}\n", "# \n".repeat(1_500)),
            false,
        ),
        ("without a configuration", format!("{READY}\n"), false),
        ("cut at its end", whole[..whole.len() - 40].to_owned(), false),
    ];
    let forms = [
        (RunCommand::Managed, Output::OneEntry),
        (RunCommand::Action, Output::OneEntry),
        (RunCommand::Action, Output::TwoEntries),
    ];
    let all = cases.iter().flat_map(|case| forms.iter().map(move |form| (case, form)));
    lanes::each(all, |((what, output, is_whole), (run_command, shape))| {
        let about = format!("{what}, {run_command:?}, {shape:?}");
        let settings = Settings {
            output: *shape,
            ..quick()
        };
        let lit = Lit::with(settings, Says(output.clone()));
        let asked = lit.live(async || {
            tokio::time::timeout(Duration::from_secs(6), configuration(&lit, *run_command))
                .await
                .ok()
        });
        match asked {
            Some(Ok(Reached {
                answer: Answer::Configuration { text, .. },
                ..
            })) => {
                assert!(is_whole, "{about}: a configuration was made up");
                let text = text.danger_text();
                assert!(text.contains("yAnz5TF") && text.contains("192.0.2.1:51820"), "{about}");
            }
            other => assert!(!is_whole, "{about}: {other:?}"),
        }
    });
}

/// Both places side by side in one launcher, as the hub has them: what is ready at one is none of the other's.
#[test]
fn leases_of_both_places_live_side_by_side() {
    needs_machines!();
    let lit = Lit::new(quick());
    let ready = lit.live(async || {
        let launcher = launcher(INSTANCE, Kind::BOTH.map(|kind| lit.place(kind)).to_vec());
        let (one, other) = (life(&launcher), life(&launcher));
        tokio::join!(one, other)
    });
    assert_ne!(
        ready.0.gateway.map(|facts| facts.endpoint),
        ready.1.gateway.map(|facts| facts.endpoint)
    );
    assert_eq!(lit.left(), [""; 0]);
}
