//! `hawser check`: what would become of manifests, without serving them.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, process::ExitCode};

use serde::Serialize;

use crate::{
    api::{self, ObjectKey, conditions},
    source::directory::{FileProblem, Scan, Unknown, scan},
    translate::{self, Options, SourceKind, Verdict, prepare, translate},
};

/// Everything accepted.
const ALL_ACCEPTED: u8 = 0;
/// An object or a rule of one was rejected.
const REJECTED: u8 = 1;
/// A file is missing or not YAML.
const UNREADABLE: u8 = 2;

/// Flags of `hawser check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 all accepted (a missing backend alone is no rejection), 1 something rejected or left out,
2 a file is missing or not YAML.

Examples:
  hawser check routes.yaml
  hawser check ./routes -o json")]
pub(super) struct CheckArgs {
    /// Files and directories with manifests; objects of all of them are seen together
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    class: ClassArgs,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One line per object
    Text,
    /// One document
    Json,
}

/// Flags that decide whose an object is, as for `hawser run`.
#[derive(Debug, clap::Args)]
pub(super) struct ClassArgs {
    /// Class that the annotation kubernetes.io/ingress.class must name, and that ingressClassName must name where
    /// there is no IngressClass object
    #[arg(
        long,
        value_name = "NAME",
        env = "HAWSER_INGRESS_CLASS",
        default_value = "hawser"
    )]
    ingress_class: String,

    /// An IngressClass is ours when its spec.controller is this
    #[arg(
        long,
        value_name = "NAME",
        env = "HAWSER_CONTROLLER_NAME",
        default_value = translate::CONTROLLER_NAME
    )]
    controller_name: String,

    /// Take Ingress objects that name no class, too
    #[arg(
        long,
        env = "HAWSER_WATCH_INGRESS_WITHOUT_CLASS",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    watch_ingress_without_class: bool,
}

