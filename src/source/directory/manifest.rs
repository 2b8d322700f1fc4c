//! One file to judged objects. What did not change since the last time is not read again.

use std::{
    cell::LazyCell,
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::yaml::{self, Broken};
use crate::api::{self, Review};

/// Documents of one file. A route with its Service and slices is three, so this is room for a hundred thousand
/// routes; an empty document is four bytes, and the largest file would hold millions.
const MAX_DOCUMENTS: usize = 300_000;

/// A file, read and judged. `T` is what the reader makes of a review.
#[derive(Debug)]
pub(super) struct Manifest<T> {
    sections: Vec<Section<T>>,
}

/// The text between two document markers.
#[derive(Debug)]
struct Section<T> {
    /// Of the text.
    print: u64,
    /// Lines of the file before it.
    before: u64,
    items: Arc<[Item<T>]>,
}

/// One object.
#[derive(Debug)]
struct Item<T> {
    /// Line in the section, from 1.
    line: u64,
    column: u64,
    what: T,
}

/// Where in a file an object begins, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl<T> Default for Manifest<T> {
    fn default() -> Self {
        Self {
            sections: Vec::new(),
        }
    }
}

impl<T> Manifest<T> {
    /// Reads a file. Sections that `previous` has are taken from it; `prints` must be the same for both.
    pub(super) fn parse(
        bytes: &[u8],
        previous: &Self,
        prints: &RandomState,
        judge: &mut impl FnMut(Review) -> T,
    ) -> Result<Self, Broken> {
        let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error))?;
        // YAML 1.2 section 5.2: a byte order mark is no content.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let known = LazyCell::new(|| -> HashMap<u64, &Section<T>> {
            let sections = previous.sections.iter();
            sections.map(|section| (section.print, section)).collect()
        });
        let mut sections = Vec::new();
        for (before, part) in split(text) {
            if sections.len() == MAX_DOCUMENTS {
                return Err(Broken {
                    line: Some(before + 1),
                    column: Some(1),
                    message: format!(
                        "more than {MAX_DOCUMENTS} documents; split the file into several"
                    ),
                });
            }
            let print = prints.hash_one(part);
            let same_place = previous.sections.get(sections.len());
            let same = same_place.filter(|section: &&Section<T>| section.print == print);
            let items = match same.or_else(|| known.get(&print).copied()) {
                Some(section) => Arc::clone(&section.items),
                None => section(part, judge).map_err(|broken| broken.after(before))?,
            };
            sections.push(Section {
                print,
                before,
                items,
            });
        }
        Ok(Self { sections })
    }

    /// One that was read from a text with this print.
    #[cfg(test)]
    pub(super) fn test(print: u64, items: Vec<T>) -> Self {
        let items = items.into_iter().zip(1..).map(|(what, line)| Item {
            line,
            column: 1,
            what,
        });
        Self {
            sections: vec![Section {
                print,
                before: 0,
                items: items.collect(),
            }],
        }
    }

    /// Whether both were read from the same text.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .sections
                .iter()
                .zip(&other.sections)
                .all(|(a, b)| a.print == b.print)
    }

    /// Number of sections, which is about that of objects.
    pub(super) fn len(&self) -> usize {
        self.sections.len()
    }

    /// What is left of both when what they have in common at the beginning and the end is taken away.
    pub(super) fn differing<'a>(
        &'a self,
        other: &'a Self,
    ) -> (impl Iterator<Item = &'a T>, impl Iterator<Item = &'a T>) {
        let (mut old, mut new) = (&*self.sections, &*other.sections);
        while let ([a, old_rest @ ..], [b, new_rest @ ..]) = (old, new)
            && Arc::ptr_eq(&a.items, &b.items)
        {
            (old, new) = (old_rest, new_rest);
        }
        while let ([old_rest @ .., a], [new_rest @ .., b]) = (old, new)
            && Arc::ptr_eq(&a.items, &b.items)
        {
            (old, new) = (old_rest, new_rest);
        }
        let all = |sections: &'a [Section<T>]| {
            let items = sections.iter().flat_map(|section| section.items.iter());
            items.map(|item| &item.what)
        };
        (all(old), all(new))
    }

    /// All objects in their order.
    pub(super) fn items(&self) -> impl Iterator<Item = (Place, &T)> {
        self.sections.iter().flat_map(|section| {
            section.items.iter().map(|item| {
                let place = Place {
                    line: section.before + item.line,
                    column: item.column,
                };
                (place, &item.what)
            })
        })
    }
}

impl Broken {
    fn after(mut self, before: u64) -> Self {
        self.line = self.line.map(|line| line + before);
        self
    }
}

fn section<T>(text: &str, judge: &mut impl FnMut(Review) -> T) -> Result<Arc<[Item<T>]>, Broken> {
    let documents = yaml::documents(text)?;
    Ok(documents
        .into_iter()
        .map(|document| Item {
            line: document.line,
            column: document.column,
            what: judge(api::review(document.value)),
        })
        .collect())
}

/// Cuts a stream of documents at the document markers, each part with the number of lines before it. A line
/// that begins with `---` and white space is never content, not even inside of a string (YAML 1.2 section
/// 9.1.2). Where directives may reach from one part into the next, all is one part.
fn split(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let whole = text.starts_with('%') || text.contains("\n%");
    let mut rest = text;
    let mut line = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let before = line;
        let mut end = 0;
        for (number, part) in rest.split_inclusive('\n').enumerate() {
            if number > 0 && !whole && is_marker(part) {
                break;
            }
            end += part.len();
            line += 1;
        }
        let (part, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        rest = tail;
        Some((before, part))
    })
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> Broken {
    let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line: usize = good.iter().map(|byte| usize::from(*byte == b'\n')).sum();
    Broken {
        line: u64::try_from(line).ok().map(|line| line + 1),
        column: None,
        message: "not UTF-8; save the file as UTF-8".into(),
    }
}

#[cfg(test)]
mod tests;
