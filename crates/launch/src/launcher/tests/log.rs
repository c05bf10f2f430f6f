//! What the log says of a lease belongs to the requests that were made of it.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// The log, kept.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

struct Writer<'a>(MutexGuard<'a, Vec<u8>>);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer(self.0.lock().unwrap())
    }
}

impl Kept {
    /// For each line that says `event`, the request ids and the lease of its spans, the outermost first.
    fn said(&self, event: &str) -> Vec<Vec<String>> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let of_event = lines.filter(|line| line["fields"]["event"] == event);
        let ids = of_event.map(|line| {
            let spans = line["spans"].as_array().unwrap().clone();
            let id = |span: &serde_json::Value| {
                let words = [&span["lease"], &span["request_id"]].map(|word| word.as_str().unwrap_or("-").to_owned());
                words.join(" ")
            };
            spans.iter().map(id).collect()
        });
        ids.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_line_of_a_lease_names_it_and_the_request_that_it_is_of() {
    let kept = Kept::default();
    // While there is one alone, what other tests' threads come by first is taken for unwanted, here too.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(kept.clone())
        .finish();
    let _until_the_end = tracing::subscriber::set_default(subscriber);
    let of = |request_id: &str| Caller {
        request_id: request_id.to_owned(),
        ..caller("anna")
    };
    let (place, database) = (Simulate::new(quick()), memory());
    let launcher = start(Arc::clone(&database) as Arc<dyn Store>, &place);
    let created = launcher.create(&of("first"), &request("phone"), None).await.unwrap();
    let (Created::New(lease) | Created::Again(lease)) = created;
    let id = lease.id;
    wait_for(&launcher, id, State::Ready).await;
    launcher
        .extend(&of("second"), id, Duration::from_secs(60))
        .await
        .unwrap();
    launcher.stop().await;
    // Nobody knows of which request it is that the next one finds.
    let launcher = start(database, &place);
    launcher.end(&of("third"), id).await.unwrap();
    wait_for(&launcher, id, State::Removed).await;
    let lease = |request: &str| format!("{id} {request}");
    for (event, spans) in [
        ("provisioning", vec![lease("first")]),
        ("configuring", vec![lease("first")]),
        ("ready", vec![lease("first")]),
        ("extended", vec![lease("first"), "- second".to_owned()]),
        ("removing", vec![lease("-"), "- third".to_owned()]),
        ("removed", vec![lease("-")]),
    ] {
        assert_eq!(kept.said(event), [spans], "{event}");
    }
}
