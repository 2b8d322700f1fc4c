//! What events mean.

use notify::event::{CreateKind, DataChange, MetadataKind, RemoveKind};

use super::*;

const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const TOUCHED: EventKind = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
const CREATED: EventKind = EventKind::Create(CreateKind::File);
const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);
const FROM: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
const TO: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
const BOTH: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));

fn of(kind: EventKind, path: &str) -> Meaning {
    meaning(Path::new("/etc/routes"), kind, Path::new(path), |path| {
        path == Path::new("/etc/routes/shop")
    })
}

#[test]
fn files_are_settled_or_being_written() {
    let path = "/etc/routes/a.yaml";
    for kind in [CLOSED, REMOVED, FROM, TO] {
        assert_eq!(of(kind, path), Meaning::File(path.into(), Change::Settled));
    }
    for kind in [CREATED, WRITTEN, TOUCHED] {
        assert_eq!(of(kind, path), Meaning::File(path.into(), Change::Writing));
    }
    for kind in [OPENED, BOTH] {
        assert_eq!(of(kind, path), Meaning::Nothing);
    }
}

#[test]
fn what_is_no_manifest_means_nothing() {
    for path in [
        "/etc/routes/a.yaml~",
        "/etc/routes/notes.txt",
        "/etc/routes/.a.yaml.swp",
        "/etc/routes/.git/x.yaml",
        "/etc/other/a.yaml",
        "/etc/routes2/a.yaml",
    ] {
        assert_eq!(of(CLOSED, path), Meaning::Nothing, "{path}");
    }
}

#[test]
fn directories_and_mounted_config_maps_are_scanned() {
    assert_eq!(of(TO, "/etc/routes/..data"), Meaning::Scan);
    assert_eq!(of(CLOSED, "/etc/routes/..2026_11/a.yaml"), Meaning::Scan);
    assert_eq!(of(FROM, "/etc/routes/shop"), Meaning::Scan);
    assert_eq!(of(TOUCHED, "/etc/routes/shop"), Meaning::Nothing);
}

#[test]
fn the_directory_itself_may_be_replaced() {
    for kind in [CREATED, REMOVED, FROM, TO] {
        assert_eq!(of(kind, "/etc/routes"), Meaning::Root);
        assert_eq!(of(kind, "/etc"), Meaning::Root);
    }
    assert_eq!(of(TOUCHED, "/etc/routes"), Meaning::Nothing);
    assert_eq!(of(TO, "/etc/elsewhere"), Meaning::Nothing);
}
