//! Our connection against smoltcp's client.
