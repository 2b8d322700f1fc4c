//! One control plane for all tests of a file: started by the first, ended a moment after the last.

use std::{ops::Deref, sync::Arc, thread, time::Duration};

use parking_lot::Mutex;

use super::ControlPlane;

/// The next test of the file starts within this time after the one before.
const LINGER: Duration = Duration::from_secs(3);

/// A `static` of a test file.
pub struct Shared {
    start: fn() -> ControlPlane,
    slot: Mutex<Slot>,
}

struct Slot {
    plane: Option<Arc<ControlPlane>>,
    users: u32,
    /// Grows with every use, so that an old farewell does not end a newer use.
    uses: u64,
}

/// The use of a shared control plane by one test.
pub struct Handle {
    shared: &'static Shared,
    plane: Arc<ControlPlane>,
}

impl Shared {
    /// API server and etcd.
    pub const fn api() -> Self {
        Self::new(ControlPlane::api)
    }

    /// With kube-controller-manager.
    pub const fn full() -> Self {
        Self::new(ControlPlane::full)
    }

    const fn new(start: fn() -> ControlPlane) -> Self {
        let slot = Slot {
            plane: None,
            users: 0,
            uses: 0,
        };
        Self {
            start,
            slot: Mutex::new(slot),
        }
    }

    /// The running control plane, or a new one. Tests that come at the same time wait for the first one's start.
    pub fn get(&'static self) -> Handle {
        let mut slot = self.slot.lock();
        let plane = Arc::clone(slot.plane.get_or_insert_with(|| Arc::new((self.start)())));
        slot.users += 1;
        slot.uses += 1;
        Handle {
            shared: self,
            plane,
        }
    }
}

impl Deref for Handle {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.plane
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if thread::panicking() {
            self.plane.keep_logs();
        }
        let shared = self.shared;
        let mut slot = shared.slot.lock();
        slot.users -= 1;
        if slot.users > 0 {
            return;
        }
        let uses = slot.uses;
        // Where the process ends before, the kernel and the janitor do the same.
        thread::spawn(move || {
            thread::sleep(LINGER);
            let mut slot = shared.slot.lock();
            if slot.users == 0 && slot.uses == uses {
                slot.plane = None;
            }
        });
    }
}
