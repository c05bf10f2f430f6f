//! A bare interface that other programs configure over its socket, as wireguard-go is.
//!
//! It lives in a process of its own and ends with its interface, its socket, or a signal: whichever goes first takes the
//! others along.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use linux::{
    netlink::Netlink,
    netns::Namespace,
    signal::{Signal, Signals},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify,
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    CloseReason, OpenError, Place, Spec, Tunnel,
    uapi::{self, Server, ServerError},
};

/// The MTU of an interface until somebody sets another: an outer IPv6 packet of 1,500 bytes holds it.
const MTU: u16 = 1420;

/// Set for the process of an interface, whose standard output its parent reads.
const CHILD_VARIABLE: &str = "ADIT_DEVICE_CHILD";

/// Keeps the interface's process in the foreground, as for wireguard-go.
const FOREGROUND_VARIABLE: &str = "WG_PROCESS_FOREGROUND";

/// What the process of an interface says when it is ready.
const READY: &str = "ready";

/// How long the process of an interface may take to end after its interface was removed.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(3);

/// How often it is looked whether it has.
const INTERVAL: Duration = Duration::from_millis(2);

/// Where an interface is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// In this network namespace, under the name of its socket.
    Here,
    /// In another namespace. Its UDP sockets, and the socket by which it is configured, are here.
    Inside {
        /// The namespace's file.
        namespace: PathBuf,
        /// The interface's name there.
        interface: String,
        /// The process with which it is over: what holds the interface holds the namespace, so that would never end.
        process: Option<i32>,
    },
}

/// How the interface's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Beside the caller, which goes on when the interface is there.
    Detached,
    /// In the caller's process, which goes on when the interface is gone.
    Foreground,
}

/// The interface could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is no interface's.
    #[error("{name:?} is no interface name: 1 to 15 bytes without space, slash, colon or percent sign")]
    Name {
        /// The name.
        name: String,
    },
    /// The tunnel could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The socket could not be made.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The tunnel failed.
    #[error("{name}: {reason}")]
    Ended {
        /// The interface.
        name: String,
        /// Why.
        reason: String,
    },
    /// The system has no more descriptors, threads or processes.
    #[error("{action}: {cause}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The error.
        cause: io::Error,
    },
    /// The process of the interface said why it could not be made.
    #[error("{0}")]
    Child(String),
}

/// Makes the interface `name` and its socket. `mode` says whether to wait for its end.
///
/// Foreground too if `WG_PROCESS_FOREGROUND` is `1` in the environment, as wireguard-go has it. To be called before the
/// process has other threads.
///
/// # Errors
///
/// [`DeviceError`]; then nothing is left.
pub fn run(name: &str, home: &Home, mode: Mode) -> Result<(), DeviceError> {
    if env::var_os(CHILD_VARIABLE).is_some() {
        return child(name, home);
    }
    let foreground = env::var_os(FOREGROUND_VARIABLE).is_some_and(|value| value == "1");
    if mode == Mode::Foreground || foreground {
        return serve(name, home, || Ok(()));
    }
    start(name, home, None)
}

/// Starts the process of the interface `name`, and returns when the interface and its socket are there.
///
/// The process keeps `held` open until then, or until it has failed, whatever becomes of the caller: a locked file, that
/// stays locked for so long.
///
/// # Errors
///
/// [`DeviceError`]; then nothing is left.
pub fn start(name: &str, home: &Home, held: Option<OwnedFd>) -> Result<(), DeviceError> {
    if !linux::link::is_name(name) {
        return Err(DeviceError::Name { name: name.to_owned() });
    }
    let failed = |cause| DeviceError::System {
        action: "starting the interface's process",
        cause,
    };
    let mut child = Command::new("/proc/self/exe")
        .arg0("adit")
        .args(["device", name, "--foreground"])
        .args(match home {
            Home::Here => Vec::<OsString>::new(),
            Home::Inside {
                namespace,
                interface,
                process,
            } => {
                let mut words = vec![
                    OsString::from("--namespace"),
                    namespace.into(),
                    "--interface".into(),
                    interface.into(),
                ];
                words.extend(process.map(|process| format!("--process={process}").into()));
                words
            }
        })
        .env(CHILD_VARIABLE, "1")
        .env_remove(FOREGROUND_VARIABLE)
        .stdin(held.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
    }
    if line.trim_end() == READY {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _as_far_as_it_goes = stderr.read_to_string(&mut said);
    }
    // Who looks after all children of this process may have been faster.
    let status = child.wait().map(|status| format!(": {status}")).unwrap_or_default();
    let said = said.trim().trim_start_matches("error: ");
    Err(DeviceError::Child(if said.is_empty() {
        format!("the interface's process ended{status}")
    } else {
        said.into()
    }))
}

/// Ends the tunnel `name`, whoever handles it: its process, if it has one, and its interface, if that is in the calling
/// thread's namespace. Nothing if there is none.
pub fn remove(name: &str) {
    if let Some(path) = uapi::find(name) {
        // Its process ends with its socket.
        let _gone_already = std::fs::remove_file(path);
    }
    let _gone_already = linux::link::remove(name);
}

