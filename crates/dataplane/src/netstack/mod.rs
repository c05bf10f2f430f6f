//! The netstack plane: inner flows end here and go on as this process's own sockets.

pub mod tcp;
