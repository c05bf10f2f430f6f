//! The place `local`: gateways as processes on this machine.
//!
//! A process holds a lock on a file of its lease's folder from its first moment to its last. So whether it lives is told
//! by the kernel, and by no memory of this program, which may be another one by now.

mod fault;
mod folder;
mod gateways;
mod process;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustix::process::Signal;
use serde_json::Value;

pub use self::gateways::{Gateways, Start};
use self::{
    fault::{cannot, remedy, unclear},
    folder::{Folder, Hold, of_instance},
    process::Process,
};
use super::{Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal};
use crate::{
    LeaseId,
    node::{
        Answer, Question,
        client::{AskError, Client},
    },
};

/// The place's name.
pub const NAME: &str = "local";

/// How long a gateway may think about a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a gateway that is asked to end may take, before it is sent SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(1);

/// How long after the first word it may take, before it is sent SIGKILL.
const TERM_LIMIT: Duration = Duration::from_secs(3);

/// How long after the first word it is waited for.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How often the lock is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(10);

/// How often until it is given up that a process whose files are closed can be waited for.
const PATIENCE: u32 = 100;

/// How often before it is believed that a process has it.
const GLANCES: u32 = 5;

/// The place. Clones are the same.
#[derive(Clone, Debug)]
pub struct Local {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    runtime: PathBuf,
    gateways: Box<dyn Gateways>,
    /// Those of its processes that it started itself. Locked while a lease's lock is looked at, which takes it for a
    /// moment: who looks at the same time would think that the process lives.
    children: Mutex<Vec<Started>>,
}

/// A process that this one started.
#[derive(Debug)]
struct Started {
    id: LeaseId,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Local {
    /// The place whose leases have their folders in `runtime`, a folder that is gone after a restart of the machine, such
    /// as one in `/run`; its gateways may go on after this process has ended.
    pub fn new(runtime: PathBuf, gateways: Box<dyn Gateways>) -> Self {
        Self {
            inner: Arc::new(Inner {
                runtime,
                gateways,
                children: Mutex::default(),
            }),
        }
    }

    /// Does what waits for files and processes on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Inner) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || task(&inner)).await;
        done.unwrap_or_else(|error| {
            Err(unclear(
                "interrupted",
                format!("the step did not come to its end: {error}"),
            ))
        })
    }
}

#[async_trait]
impl Place for Local {
    fn describe(&self) -> Description {
        Description {
            name: NAME.to_owned(),
            title: "This machine".to_owned(),
            usual_secs: 1,
            takes_public_keys: true,
            ..Description::default()
        }
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        let job = job.clone();
        self.blocking(move |inner| inner.create(&job)).await
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let (job, question) = (job.clone(), question.clone());
        self.blocking(move |inner| inner.ask(&job, &question)).await
    }

    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        let job = job.clone();
        self.blocking(move |inner| inner.remove(&job)).await
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        let instance = instance.to_owned();
        self.blocking(move |inner| inner.list(&instance)).await
    }
}

impl Inner {
    fn create(&self, job: &Job) -> Result<Creation, Fault> {
        let folder = self.folder(job)?;
        // Before anything is made: without it no client could connect.
        self.host(FaultKind::Refused)?;
        let made = Creation::Made { refs: Value::Null };
        let mut children = self.children();
        folder.make().map_err(|error| cannot("make its folder", &error))?;
        let lock = match hold_patiently(&folder)? {
            Hold::Theirs(_) => return Ok(made),
            Hold::Ours(lock) => lock,
            Hold::Absent => return Err(unclear("folder_gone", "somebody removed the lease's folder".to_owned())),
        };
        let log = folder.fresh_log().map_err(|error| cannot("make its log", &error))?;
        let mut command = self.gateways.command(&Start {
            id: job.id,
            socket: &folder.socket(),
            lifetime: job.remaining,
            port: job.order.port,
            mtu: job.order.mtu,
        });
        // The lock is the process's from its first moment on, whatever becomes of this one.
        command
            .stdin(Stdio::from(lock))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .current_dir("/");
        let child = command.spawn().map_err(|error| cannot("be started", &error))?;
        if let Some(process) = Process::of(child.id()) {
            // Without it, it is found by its lock.
            let _as_well = folder.keep_process(process);
        }
        children.retain(|started| started.id != job.id || started.ended.is_none());
        children.push(Started {
            id: job.id,
            child,
            ended: None,
        });
        Ok(made)
    }

    fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        let folder = self.folder(job)?;
        if self.lives(&folder)?.is_none() {
            return Err(self.ended(job.id, &folder));
        }
        let host = self.host(FaultKind::Unclear)?;
        let ask = || {
            let mut client = Client::connect(&folder.socket(), ANSWER_LIMIT)?;
            let port = match question {
                Question::Report {} | Question::Bring { .. } => None,
                // Their answers do not tell.
                Question::Keys { .. } | Question::End {} => port(&client.ask(&Question::Report {})?),
            };
            let answer = client.ask(question)?;
            Ok((port.or_else(|| self::port(&answer)), answer))
        };
        match ask() {
            Ok((port, answer)) => {
                let port = port.or(job.order.port);
                let endpoint = port.map(|port| format!("{host}:{port}")).unwrap_or_default();
                Ok(Reached { endpoint, answer })
            }
            // It may have ended while it was asked.
            Err(_) if self.lives(&folder)?.is_none() => Err(self.ended(job.id, &folder)),
            Err(AskError::Nobody { cause, .. }) if is_starting(&cause) => {
                Err(Fault::new(FaultKind::NotYet, "starting", "the gateway starts"))
            }
            Err(error @ (AskError::Nobody { .. } | AskError::Lost(_) | AskError::Foreign(_))) => {
                Err(unclear("no_answer", error.to_string()))
            }
        }
    }

    fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        let folder = self.folder(job)?;
        let begun = Instant::now();
        let mut pressure = Pressure::None;
        while let Some(lock) = self.lives(&folder)? {
            let passed = begun.elapsed();
            let signal = |signal| {
                if let Some(process) = folder.kept_process(&lock) {
                    // Whether it helped shows by the lock.
                    let _ended_meanwhile = process.signal(signal);
                }
            };
            pressure = match pressure {
                Pressure::None if ask_to_end(&folder) => Pressure::Asked,
                // It does not listen, or not yet.
                Pressure::None => {
                    signal(Signal::TERM);
                    Pressure::Terminated
                }
                Pressure::Asked if passed >= END_LIMIT => {
                    signal(Signal::TERM);
                    Pressure::Terminated
                }
                Pressure::Terminated if passed >= TERM_LIMIT => {
                    signal(Signal::KILL);
                    Pressure::Killed
                }
                Pressure::Killed if passed >= KILL_LIMIT => return Ok(later()),
                same @ (Pressure::Asked | Pressure::Terminated | Pressure::Killed) => {
                    thread::sleep(GLANCE);
                    same
                }
            };
        }
        self.clear_away(job.id, &folder)
    }

    /// Removes what is left of a lease whose process has ended.
    fn clear_away(&self, id: LeaseId, folder: &Folder) -> Result<Removal, Fault> {
        let mut children = self.children();
        // The folder goes last: while it is there, there may be something left.
        let _lock = match hold(folder)? {
            Hold::Ours(lock) => Some(lock),
            Hold::Absent => None,
            Hold::Theirs(_) => return Ok(later()),
        };
        self.gateways
            .clear()
            .map_err(|problem| unclear("not_cleared", problem))?;
        folder
            .remove()
            .map_err(|error| unclear("not_removed", format!("cannot remove its folder: {error}")))?;
        children.retain(|started| started.id != id || started.ended.is_none());
        Ok(Removal::Gone)
    }

    fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        // For what has ended since.
        drop(self.children());
        let folder = of_instance(&self.runtime, instance)?;
        let unreadable = |error: io::Error| unclear("unreadable", format!("cannot read {}: {error}", folder.display()));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(unreadable)?.file_name();
            found.extend(name.to_str().and_then(|name| name.parse::<LeaseId>().ok()));
        }
        found.sort();
        Ok(found)
    }

    fn folder(&self, job: &Job) -> Result<Folder, Fault> {
        Folder::new(&self.runtime, &job.instance, job.id)
    }

    fn host(&self, kind: FaultKind) -> Result<String, Fault> {
        let no_address = |problem: String| {
            let remedy = "say in the configuration how clients reach this machine: a name or an address";
            Fault::new(kind, "no_address", problem).with_remedy(remedy)
        };
        self.gateways.host().map_err(no_address)
    }

    /// The lock of a process that lives; `None` if none does.
    fn lives(&self, folder: &Folder) -> Result<Option<File>, Fault> {
        let _one_at_a_time = self.children();
        match hold(folder)? {
            Hold::Theirs(lock) => Ok(Some(lock)),
            Hold::Ours(_) | Hold::Absent => Ok(None),
        }
    }

    /// The processes that this one started; those that have ended are waited for, so that nothing of them stays.
    fn children(&self) -> MutexGuard<'_, Vec<Started>> {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for started in children.iter_mut().filter(|started| started.ended.is_none()) {
            // One that cannot be waited for is nobody's child any more.
            started.ended = started.child.try_wait().unwrap_or_default();
        }
        children
    }

    /// How the process of a lease ended, if this one started it. What it had open is closed a little before it can be
    /// waited for.
    fn status(&self, id: LeaseId) -> Option<ExitStatus> {
        for _ in 0..PATIENCE {
            let children = self.children();
            let mine = children.iter().rev().find(|started| started.id == id)?;
            if mine.ended.is_some() {
                return mine.ended;
            }
            drop(children);
            thread::sleep(GLANCE);
        }
        None
    }

    /// What is said of a lease whose process has ended.
    fn ended(&self, id: LeaseId, folder: &Folder) -> Fault {
        let story = folder.story();
        if !story.was_ready
            && let Some(error) = story.error
        {
            let code = story.code.as_deref().unwrap_or("start_failed");
            return Fault::new(FaultKind::Refused, code, error).with_remedy(remedy(code));
        }
        let signal = self.status(id).and_then(|status| status.signal());
        let how = signal.map(|signal| format!(" by signal {signal}")).unwrap_or_default();
        let why = story.error.map(|error| format!(": {error}")).unwrap_or_default();
        Fault::new(
            FaultKind::Gone,
            "gateway_gone",
            format!("the gateway's process has ended{how}{why}"),
        )
    }
}

