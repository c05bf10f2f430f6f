//! The ends of a container whose image has no clock of its own.
//!
//! ```text
//!   launcher ── archive ─▶ /adit-end/in ◀── a loop that the image starts ──▶ ends the container
//!                                       ◀── the engine's health check ─────▶ ends the container
//! ```
//!
//! The image runs what root has in `/custom-cont-init.d` before anything else. Loop and check are independent of each other
//! and of the launcher: either of them ends the container when the time that it was told last is over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use docker::engine::{Check, Put};

use super::super::{Docker, faults::fault};
use crate::{
    LeaseId, Moment, clock,
    place::{Fault, Job},
};

/// What the image starts, and the engine runs.
pub(in crate::place) const SCRIPT: &str = include_str!("end.sh");

/// The folder whose programs the image runs at its start, and the script in it.
const STARTED: &str = "custom-cont-init.d";
const PROGRAM: &str = "custom-cont-init.d/adit-end";

/// The folder in which the script is told, and the file in it.
const FOLDER: &str = "adit-end";
const FILE: &str = "adit-end/in";

/// How often the engine looks.
const EVERY: Duration = Duration::from_secs(30);

/// Ends that are no further apart are the same: how long is left is told in whole seconds.
const SAME: Duration = Duration::from_secs(2);

/// What containers were told by this process, by the time since this machine was started.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Told(Arc<Mutex<HashMap<LeaseId, Duration>>>);

impl Told {
    fn all(&self) -> MutexGuard<'_, HashMap<LeaseId, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, id: LeaseId, end: Duration) -> bool {
        self.all().get(&id).is_some_and(|told| told.abs_diff(end) <= SAME)
    }

    /// The container is gone.
    pub(in super::super) fn forget(&self, id: LeaseId) {
        self.all().remove(&id);
    }
}

/// What the engine runs again and again.
pub(super) fn check() -> Check {
    Check {
        words: ["/bin/sh", &format!("/{PROGRAM}"), "once"].map(str::to_owned).to_vec(),
        every: EVERY,
    }
}

impl Docker {
    /// Gives a container that has not started its ends.
    pub(in super::super) async fn give_ends(&self, job: &Job, container: &str) -> Result<(), Fault> {
        let script = Put::File {
            path: PROGRAM.to_owned(),
            content: SCRIPT.as_bytes().to_vec(),
            is_program: true,
        };
        let folder = |path: &str| Put::Folder { path: path.to_owned() };
        let before = vec![folder(STARTED), script, folder(FOLDER)];
        self.tell_end(job.id, container, job.remaining, before).await
    }

    /// Lets a container live for so long from now on, if it was told otherwise.
    pub(super) async fn move_end(&self, id: LeaseId, container: &str, remaining: Duration) -> Result<(), Fault> {
        if self.told.is(id, clock::since_boot() + remaining) {
            return Ok(());
        }
        self.tell_end(id, container, remaining, Vec::new()).await
    }

