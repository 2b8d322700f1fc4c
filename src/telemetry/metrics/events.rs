//! Series about the events that are told about objects.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventResult {
    /// It was created.
    Created,
    /// It is there already: an earlier process told it.
    Known,
    /// It happened again and was counted.
    Counted,
    /// Its object has had too many.
    Limited,
    /// Too many were waiting.
    Dropped,
    /// There is no right to write it.
    Forbidden,
    /// The API server could not or would not take it.
    Failed,
}

impl EventResult {
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Known,
        Self::Counted,
        Self::Limited,
        Self::Dropped,
        Self::Forbidden,
        Self::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Known => "known",
            Self::Counted => "counted",
            Self::Limited => "limited",
            Self::Dropped => "dropped",
            Self::Forbidden => "forbidden",
            Self::Failed => "failed",
        }
    }
}

/// Series about the events that are told about objects.
#[derive(Debug)]
pub struct Events {
    told: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Events {
    /// Registers everything.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let told = Family::default();
        for result in EventResult::ALL {
            let _ = told.get_or_create_owned(&[("result", result.as_str())]);
        }
        registry.register(
            "events",
            "Kubernetes events by what became of them: created, known (told before), counted (happened again), \
             limited (too many of one object), dropped (too many waiting), forbidden, failed",
            told.clone(),
        );
        Self { told }
    }

    /// Counts an event.
    pub fn told(&self, result: EventResult) {
        self.told
            .get_or_create(&[("result", result.as_str())])
            .inc();
    }
}