/// The process of an interface: a session of its own, without a working directory that it would keep busy.
fn child(name: &str, home: &Home) -> Result<(), DeviceError> {
    let failed = |cause| DeviceError::System {
        action: "detaching from the caller",
        cause,
    };
    // The kernel named it after the link that it was started by.
    rustix::thread::set_name(c"adit").map_err(|error| failed(error.into()))?;
    // It fails for the leader of a process group, which nothing has to be detached from.
    let _leader = rustix::process::setsid();
    rustix::process::chdir("/").map_err(|error| failed(error.into()))?;
    serve(name, home, || {
        let mut stdout = io::stdout();
        // If the caller has gone meanwhile, nobody knows of this interface.
        writeln!(stdout, "{READY}")
            .and_then(|()| stdout.flush())
            .map_err(failed)?;
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(failed)?;
        rustix::stdio::dup2_stdin(&null).map_err(|error| failed(error.into()))?;
        rustix::stdio::dup2_stdout(&null).map_err(|error| failed(error.into()))?;
        rustix::stdio::dup2_stderr(&null).map_err(|error| failed(error.into()))
    })
}

/// Makes the interface and handles it until its end; calls `ready` when it can be configured.
fn serve(name: &str, home: &Home, ready: impl FnOnce() -> Result<(), DeviceError>) -> Result<(), DeviceError> {
    let failed = |action| move |cause| DeviceError::System { action, cause };
    if !linux::link::is_name(name) {
        return Err(DeviceError::Name { name: name.to_owned() });
    }
    wait_for_predecessor(name);
    let signals = Signals::take(&Signal::ALL).map_err(failed("taking signals"))?;
    let spec = Spec {
        name: name.to_owned(),
        mtu: MTU,
        place: match home {
            Home::Here => Place::BareTun,
            Home::Inside {
                namespace, interface, ..
            } => Place::TunInside {
                namespace: Arc::new(Namespace::open(namespace).map_err(failed("opening the namespace"))?),
                interface: interface.clone(),
            },
        },
    };
    let process = match home {
        Home::Inside {
            process: Some(process), ..
        } => Some(follow(*process).map_err(failed("following the process of the namespace"))?),
        Home::Inside { process: None, .. } | Home::Here => None,
    };
    let tunnel = Arc::new(Tunnel::open(&spec)?);
    drop(spec);
    let server = Server::start(name, Arc::new(Served(Arc::downgrade(&tunnel))))?;
    let socket = Watch::new(server.path()).map_err(failed("watching the socket"))?;
    let gone = eventfd(0, EventfdFlags::CLOEXEC)
        .map_err(io::Error::from)
        .map_err(failed("making an event"))?;
    let ended = thread::scope(|scope| {
        let waiter = thread::Builder::new().name("interface".into());
        let waiter = waiter.spawn_scoped(scope, || {
            let reason = tunnel.wait_for_interface();
            let _cannot_fail = rustix::io::write(&gone, &1_u64.to_ne_bytes());
            reason
        });
        let waiter = waiter.map_err(failed("starting a thread"))?;
        let waited = ready().and_then(|()| wait(&signals, &socket, &gone, process.as_ref()).map_err(failed("waiting")));
        tunnel.stop();
        let reason = waiter.join();
        waited?;
        match reason {
            Ok(Some(CloseReason::Failed(reason))) => Err(DeviceError::Ended {
                name: name.to_owned(),
                reason,
            }),
            _ => Ok(()),
        }
    });
    // Whoever sees the socket gone finds interface and port gone too.
    drop(tunnel);
    drop(server);
    ended
}

/// What the socket shows; the tunnel goes before the socket does.
struct Served(Weak<Tunnel>);

impl uapi::Interface for Served {
    fn status(&self) -> wg::Status {
        self.0.upgrade().map(|tunnel| tunnel.status()).unwrap_or_default()
    }

    fn apply(&self, update: &wg::Update) -> Result<(), i32> {
        match self.0.upgrade() {
            Some(tunnel) => uapi::Interface::apply(&*tunnel, update),
            None => Err(Errno::NODEV.raw_os_error()),
        }
    }
}

/// Waits a moment for the process of an interface of this name that was removed just now: its socket goes last.
fn wait_for_predecessor(name: &str) {
    let limit = Instant::now() + PREDECESSOR_LIMIT;
    let is_there = || {
        Netlink::route()
            .and_then(|mut netlink| linux::link::find(&mut netlink, name))
            .is_ok_and(|link| link.is_some())
    };
    if is_there() {
        return;
    }
    while Instant::now() < limit && uapi::find(name).is_some_and(|socket| !uapi::remove_if_stale(&socket)) {
        thread::sleep(INTERVAL);
    }
}

/// A descriptor that is readable once the process has ended.
fn follow(process: i32) -> io::Result<OwnedFd> {
    let process = Pid::from_raw(process).ok_or(Errno::SRCH)?;
    Ok(pidfd_open(process, PidfdFlags::empty())?)
}

/// Waits for the first of: a signal, the end of the socket, of the interface, of the process that it belongs to.
fn wait(signals: &Signals, socket: &Watch, gone: &OwnedFd, process: Option<&OwnedFd>) -> io::Result<()> {
    loop {
        if signals.try_next()?.is_some() || socket.is_gone()? {
            return Ok(());
        }
        let mut polled = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&socket.inotify, PollFlags::IN),
            PollFd::new(gone, PollFlags::IN),
            // Twice the same, where there is no process.
            PollFd::new(process.unwrap_or(gone), PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if polled[2..].iter().any(|polled| !polled.revents().is_empty()) {
            return Ok(());
        }
    }
}

/// Sees when a file is removed.
struct Watch {
    inotify: OwnedFd,
    path: PathBuf,
}

impl Watch {
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        let events = inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, directory, events)?;
        Ok(Self {
            inotify,
            path: path.to_owned(),
        })
    }

    /// Takes what was seen, and looks whether the file is there.
    fn is_gone(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(std::fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
    }
}
