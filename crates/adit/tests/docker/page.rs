//! The hub's page where gateways are containers: the walk of `tests/hub/walk.rs`.

use crate::engine::{Engine, TAG};
use crate::hub::Hub;
use crate::needs_an_engine;
use crate::network::Network;
use crate::walk::walk;

#[test]
fn a_person_launches_a_container_in_the_page_and_connects_until_it_ends() {
    needs_an_engine!();
    needs_a_browser!();
    let network = Network::new();
    let engine = Engine::start(&network);
    let socket = engine.path("socket").display().to_string();
    let hub = Hub::start(
        &network.gateway,
        &["--place", "docker", "--docker", &socket, "--image", TAG],
    );
    let walked = walk(&network, &hub.link, "docker");
    assert!(!hub.process.log().contains(&walked.key));
    let left = engine.docker(&["ps", "--all", "--quiet", "--filter", "label=adit.lease"]);
    assert_eq!(left.run(), "");
}
