//! Datagrams over the loopback interface.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::buffer::{MAX_RUN_LEN, SLOT_LEN};

const COMBINATIONS: [Offloads; 4] = [
    Offloads { gso: true, gro: true },
    Offloads { gso: false, gro: true },
    Offloads { gso: true, gro: false },
    Offloads { gso: false, gro: false },
];

fn run(destination: SocketAddr, segment: usize, data: Vec<u8>) -> Run {
    Run::of(destination, None, segment, data)
}

/// A datagram's content, which no other has.
fn datagram(number: u8, len: usize) -> Vec<u8> {
    (0..=u8::MAX)
        .cycle()
        .map(|at| at.wrapping_mul(31) ^ number)
        .take(len)
        .collect()
}

fn wait_readable(sockets: &Sockets) {
    let bound = sockets.bound();
    let mut fds: Vec<_> = bound
        .sockets()
        .map(|socket| PollFd::new(socket, PollFlags::IN))
        .collect();
    let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
    assert!(
        poll(&mut fds, Some(&limit)).unwrap() > 0,
        "nothing came within 5 seconds"
    );
}

/// Receives until this many datagrams have come.
fn collect(sockets: &Sockets, wanted: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut inbox = Inbox::new(8);
    let mut all = Vec::new();
    while all.len() < wanted {
        wait_readable(sockets);
        sockets.receive(&mut inbox).unwrap();
        for slot in inbox.filled_mut() {
            assert!(slot.segment > 0 && slot.segment <= slot.len);
            all.extend(
                slot.data[..slot.len]
                    .chunks(slot.segment)
                    .map(|chunk| (slot.source, chunk.to_vec())),
            );
        }
    }
    all
}

fn loopbacks(sockets: &Sockets) -> Vec<SocketAddr> {
    let mut all = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, sockets.port()))];
    if UdpSocket::bind("[::1]:0").is_ok() {
        all.push(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, sockets.port())));
    }
    all
}

#[test]
fn datagrams_of_all_lengths_arrive_in_order_with_and_without_offloads() {
    for (of_sender, of_receiver) in COMBINATIONS.into_iter().flat_map(|a| COMBINATIONS.map(|b| (a, b))) {
        let sender = Sockets::bind_with(0, 0, of_sender).unwrap();
        let receiver = Sockets::bind_with(0, 0, of_receiver).unwrap();
        let mut number = 0_u8;
        let mut wanted: BTreeMap<bool, Vec<Vec<u8>>> = BTreeMap::new();
        let mut runs = Vec::new();
        for destination in loopbacks(&receiver) {
            // (length of each, how many, length of the last)
            for (len, many, last) in [
                (1452, 40, 1452),
                (64, 90, 9),
                (9000, 5, 4),
                (32, 1, 32),
                (65_000, 1, 65_000),
            ] {
                let mut data = Vec::new();
                for at in 0..many {
                    let datagram = datagram(number, if at + 1 == many { last } else { len });
                    number = number.wrapping_add(1);
                    data.extend_from_slice(&datagram);
                    wanted.entry(destination.is_ipv4()).or_default().push(datagram);
                }
                runs.push(run(destination, len, data));
            }
        }
        // A few at a time: a loopback's receive buffer is what an unprivileged user gets.
        for runs in runs.chunks(2) {
            let count = runs.iter().map(|run| run.data().len().div_ceil(run.segment)).sum();
            sender.send(runs);
            for (source, data) in collect(&receiver, count) {
                assert_eq!(source.port(), sender.port());
                assert_eq!(data, wanted.get_mut(&source.is_ipv4()).unwrap().remove(0));
            }
        }
        assert!(wanted.values().all(Vec::is_empty));
        assert_eq!(sender.counters(), Counters::default());
    }
}

