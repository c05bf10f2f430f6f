//! Large transfers in both directions, every byte compared.

use std::{
    hash::{DefaultHasher, Hasher},
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Instant,
};

use smoltcp::socket::tcp::State;

use super::client::Gateway;

/// Bytes that do not repeat soon.
fn stream(len: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..len / 65_536).map(|block| {
        (0..16_384)
            .flat_map(|n: u32| (n ^ u32::try_from(block).unwrap()).to_le_bytes())
            .collect()
    })
}

fn hash(data: impl Iterator<Item = Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.for_each(|block| block.iter().for_each(|&byte| hasher.write_u8(byte)));
    hasher.finish()
}

fn len() -> usize {
    std::env::var("ADIT_TEST_TRANSFER_MB")
        .ok()
        .and_then(|mb| mb.parse().ok())
        .unwrap_or(32)
        << 20
}

#[test]
fn a_large_upload_arrives_whole() {
    let len = len();
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut hasher, mut buffer) = (DefaultHasher::new(), vec![0; 1 << 17]);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return hasher.finish(),
                got => buffer[..got].iter().for_each(|&byte| hasher.write_u8(byte)),
            }
        }
    });
    let handle = client.connect(at, 1 << 20);
    client.until("it is connected", |client| {
        client.socket(handle).state() == State::Established
    });
    let start = Instant::now();
    for block in stream(len) {
        let mut rest = &block[..];
        client.until("a block is written", |client| {
            let sent = client.socket(handle).send_slice(rest).unwrap();
            rest = &rest[sent..];
            rest.is_empty()
        });
    }
    client.socket(handle).close();
    client.until("the server has all", |_| server.is_finished());
    println!(
        "upload: {:.2} Gbit/s",
        len as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9
    );
    assert_eq!(server.join().unwrap(), hash(stream(len)));
}

#[test]
fn a_large_download_arrives_whole() {
    let len = len();
    let gateway = Gateway::start(|_| {});
    let mut client = gateway.client(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        stream(len).for_each(|block| socket.write_all(&block).unwrap());
    });
    let handle = client.connect(at, 1 << 20);
    let start = Instant::now();
    let mut data = Vec::with_capacity(len);
    client.until("it is connected", |client| {
        client.socket(handle).state() == State::Established
    });
    while data.len() < len {
        let before = data.len();
        client.until("a block is read", |client| {
            let socket = client.socket(handle);
            while socket.can_recv() {
                socket
                    .recv(|bytes| (bytes.len(), data.extend_from_slice(bytes)))
                    .unwrap();
            }
            data.len() > before
        });
    }
    println!(
        "download: {:.2} Gbit/s",
        len as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9
    );
    server.join().unwrap();
    assert_eq!(hash([data].into_iter()), hash(stream(len)));
}
