//! Properties that hold on a network that loses, doubles, delays and reorders.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::network::{Network, Weather, seed_random};
use crate::message::INITIATION;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn data_flows_in_any_weather_and_arrives_at_most_once(
        loss_percent in 0_u64..30,
        double_percent in 0_u64..30,
        jitter_ms in 0_u64..400,
        interval_ms in 20_u64..3000,
        seed: u64,
    ) {
        seed_random(seed);
        let mut network = Network::pair();
        network.weather = Weather { loss_percent, double_percent, jitter_ms };
        let mut sent = 0_u32;
        while network.now < Network::START + Duration::from_secs(400) {
            let (from, to) = if sent > 0 && sent % 2 == 1 && network.hosts[1].peer(&network.hosts[0]).endpoint().is_some() {
                (1, "10.0.0.1")
            } else {
                (0, "10.0.0.2")
            };
            network.send(from, to, &sent.to_be_bytes());
            sent += 1;
            network.run(Duration::from_millis(interval_ms));
        }
        let mut arrived = network.hosts[0].payloads();
        arrived.extend(network.hosts[1].payloads());
        let distinct: BTreeSet<_> = arrived.iter().collect();
        prop_assert_eq!(distinct.len(), arrived.len(), "nothing arrives twice");
        // What is lost is lost in the network, or while a lost handshake is repeated after five seconds.
        let least = f64::from(sent) * (1.0 - loss_percent as f64 / 100.0) * 0.75 - 20.0;
        prop_assert!(arrived.len() as f64 >= least, "{} of {} arrived, {} at least", arrived.len(), sent, least);

        // After the storm.
        network.weather = Weather::default();
        network.run_secs(20);
        for i in 0..10 {
            network.send(0, "10.0.0.2", &[i]);
            network.run_secs(1);
        }
        prop_assert_eq!(network.hosts[1].payloads().iter().filter(|payload| payload.len() == 1).count(), 10);
        let handshakes = network.sent_by(0, INITIATION, Network::START).len()
            + network.sent_by(1, INITIATION, Network::START).len();
        prop_assert!(handshakes <= 2 * 420 / 5, "{} handshakes", handshakes);
        for host in &network.hosts {
            prop_assert!(host.engine.index.len() <= 4, "three sessions and a handshake");
            let counters = host.counters();
            prop_assert_eq!(counters.forged_data + counters.malformed_datagrams + counters.spoofed_sources, 0);
        }
    }
}
