//! What becomes of processes, whatever they and this one do. The gateway is this program itself, which plays one.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::UnixListener,
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use serde_json::json;

use super::*;
use crate::{
    Moment,
    node::{ERROR, FAULT, READY, Report, Terms, WantedPeer},
    order::{Order, everything},
};

/// The variable that makes a test of this program a gateway: how it behaves, and where its socket is.
const PLAY: &str = "LAUNCH_TEST_GATEWAY";

/// The port that it says it listens on.
const PORT: u16 = 51_822;

#[derive(Debug)]
struct Players {
    behaviour: &'static str,
}

impl Gateways for Players {
    fn command(&self, start: &Start<'_>) -> Command {
        let program = match self.behaviour {
            "missing" => PathBuf::from("/nonexistent/adit"),
            _ => env::current_exe().unwrap(),
        };
        // What is ignored stays so in the program that the shell becomes.
        let trap = if self.behaviour == "deaf" { "trap '' TERM; " } else { "" };
        let mut command = if self.behaviour == "missing" {
            Command::new(program)
        } else {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("{trap}exec \"$0\" \"$@\"")]).arg(program);
            command
        };
        command.args([
            "--exact",
            "place::local::tests::plays_a_gateway",
            "--nocapture",
            "--test-threads=1",
        ]);
        let play = format!("{} {} {:?}", self.behaviour, start.socket.display(), start.mtu);
        command.env(PLAY, play).process_group(0);
        command
    }

    fn host(&self) -> Result<String, String> {
        match self.behaviour {
            "nowhere" => Err("this machine has no route to the Internet".to_owned()),
            _ => Ok("192.0.2.1".to_owned()),
        }
    }

    fn clear(&self) -> Result<(), String> {
        Ok(())
    }
}

/// No test, but the process that the others start.
#[test]
fn plays_a_gateway() {
    let Ok(play) = env::var(PLAY) else { return };
    let mut words = play.split(' ');
    let (behaviour, socket) = (words.next().unwrap(), words.next().unwrap());
    match behaviour {
        "taken" => {
            eprintln!("2026-11-18T11:06:40Z {FAULT}port_taken\n{ERROR}udp 51820 is taken by another program");
            std::process::exit(1);
        }
        "wrong" => {
            eprintln!("{ERROR}unexpected argument '--fly'\n\nUsage: adit node");
            std::process::exit(2);
        }
        "slow" | "deaf" => thread::sleep(Duration::from_secs(60)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).unwrap();
    eprintln!("2026-11-18T11:06:40Z {READY} in 0.001 s");
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap() > 0 {
            let question = Question::read(&line).unwrap();
            line.clear();
            let answer = match &question {
                _ if behaviour == "babbling" => {
                    stream.write_all(b"hello\n").unwrap();
                    continue;
                }
                Question::End {} => Answer::Ending {},
                Question::Keys { .. } => Answer::Refused {
                    message: "no".to_owned(),
                },
                Question::Report {} | Question::Bring { .. } => Answer::Report(Report {
                    public_key: wg::PublicKey::from_bytes([7; 32]),
                    listen_port: PORT,
                    plane: "netstack".to_owned(),
                    addresses: Vec::new(),
                    remaining_secs: u64::from(std::process::id()),
                    peers: Vec::new(),
                }),
            };
            stream.write_all(&answer.line()).unwrap();
            if question == (Question::End {}) {
                std::process::exit(0);
            }
        }
    }
}

struct Scene {
    runtime: tempfile::TempDir,
    place: Local,
    job: Job,
}

impl Scene {
    fn new(behaviour: &'static str) -> Self {
        let runtime = tempfile::tempdir().unwrap();
        let place = Local::new(runtime.path().to_owned(), Box::new(Players { behaviour }));
        let job = Job {
            id: LeaseId::new(Moment::from_millis(1_795_000_000_000), 7),
            instance: "test".to_owned(),
            order: Order {
                mtu: Some(1_280),
                ..Order::plain(NAME, 1_800)
            },
            peers: Vec::new(),
            remaining: Duration::from_secs(1_800),
            refs: Value::Null,
        };
        Self { runtime, place, job }
    }

