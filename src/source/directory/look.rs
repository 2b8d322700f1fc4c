//! Looking at files and directories.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use walkdir::WalkDir;

use super::{
    FileProblem,
    files::{Listing, Stamp},
};

/// Size of one file in bytes. 10,000 routes with their Services and slices are about 10 MB; what is larger is a
/// mistake (a dump, a log) that would only fill memory.
pub(super) const MAX_SIZE: u64 = 32 * 1024 * 1024;

/// Files of one directory: ten times as many as routes that the figures are measured with.
const MAX_FILES: usize = 100_000;

/// Names of any kind that are looked at below one directory. A link that leads to `/` or into `/proc` has no
/// end; twice as many as files may be there is enough for manifests among other things.
const MAX_ENTRIES: usize = 2 * MAX_FILES;

/// A file that nothing happened to for this long is not being written, as far as a re-scan can tell.
const QUIET: Duration = Duration::from_millis(30);

/// What reading a file gave.
#[derive(Debug)]
pub(super) enum Bytes {
    /// It is not there.
    Absent,
    /// It changed while it was read.
    Changing(Stamp),
    /// It cannot be read, and why. With a stamp where that can only change together with the stamp.
    Unreadable(Option<Stamp>, String),
    /// All of it.
    Whole(Stamp, Vec<u8>),
}

/// Whether a file with this name is a manifest.
pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}

/// Whether a name stands for something that is not read.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

/// The stamp of a file; `None` where it is not there or cannot be asked.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|found| Stamp::of(&found))
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Bytes {
    match open(path) {
        Ok(file) => read_open(&file)
            .unwrap_or_else(|error| Bytes::Unreadable(None, format!("cannot be read: {error}"))),
        Err(error) if is_absent(&error) => Bytes::Absent,
        Err(error) => {
            let stamp = match error.kind() {
                // Permissions are part of what the stamp tells.
                io::ErrorKind::PermissionDenied => stamp(path),
                _ => None,
            };
            Bytes::Unreadable(stamp, format!("cannot be opened: {error}"))
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        // A pipe that has no writer must not hold up everything else.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn read_open(mut file: &File) -> io::Result<Bytes> {
    let metadata = file.metadata()?;
    let before = Stamp::of(&metadata);
    if !metadata.is_file() {
        let message = "is no regular file; remove it or give it another name".to_owned();
        return Ok(Bytes::Unreadable(Some(before), message));
    }
    if metadata.len() > MAX_SIZE {
        let message = format!(
            "has {} bytes, more than {MAX_SIZE}; split it into several files",
            metadata.len()
        );
        return Ok(Bytes::Unreadable(Some(before), message));
    }
    let size = usize::try_from(metadata.len()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size.saturating_add(1));
    file.by_ref().take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    let after = Stamp::of(&file.metadata()?);
    if before == after {
        Ok(Bytes::Whole(before, bytes))
    } else {
        Ok(Bytes::Changing(after))
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Lists all manifests below a directory. An error is about the directory itself.
pub(super) fn list(root: &Path, now: SystemTime) -> io::Result<Listing> {
    list_at_most(root, now, MAX_ENTRIES)
}

fn list_at_most(root: &Path, now: SystemTime, max_entries: usize) -> io::Result<Listing> {
    if !std::fs::metadata(root)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let mut listing = Listing::default();
    let walk = WalkDir::new(root)
        .follow_links(true)
        // What a link leads to may be endless: the directory's own files come first.
        .sort_by_key(|entry| (entry.path_is_symlink(), entry.file_type().is_dir()))
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name()));
    for (number, entry) in walk.enumerate() {
        if number > max_entries {
            let message = format!(
                "more than {max_entries} files and directories; the rest is not read. \
                 Is there a link to a large directory?"
            );
            listing.cut(root, message);
            break;
        }
        match entry {
            Ok(entry) if entry.file_type().is_dir() || !is_manifest(entry.path()) => {}
            Ok(entry) => {
                if listing.files.len() == MAX_FILES {
                    let message = format!("more than {MAX_FILES} files; the rest is not read");
                    listing.cut(root, message);
                    break;
                }
                // Gone since the directory was read, or as good as gone.
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                let stamp = Stamp::of(&metadata);
                let quiet = stamp.is_quiet(now, QUIET);
                listing.files.insert(entry.into_path(), (stamp, quiet));
            }
            Err(error) => failed(root, &error, &mut listing)?,
        }
    }
    Ok(listing)
}

impl Listing {
    /// What was not listed is neither there nor gone.
    fn cut(&mut self, root: &Path, message: String) {
        self.unreadable.push(root.to_owned());
        self.problems.push(FileProblem::unreadable(root, message));
    }
}

/// Takes note of what could not be listed.
fn failed(root: &Path, error: &walkdir::Error, listing: &mut Listing) -> io::Result<()> {
    let Some(path) = error.path() else {
        return Ok(());
    };
    // A link to a directory above it: everything in there is listed already.
    let Some(cause) = error.io_error() else {
        return Ok(());
    };
    if path == root {
        return Err(cause.kind().into());
    }
    if is_absent(cause) {
        return Ok(());
    }
    listing.unreadable.push(path.to_owned());
    listing.problems.push(FileProblem::unreadable(
        path,
        format!("cannot be listed: {cause}"),
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_to_a_large_directory_ends_the_list_after_the_own_files() {
        let outer = tempfile::TempDir::new().expect("a directory");
        let (dir, large) = (outer.path().join("routes"), outer.path().join("large"));
        for made in [&dir, &large] {
            std::fs::create_dir(made).expect("made");
        }
        for number in 0..20 {
            std::fs::write(large.join(format!("{number}.txt")), "").expect("written");
        }
        symlink(&large, dir.join("a")).expect("linked");
        std::fs::write(dir.join("z.yaml"), "").expect("written");

        let whole = list_at_most(&dir, SystemTime::now(), 100).expect("listed");
        assert!(whole.problems.is_empty(), "{:?}", whole.problems);

        let cut = list_at_most(&dir, SystemTime::now(), 10).expect("listed");
        assert!(cut.files.contains_key(&dir.join("z.yaml")));
        assert_eq!(cut.unreadable, [&*dir], "what was not listed is not gone");
        let problem = cut.problems.first().expect("a problem").to_string();
        assert!(problem.contains("a link to a large directory"), "{problem}");
    }
}
