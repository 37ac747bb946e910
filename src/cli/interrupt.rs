//! Ctrl-C: text generation ends at the next token; other work ends at once and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static ASKED: AtomicBool = AtomicBool::new(false);
static WAITING: AtomicBool = AtomicBool::new(false);
static SCRAP: Mutex<Option<PathBuf>> = Mutex::new(None);

/// From now on Ctrl-C only sets a flag, see [`asked`]; a second one, and one while the user is waited for, ends the process.
pub(super) fn watch() {
    // Without a handler the default stays: the process ends.
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::Relaxed) || WAITING.load(Ordering::Relaxed) {
            std::process::exit(1);
        }
    });
}

/// Whether the user is waited for from now on.
pub(super) fn waiting(waiting: bool) {
    WAITING.store(waiting, Ordering::Relaxed);
}

/// Takes back that Ctrl-C was pressed.
pub(super) fn forget() {
    ASKED.store(false, Ordering::Relaxed);
}

/// Whether Ctrl-C was pressed since [`watch`].
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// From now on Ctrl-C removes the folder `scrap` and ends the process.
pub(super) fn clean_up(scrap: &Path) {
    *SCRAP.lock().unwrap_or_else(PoisonError::into_inner) = Some(scrap.to_owned());
    let _ = ctrlc::set_handler(|| {
        if let Some(folder) = SCRAP.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = std::fs::remove_dir_all(folder);
        }
        std::process::exit(1);
    });
}
