//! The architecture as a test: which module may use which, which crates a pure module may not name, and how
//! long a file may be.
//!
//! The source is read as tokens, so comments and strings do not count, and paths inside macro calls do.
//! Code under `#[cfg(test)]` may use what it likes.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Arrows: the module on the left may use the modules on the right, and every module itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app",
            "demo",
            "source",
            "translate",
            "table",
            "api",
            "ir",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "api",
            "ir",
            "proxy",
            "source",
            "table",
            "telemetry",
            "translate",
            "tunnel",
            "upstream",
            "ws",
        ],
    ),
    // The demo starts the real thing and watches its table.
    ("demo", &["app", "source", "telemetry", "translate"]),
    (
        "source",
        &["translate", "api", "table", "upstream", "ir", "telemetry"],
    ),
    ("translate", &["api", "ir"]),
    ("table", &["ir"]),
    ("admin", &["table", "upstream", "tunnel", "ir", "telemetry"]),
    (
        "proxy",
        &["tunnel", "table", "upstream", "ws", "ir", "telemetry"],
    ),
    ("tunnel", &["table", "upstream", "ws", "ir", "telemetry"]),
    ("upstream", &["ir", "telemetry"]),
    ("telemetry", &["ir"]),
    ("api", &[]),
    ("ir", &[]),
    ("ws", &[]),
];

/// Modules that are plain functions over plain data: no runtime, no sockets, no files, no clock.
const PURE: &[&str] = &["ir", "ws", "table", "translate"];

/// What a pure module may not name, as consecutive path segments. Address types of `std::net` are data.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["tokio_util"],
    &["hyper"],
    &["hyper_util"],
    &["notify"],
    &["rustix"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "process"],
    &["std", "env"],
    &["std", "thread"],
    &["net", "TcpStream"],
    &["net", "TcpListener"],
    &["net", "UdpSocket"],
    &["net", "*"],
    &["time", "Instant"],
    &["time", "SystemTime"],
    &["time", "*"],
];

/// Kubernetes stops at `translate`.
const KUBERNETES: &[&[&str]] = &[&["kube"], &["k8s_openapi"]];
const KNOWS_KUBERNETES: &[&str] = &["api", "translate", "source"];

/// One idea per file.
const MAX_LINES: usize = 700;

#[test]
fn modules_use_only_what_the_architecture_names() {
    let files = sources("src");
    assert!(files.len() > 20, "the sources were not found");
    let found: Vec<Violation> = files
        .iter()
        .filter(|(path, _)| !is_test_file(path))
        .flat_map(|(path, text)| violations(path, text))
        .collect();
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn every_module_has_its_arrows() {
    for (path, _) in sources("src") {
        let place = Place::of(&path);
        let module = place.module();
        assert!(
            module == "lib" || ARROWS.iter().any(|(from, _)| *from == module),
            "{}: add the module {module} to ARROWS, to ARCHITECTURE.md and to the picture in src/lib.rs",
            path.display()
        );
    }
}

#[test]
fn one_place_is_unsafe() {
    let is_unsafe = |text: &str| contains_unsafe(TokenStream::from_str(text).expect("Rust"));
    let files = sources("src").into_iter();
    let files: Vec<_> = files
        .filter(|(_, text)| is_unsafe(text))
        .map(|(path, _)| path)
        .collect();
    assert!(
        matches!(&files[..], [one] if one.ends_with("tunnel/tcp.rs")),
        "{files:?}"
    );
}

fn contains_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == "unsafe",
        TokenTree::Group(group) => contains_unsafe(group.stream()),
        _ => false,
    })
}

#[test]
fn files_are_short() {
    for dir in ["src", "tests", "benches", "bench"] {
        for (path, text) in sources(dir) {
            let lines = text.lines().count();
            assert!(
                lines <= MAX_LINES,
                "{}: {lines} lines; split it, {MAX_LINES} is the most",
                path.display()
            );
        }
    }
}

