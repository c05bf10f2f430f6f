//! Opens TUN devices, in the calling thread's network namespace.
//!
//! A device lives as long as its descriptor, unless it is made persistent. Its MTU, addresses and state are those of any
//! other link.
#![allow(unsafe_code, reason = "a TUN device is set up by ioctls")]

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroUsize,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use rustix::io::Errno;

use crate::{link, netlink::Netlink};

const CLONE_DEVICE: &str = "/dev/net/tun";

/// Length of a `virtio_net_hdr` without the count of merged buffers, which a TUN does not use.
static VNET_HDR_LEN: i32 = 10;

/// Makes a device or none: fails if one of the name exists (`TUNSETIFF` only).
const IFF_TUN_EXCL: i32 = 0x8000;

/// Segments of TCP, and the checksums that they need.
const TSO: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

/// Segments of UDP (Linux 6.2).
const USO: u32 = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Why a TUN device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// There is no `/dev/net/tun`.
    #[error(
        "there is no /dev/net/tun: in a container add the device (--device /dev/net/tun), \
         else load the module (modprobe tun)"
    )]
    Missing,
    /// The kernel has no TUN driver behind `/dev/net/tun`.
    #[error("the kernel has no TUN driver: load the module (modprobe tun)")]
    NoDriver,
    /// `/dev/net/tun` may not be opened.
    #[error("/dev/net/tun may not be opened: in a container add the device (--device /dev/net/tun), else run as root")]
    Forbidden,
    /// The process may not make a device.
    #[error("making the TUN device {name} needs the capability NET_ADMIN: add it (--cap-add NET_ADMIN) or run as root")]
    NotPermitted {
        /// The device's name.
        name: String,
    },
    /// Another process holds the device.
    #[error("the interface {name} exists and is in use: choose another name, or end the program that holds it")]
    Taken {
        /// The device's name.
        name: String,
    },
    /// An interface of this name is something else.
    #[error("the interface {name} exists and is no TUN device of this form: choose another name, or remove it")]
    OtherKind {
        /// The device's name.
        name: String,
    },
    /// No interface can have this name.
    #[error("{name:?} is no interface name: 1 to 15 bytes without space, slash or colon, and neither \".\" nor \"..\"")]
    BadName {
        /// The name.
        name: String,
    },
    /// The descriptor is not that of a TUN device.
    #[error("the descriptor is not that of a TUN device without packet information (IFF_TUN | IFF_NO_PI)")]
    NotTun,
    /// Something else.
    #[error("TUN device: {0}")]
    Io(#[from] io::Error),
}

/// What a TUN device shall be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunOptions {
    /// Packets carry a `virtio_net_hdr`, so that one read or write moves up to 64 KiB of one flow.
    pub vnet_hdr: bool,
    /// The device stays when its descriptor is closed.
    pub persistent: bool,
    /// How many queues it shall have, each with a descriptor of its own (`IFF_MULTI_QUEUE`, Linux 3.8). The kernel
    /// gives a flow's packets to the queue that the flow's last packet was written to, else to one of them by the
    /// flow's hash. `None` is one queue, and so is what a kernel, or a device that exists, has no more of.
    pub queues: Option<NonZeroUsize>,
}

/// An open TUN device; its descriptors do not block. Dropping it removes the device, unless it is persistent.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    /// The queues beyond the first.
    more: Vec<OwnedFd>,
    name: String,
    vnet_hdr: bool,
    offloads: TunOffloads,
}

/// Which packets the kernel hands over unsegmented and without checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunOffloads {
    /// TCP over IPv4 and IPv6.
    pub tso: bool,
    /// UDP over IPv4 and IPv6.
    pub uso: bool,
}