    /// What is there after this program was killed and has been started again.
    fn restart(&mut self) {
        let behaviour = "well";
        self.place = Local::new(self.runtime.path().to_owned(), Box::new(Players { behaviour }));
    }

    fn folder(&self) -> PathBuf {
        self.runtime.path().join("test").join(self.job.id.to_string())
    }

    async fn create(&self) {
        let made = Creation::Made { refs: Value::Null };
        assert_eq!(self.place.create(&self.job).await, Ok(made));
    }

    async fn ask(&self, question: &Question) -> Result<Reached, Fault> {
        let begun = Instant::now();
        loop {
            match self.place.ask(&self.job, question).await {
                Err(fault) if fault.kind == FaultKind::NotYet && begun.elapsed() < Duration::from_secs(20) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                result => return result,
            }
        }
    }

    /// The number of the process that answers.
    async fn pid(&self) -> i32 {
        let reached = self.ask(&Question::Report {}).await.unwrap();
        let Answer::Report(report) = reached.answer else {
            panic!("{reached:?}")
        };
        i32::try_from(report.remaining_secs).unwrap()
    }

    async fn list(&self) -> Vec<LeaseId> {
        self.place.list("test").await.unwrap()
    }

    /// Removes it, and looks that nothing is left.
    async fn remove(&self) {
        assert_eq!(self.place.remove(&self.job).await, Ok(Removal::Gone));
        assert!(!self.folder().exists());
        assert_eq!(self.list().await, []);
        let fault = self.place.ask(&self.job, &Question::Report {}).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Gone, "{fault:?}");
        assert_eq!(self.place.remove(&self.job).await, Ok(Removal::Gone), "a second time");
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_gateway_is_made_once_answers_and_is_removed() {
    let scene = Scene::new("well");
    assert_eq!(scene.list().await, []);
    scene.create().await;
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(scene.folder()), mode(scene.folder().join("log"))), (0o700, 0o600));
    let pid = scene.pid().await;
    scene.create().await;
    assert_eq!(scene.pid().await, pid, "it was made a second time");
    assert_eq!(scene.list().await, [scene.job.id]);
    assert_eq!(scene.place.list("other").await, Ok(Vec::new()));
    let bring = Question::Bring {
        peers: vec![WantedPeer {
            name: "phone".to_owned(),
            public_key: None,
        }],
        remaining_secs: 1,
    };
    let keys = Question::Keys {
        name: "phone".to_owned(),
        terms: Terms {
            endpoint: "192.0.2.1:1".to_owned(),
            dns: Vec::new(),
            allowed_ips: everything(),
            mtu: None,
        },
    };
    for question in [bring, keys] {
        let reached = scene.ask(&question).await.unwrap();
        assert_eq!(reached.endpoint, format!("192.0.2.1:{PORT}"), "{question:?}");
    }
    scene.remove().await;
    assert!(!is_there(pid));
}