    async fn tell_end(
        &self,
        id: LeaseId,
        container: &str,
        remaining: Duration,
        mut put: Vec<Put>,
    ) -> Result<(), Fault> {
        let end = clock::since_boot() + remaining;
        let round = Moment::from_system(SystemTime::now()).as_millis();
        put.push(Put::File {
            path: FILE.to_owned(),
            content: format!("{round} {} .\n", remaining.as_secs()).into_bytes(),
            is_program: false,
        });
        self.engine.put(container, &put).await.map_err(fault)?;
        self.told.all().insert(id, end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
        process::{Child, Command},
        thread,
        time::Instant,
    };

    use serde_json::json;

    use super::{super::PEERS, *};
    use crate::{
        node::{Question, WantedPeer},
        order::Keys,
        place::{
            FaultKind, Place as _,
            docker::{
                Config, Host, INSTANCE, LEASE,
                fake::{Fake, Reply, json as body, refusal},
                tests::job,
            },
        },
    };

    /// The script as a shell runs it, in a folder of its own.
    struct Scene {
        folder: tempfile::TempDir,
        shell: &'static str,
        loops: Option<Child>,
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            if let Some(mut child) = self.loops.take() {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }

    impl Scene {
        fn new(shell: &'static str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let halt = folder.path().join("halt");
            fs::write(folder.path().join("end.sh"), SCRIPT).unwrap();
            fs::write(&halt, "#!/bin/sh\necho >>\"${0%/*}/halted\"\n").unwrap();
            fs::set_permissions(&halt, fs::Permissions::from_mode(0o755)).unwrap();
            Self {
                folder,
                shell,
                loops: None,
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn command(&self, word: &str) -> Command {
            let mut command = Command::new(self.shell);
            command.arg(self.path("end.sh")).arg(word);
            command
                .env("ADIT_END_FOLDER", self.folder.path())
                .env("ADIT_END_HALT", self.path("halt"))
                .env("ADIT_END_EVERY", "0.05");
            command
        }

        fn start(&mut self) {
            self.loops = Some(self.command("loop").spawn().unwrap());
        }

        fn look(&self) -> bool {
            assert!(self.command("once").status().unwrap().success());
            self.path("halted").exists()
        }

        /// As the engine does it: what was there is gone before the new one is.
        fn tell(&self, text: &str) {
            let file = self.path("in");
            let _none_yet = fs::remove_file(&file);
            fs::write(file, text).unwrap();
        }

        fn at(&self) -> String {
            fs::read_to_string(self.path("at")).unwrap_or_default()
        }
    }

    fn wait_for(what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_container_ends_when_its_time_is_over_and_no_earlier() {
        for shell in ["/bin/sh", "/bin/bash"]
            .into_iter()
            .filter(|shell| Path::new(shell).exists())
        {
            let mut scene = Scene::new(shell);
            scene.tell("1 3600 .\n");
            scene.start();
            wait_for("the first round is read", || scene.at().starts_with("1 "));
            let began = Instant::now();
            scene.tell("2 3 .\n");
            wait_for("the second round is read", || scene.at().starts_with("2 "));
            let end = scene.at();
            // What is not whole is no round, and the one before goes on.
            scene.tell("3 0");
            wait_for("it ends", || scene.path("halted").exists());
            // Uptime is read in whole seconds.
            assert!(
                began.elapsed() > Duration::from_secs(2),
                "{shell}: {:?}",
                began.elapsed()
            );
            assert_eq!(scene.at(), end, "{shell}");
            // Whoever hears it not is told again.
            let halted = || fs::metadata(scene.path("halted")).unwrap().len();
            wait_for("it is told again", || halted() > 2);
        }
    }

    #[test]
    fn the_engine_s_look_ends_it_without_the_loop() {
        let scene = Scene::new("/bin/sh");
        assert!(!scene.look(), "it was told nothing");
        scene.tell("1 3600 .\n");
        assert!(!scene.look());
        fs::remove_file(scene.path("in")).unwrap();
        assert!(!scene.look() && scene.at().starts_with("1 "));
        let end = |text: String| text.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
        let first = end(scene.at());
        scene.tell("2 7200 .\n");
        assert!(!scene.look());
        assert!(end(scene.at()) >= first + 3_600, "an extension counts");
        scene.tell("3 0 .\n");
        assert!(scene.look());
    }

    #[test]
    fn the_image_s_start_does_not_wait_for_the_end() {
        let scene = Scene::new("/bin/sh");
        scene.tell("1 1 .\n");
        let started = scene.command("").status().unwrap();
        assert!(started.success() && !scene.path("halted").exists());
        wait_for("it ends", || scene.path("halted").exists());
    }

    const PUT: &str = "PUT /containers/ab/archive";

    fn container(status: &str) -> Reply {
        let labels = json!({ INSTANCE: "here", LEASE: job().id.to_string(), PEERS: "phone" });
        let ports = json!({ "51820/udp": [{ "HostIp": "0.0.0.0", "HostPort": "49153" }] });
        let found = json!({
            "Id": "ab", "Name": "/x", "Config": { "Labels": labels },
            "State": { "Status": status }, "NetworkSettings": { "Ports": ports },
        });
        body(200, &found.to_string())
    }

    #[tokio::test]
    async fn a_container_has_its_ends_before_it_starts_and_is_told_of_others() {
        let inspect = format!("GET /containers/{}/json", job().id.resource_name());
        let done = || Reply::Status(200, Vec::new());
        let fake = Fake::start(&[
            (&inspect, &[refusal(404, "No such container: x"), container("running")]),
            ("POST /containers/create", &[body(201, r#"{"Id":"ab","Warnings":[]}"#)]),
            (PUT, &[done(), done(), refusal(500, "no room"), done()]),
            ("POST /containers/ab/start", &[Reply::Status(204, Vec::new())]),
            ("GET /containers/ab/json", &[container("running")]),
        ]);
        let config = Config {
            socket: fake.socket(),
            ..Config::linuxserver(Host::Named("203.0.113.2".to_owned()))
        };
        let place = Docker::new(config).unwrap();
        let mut job = job();
        job.order.keys = Keys::Gateway;
        job.peers = vec![WantedPeer {
            name: "phone".to_owned(),
            public_key: None,
        }];
        place.create(&job).await.unwrap();
        let steps: Vec<String> = fake
            .requests()
            .into_iter()
            .filter(|request| !request.starts_with("GET "))
            .collect();
        assert_eq!(steps, ["POST /containers/create", PUT, "POST /containers/ab/start"]);
        let put = fake.text(PUT);
        for part in [PROGRAM, "#!/bin/sh\n", FILE, " 1800 .\n"] {
            assert!(put.contains(part), "{part}");
        }
        let check = &fake.body("POST /containers/create")["Healthcheck"]["Test"];
        assert_eq!(
            check,
            &json!(["CMD", "/bin/sh", "/custom-cont-init.d/adit-end", "once"])
        );

        let told = || fake.requests().iter().filter(|request| *request == PUT).count();
        // (what is left by now, how often it was told then, whether that is a fault)
        for (remaining_secs, times, is_fault) in [
            (1_800, 1, false),
            (1_799, 1, false),
            (2_400, 2, false),
            (3_000, 3, true),
            (3_000, 4, false),
            (3_000, 4, false),
        ] {
            let question = Question::Bring {
                peers: job.peers.clone(),
                remaining_secs,
            };
            // There is no configuration to report of; but for the end, that is asked for later.
            let fault = place.ask(&job, &question).await.unwrap_err();
            assert_eq!(told(), times, "{remaining_secs}: {fault:?}");
            assert_eq!(fault.message == "no room", is_fault, "{remaining_secs}: {fault:?}");
            assert_eq!(fault.kind, FaultKind::Unclear);
        }
        let put = fake.text(PUT);
        assert!(put.contains(" 3000 .\n") && !put.contains(PROGRAM), "{put}");
    }
}