#[test]
fn a_run_longer_than_one_call_takes_arrives_whole() {
    for offloads in COMBINATIONS {
        let (sender, receiver) = (
            Sockets::bind_with(0, 0, offloads).unwrap(),
            Sockets::bind(0, 0).unwrap(),
        );
        let data: Vec<u8> = (0..80).flat_map(|number| datagram(number, 1000)).collect();
        assert!(data.len() > MAX_RUN_LEN);
        sender.send(&[run(loopbacks(&receiver)[0], 1000, data.clone())]);
        let got: Vec<u8> = collect(&receiver, 80).into_iter().flat_map(|(_, data)| data).collect();
        assert!(got == data);
    }
}

#[test]
fn a_datagram_longer_than_a_slot_is_dropped_and_counted() {
    let (sender, receiver) = (Sockets::bind(0, 0).unwrap(), Sockets::bind(0, 0).unwrap());
    let to = loopbacks(&receiver)[0];
    let mut inbox = Inbox::new(4);
    for slot in inbox.slots_mut() {
        slot.data = vec![0; 2048].into();
    }
    let (before, long, after) = (datagram(1, 100), datagram(2, 2049), datagram(3, 2048));
    for data in [&before, &long, &after] {
        sender.send(&[run(to, data.len(), data.clone())]);
    }
    wait_readable(&receiver);
    let mut got = Vec::new();
    let limit = Instant::now() + Duration::from_secs(5);
    while got.len() < 2 && Instant::now() < limit {
        receiver.receive(&mut inbox).unwrap();
        got.extend(inbox.filled_mut().iter().map(|slot| slot.data[..slot.len].to_vec()));
    }
    assert_eq!(got, [before, after]);
    assert_eq!(receiver.counters().oversized, 1);
}

#[test]
fn the_largest_datagrams_there_are_fit_a_slot() {
    let (sender, receiver) = (Sockets::bind(0, 0).unwrap(), Sockets::bind(0, 0).unwrap());
    for to in loopbacks(&receiver) {
        let len = if to.is_ipv4() { 65_507 } else { 65_527 };
        assert!(len <= SLOT_LEN);
        let data = datagram(9, len);
        sender.send(&[run(to, len, data.clone())]);
        assert!(collect(&receiver, 1)[0].1 == data);
    }
}

#[test]
fn an_empty_datagram_is_passed_over() {
    let receiver = Sockets::bind(0, 0).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = loopbacks(&receiver)[0];
    sender.send_to(&[], to).unwrap();
    sender.send_to(b"full", to).unwrap();
    assert_eq!(collect(&receiver, 1)[0].1, b"full");
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let ours = Sockets::bind(0, 0).unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let asked = SocketAddr::from(([127, 0, 0, 2], ours.port()));
    theirs.send_to(b"question", asked).unwrap();
    let mut inbox = Inbox::new(1);
    wait_readable(&ours);
    ours.receive(&mut inbox).unwrap();
    let slot = &inbox.filled_mut()[0];
    assert_eq!(slot.local, Some(asked.ip()));
    let answer = Run::of(slot.source, slot.local, 6, b"answer".to_vec());
    ours.send(&[answer]);
    let (_, from) = theirs.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(from, asked);
}

#[test]
fn a_source_address_that_has_gone_does_not_hold_datagrams_back() {
    for offloads in COMBINATIONS {
        let (sender, receiver) = (
            Sockets::bind_with(0, 0, offloads).unwrap(),
            Sockets::bind(0, 0).unwrap(),
        );
        for to in loopbacks(&receiver) {
            let gone: IpAddr = if to.is_ipv4() { "192.0.2.77" } else { "2001:db8::77" }
                .parse()
                .unwrap();
            let data: Vec<u8> = (0..3).flat_map(|number| datagram(number, 500)).collect();
            sender.send(&[Run::of(to, Some(gone), 500, data)]);
            assert_eq!(collect(&receiver, 3).len(), 3);
        }
        assert_eq!(sender.counters().source_lost, 3 * loopbacks(&receiver).len() as u64);
        assert_eq!(
            sender.offloads(),
            Sockets::bind_with(0, 0, offloads).unwrap().offloads(),
            "blamed on the groups"
        );
    }
}

