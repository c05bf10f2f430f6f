//! Microsoft's libraries for Python drive the fake through everything that it does.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use netlab::serve::azure::{
    Azure, ContainerGroup, Fault, Machine, Machines, NoMachines, Ran, Refusal, Script, Settings, Way,
};
use serde_json::json;

/// Machines that say what they were told.
#[derive(Default)]
struct Told(NoMachines);

impl Machines for Told {
    fn boot(&self, machine: &Machine) -> Result<IpAddr, Refusal> {
        self.0.boot(machine)
    }

    fn run(&self, _id: &str, script: &Script) -> Ran {
        if let Some(exit) = script.text.strip_prefix("exit ") {
            let exit = exit.trim().parse().expect("an exit code is a number");
            return Ran { exit, ..Ran::default() };
        }
        let parameters: Vec<_> = script
            .parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Ran {
            stdout: format!(
                "ran {} lines with {}\n",
                script.text.lines().count(),
                parameters.join(" ")
            ),
            ..Ran::default()
        }
    }

    fn start(&self, group: &ContainerGroup) -> Result<IpAddr, Refusal> {
        if group.containers[0].image == "nowhere/none" {
            return Err(Refusal::new(
                400,
                "InaccessibleImage",
                "The image in the container group is not accessible.",
            ));
        }
        self.0.start(group)
    }

    fn logs(&self, _id: &str, container: &str) -> String {
        format!("more\nthe log of {container}\n")
    }
}

#[test]
fn microsoft_s_libraries_find_what_they_expect() {
    netlab::requires!("azure-python");
    let start = |name: &str, settings: Settings| (name.to_owned(), Azure::start_with(settings, Told::default()));
    let by = |way| Settings {
        way: Some(way),
        ..Settings::default()
    };
    let services = [
        start(
            "Default",
            Settings {
                page: 2,
                ..Settings::default()
            },
        ),
        start("Location", by(Way::Location)),
        start("State", by(Way::State)),
        start("AtOnce", by(Way::AtOnce)),
    ];
    let azure = &services[0].1;
    azure.sell_out("Standard_B1ls");
    azure.set_quota("standardDSv3Family", 1);
    // The first question of the flow for faults.
    let group = "* /subscriptions/*/resourcegroups/Adit-Test";
    azure.fail_nth(&group.replacen('*', "GET", 1), 1, Fault::throttled(1));
    let guard = "**/networkSecurityGroups/failing";
    let failed = Refusal::new(409, "AllocationFailed", "There is no room.");
    azure.fail_next(&format!("PUT {guard}"), Fault::OperationFails(failed));
    azure.fail_next(
        &format!("DELETE {guard}"),
        Fault::Refused(Refusal::locked("the network")),
    );
    let given = json!({
        "members": Azure::members(),
        "services": services.iter().map(|(name, azure)| json!({
            "name": name, "url": azure.url(), "token": azure.token(), "subscription": azure.settings().subscription,
        })).collect::<Vec<_>>(),
    });

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure/flows.py");
    let mut child = Command::new(netlab::tool("azure-python").expect("asked for before"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start Python");
    let mut input = child.stdin.take().expect("its input is a pipe");
    write!(input, "{given}").expect("hand over the services");
    drop(input);
    let output = child.wait_with_output().expect("wait for Python");
    let said = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    let last = services.iter().map(|(name, azure)| {
        let asked = azure.asked();
        let last = asked.iter().rev().take(3).rev().map(|asked| {
            format!(
                "{} {} {:?}",
                asked.method,
                asked.target.split('?').next().unwrap_or_default(),
                asked.status
            )
        });
        format!("{name}: {}", last.collect::<Vec<_>>().join("\n    "))
    });
    assert!(
        output.status.success(),
        "{said}\n{log}\n{}",
        last.collect::<Vec<_>>().join("\n")
    );
    print!("{said}");
    for (name, azure) in &services {
        assert_eq!(azure.left(), [""; 0], "{name}");
    }
}
