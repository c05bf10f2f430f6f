//! The place `local`: gateways of leases as processes of one machine.
//!
//! ```text
//!   client ══ tunnel ══ adit node ╮
//!                                 ├ gateway: folders, locks, sockets ◀─ the place
//!   other  ══ tunnel ══ adit node ╯
//! ```

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use launch::node::{Answer, Question};
use launch::order::Order;
use launch::place::local::{Gateways, Local, Start};
use launch::place::{FaultKind, Job, Place as _, Removal};
use netlab::serve;

use crate::gateway;
use crate::network::Network;
use crate::node::{LEASE, SECOND, bring, does_not_reach, key, reaches, up};
use crate::peer::Peer;

/// The gateways of a host of the lab.
#[derive(Debug)]
struct OfHost {
    program: PathBuf,
}

impl Gateways for OfHost {
    fn command(&self, start: &Start<'_>) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .args([
                "node",
                "--lease",
                &start.id.to_string(),
                "--plane",
                &gateway::plane(),
                "--socket",
            ])
            .arg(start.socket)
            .args(["--lifetime", &start.lifetime.as_secs().to_string()])
            .args(start.port.map(|port| format!("--listen={port}")));
        linux::session::start_in_own(&mut command);
        command
    }

    fn host(&self) -> Result<String, String> {
        Ok("203.0.113.2".to_owned())
    }

    fn clear(&self) -> Result<(), String> {
        tunnel::clear_leftovers().map_err(|error| error.to_string())?;
        ::gateway::firewall::clear().map_err(|error| error.to_string())
    }
}

fn job(lease: &str, port: Option<u16>) -> Job {
    Job {
        id: lease.parse().expect("it is a lease's id"),
        instance: "lab".to_owned(),
        order: Order {
            port,
            ..Order::plain("local", 600)
        },
        peers: Vec::new(),
        remaining: Duration::from_secs(600),
        refs: serde_json::Value::Null,
    }
}

#[test]
fn two_leases_live_on_one_machine_and_a_third_finds_its_port_taken() {
    crate::needs_a_lab!();
    if crate::reference::wanted() {
        return;
    }
    let network = Network::new();
    let before = network.gateway.network_state();
    let program = gateway::adit(&network.gateway);
    let place = Local::new(network.gateway.folder().join("leases"), Box::new(OfHost { program }));
    let on_host = |task: &(dyn Fn(&tokio::runtime::Runtime) + Sync)| {
        network.gateway.run(|| {
            // Its threads, and what they start, are in this host.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            task(&runtime.expect("a runtime can be had"));
        });
    };
    let jobs = [job(LEASE, None), job("01kb2w0v9hq3k1yv8s4n6t2m5f", None)];
    let clients = [(&network.client, key(1)), (&network.other, key(2))];
    let reports = std::sync::Mutex::new(Vec::new());
    on_host(&|runtime| {
        runtime.block_on(async {
            // At the same moment: neither takes what the other has found free.
            let (first, second) = tokio::join!(place.create(&jobs[0]), place.create(&jobs[1]));
            first.and(second).expect("both are made");
            for (job, (_, key)) in jobs.iter().zip(&clients) {
                let reached = loop {
                    match place.ask(job, &bring(&[("phone", Some(key))], 600)).await {
                        Err(fault) if fault.kind == FaultKind::NotYet => tokio::time::sleep(SECOND / 100).await,
                        reached => break reached.expect("it answers"),
                    }
                };
                let Answer::Report(report) = reached.answer else {
                    panic!("{reached:?}")
                };
                assert_eq!(reached.endpoint, format!("203.0.113.2:{}", report.listen_port));
                reports.lock().expect("one at a time").push(report);
            }
            let port = reports.lock().expect("one at a time")[0].listen_port;
            let third = job("01kb2w0v9hq3k1yv8s4n6t2m5g", Some(port));
            place.create(&third).await.expect("it is started");
            let fault = loop {
                match place.ask(&third, &Question::Report {}).await {
                    Err(fault) if fault.kind == FaultKind::NotYet => tokio::time::sleep(SECOND / 100).await,
                    other => break other.expect_err("it cannot start"),
                }
            };
            assert_eq!(
                (fault.kind, &*fault.code),
                (FaultKind::Refused, "port_taken"),
                "{fault:?}"
            );
            assert_eq!(place.remove(&third).await, Ok(Removal::Gone));
        });
    });
    let reports = reports.into_inner().expect("nobody panicked");
    let peers: Vec<Peer> = clients
        .iter()
        .zip(&reports)
        .map(|((host, key), report)| up(host, report, "phone", key))
        .collect();
    for (host, _) in &clients {
        reaches(host);
    }
    // Leases are not each other's, either.
    let echo = serve::tcp_echo(&network.other, 7);
    network.client.run(|| {
        for address in peers[1].addresses() {
            let server = SocketAddr::new(address, 7);
            assert!(TcpStream::connect_timeout(&server, SECOND).is_err(), "TCP to {server}");
        }
    });
    assert_eq!(echo.served(), 0);
    on_host(&|runtime| {
        runtime.block_on(async {
            assert_eq!(place.list("lab").await.expect("a list").len(), 2);
            assert_eq!(place.remove(&jobs[0]).await, Ok(Removal::Gone));
        });
    });
    does_not_reach(&network.client);
    reaches(&network.other);
    // One that is killed takes all along, sooner or later.
    let folder = network.gateway.folder().join("leases/lab").join(jobs[1].id.to_string());
    let kept = std::fs::read_to_string(folder.join("process")).expect("its number is kept");
    let pid = kept.split_whitespace().next().expect("a number");
    network.gateway.command("kill").args(["-9", pid]).run();
    on_host(&|runtime| {
        runtime.block_on(async {
            let fault = loop {
                match place.ask(&jobs[1], &Question::Report {}).await {
                    Err(fault) if fault.kind == FaultKind::Gone => break fault,
                    _ => tokio::time::sleep(SECOND / 100).await,
                }
            };
            assert!(fault.message.contains("signal 9"), "{fault:?}");
            assert_eq!(place.remove(&jobs[1]).await, Ok(Removal::Gone));
            assert_eq!(place.list("lab").await, Ok(Vec::new()));
        });
    });
    assert_eq!(network.gateway.network_state(), before);
    assert_eq!(network.gateway.processes(), []);
}