impl ClassArgs {
    /// What to translate files with.
    pub(super) fn options(&self) -> Options {
        Options {
            controller_name: self.controller_name.clone(),
            ingress_class: self.ingress_class.clone(),
            watch_ingress_without_class: self.watch_ingress_without_class,
            origin: SourceKind::Directory,
            own_addresses: Vec::new(),
            peer_service: None,
            drain_window: None,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let report = report(scan(&args.paths), &args.class.options());
    let text = match args.output {
        Format::Text => report.text(),
        Format::Json => report.json(),
    };
    if report.is_empty() {
        eprintln!("hawser: no object in what was named; manifests end in .yaml, .yml or .json");
    }
    match super::print(&text) {
        ExitCode::SUCCESS => ExitCode::from(report.exit),
        failed => failed,
    }
}

/// What became of every object and every file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// In the order of files and documents.
    objects: Vec<Checked>,
    /// Files, and documents that do not say which object they are, that cannot be read.
    files: Vec<FileProblem>,
    /// Objects of kinds that Hawser does not read.
    ignored: Vec<Unknown>,
    /// Exit code of the command.
    exit: u8,
}

/// One object.
#[derive(Debug, Serialize)]
struct Checked {
    file: PathBuf,
    /// Where the document begins, if the schema refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(flatten)]
    object: ObjectKey,
    /// False: another controller's.
    ours: bool,
    /// None for kinds that have none (a Service, for example).
    conditions: Vec<Condition>,
    warnings: Vec<String>,
    /// What the schema refuses, field by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<api::Problem>,
}

/// A condition as Kubernetes writes it.
#[derive(Debug, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// Translates what was read and puts it together by file.
pub(super) fn report(scan: Scan, options: &Options) -> Report {
    let mut objects = Vec::with_capacity(scan.objects.len());
    let mut prepared = Vec::with_capacity(scan.objects.len());
    for (file, key, object) in scan.objects {
        prepared.push(prepare(&object));
        objects.push(Checked::new(file, key));
    }
    let mut verdicts: BTreeMap<ObjectKey, Verdict> = translate(&prepared, options)
        .verdicts
        .into_iter()
        .map(|verdict| (verdict.object.clone(), verdict))
        .collect();
    for checked in &mut objects {
        if let Some(verdict) = verdicts.remove(&checked.object) {
            checked.ours = verdict.ours;
            checked.conditions = verdict
                .conditions
                .into_iter()
                .map(Condition::from)
                .collect();
            checked.warnings = verdict.warnings;
        }
    }
    let mut files = Vec::new();
    for problem in scan.problems {
        match problem.object {
            Some(object) if !problem.unreadable => {
                let mut checked = Checked::new(problem.file, object);
                checked.line = problem.line;
                checked.refuse(shown(&problem.problems));
                checked.problems = problem.problems;
                objects.push(checked);
            }
            _ => files.push(problem),
        }
    }
    // Stable: documents of a file stay in their order, what was refused comes last.
    objects.sort_by(|a, b| a.file.cmp(&b.file));
    let exit = exit(&objects, &files);
    Report {
        objects,
        files,
        ignored: scan.unknown,
        exit,
    }
}

fn exit(objects: &[Checked], files: &[FileProblem]) -> u8 {
    if files.iter().any(|file| file.unreadable) {
        UNREADABLE
    } else if !files.is_empty() || objects.iter().any(Checked::is_rejected) {
        REJECTED
    } else {
        ALL_ACCEPTED
    }
}

impl Checked {
    fn new(file: PathBuf, object: ObjectKey) -> Self {
        Self {
            file,
            line: None,
            object,
            ours: true,
            conditions: Vec::new(),
            warnings: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn refuse(&mut self, message: String) {
        self.conditions = vec![Condition {
            type_: conditions::ACCEPTED,
            status: "False",
            reason: conditions::accepted::INVALID_SPEC,
            message,
        }];
    }

    /// Whether something was not accepted. A reference that leads nowhere is accepted.
    fn is_rejected(&self) -> bool {
        self.conditions.iter().any(|condition| {
            condition.type_ == conditions::PARTIALLY_INVALID
                || (condition.type_ == conditions::ACCEPTED && condition.status == "False")
        })
    }

    fn text(&self) -> String {
        let ObjectKey {
            kind,
            namespace,
            name,
        } = &self.object;
        let slash = if namespace.is_empty() { "" } else { "/" };
        let mut parts: Vec<String> = self.conditions.iter().map(Condition::text).collect();
        if !self.ours {
            parts.push("not ours".to_owned());
        } else if parts.is_empty() {
            parts.push("ok".to_owned());
        }
        parts.extend(
            self.warnings
                .iter()
                .map(|warning| format!("warning: {warning}")),
        );
        format!("{kind} {namespace}{slash}{name}: {}", parts.join(", "))
    }
}

impl From<translate::Condition> for Condition {
    fn from(condition: translate::Condition) -> Self {
        Self {
            type_: condition.type_,
            status: if condition.status { "True" } else { "False" },
            reason: condition.reason,
            message: condition.message,
        }
    }
}

impl Condition {
    fn text(&self) -> String {
        let mut text = format!("{}={} ({}", self.type_, self.status, self.reason);
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.message);
        }
        text.push(')');
        text
    }
}

impl Report {
    /// Nothing was found, as when another directory was meant.
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.files.is_empty() && self.ignored.is_empty()
    }

    /// One line per object, then one per file that cannot be read, then one per object of another kind.
    fn text(&self) -> String {
        let mut out = String::new();
        for checked in &self.objects {
            let place = place(&checked.file, checked.line, None);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{place}: {}", one_line(&checked.text()));
        }
        for problem in &self.files {
            let _ = writeln!(out, "{}", problem_line(problem));
        }
        for unknown in &self.ignored {
            let place = place(&unknown.file, Some(unknown.line), None);
            let kind = one_line(&format!("{} ({})", unknown.kind, unknown.api_version));
            let _ = writeln!(
                out,
                "{place}: {kind}: ignored, Hawser does not read this kind"
            );
        }
        out
    }

    fn json(&self) -> String {
        // Plain data with text keys always has a JSON form.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }
}

/// A file that cannot be read, or an object that the schema refuses, in one line.
pub(super) fn problem_line(problem: &FileProblem) -> String {
    let place = place(&problem.file, problem.line, problem.column);
    format!("{place}: {}", one_line(&shown(&problem.problems)))
}

/// `file:line:column`, as far as known.
fn place(file: &std::path::Path, line: Option<u64>, column: Option<u64>) -> String {
    let mut place = file.display().to_string();
    for number in [line, column].into_iter().flatten() {
        let _ = write!(place, ":{number}");
    }
    place
}

fn shown(problems: &[api::Problem]) -> String {
    let shown: Vec<String> = problems
        .iter()
        .map(|problem| match &*problem.field {
            "" => problem.message.clone(),
            field => format!("{field}: {}", problem.message),
        })
        .collect();
    shown.join("; ")
}

/// Messages of a parser may have several lines, and user text any character.
fn one_line(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
