//! Which tests run in the guest, and which are left out there.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::guest::{Guest, Task};
use crate::lab;
use crate::machine::Machine;
use crate::report::{Count, Report};
use crate::test::{IMAGE, Program};

/// What the guest's tests are called in the summary.
pub(crate) const NAME: &str = "guest";

/// How long all of them may take, and one program of them.
const LIMIT: Duration = Duration::from_secs(900);

/// How many times slower than its host a guest is taken to be.
const SLOW: &str = "5";

/// How many tests run at once: most of their time they wait for each other's ends, for names and for time-outs.
const THREADS: &str = "--test-threads=4";

/// A run of one program of tests.
struct Run {
    /// The program's name, as in the summary.
    program: &'static str,
    /// Parts of the names of the tests that run; all, if there is none.
    tests: &'static [&'static str],
    /// Parts of the names of those that do not, each with the reason.
    without: &'static [(&'static str, &'static str)],
}

impl Run {
    fn name(&self) -> String {
        format!("{NAME}: {}", self.program)
    }
}

/// What each guest runs: two guests, for each keeps one processor busy, and both take about as long.
const RUNS: [&[Run]; 2] = [FIRST, SECOND];

const FIRST: &[Run] = &[
    Run {
        program: "linux: units",
        tests: &["nftables::"],
        without: &[],
    },
    Run {
        program: "gateway: units",
        tests: &["firewall::"],
        without: &[],
    },
    Run {
        program: "tunnel: planes",
        tests: &["kernel::"],
        without: &[],
    },
    Run {
        program: "adit: quick",
        tests: &["beside_wg_quick::", "ends::what_cannot_work"],
        without: &[],
    },
    Run {
        program: lab::NAME,
        tests: &["updown::"],
        without: &[],
    },
    Run {
        program: "adit: docker",
        tests: &["kernel::"],
        without: &[],
    },
];

/// Of the lab, those in which the kernel's plane has a part that no other test here shows: the rest asks for what the
/// host's own plane and network do, and takes the emulated processor a quarter of an hour.
const SECOND: &[Run] = &[Run {
    program: lab::NAME,
    tests: &[
        "forwarding::a_gateway_forwards_beside",
        "isolation::two_clients",
        "kernel::",
        "launcher::a_launcher_asks",
        "link::a_host_that_was_killed",
        "live::an_added_peer",
        "observe::",
        "restart::after",
        "roaming::",
        "tun::",
    ],
    without: &[
        (
            "a_path_that_loses",
            "needs more datagrams than the guest carries in the time",
        ),
        (
            "moves_to_ipv6",
            "takes as long as the other move and shows the same of the gateway",
        ),
    ],
}];

/// Programs whose tests need the kernel's WireGuard, and the module in each that has them: the host leaves them to
/// the guest.
const ONLY_HERE: [(&str, &str); 3] = [
    ("adit: docker", "kernel::"),
    (lab::NAME, "kernel::"),
    ("tunnel: planes", "kernel::"),
];

/// What makes `program` leave out the tests that are the guest's.
pub(crate) fn left_to_it(program: &str) -> Vec<String> {
    let modules = ONLY_HERE.into_iter().filter(|(name, _)| *name == program);
    modules
        .flat_map(|(_, module)| ["--skip".to_owned(), module.to_owned()])
        .collect()
}

/// Runs the guest's tests with the compiled `programs` and the container `image`, and adds them to the report.
pub(crate) fn test(
    root: &Path,
    machine: &Machine,
    install: bool,
    programs: &[Program],
    image: Option<&Path>,
    report: &mut Report,
) -> Result<()> {
    let guest = match Guest::prepare(root, machine, install)? {
        Ok(guest) => guest,
        Err(missing) => {
            report.add(NAME, Count::skip(format!("{NAME}: needs {missing}")), Duration::ZERO);
            return Ok(());
        }
    };
    let [first, second] = RUNS.map(|runs| {
        let mut tasks = Vec::new();
        for run in runs {
            match programs.iter().find(|program| program.name == run.program) {
                Some(program) => tasks.push(task(run, program, machine, image)),
                None => report.add(run.name(), Count::one(false), Duration::ZERO),
            }
            for (test, reason) in run.without {
                println!("not in the guest: {test} of {}: {reason}", run.program);
            }
        }
        tasks
    });
    let ran = std::thread::scope(|scope| {
        let other = scope.spawn(|| guest.run("first", &first, LIMIT));
        let ran = guest.run("second", &second, LIMIT)?;
        let other = other
            .join()
            .map_err(|_| anyhow::anyhow!("a guest's thread panicked"))??;
        anyhow::Ok(other.into_iter().chain(ran))
    })?;
    for (task, ran) in first.iter().chain(&second).zip(ran) {
        report.add(&task.name, Count::read(&ran.lines, ran.success), ran.took);
    }
    Ok(())
}

fn task(run: &Run, program: &Program, machine: &Machine, image: Option<&Path>) -> Task {
    let mut command = vec![program.path.display().to_string()];
    command.extend([THREADS, "--color=never"].map(str::to_owned));
    command.extend(run.tests.iter().map(|test| (*test).to_owned()));
    let without = run.without.iter();
    command.extend(without.flat_map(|(test, _)| ["--skip".to_owned(), (*test).to_owned()]));
    if run.program == lab::NAME {
        command.extend(lab::without(lab::OF_ONE_PLANE).map(str::to_owned));
    }
    let environment = [
        ("CARGO_MANIFEST_DIR", program.folder.display().to_string()),
        ("ADIT_TOOLS", machine.tools.display().to_string()),
        ("ADIT_TEST_ALL", "1".to_owned()),
        (lab::PLANE, "kernel".to_owned()),
        ("ADIT_TEST_SLOW", SLOW.to_owned()),
    ];
    Task {
        name: run.name(),
        command,
        folder: program.folder.clone(),
        environment: environment
            .into_iter()
            .chain(image.map(|image| (IMAGE, image.display().to_string())))
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        limit: LIMIT,
    }
}