impl Tun {
    /// Creates a device, or opens the persistent one of this name. With a `%d` in it, the kernel chooses a number.
    ///
    /// # Errors
    ///
    /// See [`TunError`].
    pub fn open(name: &str, options: TunOptions) -> Result<Self, TunError> {
        let request_name = device_name(name)?;
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | if options.vnet_hdr { libc::IFF_VNET_HDR } else { 0 };
        let queues = options.queues.map_or(1, NonZeroUsize::get);
        let several = if queues > 1 {
            open_queues(Request::new(request_name, flags | libc::IFF_MULTI_QUEUE), queues)
        } else {
            None
        };
        let (file, more, request) = match several {
            Some(several) => several,
            None => {
                let file = open_clone_device()?;
                let mut request = Request::new(request_name, flags);
                attach(&file, &mut request).map_err(|error| {
                    let name = name.to_owned();
                    match Errno::from_io_error(&error) {
                        Some(Errno::PERM | Errno::ACCESS) => TunError::NotPermitted { name },
                        Some(Errno::BUSY) => TunError::Taken { name },
                        Some(Errno::INVAL) => TunError::OtherKind { name },
                        _ => TunError::Io(error),
                    }
                })?;
                (file, Vec::new(), request)
            }
        };
        let mut tun = Self::set_up(file.into(), &request)?;
        tun.more = more.into_iter().map(OwnedFd::from).collect();
        if options.persistent {
            tun.set_persistent(true)?;
        }
        Ok(tun)
    }

    /// Takes over a device that another program opened. The descriptor is made non-blocking.
    ///
    /// # Errors
    ///
    /// The descriptor is not that of a TUN device, or its packets carry a packet information header.
    pub fn adopt(fd: OwnedFd) -> Result<Self, TunError> {
        let mut request = Request::new([0; libc::IFNAMSIZ], 0);
        let Ok(()) = question(fd.as_fd(), &mut request) else {
            return Err(TunError::NotTun);
        };
        if request.flags() & (libc::IFF_TUN | libc::IFF_NO_PI) != libc::IFF_TUN | libc::IFF_NO_PI {
            return Err(TunError::NotTun);
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        Self::set_up(fd, &request)
    }

    /// Sets header length and offloads anew: they belong to the device, and outlive whoever had it before.
    fn set_up(fd: OwnedFd, request: &Request) -> Result<Self, TunError> {
        let vnet_hdr = request.flags() & libc::IFF_VNET_HDR != 0;
        if vnet_hdr {
            set_header_len(fd.as_fd())?;
        }
        let offloads = set_offloads(fd.as_fd(), vnet_hdr)?;
        let name = request.name();
        Ok(Self {
            fd,
            more: Vec::new(),
            name,
            vnet_hdr,
            offloads,
        })
    }

    /// The interface's name when it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether packets carry a `virtio_net_hdr` of 10 bytes in the machine's byte order.
    pub fn has_vnet_hdr(&self) -> bool {
        self.vnet_hdr
    }

    /// What the kernel hands over unsegmented.
    pub fn offloads(&self) -> TunOffloads {
        self.offloads
    }

    /// Has the device stay when its descriptor is closed, or go.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    pub fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        // SAFETY: TUNSETPERSIST takes its argument by value.
        let done = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::TUNSETPERSIST as _,
                libc::c_ulong::from(persistent),
            )
        };
        outcome(done)
    }

    /// How many queues there are, at least one.
    pub fn queues(&self) -> usize {
        1 + self.more.len()
    }

    /// The descriptors of the queues, to read and write packets.
    pub fn into_queues(self) -> Vec<OwnedFd> {
        let mut queues = self.more;
        queues.insert(0, self.fd);
        queues
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What TUN devices can do here, found by making one and removing it again.
///
/// # Errors
///
/// As [`Tun::open`].
pub fn probe() -> Result<TunOffloads, TunError> {
    let tun = Tun::open(
        "aditprobe%d",
        TunOptions {
            vnet_hdr: true,
            ..TunOptions::default()
        },
    )?;
    Ok(tun.offloads())
}

/// Whether TUN devices can be made here. Makes none, which takes microseconds; removing one takes the kernel much longer.
///
/// # Errors
///
/// As [`Tun::open`].
pub fn check() -> Result<(), TunError> {
    open_clone_device()?;
    let may_change = Netlink::route().and_then(|mut netlink| link::may_change(&mut netlink));
    match may_change {
        Ok(false) => Err(TunError::NotPermitted { name: "tun%d".into() }),
        // What keeps from netlink does not keep from a TUN device.
        Ok(true) | Err(_) => Ok(()),
    }
}

fn open_clone_device() -> Result<File, TunError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(CLONE_DEVICE);
    opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => TunError::Missing,
        Some(Errno::NXIO | Errno::NODEV) => TunError::NoDriver,
        Some(Errno::ACCESS | Errno::PERM) => TunError::Forbidden,
        _ => TunError::Io(error),
    })
}

