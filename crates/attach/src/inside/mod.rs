//! What is done inside a container's network namespace.
