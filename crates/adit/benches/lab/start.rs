//! Measures how long `adit launch` takes to be ready, and what it holds when it idles.

use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::network::Network;
use crate::{Figures, median};

/// How often it is started.
const REPEATS: usize = 11;

/// Milliseconds from exec to ready with two peers, as nobody; and the idle gateway's memory in MB.
pub(crate) fn measure() -> Figures {
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let network = Network::new();
        let begin = Instant::now();
        let gateway = Gateway::launch(&network);
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        memory.push(idle_kib(&gateway) * 1024.0 / 1e6);
    }
    Figures::from([("ready", median(times)), ("memory", median(memory))])
}

/// How much memory it keeps when it has nothing to do.
fn idle_kib(gateway: &Gateway) -> f64 {
    netlab::wait_until("the gateway is at rest", Duration::from_secs(10), || {
        let before = gateway.process.account();
        std::thread::sleep(Duration::from_millis(300));
        (gateway.process.account() == before).then_some(before.resident_kib as f64)
    })
}
