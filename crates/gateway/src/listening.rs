//! A server of one address, on a thread of its own.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use crate::http;

/// A server that runs; dropping it stops it, and what it is doing at that moment.
#[derive(Debug)]
pub(crate) struct Listening {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Lets `serve` serve on this address, on a thread called `name`. `[::]` is all addresses of both families.
    ///
    /// # Errors
    ///
    /// What the kernel says; nothing is left behind then.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &str,
        address: SocketAddr,
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let listener = http::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener) => {}
                }
            });
            // An answer that is being made is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            address: bound,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in that thread has already been reported by the panic hook.
            let _panicked = thread.join();
        }
    }
}
