//! Engines that talk to each other over a simulated network, in virtual time.

mod configuration;
mod hostile;
mod lessons;
mod load;
mod network;
mod sessions;
mod timetable;
mod weather;
