//! Hosts in network namespaces, for tests.