/// Makes a device with several queues, and fewer if the kernel gives no more. `None` if it makes none, or if there is
/// one of this name: a queue more of another program's device is not what anybody wants.
fn open_queues(mut request: Request, queues: usize) -> Option<(File, Vec<File>, Request)> {
    let file = open_clone_device().ok()?;
    let flags = request.flags();
    request.set_flags(flags | IFF_TUN_EXCL);
    attach(&file, &mut request).ok()?;
    // It has the name that the kernel chose, and what comes is no first queue.
    request.set_flags(flags);
    let more = (1..queues).map_while(|_| {
        let file = open_clone_device().ok()?;
        attach(&file, &mut request).ok()?;
        Some(file)
    });
    let more = more.collect();
    Some((file, more, request))
}

/// The name as the kernel takes it; see `dev_valid_name` in the kernel.
fn device_name(name: &str) -> Result<[u8; libc::IFNAMSIZ], TunError> {
    let bytes = name.as_bytes();
    let fits = !bytes.is_empty() && bytes.len() < libc::IFNAMSIZ && name != "." && name != "..";
    if !fits
        || bytes
            .iter()
            .any(|byte| *byte == 0 || b"/:".contains(byte) || byte.is_ascii_whitespace() || *byte == 0xb)
    {
        return Err(TunError::BadName { name: name.to_owned() });
    }
    let mut padded = [0; libc::IFNAMSIZ];
    padded[..bytes.len()].copy_from_slice(bytes);
    Ok(padded)
}

/// A `struct ifreq` that names a device and its flags.
struct Request(libc::ifreq);

impl Request {
    fn new(name: [u8; libc::IFNAMSIZ], flags: i32) -> Self {
        // SAFETY: a request of zeroes is valid: an empty name, and a union of numbers.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        let mut request = Self(request);
        request.set_flags(flags);
        request
    }

    fn set_flags(&mut self, flags: i32) {
        self.0.ifr_ifru.ifru_flags = i16::from_ne_bytes(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    }

    fn name(&self) -> String {
        let bytes = self
            .0
            .ifr_name
            .iter()
            .map(|c| c.to_ne_bytes()[0])
            .take_while(|byte| *byte != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
    }

    fn flags(&self) -> i32 {
        // SAFETY: every pattern of bits is a number, and `new` initialised the whole union.
        let flags = unsafe { self.0.ifr_ifru.ifru_flags };
        i32::from(u16::from_ne_bytes(flags.to_ne_bytes()))
    }
}

/// Makes the file that of the device; the request then has the name that the kernel chose.
fn attach(file: &File, request: &mut Request) -> io::Result<()> {
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which is ours for the time of the call.
    outcome(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request.0) })
}

/// Asks which device a descriptor has, and its flags.
fn question(fd: BorrowedFd<'_>, request: &mut Request) -> io::Result<()> {
    // SAFETY: TUNGETIFF writes one `struct ifreq`, which is ours for the time of the call. Descriptors that are no
    // TUN refuse the number.
    outcome(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF as _, &raw mut request.0) })
}

fn set_header_len(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one `int`.
    outcome(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &raw const VNET_HDR_LEN) })
}

/// Asks for all that the kernel has, and says what it gave.
fn set_offloads(fd: BorrowedFd<'_>, vnet_hdr: bool) -> io::Result<TunOffloads> {
    let set = |mask: u32| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        outcome(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(mask)) })
    };
    if vnet_hdr {
        for (mask, uso) in [(TSO | USO, true), (TSO, false)] {
            if set(mask).is_ok() {
                return Ok(TunOffloads { tso: true, uso });
            }
        }
    }
    set(0)?;
    Ok(TunOffloads::default())
}

