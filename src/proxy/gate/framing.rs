//! Where requests begin and end: head, body, next head. Sans-I/O.

use super::{
    Limits, Refusal,
    chunks::{Chunks, Status},
    head::{Body, Complete, Head},
    preface::{self, Beginning},
};

/// What a connection's next byte belongs to.
#[derive(Debug)]
enum Phase {
    Head(Head),
    Length(u64),
    Chunked(Chunks),
}

/// What stands behind the bytes that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, or the start of a head: it comes again at the next call, with more behind it.
    More,
    /// A head that asks for a WebSocket passed last: the rest waits for a verdict.
    Hold,
    /// The first bytes of the connection are those of HTTP/2: none passes, all belong to it.
    Http2,
    /// A head that does not pass; `head_request` if its answer must have no body.
    Refuse {
        /// Why.
        refusal: Refusal,
        /// The method is HEAD.
        head_request: bool,
    },
    /// Bytes that break a body.
    Abort(Refusal),
}

/// Outcome of a look at some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// So many of them passed.
    pub(super) passed: usize,
    /// So many heads ended in them.
    pub(super) heads: usize,
    /// What comes then.
    pub(super) step: Step,
}

/// Follows the framing of the requests on one connection.
#[derive(Debug)]
pub(super) struct Framing {
    phase: Phase,
    /// No head has passed: it may still be HTTP/2.
    first: bool,
    limits: Limits,
}

impl Framing {
    /// Before the first request.
    pub(super) fn new(limits: Limits) -> Self {
        let phase = Phase::Head(Head::default());
        Self {
            phase,
            first: true,
            limits,
        }
    }

    /// The limits it works with.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether a head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        matches!(&self.phase, Phase::Head(head) if head.started())
    }

    /// Whether a body has not ended.
    pub(super) fn in_body(&self) -> bool {
        !matches!(self.phase, Phase::Head(_))
    }

    /// Bytes that certainly belong to the body being read.
    pub(super) fn remaining(&self) -> usize {
        let remaining = match &self.phase {
            Phase::Head(_) => 0,
            Phase::Length(left) => *left,
            Phase::Chunked(chunks) => chunks.remaining(),
        };
        usize::try_from(remaining).unwrap_or(usize::MAX)
    }

    /// Looks at the bytes that follow those that passed. After [`Step::Refuse`] and [`Step::Abort`] the
    /// connection must not be read on.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Progress {
        let mut progress = Progress {
            passed: 0,
            heads: 0,
            step: Step::More,
        };
        loop {
            let rest = bytes.get(progress.passed..).unwrap_or_default();
            if rest.is_empty() {
                return progress;
            }
            if self.first {
                match preface::look(rest) {
                    Beginning::Http1 => self.first = false,
                    Beginning::Http2 => {
                        progress.step = Step::Http2;
                        return progress;
                    }
                    Beginning::Open => {
                        // Its clock runs like that of any head.
                        if let Phase::Head(head) = &mut self.phase {
                            head.start();
                        }
                        return progress;
                    }
                }
            }
            match &mut self.phase {
                Phase::Head(head) => match head.advance(rest, &self.limits) {
                    Ok(None) => return progress,
                    Ok(Some(complete)) => {
                        progress.passed += complete.length;
                        progress.heads += 1;
                        self.phase = Phase::after(&complete);
                        if complete.tunnel {
                            progress.step = Step::Hold;
                            return progress;
                        }
                    }
                    Err(refusal) => {
                        progress.step = Step::Refuse {
                            refusal,
                            head_request: rest.starts_with(b"HEAD "),
                        };
                        return progress;
                    }
                },
                Phase::Length(left) => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |n| n.min(rest.len()));
                    progress.passed += taken;
                    *left -= u64::try_from(taken).unwrap_or(u64::MAX).min(*left);
                    if *left == 0 {
                        self.phase = Phase::Head(Head::default());
                    }
                }
                Phase::Chunked(chunks) => {
                    let (taken, status) = chunks.advance(rest);
                    progress.passed += taken;
                    match status {
                        Status::More => {}
                        Status::Done => self.phase = Phase::Head(Head::default()),
                        Status::Broken(refusal) => {
                            progress.step = Step::Abort(refusal);
                            return progress;
                        }
                    }
                }
            }
        }
    }
}

impl Phase {
    fn after(complete: &Complete) -> Self {
        match complete.body {
            Body::Nothing => Self::Head(Head::default()),
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunked(Chunks::new()),
        }
    }
}

#[cfg(test)]
mod tests;
