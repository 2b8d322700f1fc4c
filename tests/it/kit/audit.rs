//! The API server's audit log as an oracle: who used which verb on what, and what the answer was.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

use super::{control_plane::ControlPlane, eventually};

/// The audit log of a control plane.
pub struct Audit {
    path: PathBuf,
}

/// A place in the log.
#[derive(Clone, Copy)]
pub struct Mark(u64);

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who asked.
    pub user: String,
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Plural of the resource; empty for a path that is none.
    pub resource: String,
    /// `status`, `token` and the like; empty for the object itself.
    pub subresource: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Namespace; empty for what has none, and for requests over all.
    pub namespace: String,
    /// Name of the object; empty for lists and watches.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// Status of the answer.
    pub code: u16,
    /// When it arrived, as the API server writes it: RFC 3339 with microseconds, so it sorts as text.
    pub at: String,
    /// Everything else.
    pub raw: Value,
}

/// `verb resource.group/subresource`, or `verb PATH` for what is no resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use(pub String);

impl fmt::Debug for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Waits until `count` of what is looked for is in a log; panics if it is more.
pub async fn exactly(count: usize, what: &str, look: impl Fn() -> Vec<Entry>) -> Vec<Entry> {
    let found = eventually(&format!("{what}: {count} in the audit log"), async || {
        let found = look();
        (found.len() >= count).then_some(found)
    })
    .await;
    assert_eq!(found.len(), count, "{what}: {found:#?}");
    found
}

impl ControlPlane {
    /// Its audit log.
    pub fn audit(&self) -> Audit {
        Audit {
            path: self.folder().join("audit.log"),
        }
    }
}

impl Audit {
    /// The end of the log now.
    pub fn mark(&self) -> Mark {
        Mark(fs::metadata(&self.path).map_or(0, |data| data.len()))
    }

    /// Every request since the mark, in the order of their answers; a watch counts when it begins. A request is
    /// written a moment after its answer was sent: wait for what must come.
    pub fn since(&self, mark: Mark) -> Vec<Entry> {
        let mut file = fs::File::open(&self.path).expect("the API server writes an audit log");
        file.seek(SeekFrom::Start(mark.0)).expect("a place in it");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        let mut seen = BTreeSet::new();
        text.lines()
            // The last line may be half written; a mark never is inside of one.
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|entry: &Value| seen.insert(word(&entry["auditID"])))
            .map(Entry::new)
            .collect()
    }

    /// The same of one user only: `system:serviceaccount:NAMESPACE:NAME` for a ServiceAccount.
    pub fn of(&self, user: &str, mark: Mark) -> Vec<Entry> {
        let mut entries = self.since(mark);
        entries.retain(|entry| entry.user == user);
        entries
    }
}

impl Entry {
    fn new(raw: Value) -> Self {
        let object = &raw["objectRef"];
        Self {
            user: word(&raw["user"]["username"]),
            verb: word(&raw["verb"]),
            resource: word(&object["resource"]),
            subresource: word(&object["subresource"]),
            group: word(&object["apiGroup"]),
            namespace: word(&object["namespace"]),
            name: word(&object["name"]),
            uri: word(&raw["requestURI"]),
            code: raw["responseStatus"]["code"]
                .as_u64()
                .map_or(0, |code| code as u16),
            at: word(&raw["requestReceivedTimestamp"]),
            raw,
        }
    }

    /// Whether it asked for a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// What kind of right it needed.
    pub fn needs(&self) -> Use {
        if self.resource.is_empty() {
            let path = self.uri.split('?').next().unwrap_or_default();
            return Use(format!("{} {path}", self.verb));
        }
        let with = |sign: &str, word: &str| {
            if word.is_empty() {
                String::new()
            } else {
                format!("{sign}{word}")
            }
        };
        let (group, sub) = (with(".", &self.group), with("/", &self.subresource));
        Use(format!("{} {}{group}{sub}", self.verb, self.resource))
    }
}

/// Which rights were used.
pub fn uses(entries: &[Entry]) -> BTreeSet<Use> {
    entries.iter().map(Entry::needs).collect()
}

/// Who wrote.
pub fn writers(entries: &[Entry]) -> BTreeSet<String> {
    let writes = entries.iter().filter(|entry| entry.is_write());
    writes.map(|entry| entry.user.clone()).collect()
}

/// What was refused for want of a right.
pub fn refused(entries: &[Entry]) -> Vec<&Entry> {
    entries.iter().filter(|entry| entry.code == 403).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