/// File, code, and what must be found in it.
const PLANTED: &[(&str, &str, &str)] = &[
    (
        "src/table/mod.rs",
        "use crate::proxy::Proxy;",
        "table -> proxy",
    ),
    (
        "src/table/mod.rs",
        "use crate::{ir, upstream::Backend};",
        "table -> upstream",
    ),
    (
        "src/table/compile.rs",
        "use super::super::source;",
        "table -> source",
    ),
    (
        "src/table/compile.rs",
        "fn f() { crate::tunnel::run() }",
        "table -> tunnel",
    ),
    (
        "src/table/mod.rs",
        "mod a { use super::super::proxy::B; }",
        "table -> proxy",
    ),
    (
        "src/ir/id.rs",
        "fn f() { debug!(x = crate::ws::close::frame(1)) }",
        "ir -> ws",
    ),
    (
        "src/ir/id.rs",
        "type B = Vec<crate::upstream::Backend>;",
        "ir -> upstream",
    ),
    (
        "src/main.rs",
        "fn main() { hawser::app::start() }",
        "main -> app",
    ),
    (
        "src/proxy/mod.rs",
        "use crate::*;",
        "a glob of the crate root",
    ),
    (
        "src/ws/frame.rs",
        "use tokio::io::AsyncRead;",
        "tokio in ws",
    ),
    (
        "src/ws/frame.rs",
        "use std::{fmt, net::{IpAddr, TcpStream}};",
        "net::TcpStream in ws",
    ),
    (
        "src/translate/mod.rs",
        "fn f() { std::fs::read(p); }",
        "std::fs in translate",
    ),
    (
        "src/table/mod.rs",
        "use std::time; fn f() { time::Instant::now(); }",
        "time::Instant in table",
    ),
    (
        "src/proxy/mod.rs",
        "use k8s_openapi::api;",
        "k8s_openapi in proxy",
    ),
    (
        "src/proxy/mod.rs",
        "#[cfg(test)] mod tests; use ::kube::Api;",
        "kube in proxy",
    ),
];

/// File and code in which nothing may be found.
const INNOCENT: &[(&str, &str)] = &[
    (
        "src/table/mod.rs",
        "// use crate::proxy;\n/// crate::proxy::X\nconst A: &str = \"crate::proxy::X\";",
    ),
    (
        "src/table/mod.rs",
        "#[cfg(test)] mod tests { use crate::proxy::Proxy; use std::fs; }",
    ),
    (
        "src/table/mod.rs",
        "#[cfg(test)] use crate::{proxy, ir}; use crate::ir;",
    ),
    (
        "src/table/paths.rs",
        "use super::hosts; mod a { use super::super::compile; }",
    ),
    (
        "src/ws/frame.rs",
        "use std::{net::{IpAddr, SocketAddr}, time::Duration};",
    ),
    (
        "src/ir/id.rs",
        "struct A { tokio: u8, kube: u8 } fn f(a: A) -> u8 { a.tokio + a.kube }",
    ),
    (
        "src/proxy/mod.rs",
        "pub(crate) fn f() -> crate::Result { std::time::Instant::now() }",
    ),
    (
        "src/source/mod.rs",
        "use kube::Client; use crate::{self as hawser, table::Table};",
    ),
];

/// The checker itself.
#[test]
fn a_planted_violation_is_found() {
    for (file, text, wanted) in PLANTED {
        let found = violations(Path::new(file), text);
        assert!(
            found.iter().any(|violation| violation.what == *wanted),
            "{text:?} in {file}: {}",
            report(&found)
        );
    }
    for (file, text) in INNOCENT {
        let found = violations(Path::new(file), text);
        assert!(found.is_empty(), "{text:?} in {file}: {}", report(&found));
    }
}

/// Something that the architecture forbids.
#[derive(Debug)]
struct Violation {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

fn report(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    format!(
        "forbidden by the architecture (ARCHITECTURE.md, tests/it/layering.rs):\n{}",
        lines.join("\n")
    )
}

/// Where code stands: `src/table/compile.rs` is `[table, compile]`.
#[derive(Debug, Clone)]
struct Place(Vec<String>);

impl Place {
    fn of(file: &Path) -> Self {
        let mut segments: Vec<String> = file
            .with_extension("")
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .skip_while(|part| part != "src")
            .skip(1)
            .collect();
        if segments.last().is_some_and(|name| name == "mod") {
            segments.pop();
        }
        Self(segments)
    }

    fn module(&self) -> &str {
        self.0.first().map_or("lib", String::as_str)
    }

    /// Makes a path of this place absolute: the segments below the crate root, or `None` for a path of
    /// another crate or a local name.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "hawser" if self.module() == "main" => Some(path[1..].to_vec()),
            "self" => Some([&self.0, &path[1..]].concat()),
            "super" => {
                let ups = path
                    .iter()
                    .take_while(|segment| *segment == "super")
                    .count();
                let base = self.0.len().checked_sub(ups)?;
                Some([&self.0[..base], &path[ups..]].concat())
            }
            _ => None,
        }
    }
}

fn violations(file: &Path, text: &str) -> Vec<Violation> {
    let tokens = TokenStream::from_str(text)
        .unwrap_or_else(|error| panic!("{}: not Rust: {error}", file.display()));
    let mut paths = Vec::new();
    collect(
        &tokens.into_iter().collect::<Vec<_>>(),
        &Place::of(file),
        &mut paths,
    );
    paths
        .iter()
        .flat_map(|named| judge(named).into_iter().map(|what| (named.line, what)))
        .map(|(line, what)| Violation {
            file: file.to_owned(),
            line,
            what,
        })
        .collect()
}