#[tokio::test]
async fn a_gateway_that_cannot_start_is_refused_in_its_own_words() {
    for (behaviour, code, message) in [
        ("taken", "port_taken", "udp 51820 is taken by another program"),
        ("wrong", "start_failed", "unexpected argument '--fly'"),
    ] {
        let scene = Scene::new(behaviour);
        scene.create().await;
        let fault = scene.ask(&Question::Report {}).await.unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.code, &*fault.message),
            (FaultKind::Refused, code, message)
        );
        assert!(!fault.remedy.is_empty());
        scene.remove().await;
    }
    for (behaviour, code) in [("missing", "start_failed"), ("nowhere", "no_address")] {
        let scene = Scene::new(behaviour);
        let fault = scene.place.create(&scene.job).await.unwrap_err();
        assert_eq!((fault.kind, &*fault.code), (FaultKind::Refused, code), "{fault:?}");
        scene.remove().await;
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_listen_yet_is_waited_for_and_removed_by_a_signal() {
    let scene = Scene::new("slow");
    scene.create().await;
    let fault = scene.place.ask(&scene.job, &Question::Report {}).await.unwrap_err();
    assert_eq!((fault.kind, &*fault.code), (FaultKind::NotYet, "starting"));
    let begun = Instant::now();
    scene.remove().await;
    assert!(begun.elapsed() < TERM_LIMIT, "it was killed");
}

#[tokio::test]
async fn a_gateway_that_answers_something_else_is_unclear() {
    let scene = Scene::new("babbling");
    scene.create().await;
    let fault = scene.ask(&Question::Report {}).await.unwrap_err();
    assert_eq!((fault.kind, &*fault.code), (FaultKind::Unclear, "no_answer"));
    scene.remove().await;
}

#[tokio::test]
async fn a_gateway_that_hears_nothing_is_killed_whoever_started_it() {
    // Whether the place is another one by now, and whether that one knows the process.
    for (is_other, is_kept) in [(false, true), (true, true), (true, false)] {
        let mut scene = Scene::new("deaf");
        scene.create().await;
        let text = fs::read_to_string(scene.folder().join("process")).unwrap();
        let pid: i32 = text.split_whitespace().next().unwrap().parse().unwrap();
        // Until then the shell still hears.
        let begun = Instant::now();
        let words = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        // It has none for a moment while one program takes the other's place.
        while Some(words()).is_some_and(|words| words.is_empty() || words.starts_with("/bin/sh")) {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let starter = scene.place.clone();
        if is_other {
            scene.restart();
        }
        if !is_kept {
            fs::remove_file(scene.folder().join("process")).unwrap();
        }
        let begun = Instant::now();
        scene.remove().await;
        assert!(begun.elapsed() >= TERM_LIMIT, "it heard");
        // Whoever started a process has to wait for it.
        assert_eq!(starter.list("test").await, Ok(Vec::new()));
        assert!(!is_there(pid));
    }
}

#[tokio::test]
async fn a_gateway_that_was_killed_is_gone_and_leaves_nothing() {
    let scene = Scene::new("well");
    scene.create().await;
    let pid = scene.pid().await;
    kill(pid);
    let begun = Instant::now();
    let fault = loop {
        match scene.place.ask(&scene.job, &Question::Report {}).await {
            Err(fault) if fault.kind == FaultKind::Gone => break fault,
            other => assert!(begun.elapsed() < Duration::from_secs(20), "{other:?}"),
        }
    };
    assert_eq!(fault.message, "the gateway's process has ended by signal 9");
    assert!(!is_there(pid), "it was not waited for");
    scene.create().await;
    assert_ne!(scene.pid().await, pid);
    scene.remove().await;
}

#[tokio::test]
async fn a_gateway_outlives_the_launcher_and_is_the_next_one_s() {
    let mut scene = Scene::new("well");
    scene.create().await;
    let pid = scene.pid().await;
    scene.restart();
    assert_eq!(scene.list().await, [scene.job.id]);
    scene.create().await;
    assert_eq!(scene.pid().await, pid);
    scene.remove().await;
}

#[tokio::test]
async fn what_a_killed_launcher_has_half_made_is_found_and_removed() {
    for files in [
        &[][..],
        &["lock"],
        &["lock", "log"],
        &["lock", "log", "socket", "process.new"],
    ] {
        let scene = Scene::new("well");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(scene.folder())
            .unwrap();
        for file in files {
            fs::write(scene.folder().join(file), "").unwrap();
        }
        assert_eq!(scene.list().await, [scene.job.id]);
        let fault = scene.place.ask(&scene.job, &Question::Report {}).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Gone, "{files:?}");
        scene.create().await;
        scene.pid().await;
        scene.remove().await;
    }
}

#[tokio::test]
async fn a_folder_that_others_may_write_in_is_not_used() {
    let scene = Scene::new("well");
    fs::create_dir_all(scene.folder()).unwrap();
    fs::set_permissions(scene.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    let fault = scene.place.create(&scene.job).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused, "{fault:?}");
    let mut job = scene.job.clone();
    job.instance = "../x".to_owned();
    assert_eq!(scene.place.create(&job).await.unwrap_err().code, "bad_instance");
    job.instance = "a".repeat(60);
    let deep = Local::new(
        scene.runtime.path().join("b".repeat(60)),
        Box::new(Players { behaviour: "well" }),
    );
    assert_eq!(deep.create(&job).await.unwrap_err().code, "runtime_too_long");
    assert_eq!(json!(deep.describe())["name"], "local");
}
