//! A rule as the data plane uses it, and the choice among its backends.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::ir;

/// A rule as the data plane uses it. A tunnel keeps the one that it was opened with.
#[derive(Debug)]
pub struct Route<B> {
    /// Identity, policy and references.
    pub rule: Arc<ir::Route>,
    choice: Choice<B>,
}

/// Where a request of a route goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination<'a, B> {
    /// To this backend.
    Backend(&'a B),
    /// The reference that would have had it resolves to nothing: 500. The text is for logs.
    Missing(&'a str),
}

/// References without weight are left out.
#[derive(Debug)]
enum Choice<B> {
    Nothing,
    Only(Way<B>),
    Rotate(Box<Rotation<B>>),
}

#[derive(Debug)]
enum Way<B> {
    Backend(B),
    Missing(Box<str>),
}

/// A walk through the shares of all references: `total` picks in a row give each its exact share.
///
/// Picks step through `0..total` by about the golden section of it: a step without a common divisor visits
/// each number once, and such a walk is nowhere bunched.
#[derive(Debug)]
struct Rotation<B> {
    /// End of each reference's share of `0..total`, and the reference.
    ways: Box<[(u64, Way<B>)]>,
    total: u64,
    step: u64,
    cursor: AtomicU64,
}

impl<B> Route<B> {
    /// `start` is where the rotation begins: tables that follow each other quickly would otherwise all
    /// begin with the same backend.
    pub(super) fn new(
        rule: Arc<ir::Route>,
        start: u64,
        resolve: &mut impl FnMut(&ir::BackendId) -> B,
    ) -> Self {
        let mut ways: Vec<(u64, Way<B>)> = Vec::with_capacity(rule.backends.len());
        for reference in rule.backends.iter().filter(|backend| backend.weight > 0) {
            let way = match &reference.target {
                ir::Target::Backend(id) => Way::Backend(resolve(id)),
                ir::Target::Missing(text) => Way::Missing(text.as_str().into()),
            };
            ways.push((u64::from(reference.weight), way));
        }
        let choice = match ways.len() {
            0 => Choice::Nothing,
            1 => ways
                .pop()
                .map_or(Choice::Nothing, |(_, way)| Choice::Only(way)),
            _ => Choice::Rotate(Box::new(Rotation::new(ways, start))),
        };
        Self { rule, choice }
    }

    /// Chooses by weight, in rotation. `None` when all weights are 0.
    pub fn pick(&self) -> Option<Destination<'_, B>> {
        let way = match &self.choice {
            Choice::Nothing => return None,
            Choice::Only(way) => way,
            Choice::Rotate(rotation) => rotation.next()?,
        };
        Some(match way {
            Way::Backend(backend) => Destination::Backend(backend),
            Way::Missing(text) => Destination::Missing(text),
        })
    }
}

impl<B> Rotation<B> {
    /// `ways` with their weights, none of them 0.
    fn new(mut ways: Vec<(u64, Way<B>)>, start: u64) -> Self {
        let divisor = ways
            .iter()
            .fold(0, |divisor, (weight, _)| gcd(divisor, *weight))
            .max(1);
        let mut total = 0;
        for (end, _) in &mut ways {
            total += *end / divisor;
            *end = total;
        }
        Self {
            ways: ways.into(),
            total,
            step: golden_step(total),
            cursor: AtomicU64::new(start),
        }
    }

    fn next(&self) -> Option<&Way<B>> {
        let turn = self.cursor.fetch_add(1, Ordering::Relaxed) % self.total.max(1);
        // Below `total`, so it fits again.
        let point = u128::from(turn) * u128::from(self.step) % u128::from(self.total.max(1));
        let place = self
            .ways
            .partition_point(|(end, _)| u128::from(*end) <= point);
        self.ways.get(place).map(|(_, way)| way)
    }
}

/// The number nearest above 0.618 of `total` that has no common divisor with it.
fn golden_step(total: u64) -> u64 {
    // 0.618 = 809 / 1309 to six digits, without leaving the integers.
    let golden = u128::from(total) * 809 / 1309;
    let mut step = u64::try_from(golden).unwrap_or(1).max(1);
    while step < total && gcd(step, total) != 1 {
        step += 1;
    }
    // `total - 1` has no divisor in common with `total`, so this is the case of `total` 1 only.
    if step >= total { 1 } else { step }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
