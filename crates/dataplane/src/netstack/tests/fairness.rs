//! One peer cannot starve another.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use smoltcp::socket::tcp::State;

use super::client::Gateway;

#[test]
fn a_peer_that_floods_does_not_silence_another() {
    let gateway = Gateway::start(|config| config.limits.half_open = 64);
    let (mut flooder, mut client) = (gateway.client(2), gateway.client(3));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 1_000];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..len]).unwrap();
        }
    });
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sink_at = sink.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let flood = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            // Datagrams to ever new ports, and SYNs to a network where nobody answers.
            let nowhere = SocketAddr::new("192.0.2.77".parse().unwrap(), 9);
            let mut port = 0_u16;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..200 {
                    port = port.wrapping_add(1);
                    flooder.send_udp(port, sink_at, &[7; 1_200]);
                }
                if port % 1_000 < 200 {
                    flooder.connect(nowhere, 64);
                }
                flooder.poll();
            }
        }
    });
    client.until("the flood is on", |_| gateway.plane.counters().udp_limit > 1_000);
    let handle = client.connect(at, 4_096);
    client.until("it is connected", |client| {
        client.socket(handle).state() == State::Established
    });
    let mut slowest = Duration::ZERO;
    for n in 0..50_u8 {
        let start = Instant::now();
        client.socket(handle).send_slice(&[n]).unwrap();
        client.until("it comes back", |client| {
            let mut got = [0];
            client.socket(handle).recv_slice(&mut got).unwrap() == 1 && got == [n]
        });
        slowest = slowest.max(start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    client.socket(handle).close();
    client.until("the server has ended", |_| server.is_finished());
    println!("slowest answer during the flood: {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
