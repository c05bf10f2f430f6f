//! The container engine: what it is asked and tells, what it asks a network driver, and the network namespaces and names of
//! its containers.

pub mod births;
pub mod container;
pub mod driver;
pub mod engine;
pub mod inside;
pub mod resolver;
pub mod watcher;

pub use container::Container;
pub use engine::Engine;
pub use inside::Inside;