#[test]
fn a_group_that_the_path_refuses_is_sent_ungrouped_and_remembered() {
    let (sender, receiver) = (Sockets::bind(0, 0).unwrap(), Sockets::bind(0, 0).unwrap());
    if !sender.offloads().gso {
        eprintln!("SKIPPED: this kernel has no UDP_SEGMENT");
        return;
    }
    let bound = sender.bound();
    let socket = bound.pairs[0].v4.as_ref().unwrap();
    // A group of more segments than the kernel takes stands for whatever it refuses.
    sys::set_option(
        socket.as_fd(),
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_DONT,
    )
    .unwrap();
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    let send = |number: u8, len: usize| {
        let data: Vec<u8> = (0..8).flat_map(|at| datagram(number ^ at, len)).collect();
        sender.send(&[run(loopbacks(&receiver)[0], len, data.clone())]);
        let got: Vec<u8> = collect(&receiver, 8).into_iter().flat_map(|(_, data)| data).collect();
        assert!(got == data);
    };
    send(1, 1200);
    assert!(socket.groups_next(1199) && !socket.groups_next(1200));
    assert_eq!(sender.counters(), Counters::default());
    // In time it is tried again: in vain, and then not.
    for number in 0..4 {
        while !socket.groups_next(1200) {}
        send(number, 1200);
        assert_eq!(socket.groups_next(1200), number == 3);
        if number == 2 {
            sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 0).unwrap();
        }
    }
}

#[test]
fn a_missing_family_is_left_out() {
    let has_v6 = UdpSocket::bind("[::1]:0").is_ok();
    for missing in [Family::V4, Family::V6]
        .into_iter()
        .filter(|missing| has_v6 || *missing == Family::V6)
    {
        let bound = bind_pair(0, 0, |family, port| {
            if family == missing {
                return Err(Errno::AFNOSUPPORT.into());
            }
            Socket::open(family, port, 0, Offloads::default())
        })
        .unwrap();
        let pair = &bound.pairs[0];
        assert!(pair.v4.is_none() == (missing == Family::V4) && pair.v6.is_none() == (missing == Family::V6));
        let sockets = Sockets::new(bound, Offloads::default());
        assert_ne!(sockets.port(), 0);
        for to in loopbacks(&sockets) {
            sockets.send(&[run(to, 4, b"datagram".to_vec())]);
        }
        assert_eq!(sockets.counters().unreachable, if has_v6 { 2 } else { 0 });
    }
    let neither = bind_pair(0, 0, |_, _| Err(Errno::AFNOSUPPORT.into())).unwrap_err();
    assert_eq!(neither.to_string(), "this host has neither IPv4 nor IPv6");
}

#[test]
fn a_taken_port_is_named_and_a_free_one_is_found() {
    let first = Sockets::bind(0, 0).unwrap();
    let error = Sockets::bind(first.port(), 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let wanted = format!(
        "UDP port {} is in use: stop what uses it or choose another port",
        first.port()
    );
    assert_eq!(error.to_string(), wanted);
    // A port that only the other family has free is passed over.
    let tries = std::cell::Cell::new(0);
    let bound = bind_pair(0, 0, |family, port| {
        if family == Family::V6 && tries.replace(tries.get() + 1) < 3 {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Socket::open(family, port, 0, Offloads::default())
    });
    assert!(bound.is_ok() && tries.get() == 4);
}

#[test]
fn a_move_to_another_port_is_seen_by_those_who_watch() {
    let sockets = Sockets::bind(0, 0).unwrap();
    let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
    sockets.watch(&epoll, 7).unwrap();
    let before = sockets.port();
    sockets.rebind(before).unwrap();
    assert_eq!(sockets.port(), before);
    sockets.rebind(0).unwrap();
    assert_ne!(sockets.port(), before);
    let old = UdpSocket::bind(("0.0.0.0", before));
    assert!(old.is_ok(), "the old port is free again: {old:?}");
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .send_to(b"hello", loopbacks(&sockets)[0])
        .unwrap();
    let mut events = Vec::with_capacity(4);
    let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
    epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&limit)).unwrap();
    assert_eq!(events.first().map(|event| event.data.u64()), Some(7));
    // The port of another is refused, and nothing changes.
    let other = Sockets::bind(0, 0).unwrap();
    let port = sockets.port();
    assert!(sockets.rebind(other.port()).is_err());
    assert_eq!(sockets.port(), port);
}

