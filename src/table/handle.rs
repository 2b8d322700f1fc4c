//! The live table.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use event_listener::Event;
use parking_lot::Mutex;

use super::Table;

/// The live table. Readers load it once per request; writers publish whole tables.
#[derive(Debug)]
pub struct Handle<B> {
    table: ArcSwap<Table<B>>,
    /// Held while a table is published: generations must not overtake each other.
    publishing: Mutex<()>,
    published: Event,
}

impl<B> Handle<B> {
    /// Starts with the empty table.
    pub fn new() -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::empty()),
            publishing: Mutex::new(()),
            published: Event::new(),
        }
    }

    /// The live table. To be dropped before the request is served: a tunnel keeps the `Arc` of its route, not
    /// the table.
    pub fn load(&self) -> Guard<Arc<Table<B>>> {
        self.table.load()
    }

    /// The live table, for those who keep it longer than a request.
    pub fn load_full(&self) -> Arc<Table<B>> {
        self.table.load_full()
    }

    /// Replaces the live table. The generation must be larger than the live one's: `false`, and nothing
    /// happens, where it is not.
    pub fn publish(&self, table: Table<B>) -> bool {
        let table = Arc::new(table);
        let old = {
            let _publishing = self.publishing.lock();
            if table.generation() <= self.table.load().generation() {
                return false;
            }
            self.table.swap(table)
        };
        self.published.notify(usize::MAX);
        // Freeing a large table takes milliseconds; readers already have the new one.
        drop(old);
        true
    }

    /// Returns when the live table's generation is at least `generation`.
    pub async fn wait_for(&self, generation: u64) {
        while self.load().generation() < generation {
            let published = self.published.listen();
            // It may have been published before the listener was there.
            if self.load().generation() >= generation {
                return;
            }
            published.await;
        }
    }
}

impl<B> Default for Handle<B> {
    fn default() -> Self {
        Self::new()
    }
}
