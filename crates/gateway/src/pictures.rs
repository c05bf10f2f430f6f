//! Draws pictures of configurations: of a few before a change is done, of many in the background.
//!
//! ```text
//!   change ─┬─ the first 64 ─▶ drawn at once
//!           └─ the others ───▶ queue ─▶ one thread: read the configuration, draw it, put the picture beside it
//! ```
//!
//! A configuration that waits has no picture, so that none shows what was before, and the next start finds the ones
//! that are missing.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use zeroize::Zeroizing;

use crate::file::{self, Worth};

/// Most pictures that one turn waits for: a quarter of a second. Whoever asks for a few
/// peers expects them whole.
const AT_ONCE: usize = 64;

/// The thread that draws in the background.
const THREAD: &str = "adit-pictures";

/// How much the thread stands back behind those that carry packets: on a busy processor it gets a tenth of their time.
const NICENESS: i32 = 10;

/// Draws a configuration; `None` if it is too long for a picture.
type Draw = dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync;

/// Draws pictures. Dropping it ends the thread, once the picture at hand is drawn.
pub struct Pictures {
    shared: Arc<Shared>,
    log: fn(&str),
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    draw: Box<Draw>,
    /// Held by whoever changes configurations or puts a picture beside one.
    queue: Mutex<Queue>,
    /// Said when there is more in the queue, or its end.
    more: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Pictures to draw, by the configurations that they show.
    waiting: BTreeMap<PathBuf, PathBuf>,
    is_over: bool,
}

/// What becomes of a picture.
#[derive(Debug)]
pub enum Picture {
    /// It is here.
    Drawn(Vec<u8>),
    /// There can be none: the configuration is too long.
    Impossible,
    /// It is drawn once the turn is over.
    Later,
}

/// The turn of whoever changes configurations. While it lasts no picture is written in the background; when it is dropped, those that
/// are still to be drawn are on their way.
pub struct Turn<'a> {
    pictures: &'a Pictures,
    queue: MutexGuard<'a, Queue>,
    drawn: AtomicUsize,
    later: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Pictures {
    /// Pictures as this function draws them. What cannot be written in the background is said in the log.
    ///
    /// # Errors
    ///
    /// There is no thread for them.
    pub fn new(
        draw: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static,
        log: fn(&str),
    ) -> Result<Self, io::Error> {
        let shared = Arc::new(Shared {
            draw: Box::new(draw),
            queue: Mutex::default(),
            more: Condvar::new(),
        });
        let background = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || background.run(log))?;
        Ok(Self {
            shared,
            log,
            thread: Some(thread),
        })
    }

    /// Takes the turn to change configurations, after the picture that is written at this moment.
    pub fn turn(&self) -> Turn<'_> {
        Turn {
            pictures: self,
            queue: self.shared.queue(),
            drawn: AtomicUsize::new(0),
            later: Mutex::default(),
        }
    }
}

