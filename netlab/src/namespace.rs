//! The system calls behind a host: its namespaces, its privileges, its sockets.
#![allow(
    unsafe_code,
    reason = "namespaces, capabilities and socket options are reached by system calls that std does not wrap"
)]

use std::ffi::{CStr, CString};
use std::fs::{File, Permissions};
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

/// The user and group without any rights.
pub(crate) const NOBODY: u32 = 65534;

/// One network namespace with a mount namespace of its own.
#[derive(Debug)]
pub(crate) struct Namespace {
    net: File,
    mount: File,
}

impl Namespace {
    /// Makes both, with private `/run`, `/sys` and the files of `binds` (source, target) laid over the machine's.
    pub(crate) fn new(binds: &[(&Path, &Path)]) -> io::Result<Self> {
        std::thread::scope(|scope| {
            let maker = scope.spawn(|| {
                // SAFETY: concerns this thread alone, which ends when the namespaces are made.
                check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
                mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
                mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), 0)?;
                mount(
                    Some(c"tmpfs"),
                    c"/run",
                    Some(c"tmpfs"),
                    libc::MS_NOSUID | libc::MS_NODEV,
                )?;
                std::fs::set_permissions("/run", Permissions::from_mode(0o755))?;
                for (source, target) in binds {
                    bind(source, target)?;
                }
                Ok(Self {
                    net: File::open("/proc/thread-self/ns/net")?,
                    mount: File::open("/proc/thread-self/ns/mnt")?,
                })
            });
            maker
                .join()
                .map_err(|_| io::Error::other("the thread that makes namespaces panicked"))?
        })
    }

    /// The number by which the kernel tells this network namespace from others.
    pub(crate) fn inode(&self) -> u64 {
        self.net.metadata().map_or(0, |meta| meta.ino())
    }

    /// A path by which other programs open this network namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    /// Moves the calling thread into both namespaces, for good.
    pub(crate) fn enter(&self) -> io::Result<()> {
        // SAFETY: a thread of its own working directory and root is what a mount namespace asks for.
        check(unsafe { libc::unshare(libc::CLONE_FS) })?;
        set(self.net.as_raw_fd(), libc::CLONE_NEWNET)?;
        set(self.mount.as_raw_fd(), libc::CLONE_NEWNS)
    }

    /// Lays `source` over `target` in the mount namespace; `target` is made if it is missing.
    pub(crate) fn bind(&self, source: &Path, target: &Path) -> io::Result<()> {
        std::thread::scope(|scope| {
            let binder = scope.spawn(|| {
                self.enter()?;
                bind(source, target)
            });
            binder
                .join()
                .map_err(|_| io::Error::other("the thread that binds a file panicked"))?
        })
    }

    /// Makes `command` run in here, as nobody without capabilities if `nobody`, and die with the calling thread.
    pub(crate) fn lead(&self, command: &mut std::process::Command, nobody: bool) {
        use std::os::unix::process::CommandExt as _;
        let (net, mount) = (self.net.as_raw_fd(), self.mount.as_raw_fd());
        let directory = command
            .get_current_dir()
            .unwrap_or(Path::new("/"))
            .as_os_str()
            .as_bytes()
            .to_vec();
        let directory = CString::new(directory).expect("a path has no NUL");
        // SAFETY: between fork and exec only system calls are made; nothing is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                set(net, libc::CLONE_NEWNET)?;
                set(mount, libc::CLONE_NEWNS)?;
                check(libc::chdir(directory.as_ptr()))?;
                if nobody {
                    become_nobody()?;
                }
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))
            });
        }
    }
}

/// Whether this process may make namespaces.
pub(crate) fn may_create() -> bool {
    // SAFETY: concerns a thread that ends at once.
    std::thread::spawn(|| check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) }).is_ok())
        .join()
        .unwrap_or(false)
}

/// Raises this process's soft limit of descriptors to the hard one: a test holds both ends of many connections.
pub(crate) fn allow_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls take a pointer to a local.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Sends `signal` to the process `pid`, or to its group if negative; one that has gone is no error.
pub(crate) fn kill(pid: i32, signal: i32) {
    // SAFETY: takes two numbers.
    unsafe { libc::kill(pid, signal) };
}

/// Waits until a descriptor can be read, or `limit`.
pub(crate) fn wait_readable(descriptor: RawFd, limit: Duration) {
    wait_any_readable(&[descriptor], limit);
}

/// Waits until one of the descriptors can be read, or `limit`.
pub(crate) fn wait_any_readable(descriptors: &[RawFd], limit: Duration) {
    let mut polled: Vec<_> = descriptors
        .iter()
        .map(|fd| libc::pollfd {
            fd: *fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let limit = libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let count = polled.len() as libc::nfds_t;
    // SAFETY: the pointers are to locals of the lengths given.
    unsafe { libc::ppoll(polled.as_mut_ptr(), count, &raw const limit, std::ptr::null()) };
}

/// Sets the backlog of a listening socket.
pub(crate) fn listen(listener: RawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: takes two numbers.
    check(unsafe { libc::listen(listener, backlog) })
}

/// Makes closing a connection reset it: `SO_LINGER` of no time.
pub(crate) fn linger_not(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the pointer is to a local of the length given.
    check(unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            8,
        )
    })
}

/// Lets a socket fail with every error that the network tells: else it hears only of refused ports.
pub(crate) fn hear_errors(socket: &UdpSocket, v6: bool) -> io::Result<()> {
    let (level, option) = if v6 {
        (libc::SOL_IPV6, libc::IPV6_RECVERR)
    } else {
        (libc::SOL_IP, libc::IP_RECVERR)
    };
    let on: i32 = 1;
    // SAFETY: the pointer is to a local of the length given.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), 4) })
}

/// Gives a socket buffers of 4 MiB, if it may.
pub(crate) fn widen_buffers(socket: &UdpSocket) {
    let size: i32 = 4 << 20;
    let length = 4;
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        // SAFETY: the pointer is to a local of the length given.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const size).cast(),
                length,
            )
        };
    }
}

fn set(namespace: RawFd, kind: i32) -> io::Result<()> {
    // SAFETY: the caller holds the descriptor.
    check(unsafe { libc::setns(namespace, kind) })
}

/// Drops every capability from every set, all groups, and the way back.
fn become_nobody() -> io::Result<()> {
    // SAFETY: only numbers and pointers to locals are passed.
    unsafe {
        let mut capability = 0;
        while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
            capability += 1;
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
        check(libc::setresuid(NOBODY, NOBODY, NOBODY))?;
        // Version 3 of the header, this process; then effective, permitted and inheritable, twice 32 bits.
        let header = [0x2008_0522_u32, 0];
        let data = [0_u32; 6];
        check(
            if libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) == 0 {
                0
            } else {
                -1
            },
        )?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    }
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    // A link such as /etc/resolv.conf -> /run/... points into the fresh /run: what it names is made first.
    let target = match std::fs::read_link(target) {
        Ok(link) => target.parent().unwrap_or(Path::new("/")).join(link),
        Err(_) => target.to_owned(),
    };
    if !target.exists() {
        std::fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        if source.is_dir() {
            std::fs::create_dir(&target)?;
        } else {
            File::create(&target)?;
        }
    }
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
    mount(Some(&path(source)), &path(&target), None, libc::MS_BIND)
}

fn mount(source: Option<&CStr>, target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all pointers are to C strings that live through the call, or null where that is allowed.
    let done = unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, std::ptr::null()) };
    check(done).map_err(|error| io::Error::new(error.kind(), format!("mount on {}: {error}", target.to_string_lossy())))
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
