//! The real binary between network namespaces, with wireguard-go at the other end.
//!
//! `network.rs` draws where the hosts stand; each other file draws what it adds, and is about one thing.

mod core;
mod gateway;
mod member;
mod network;
mod peer;
mod reference;

mod access;
mod api;
mod confs;
mod connections;
mod datagrams;
mod device;
mod doctor;
mod dropin;
mod end;
mod flood;
mod forwarding;
mod isolation;
mod kernel;
mod launcher;
mod lease_peers;
mod link;
mod live;
mod local;
mod node;
mod observe;
mod pia;
mod ping;
mod redial;
mod refusal;
mod restart;
mod roaming;
mod state;
mod transfer;
mod tun;
mod updown;