impl Turn<'_> {
    /// Draws the picture of a configuration, or has it drawn later, when it shows what the file then has.
    pub(crate) fn draw(&self, text: &str, conf: &Path, picture: &Path) -> Picture {
        if self.drawn.fetch_add(1, Ordering::Relaxed) < AT_ONCE {
            return (self.pictures.shared.draw)(text).map_or(Picture::Impossible, Picture::Drawn);
        }
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.insert(conf.to_owned(), picture.to_owned());
        Picture::Later
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let later = self.later.get_mut().unwrap_or_else(PoisonError::into_inner);
        if later.is_empty() {
            return;
        }
        (self.pictures.log)(&format!(
            "{} pictures of QR codes are drawn in the background; `adit peer qr NAME` shows one at once",
            later.len()
        ));
        self.queue.waiting.append(later);
        self.pictures.shared.more.notify_one();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws what waits, until it is over.
    fn run(&self, log: fn(&str)) {
        // Without it, it shares the processors like everybody.
        let _as_it_was = rustix::process::nice(NICENESS);
        let mut is_well = true;
        while let Some((conf, picture)) = self.next() {
            match self.draw_one(&conf, &picture) {
                Ok(()) => is_well = true,
                // One line, also if the disk is full for thousands.
                Err(error) => {
                    if std::mem::replace(&mut is_well, false) {
                        log(&format!(
                            "note: cannot write {}: {error}; the next start draws what is missing",
                            picture.display()
                        ));
                    }
                }
            }
        }
    }

    /// What is to be drawn next, when there is something; `None` at the end.
    fn next(&self) -> Option<(PathBuf, PathBuf)> {
        let queue = self.queue();
        let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.is_over;
        let mut queue = self
            .more
            .wait_while(queue, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.is_over { None } else { queue.waiting.pop_first() }
    }

    /// Draws a configuration. One that is another when the picture is done, or gone, is not this picture's: who changed
    /// it has seen to its picture.
    fn draw_one(&self, conf: &Path, picture: &Path) -> io::Result<()> {
        let Some(text) = read(conf)? else { return Ok(()) };
        let Some(png) = (self.draw)(&text) else { return Ok(()) };
        let queue = self.queue();
        if !queue.is_over && read(conf)?.is_some_and(|found| *found == *text) {
            file::write(picture, &png, Worth::Derived)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        self.shared.queue().is_over = true;
        self.shared.more.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in that thread has already been reported by the panic hook.
            let _panicked = thread.join();
        }
    }
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pictures").finish_non_exhaustive()
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("drawn", &self.drawn)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Pictures that are their texts. The thread in the background says when it begins one, and waits for leave.
    fn pictures() -> (Pictures, mpsc::Receiver<String>, mpsc::Sender<()>) {
        let (begin, begun) = mpsc::channel();
        let (leave, left) = mpsc::channel();
        let left = Mutex::new(left);
        let draw = move |text: &str| {
            if thread::current().name() == Some(THREAD) {
                begin.send(text.to_owned()).unwrap();
                left.lock().unwrap().recv().unwrap();
            }
            Some(text.to_owned().into_bytes())
        };
        (Pictures::new(draw, |_| {}).unwrap(), begun, leave)
    }

    /// Changes more configurations than are drawn at once, so that these are drawn later.
    fn change(pictures: &Pictures, later: &[(&Path, &str)]) {
        let turn = pictures.turn();
        let nowhere = Path::new("nowhere");
        for _ in 0..AT_ONCE {
            assert!(matches!(turn.draw("text", nowhere, nowhere), Picture::Drawn(_)));
        }
        for (conf, text) in later {
            fs::write(conf, text).unwrap();
            let drawn = turn.draw(text, conf, &conf.with_extension("png"));
            assert!(matches!(drawn, Picture::Later));
        }
    }

    #[test]
    fn the_picture_is_that_of_the_newest_text() {
        let root = tempfile::tempdir().unwrap();
        let [one, two, three] = ["1.conf", "2.conf", "3.conf"].map(|name| root.path().join(name));
        let picture = |conf: &Path| fs::read_to_string(conf.with_extension("png")).ok();
        let (pictures, begun, leave) = pictures();
        change(&pictures, &[(&one, "old"), (&two, "two")]);
        assert_eq!(begun.recv().unwrap(), "old");
        change(&pictures, &[(&one, "new")]);
        leave.send(()).unwrap();
        assert_eq!(begun.recv().unwrap(), "new");
        assert_eq!(picture(&one), None, "that of the old text was not kept");
        leave.send(()).unwrap();
        assert_eq!(begun.recv().unwrap(), "two");
        assert_eq!(picture(&one).as_deref(), Some("new"));
        change(&pictures, &[(&three, "three")]);
        fs::remove_file(&two).unwrap();
        leave.send(()).unwrap();
        assert_eq!(begun.recv().unwrap(), "three");
        assert_eq!(picture(&two), None, "a configuration that is gone has no picture");
        leave.send(()).unwrap();
        drop(pictures);
    }

    #[test]
    fn an_end_waits_for_one_picture_and_leaves_the_others() {
        let root = tempfile::tempdir().unwrap();
        let [one, two] = ["1.conf", "2.conf"].map(|name| root.path().join(name));
        let (pictures, begun, leave) = pictures();
        change(&pictures, &[(&one, "one"), (&two, "two")]);
        assert_eq!(begun.recv().unwrap(), "one");
        pictures.shared.queue().is_over = true;
        leave.send(()).unwrap();
        drop(pictures);
        assert_eq!(begun.iter().next(), None, "the other is not begun");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "only the configurations");
    }
}