/// How hard a process has been asked to end.
#[derive(Clone, Copy, Debug)]
enum Pressure {
    None,
    Asked,
    Terminated,
    Killed,
}

fn ask_to_end(folder: &Folder) -> bool {
    let answer = Client::connect(&folder.socket(), END_LIMIT).and_then(|mut client| client.ask(&Question::End {}));
    matches!(answer, Ok(Answer::Ending {}))
}

fn later() -> Removal {
    Removal::Pending {
        refs: Value::Null,
        after: Duration::from_secs(1),
    }
}

/// The port that a gateway listens on, if its answer says so.
fn port(answer: &Answer) -> Option<u16> {
    match answer {
        Answer::Report(report) => Some(report.listen_port),
        Answer::Configuration { .. } | Answer::Ending {} | Answer::Refused { .. } => None,
    }
}

/// Whether a socket that nobody listens at may be listened at soon.
fn is_starting(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn hold(folder: &Folder) -> Result<Hold, Fault> {
    folder
        .hold()
        .map_err(|error| unclear("unreadable", format!("cannot look at the lease's lock: {error}")))
}

/// Looks more than once, if the lock is another's: whoever this program starts at the same moment has all its open files
/// until it becomes another program.
fn hold_patiently(folder: &Folder) -> Result<Hold, Fault> {
    for _ in 0..GLANCES {
        match hold(folder)? {
            Hold::Theirs(_) => thread::sleep(GLANCE),
            free @ (Hold::Ours(_) | Hold::Absent) => return Ok(free),
        }
    }
    hold(folder)
}
