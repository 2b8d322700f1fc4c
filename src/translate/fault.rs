//! What is wrong with an object: which rule, which field, and what would be right.

use std::{fmt, sync::Arc};

use crate::api::conditions::accepted;

/// Most faults that one verdict lists. More would not fit a condition (32 KiB) that anyone reads.
const LISTED: usize = 20;

/// Longest piece of user text that a message repeats, in characters.
const QUOTED: usize = 80;

/// Why a rule is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    InvalidSpec,
    UnsupportedValue,
    Conflicted,
}

impl Reason {
    /// The word of the closed list.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSpec => accepted::INVALID_SPEC,
            Self::UnsupportedValue => accepted::UNSUPPORTED_VALUE,
            Self::Conflicted => accepted::CONFLICTED,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Name of the rule; `None` for what belongs to the object as a whole.
    pub(super) rule: Option<Arc<str>>,
    /// What the condition says.
    pub(super) reason: Reason,
    /// Path of the field.
    pub(super) field: String,
    /// What is wrong.
    pub(super) message: String,
}

impl Fault {
    /// A value that can never work.
    pub(super) fn invalid(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            rule: None,
            reason: Reason::InvalidSpec,
            field: field.into(),
            message: message.to_string(),
        }
    }

    /// The same, as part of a rule.
    pub(super) fn of_rule(mut self, rule: &Arc<str>) -> Self {
        self.rule = Some(Arc::clone(rule));
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rule) = &self.rule {
            write!(f, "rule {}: ", Quoted(rule))?;
        }
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A bounded list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed<T> {
    items: Vec<T>,
    more: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            more: 0,
        }
    }
}

impl<T> Listed<T> {
    pub(super) fn push(&mut self, item: T) {
        if self.items.len() < LISTED {
            self.items.push(item);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.more += other.more;
        for item in other.items {
            self.push(item);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }
}

impl<T: PartialEq> Listed<T> {
    pub(super) fn push_once(&mut self, item: T) {
        if !self.items.contains(&item) {
            self.push(item);
        }
    }
}

impl<T: fmt::Display> Listed<T> {
    /// The items as lines, then how many more there are.
    pub(super) fn into_lines(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.items
            .into_iter()
            .map(|item| item.to_string())
            .chain(more)
            .collect()
    }
}

impl<T: fmt::Display> fmt::Display for Listed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{item}")?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

/// User text that needs no quotes, of bounded length.
pub(super) struct Cut<'a>(pub(super) &'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(QUOTED) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{}…", self.0.get(..end).unwrap_or_default()),
        }
    }
}

/// User text in a message: quoted, escaped, of bounded length.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(QUOTED) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
        }
    }
}