fn outcome(done: i32) -> io::Result<()> {
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_that_no_interface_can_have_are_refused_before_the_kernel_is_asked() {
        for (name, valid) in [
            ("wg0", true),
            ("adit%d", true),
            ("fifteen-bytes-x", true),
            ("sixteen-bytes-xx", false),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
            ("a:1", false),
            ("a\0b", false),
        ] {
            assert_eq!(device_name(name).is_ok(), valid, "{name:?}");
        }
    }

    #[test]
    fn a_device_is_made_with_the_offloads_that_the_kernel_has() {
        netlab::requires!("root", CLONE_DEVICE);
        let host = netlab::Lab::new().host("host");
        host.run(|| {
            for vnet_hdr in [true, false] {
                let tun = Tun::open(
                    "adit%d",
                    TunOptions {
                        vnet_hdr,
                        ..TunOptions::default()
                    },
                )
                .unwrap();
                assert_eq!(tun.name(), "adit0");
                assert_eq!(tun.has_vnet_hdr(), vnet_hdr);
                assert_eq!(tun.offloads().tso, vnet_hdr);
            }
            assert!(probe().unwrap().tso);
        });
        assert_eq!(host.links(), ["lo"], "devices go with their descriptors");
    }

    #[test]
    fn a_persistent_device_stays_and_is_opened_again_with_offloads_reset() {
        netlab::requires!("root", CLONE_DEVICE);
        let host = netlab::Lab::new().host("host");
        host.run(|| {
            let options = TunOptions {
                vnet_hdr: true,
                persistent: true,
                queues: None,
            };
            drop(Tun::open("kept", options).unwrap());
            // A child that another test starts has the descriptor, too, until it becomes its own program.
            let again = netlab::wait_until("nobody holds the device", Duration::from_secs(10), || {
                let options = TunOptions {
                    persistent: true,
                    ..TunOptions::default()
                };
                match Tun::open("kept", options) {
                    Err(TunError::Taken { .. }) => None,
                    opened => Some(opened),
                }
            });
            // Linux lets a device change between the two forms when it is attached anew.
            let again = again.unwrap();
            assert_eq!(again.offloads(), TunOffloads::default());
            again.set_persistent(false).unwrap();
        });
        assert_eq!(host.links(), ["lo"]);
    }

    #[test]
    fn a_name_in_use_and_a_name_of_another_kind_are_told_apart() {
        netlab::requires!("root", CLONE_DEVICE, "ip");
        let host = netlab::Lab::new().host("host");
        host.ip("link add other type veth peer name end");
        host.run(|| {
            let first = Tun::open("wg0", TunOptions::default()).unwrap();
            let second = Tun::open("wg0", TunOptions::default()).unwrap_err();
            assert!(matches!(second, TunError::Taken { .. }), "{second}");
            let other = Tun::open("other", TunOptions::default()).unwrap_err();
            assert!(matches!(other, TunError::OtherKind { .. }), "{other}");
            drop(first);
        });
    }

    #[test]
    fn a_device_has_the_queues_that_it_was_asked_for_and_belongs_to_one_program() {
        netlab::requires!("root", CLONE_DEVICE);
        let host = netlab::Lab::new().host("host");
        host.run(|| {
            let options = TunOptions {
                vnet_hdr: true,
                persistent: false,
                queues: NonZeroUsize::new(4),
            };
            let first = Tun::open("wg%d", options).unwrap();
            assert_eq!((first.name(), first.queues(), first.offloads().tso), ("wg0", 4, true));
            assert!(Tun::open("wg0", options).is_err(), "it is another's");
            assert_eq!(first.into_queues().len(), 4);
            // One that exists has what it was made with.
            let kept = TunOptions {
                persistent: true,
                queues: None,
                ..options
            };
            drop(Tun::open("kept", kept).unwrap());
            let again = Tun::open("kept", options).unwrap();
            assert_eq!(again.queues(), 1);
            again.set_persistent(false).unwrap();
        });
        assert_eq!(host.links(), ["lo"], "a device goes with its last queue");
    }

    #[test]
    fn a_descriptor_is_adopted_if_it_is_that_of_a_tun_device() {
        netlab::requires!("root", CLONE_DEVICE);
        netlab::Lab::new().host("host").run(|| {
            let made = Tun::open(
                "wg0",
                TunOptions {
                    vnet_hdr: true,
                    ..TunOptions::default()
                },
            )
            .unwrap();
            let adopted = Tun::adopt(made.into_queues().remove(0)).unwrap();
            assert_eq!((adopted.name(), adopted.has_vnet_hdr()), ("wg0", true));
            for other in [File::open("/dev/null").unwrap(), open_clone_device().unwrap()] {
                assert!(matches!(Tun::adopt(other.into()), Err(TunError::NotTun)));
            }
        });
    }
}
