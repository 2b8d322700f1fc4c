//! What a killed test cannot clean up itself: folders and network namespaces outlive their process.
//!
//! A shell holds the other end of a pipe. Whatever way the test binary ends, the kernel closes the pipe, and the
//! shell removes what was named to it.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;

static PIPE: LazyLock<Mutex<(Child, ChildStdin)>> = LazyLock::new(|| {
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Not part of what Ctrl-C ends.
        .process_group(0)
        .spawn()
        .expect("sh starts");
    let pipe = child.stdin.take().expect("a pipe");
    Mutex::new((child, pipe))
});

/// Programs in a namespace or with a file open die at the same moment; what they still write in the first pass is
/// gone after the second.
const SCRIPT: &str = r#"
things=
while IFS= read -r line; do things="$things$line
"; done
for pass in 1 2; do
    printf '%s' "$things" | while read -r kind name; do
        case $kind in
        netns) ip netns del "$name" 2>/dev/null ;;
        folder) [ -e "$name/kept" ] || rm -rf "$name" ;;
        esac
    done
    [ $pass = 2 ] || sleep 1
done
"#;

fn tell(line: &str) {
    let pipe = &mut PIPE.lock().1;
    writeln!(pipe, "{line}").expect("the janitor listens");
}

/// The network namespace goes with the test binary.
pub fn netns(name: &str) {
    tell(&format!("netns {name}"));
}

/// A folder for one thing of a running test, removed when it is dropped, kept when a test panics.
pub struct Folder {
    path: PathBuf,
    what: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Folder {
    /// A new one below the build's folder for tests.
    pub fn new(what: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{what}-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder");
        tell(&format!("folder {}", path.display()));
        Self {
            path,
            what: what.to_owned(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it and says where it is.
    pub fn keep(&self) {
        let mark = self.path.join("kept");
        if !mark.exists() {
            fs::write(mark, "").expect("the folder is there");
            eprintln!("logs of {} are kept in {}", self.what, self.path.display());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        if !self.path.join("kept").exists() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