/// A path that the source names.
struct Named {
    place: Place,
    line: usize,
    path: Vec<String>,
}

fn judge(named: &Named) -> Vec<String> {
    let module = named.place.module();
    let mut found = Vec::new();
    if let Some(absolute) = named.place.resolve(&named.path) {
        match absolute.first().map(String::as_str) {
            Some("*") => found.push("a glob of the crate root".to_owned()),
            Some(target) if !allowed(module, target) => {
                found.push(format!("{module} -> {target}"));
            }
            _ => {}
        }
        return found;
    }
    let mut forbid = |list: &[&[&str]]| {
        for item in list {
            if named.path.windows(item.len()).any(|part| part == *item) {
                found.push(format!("{} in {module}", item.join("::")));
            }
        }
    };
    if PURE.contains(&module) {
        forbid(IMPURE);
    }
    if !KNOWS_KUBERNETES.contains(&module) {
        forbid(KUBERNETES);
    }
    found
}

fn allowed(from: &str, to: &str) -> bool {
    let is_module = ARROWS.iter().any(|(module, _)| *module == to);
    // What is no module is an item of lib.rs.
    !is_module
        || from == to
        || ARROWS
            .iter()
            .any(|(module, targets)| *module == from && targets.contains(&to))
}

/// Collects every path of two segments or more, and every path of a `use`.
fn collect(tokens: &[TokenTree], place: &Place, out: &mut Vec<Named>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is_cfg_test(&tokens[at..]) {
            at += 2;
            at += item_len(&tokens[at..]);
            continue;
        }
        match token {
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    let inner = Place([&place.0[..], &[name.to_string()]].concat());
                    collect(&body.stream().into_iter().collect::<Vec<_>>(), &inner, out);
                    at += 3;
                } else {
                    at += 1;
                }
            }
            TokenTree::Ident(word) if word == "use" => {
                at += 1 + path(&tokens[at + 1..], &[], true, place, out);
            }
            TokenTree::Ident(_) => at += path(&tokens[at..], &[], false, place, out),
            TokenTree::Group(group) => {
                collect(&group.stream().into_iter().collect::<Vec<_>>(), place, out);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads one path, or with `in_use` one tree of a `use`, and returns how many tokens it took (at least 1).
fn path(
    tokens: &[TokenTree],
    before: &[String],
    in_use: bool,
    place: &Place,
    out: &mut Vec<Named>,
) -> usize {
    let mut segments = before.to_vec();
    let line = tokens.first().map_or(0, |token| token.span().start().line);
    let mut at = if is_colons(tokens) { 2 } else { 0 };
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(segment)) => segments.push(segment.to_string()),
            Some(TokenTree::Punct(star)) if in_use && star.as_char() == '*' => {
                segments.push("*".to_owned());
            }
            Some(TokenTree::Group(group)) if in_use && group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
                for branch in inner.split(is_comma).filter(|branch| !branch.is_empty()) {
                    path(branch, &segments, true, place, out);
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        if is_colons(&tokens[at..]) {
            at += 2;
        } else {
            break;
        }
    }
    // `use a::{self as b}` names `a`.
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    if in_use || segments.len() > 1 {
        out.push(Named {
            place: place.clone(),
            line,
            path: segments,
        });
    }
    at.max(1)
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    let is_colon =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    matches!(tokens, [first, second, ..] if is_colon(first) && is_colon(second))
}

fn is_cfg_test(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(hash), TokenTree::Group(group), ..]
        if hash.as_char() == '#' && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Tokens of the item that starts here: up to its body or semicolon; a `use` has braces before its semicolon.
fn item_len(tokens: &[TokenTree]) -> usize {
    let is_use = matches!(tokens.first(), Some(TokenTree::Ident(word)) if word == "use");
    tokens
        .iter()
        .position(|token| match token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) => !is_use && group.delimiter() == Delimiter::Brace,
            _ => false,
        })
        .map_or(tokens.len(), |end| end + 1)
}

/// All Rust files below a directory of the package.
fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    walkdir::WalkDir::new(root.join(dir))
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a readable file");
            let path = path.strip_prefix(root).expect("below the root").to_owned();
            (path, text)
        })
        .collect()
}

/// `tests.rs`, `tests/…` and `…_tests.rs` are declared under `#[cfg(test)]`.
fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name == "tests.rs" || name == "tests" || name.ends_with("_tests.rs")
    })
}