#[test]
fn a_full_socket_delays_or_drops_but_never_blocks() {
    let sender = Sockets::bind(0, 0).unwrap();
    let bound = sender.bound();
    bound.pairs[0].v4.as_ref().unwrap().set_send_buffer(4096);
    let receiver = Sockets::bind(0, 0).unwrap();
    let data: Vec<u8> = (0..4000).flat_map(|_| datagram(0, 1400)).collect();
    let began = Instant::now();
    sender.send(&[run(loopbacks(&receiver)[0], 1400, data)]);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_mark_that_is_not_permitted_is_an_error_with_its_remedy() {
    match Sockets::bind(0, 51820) {
        Ok(sockets) => {
            assert_eq!(sockets.fwmark(), 51820);
            sockets.set_fwmark(0).unwrap();
            assert_eq!(sockets.fwmark(), 0);
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("NET_ADMIN"), "{error}");
        }
    }
}

#[test]
fn lanes_share_a_port_and_each_sender_stays_on_one_through_a_move() {
    const LANES: usize = 3;
    let receiver = Sockets::bind_lanes(0, 0, Offloads::default(), LANES).unwrap();
    assert_eq!(receiver.lanes(), LANES);
    let taken = Sockets::bind_lanes(receiver.port(), 0, Offloads::default(), LANES);
    assert_eq!(
        taken.map(|_| ()).unwrap_err().kind(),
        io::ErrorKind::AddrInUse,
        "nobody else may share the port"
    );
    let epolls: Vec<_> = (0..LANES)
        .map(|_| Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap()))
        .collect();
    for (lane, epoll) in epolls.iter().enumerate() {
        receiver.lane(lane).watch(epoll, lane as u64).unwrap();
    }
    for _ in 0..2 {
        let senders: Vec<_> = (0..32).map(|_| Sockets::bind(0, 0).unwrap()).collect();
        let to = loopbacks(&receiver)[0];
        for _ in 0..4 {
            senders
                .iter()
                .for_each(|sender| sender.send(&[run(to, 3, b"one".to_vec())]));
        }
        let mut lanes_of: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        let mut inbox = Inbox::new(8);
        let end = Instant::now() + Duration::from_secs(5);
        while lanes_of.values().map(Vec::len).sum::<usize>() < 4 * senders.len() {
            assert!(Instant::now() < end, "{lanes_of:?}");
            for (lane, epoll) in epolls.iter().enumerate() {
                let mut events = Vec::with_capacity(4);
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                if epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)).unwrap() == 0 {
                    continue;
                }
                assert!(events.iter().all(|event| event.data.u64() == lane as u64));
                receiver.lane(lane).receive(&mut inbox).unwrap();
                for slot in inbox.filled_mut() {
                    let count = slot.len.div_ceil(slot.segment);
                    lanes_of.entry(slot.source).or_default().extend(vec![lane; count]);
                }
            }
        }
        assert!(
            lanes_of
                .values()
                .all(|lanes| lanes.iter().all(|lane| *lane == lanes[0])),
            "{lanes_of:?}"
        );
        let used: std::collections::BTreeSet<_> = lanes_of.values().map(|lanes| lanes[0]).collect();
        assert_eq!(used.len(), LANES, "32 senders are spread");
        receiver.rebind(0).unwrap();
    }
}
